"""`insi-agent trust`: which authorities are let in, what is written for everybody, and what it leaves alone."""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from agent.cli import main
from agent.config import Loaded, Source, load
from agent.errors import Code
from agent.insi.anchors import KNOWN, Anchor, fingerprint, objection, read_anchors, unissued
from agent.model import Environment
from agent.simulator.pki import Issued, issue_ca, issue_server, make_ca
from agent.trust_command import trusted

NOW = datetime.now(UTC)
TEST, PRODUCTION = Environment.TEST, Environment.PRODUCTION


@pytest.fixture(scope="module")
def ca() -> Issued:
    return make_ca("AC D'ESSAI")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The folder of the machine's configuration."""
    return tmp_path / "etc" / "insi-agent"


@pytest.fixture
def file(tmp_path: Path, ca: Issued) -> Path:
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    return tmp_path / "ca.pem"


def print_of(ca: Issued) -> str:
    return ca.certificate.fingerprint(SHA256()).hex().upper()


def trust(machine: Path, *files: Path, typed: str | None = None, at: str = "test", endpoint: str = "both") -> int:
    words = ["--fingerprint", typed] if typed else []
    where = ["--environment", at, "--endpoint", endpoint, "--folder", str(machine)]
    return main(["trust", "import", *map(str, files), *where, *words])


def machine_settings(machine: Path) -> Loaded:
    """As the agent reads this folder."""
    layers = [(Source.MACHINE, tomllib.loads(one.read_text())) for one in sorted((machine / "conf.d").glob("*.toml"))]
    return load(layers)


def tree(machine: Path) -> dict[str, bytes]:
    return {str(one.relative_to(machine)): one.read_bytes() for one in machine.rglob("*") if one.is_file()}


# ---------------------------------------------------------------- which are let in


def anchor(**what: object) -> Anchor:
    given = {
        "subject": "AC IGC-SANTE ELEMENTAIRE ORGANISATIONS",
        "issuer": "AC RACINE IGC-SANTE ELEMENTAIRE",
        "not_before": NOW - timedelta(days=1),
        "not_after": NOW + timedelta(days=1),
        "fingerprint": next(iter(KNOWN)),
        "is_ca": True,
        "pem": b"",
    }
    return Anchor(**{**given, **what})  # type: ignore[arg-type]  # as the table says


@pytest.mark.parametrize("known", KNOWN)
@pytest.mark.parametrize("environment", [TEST, PRODUCTION])
def test_the_known_authorities_of_igc_sante_need_no_word(known: str, environment: Environment) -> None:
    assert objection(anchor(fingerprint=known), environment=environment, typed=(), now=NOW) is None


@pytest.mark.parametrize(
    ("what", "environment", "why"),
    [
        ({"is_ca": False}, TEST, "pas le certificat d'une autorité"),
        ({"not_after": NOW - timedelta(seconds=1)}, TEST, "a expiré"),
        ({"not_before": NOW + timedelta(hours=1)}, TEST, "pas encore valable"),
        ({"subject": "TEST AC IGC-SANTE ELEMENTAIRE ORGANISATIONS"}, PRODUCTION, "pas sa place en production"),
        ({"issuer": "TEST AC RACINE IGC-SANTE ELEMENTAIRE"}, PRODUCTION, "pas sa place en production"),
    ],
)
def test_no_fingerprint_lets_in_what_cannot_be_an_authority_here(
    what: dict[str, object], environment: Environment, why: str
) -> None:
    said = objection(anchor(**what), environment=environment, typed=list(KNOWN), now=NOW)

    assert said
    assert why in said


def test_an_unknown_authority_needs_its_own_fingerprint_typed() -> None:
    other, third = "A" * 64, "B" * 64

    assert objection(anchor(fingerprint=other), environment=TEST, typed=[third], now=NOW)
    assert objection(anchor(fingerprint=other), environment=TEST, typed=[third, other], now=NOW) is None


def test_a_fingerprint_is_whole_however_it_was_copied() -> None:
    whole = next(iter(KNOWN))
    colons = ":".join(whole[at : at + 2] for at in range(0, 64, 2)).lower()

    assert fingerprint(colons) == fingerprint(f" {whole[:32]} {whole[32:]}\n") == whole
    for short in (whole[:63], whole + "0", "G" * 64, "", "é" * 64):
        with pytest.raises(ValueError, match="64"):
            fingerprint(short)


@given(st.binary() | st.binary().map(lambda some: b"-----BEGIN CERTIFICATE-----\n" + some))
def test_whatever_a_file_holds_it_is_certificates_or_not(content: bytes) -> None:
    try:
        assert read_anchors(content)
    except ValueError as error:
        assert str(error)


@given(at=st.integers(0, 800), byte=st.integers(0, 255))
def test_a_certificate_with_a_byte_changed_is_read_or_not(ca: Issued, at: int, byte: int) -> None:
    der = bytearray(ca.der)
    der[at % len(der)] = byte
    try:
        (read,) = read_anchors(bytes(der))
        assert read.subject.isprintable()
    except ValueError as error:
        assert str(error)


def anchors_of(*issued: Issued) -> list[Anchor]:
    return read_anchors(b"".join(one.pem for one in issued))


def test_an_authority_whose_own_issuer_is_not_listed_too_is_found() -> None:
    """OpenSSL follows a server's certificate up to one that signed itself."""
    root, other = make_ca("AC RACINE"), make_ca("AUTRE RACINE")
    middle = issue_ca(root, "AC INTERMEDIAIRE")
    below = issue_ca(middle, "AC ORGANISATIONS")

    def named(*issued: Issued) -> list[tuple[str, str]]:
        return [(one.subject, one.issuer) for one in unissued(anchors_of(*issued))]

    assert named(root) == named(below, root, middle) == named(root, other) == []
    assert named(below) == named(below, root, other) == [("AC ORGANISATIONS", "AC INTERMEDIAIRE")]
    assert named(below, middle) == [("AC INTERMEDIAIRE", "AC RACINE")]
    assert unissued([]) == []


# ---------------------------------------------------------------- import


def test_an_import_is_in_force_for_the_endpoint_and_environment_named(
    machine: Path, file: Path, ca: Issued, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trust(machine, file, typed=print_of(ca).lower(), endpoint="organisation") == 0

    kept = machine / "anchors" / f"{print_of(ca).lower()}.pem"
    anchors = machine_settings(machine).settings.insi.anchors
    assert set(anchors) == {TEST}
    assert (anchors[TEST].organisation, anchors[TEST].cpx) == ([kept], [])
    assert kept.read_bytes() == ca.pem
    assert f"SHA-256 {print_of(ca)}" in capsys.readouterr().out


def test_der_and_several_in_one_file_are_taken_each_once(machine: Path, tmp_path: Path, ca: Issued) -> None:
    below = issue_ca(ca, "AC D'ESSAI, SECONDE")
    (tmp_path / "two.pem").write_bytes(ca.pem + below.pem + ca.pem)
    (tmp_path / "one.der").write_bytes(below.der)
    words = ["--fingerprint", print_of(ca), "--fingerprint", print_of(below)]
    where = ["--environment", "test", "--endpoint", "cpx", "--folder", str(machine)]

    assert main(["trust", "import", str(tmp_path / "two.pem"), str(tmp_path / "one.der"), *where, *words]) == 0

    files = machine_settings(machine).settings.insi.anchors[TEST].cpx
    assert [one.stem.upper() for one in files] == [print_of(ca), print_of(below)]


def test_a_second_import_adds_and_the_same_one_changes_nothing(machine: Path, tmp_path: Path, ca: Issued) -> None:
    other = make_ca("AC D'AILLEURS")
    (tmp_path / "other.pem").write_bytes(other.pem)
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    trust(machine, tmp_path / "ca.pem", typed=print_of(ca), endpoint="cpx")
    trust(machine, tmp_path / "other.pem", typed=print_of(other), endpoint="both")
    trust(machine, tmp_path / "ca.pem", typed=print_of(ca), at="production", endpoint="organisation")
    before = tree(machine)
    trust(machine, tmp_path / "ca.pem", typed=print_of(ca), endpoint="cpx")

    assert tree(machine) == before
    anchors = machine_settings(machine).settings.insi.anchors
    named = {
        (environment.value, endpoint): [one.stem.upper() for one in getattr(anchors[environment], endpoint)]
        for environment in anchors
        for endpoint in ("cpx", "organisation")
    }
    assert named == {
        ("test", "cpx"): [print_of(ca), print_of(other)],
        ("test", "organisation"): [print_of(other)],
        ("production", "cpx"): [],
        ("production", "organisation"): [print_of(ca)],
    }


def test_everybody_may_read_what_was_imported_and_nobody_else_write_it(machine: Path, file: Path, ca: Issued) -> None:
    before = os.umask(0o077)
    try:
        trust(machine, file, typed=print_of(ca))
    finally:
        os.umask(before)

    modes = {one.name: one.stat().st_mode & 0o777 for one in machine.rglob("*")}
    assert set(modes.values()) == {0o755, 0o644}
    assert len(modes) == 4  # two folders, a certificate, a list: nothing half written


def test_an_import_says_which_authority_is_still_missing_until_it_is_there(
    machine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_ca("AC RACINE D'ESSAI", path_length=1)
    below = issue_ca(root, "AC ORGANISATIONS D'ESSAI")
    for name, issued in {"root.pem": root, "below.pem": below}.items():
        (tmp_path / name).write_bytes(issued.pem)
    missing = "Attention : AC ORGANISATIONS D'ESSAI : il manque l'autorité qui l'a émise : AC RACINE D'ESSAI"

    assert trust(machine, tmp_path / "below.pem", typed=print_of(below)) == 0
    assert capsys.readouterr().out.count(missing) == 1
    assert {row["problem"] for row in trusted(machine_settings(machine), NOW)} == {
        "il manque l'autorité qui l'a émise : AC RACINE D'ESSAI"
    }
    assert trust(machine, tmp_path / "root.pem", typed=print_of(root), endpoint="cpx") == 0
    assert "Attention" not in capsys.readouterr().out
    assert [(row["endpoint"], row["problem"] is None) for row in trusted(machine_settings(machine), NOW)] == [
        ("cpx", True),
        ("cpx", True),
        ("organisation", False),
    ]
    assert trust(machine, tmp_path / "below.pem", typed=print_of(below)) == 0
    assert capsys.readouterr().out.count(missing) == 1  # of the other endpoint, still


Refused = Callable[..., str]


@pytest.fixture
def refused(machine: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """What is said of an import that is refused; nothing is written."""

    def act(*files: Path, **how: str) -> str:
        before = tree(machine)
        assert trust(machine, *files, **how) == 1  # type: ignore[arg-type]  # words, all of them
        assert tree(machine) == before
        return capsys.readouterr().err

    return act


def test_an_unknown_authority_is_refused_with_its_fingerprint_to_compare(
    refused: Refused, file: Path, ca: Issued
) -> None:
    said = refused(file)

    assert f"[{Code.TRUST_REFUSED}" in said
    assert f"Empreinte SHA-256 : {print_of(ca)}" in said


def test_one_refused_refuses_them_all(refused: Refused, file: Path, tmp_path: Path, ca: Issued) -> None:
    (tmp_path / "server.pem").write_bytes(issue_server(ca).pem)

    assert "pas le certificat d'une autorité" in refused(file, tmp_path / "server.pem", typed=print_of(ca))


def test_a_fingerprint_of_another_certificate_is_refused(refused: Refused, file: Path, ca: Issued) -> None:
    assert f"Empreinte SHA-256 : {print_of(ca)}" in refused(file, typed=next(iter(KNOWN)))
    assert "Réglage : --fingerprint" in refused(file, typed=print_of(ca)[:40])


def test_a_test_authority_stays_out_of_production(refused: Refused, tmp_path: Path) -> None:
    ca = make_ca("TEST AC IGC-SANTE ELEMENTAIRE ORGANISATIONS")
    (tmp_path / "test.pem").write_bytes(ca.pem)

    assert "pas sa place en production" in refused(tmp_path / "test.pem", typed=print_of(ca), at="production")


def test_what_is_no_certificate_is_refused(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "photo.pem").write_bytes(b"\x89PNG")

    assert "ni PEM ni DER" in refused(tmp_path / "photo.pem")
    assert "FileNotFoundError" in refused(tmp_path / "none.pem")


@pytest.mark.parametrize("folder", ["conf.d", "policy.d"])
def test_an_administrators_own_list_elsewhere_is_named_and_left_alone(
    refused: Refused, machine: Path, file: Path, ca: Issued, folder: str
) -> None:
    (machine / folder).mkdir(parents=True)
    (machine / folder / "50-ours.toml").write_text('[insi.anchors.test]\ncpx = ["/own.pem"]\n')

    said = refused(file, typed=print_of(ca), endpoint="both")

    assert "Réglage : insi.anchors.test.cpx" in said
    assert f"Fixé par : {machine / folder / '50-ours.toml'}" in said
    assert trust(machine, file, typed=print_of(ca), endpoint="organisation") == 0  # which that file says nothing of


def test_other_settings_of_the_machine_stay_as_they_are(machine: Path, file: Path, ca: Issued) -> None:
    (machine / "conf.d").mkdir(parents=True)
    (machine / "conf.d" / "50-ours.toml").write_text('environment = "production"\n[insi]\nretries = 3\n')
    trust(machine, file, typed=print_of(ca))

    settings = machine_settings(machine).settings
    assert (settings.environment, settings.insi.retries) == (PRODUCTION, 3)
    assert not settings.managed


@pytest.mark.parametrize(
    "content",
    [
        "[insi]\nretries = 3\n",
        "[insi.anchors.simulated]\ncpx = []\n",
        "[insi.anchors",
        "[insi.anchors.test]\ncpx = 3\n",
    ],
)
def test_our_own_file_with_something_else_in_it_is_not_written_over(
    refused: Refused, machine: Path, file: Path, ca: Issued, content: str
) -> None:
    (machine / "conf.d").mkdir(parents=True)
    (machine / "conf.d" / "00-anchors.toml").write_text(content)

    assert "00-anchors.toml" in refused(file, typed=print_of(ca))


def test_who_may_not_write_there_is_told_to_do_it_as_an_administrator(ca: Issued) -> None:
    """As somebody who is not root, whoever runs the tests."""
    script = (
        "import os, sys; from agent.cli import main; import agent.insi.anchors\n"
        "if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "ca.pem").write_bytes(ca.pem)
        (folder / "machine").mkdir()
        (folder / "machine").chmod(0o555)
        folder.chmod(0o755)
        where = ["--environment", "test", "--endpoint", "both", "--folder", str(folder / "machine")]
        words = ["trust", "import", str(folder / "ca.pem"), *where, "--fingerprint", print_of(ca)]
        done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=False)

        assert done.returncode == 1, done.stderr
        assert "le faire en administrateur" in done.stderr
        assert list((folder / "machine").iterdir()) == []


# ---------------------------------------------------------------- list


def test_the_list_says_who_is_believed_where_and_until_when(
    home: Path, file: Path, ca: Issued, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "config.toml").write_text(f'[insi.anchors.test]\ncpx = ["{file}"]\norganisation = ["{home}/none.pem"]\n')
    assert main(["trust", "list", "--json", "--config", str(home / "config.toml")]) == 1
    good, bad = json.loads(capsys.readouterr().out)
    assert main(["trust", "list", "--config", str(home / "config.toml")]) == 1
    words = capsys.readouterr().out

    assert good == {
        "environment": "test",
        "endpoint": "cpx",
        "file": str(file),
        "source": "user file",
        "subject": "AC D'ESSAI",
        "notBefore": f"{ca.certificate.not_valid_before_utc:%Y-%m-%d}",
        "notAfter": f"{ca.certificate.not_valid_after_utc:%Y-%m-%d}",
        "fingerprint": print_of(ca),
        "known": None,
        "problem": None,
    }
    assert (bad["endpoint"], bad["problem"]) == ("organisation", "illisible (FileNotFoundError)")
    assert f"SHA-256 {print_of(ca)}" in words
    assert "Attention : illisible" in words


def test_an_anchor_that_has_expired_is_a_problem_of_the_list(file: Path) -> None:
    loaded = load([(Source.USER, {"insi": {"anchors": {"test": {"cpx": [str(file)]}}}})])

    (row,) = trusted(loaded, NOW + timedelta(days=40 * 365))

    assert "a expiré" in row["problem"]


def test_nothing_trusted_is_said(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "config.toml").write_text("")

    assert main(["trust", "list", "--config", str(home / "config.toml")]) == 0
    assert "Aucune autorité" in capsys.readouterr().out
