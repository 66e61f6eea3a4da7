"""The local certificate for wss: what it can and cannot speak for, its key that is nowhere in clear, its commands."""

import base64
import functools
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from agent.cli import main
from agent.client import ask
from agent.config import Settings, Wss
from agent.doctor import _probe, _wss
from agent.errors import CATALOGUE, AgentError, Code
from agent.local_tls import LIFETIME, LocalTls, issue, make_authority, read_authorities, read_pair, served_on
from agent.local_trust import Store, distrust, stores_of, trust
from agent.places import find_running
from agent.protocol.server import loopback_sockets
from agent.secrets import FileSecrets
from agent.workflows.greeting import notices
from tests.parts.agent import Simulation
from tests.parts.desktop import until
from tests.parts.session import in_a_session
from tests.parts.tls_site import tls_site
from tests.web.doors import free_port

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ROOT = Path(__file__).parents[1]
ELSEWHERE = [x509.DNSName("ehr.example")]
SCALAR = bytes.fromhex("0201010420")  # RFC 5915: version 1, then the 32 bytes of a P-256 private key


def local_tls(folder: Path) -> LocalTls:
    return LocalTls(folder, FileSecrets(folder))


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def refused(call: Callable[[], object]) -> Code:
    with pytest.raises(AgentError) as raised:
        call()
    return raised.value.code


def openssl(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["openssl", *arguments], input="", capture_output=True, text=True, check=False, timeout=60)


# ---------------------------------------------------------------- what it can speak for


def extension(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> tuple[bool, x509.ExtensionType]:
    found = certificate.extensions.get_extension_for_class(kind)
    return found.critical, found.value


def test_the_authority_speaks_for_localhost_alone_and_has_none_below_it() -> None:
    """RFC 5280 §4.2.1.9 and §4.2.1.10: both critical, so that who does not know them refuses it."""
    certificate = make_authority(NOW).certificate

    assert extension(certificate, x509.BasicConstraints) == (True, x509.BasicConstraints(ca=True, path_length=0))
    allowed = [
        x509.DNSName("localhost"),
        x509.IPAddress(ip_network("127.0.0.1/32")),
        x509.IPAddress(ip_network("::1/128")),
    ]
    assert extension(certificate, x509.NameConstraints) == (True, x509.NameConstraints(allowed, None))
    critical, usage = extension(certificate, x509.KeyUsage)
    assert critical and isinstance(usage, x509.KeyUsage)
    assert (usage.key_cert_sign, usage.digital_signature, usage.crl_sign) == (True, False, False)


def test_the_certificate_is_a_servers_for_this_machine_and_both_end_within_397_days() -> None:
    authority = make_authority(NOW)
    leaf = issue(authority, NOW).certificate

    assert extension(leaf, x509.BasicConstraints) == (True, x509.BasicConstraints(ca=False, path_length=None))
    assert extension(leaf, x509.ExtendedKeyUsage)[1] == x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    names = [x509.DNSName("localhost"), *(x509.IPAddress(ip_address(one)) for one in ("127.0.0.1", "::1"))]
    assert extension(leaf, x509.SubjectAlternativeName)[1] == x509.SubjectAlternativeName(names)
    for certificate in (authority.certificate, leaf):
        assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == LIFETIME == timedelta(days=397)
        assert certificate.not_valid_before_utc < NOW < certificate.not_valid_after_utc


def test_openssl_believes_it_for_this_machine_and_not_for_another_name(tmp_path: Path) -> None:
    """The authority's key is kept here, as nobody has it outside a test."""
    authority = make_authority(datetime.now(UTC))
    (tmp_path / "ca.pem").write_bytes(pem(authority.certificate))
    (tmp_path / "local.pem").write_bytes(pem(issue(authority, datetime.now(UTC)).certificate))
    (tmp_path / "ehr.pem").write_bytes(pem(issue(authority, datetime.now(UTC), ELSEWHERE).certificate))
    verify = ["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", tmp_path / "ca.pem"]

    for name in (["-verify_hostname", "localhost"], ["-verify_ip", "127.0.0.1"], ["-verify_ip", "::1"]):
        assert openssl(*verify, *name, tmp_path / "local.pem").returncode == 0
    elsewhere = openssl(*verify, tmp_path / "ehr.pem")

    assert elsewhere.returncode != 0
    assert "permitted subtree violation" in elsewhere.stderr


# ---------------------------------------------------------------- the pair and its file


def in_clear(folder: Path) -> list[str]:
    """The files below `folder` that hold a private key in clear, as PEM or DER."""

    def shows(content: bytes) -> bool:
        blocks = re.findall(rb"-----BEGIN ([A-Z ]+)-----\s(.*?)-----END", content, re.DOTALL)
        return SCALAR in content or any(
            label in (b"PRIVATE KEY", b"EC PRIVATE KEY") or SCALAR in base64.b64decode(body) for label, body in blocks
        )

    return [str(file) for file in folder.rglob("*") if file.is_file() and shows(file.read_bytes())]


def test_the_search_for_keys_finds_one(tmp_path: Path) -> None:
    key = make_authority(NOW).key
    formats = serialization.PrivateFormat
    for number, (encoding, shape) in enumerate(
        (encoding, shape)
        for encoding in (serialization.Encoding.PEM, serialization.Encoding.DER)
        for shape in (formats.PKCS8, formats.TraditionalOpenSSL)
    ):
        (tmp_path / str(number)).write_bytes(key.private_bytes(encoding, shape, serialization.NoEncryption()))

    assert len(in_clear(tmp_path)) == 4


def test_what_was_made_is_loaded_and_its_key_is_nowhere_in_clear(tmp_path: Path) -> None:
    tls = local_tls(tmp_path)
    made = tls.renew(NOW)

    loaded, _ = tls.load(NOW)

    assert loaded == made
    assert tls.known() == [made.authority] == read_authorities(tls.authority_file.read_bytes())
    assert in_clear(tmp_path) == []
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in (tmp_path / "wss.pem").read_bytes()
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}
    key = ["pkey", "-in", tmp_path / "wss.pem", "-pubout", "-passin"]
    assert openssl(*key, "pass:0000").returncode != 0
    passphrase = (FileSecrets(tmp_path).get("wss-passphrase") or b"").decode()
    public = openssl(*key, f"pass:{passphrase}").stdout
    of_leaf, of_authority = (
        openssl("x509", "-in", file, "-noout", "-pubkey").stdout for file in (tmp_path / "wss.pem", tls.authority_file)
    )
    assert public == of_leaf != of_authority


def test_each_pair_has_another_name_and_another_key_and_the_old_one_is_gone(tmp_path: Path) -> None:
    tls = local_tls(tmp_path)
    first, second = tls.renew(NOW), tls.renew(NOW)

    assert first.authority.name != second.authority.name
    assert first.authority.sha256 != second.authority.sha256
    assert tls.load(NOW)[0] == second


def test_an_absent_expired_early_or_keyless_pair_is_said_and_not_served(tmp_path: Path) -> None:
    tls = local_tls(tmp_path)
    assert refused(lambda: tls.load(NOW)) == Code.WSS_CERTIFICATE
    assert tls.known() == []

    made = tls.renew(NOW)
    assert refused(lambda: tls.load(made.not_after)) == Code.WSS_CERTIFICATE
    assert refused(lambda: tls.load(NOW - timedelta(days=1))) == Code.WSS_CERTIFICATE
    assert tls.load(made.not_after - timedelta(seconds=1))[0] == made

    FileSecrets(tmp_path).set("wss-passphrase", b"0000")
    assert refused(lambda: tls.load(NOW)) == Code.WSS_CERTIFICATE
    FileSecrets(tmp_path).forget("wss-passphrase")
    assert refused(lambda: tls.load(NOW)) == Code.WSS_CERTIFICATE


def test_the_key_of_another_pair_is_not_served(tmp_path: Path) -> None:
    tls, other = local_tls(tmp_path / "one"), local_tls(tmp_path / "other")
    other.renew(NOW)
    FileSecrets(tmp_path / "one").set("wss-passphrase", FileSecrets(tmp_path / "other").get("wss-passphrase") or b"")
    tls.renew(NOW)
    ours, theirs = ((tmp_path / name / "wss.pem").read_bytes() for name in ("one", "other"))
    mark = b"-----BEGIN ENCRYPTED"
    (tmp_path / "one" / "wss.pem").write_bytes(ours.partition(mark)[0] + mark + theirs.partition(mark)[2])

    assert refused(lambda: tls.load(NOW)) == Code.WSS_CERTIFICATE


@functools.cache
def a_pair() -> tuple[bytes, bytes]:
    """The file of a pair, and its passphrase."""
    with tempfile.TemporaryDirectory() as folder:
        local_tls(Path(folder)).renew(NOW)
        return Path(folder, "wss.pem").read_bytes(), FileSecrets(Path(folder)).get("wss-passphrase") or b""


@given(st.binary())
def test_any_bytes_are_a_pair_or_a_code(content: bytes) -> None:
    assert refused(lambda: read_pair(content)) == Code.WSS_CERTIFICATE
    assert refused(lambda: read_authorities(content)) == Code.WSS_CERTIFICATE


@given(st.data())
def test_a_damaged_pair_is_a_pair_or_a_code(data: st.DataObject) -> None:
    """Damage inside the certificates too, where the parser goes on later."""
    content, passphrase = a_pair()
    leaf, authority = x509.load_pem_x509_certificates(content)
    der = bytearray(data.draw(st.sampled_from([leaf, authority])).public_bytes(serialization.Encoding.DER))
    for at in data.draw(st.lists(st.integers(0, len(der) - 1), min_size=1, max_size=3)):
        der[at] = data.draw(st.integers(0, 255))
    damaged = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(bytes(der)) + b"-----END CERTIFICATE-----\n"
    cut = data.draw(st.integers(0, len(content)))
    with tempfile.TemporaryDirectory() as folder:
        FileSecrets(Path(folder)).set("wss-passphrase", passphrase)
        for written in (
            damaged + content,
            pem(leaf) + damaged + content[content.rindex(b"-----BEGIN") :],
            content[:cut],
        ):
            Path(folder, "wss.pem").write_bytes(written)
            try:
                assert local_tls(Path(folder)).load(NOW)[0].not_after > NOW
            except AgentError as error:
                assert error.code is Code.WSS_CERTIFICATE


# Every step that touches the folder is the last one once: the process is killed there.
KILLED = """
import json, os, shutil, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from agent.errors import AgentError
from agent.local_tls import LocalTls
from agent.secrets import FileSecrets
base, act, now = Path(sys.argv[1]), sys.argv[2], datetime(2026, 6, 1, 12, tzinfo=UTC)
steps, last, folder = 0, 0, base

def stopping(event, arguments):
    global steps
    touches = event == "open" or event.startswith("os.")
    if last and touches and str(folder) in str(arguments[0]):
        steps += 1
        if steps == last:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(stopping)
for step in range(1, 100):
    folder = base.with_name(f"killed-{act}-{step}")
    shutil.copytree(base, folder)
    tls = LocalTls(folder, FileSecrets(folder))
    child = os.fork()
    if not child:
        last = step
        {"renew": lambda: tls.renew(now), "load": lambda: tls.load(now), "forget": tls.forget}[act]()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    shutil.copytree(folder, base.with_name(f"left-{act}-{step}"))
    try:
        found = tls.load(now)[0].authority.name
    except AgentError as error:
        found = error.code.value
    known = tls.known()
    print(json.dumps([os.waitstatus_to_exitcode(status), found, [one.name for one in known]]))
    if os.waitstatus_to_exitcode(status) == 0:
        break
"""


def killed_at_each_step(base: Path, act: str) -> list[tuple[int, str, list[str]]]:
    """How the process ended, what is loaded then, which authorities are known."""
    run = subprocess.run(
        [sys.executable, "-c", KILLED, str(base), act], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    steps = [tuple(json.loads(line)) for line in run.stdout.splitlines()]
    assert [ended for ended, *_ in steps] == [-9] * (len(steps) - 1) + [0]
    assert len(steps) > 3
    return steps


def test_who_is_killed_while_renewing_leaves_the_old_pair_or_the_new_one_and_no_key_in_clear(tmp_path: Path) -> None:
    old = local_tls(tmp_path / "base").renew(NOW).authority.name

    steps = killed_at_each_step(tmp_path / "base", "renew")

    loaded = [found for _, found, _ in steps]
    kept = loaded.count(old)
    assert 0 < kept < len(steps)
    assert loaded[:kept] == [old] * kept
    assert all(found.startswith("INSi Agent localhost") for found in loaded)
    assert [known[0] for *_, known in steps] == loaded
    assert [known[-1] for *_, known in steps] == [old] * len(steps)
    assert in_clear(tmp_path) == []


def test_who_is_killed_while_making_the_first_pair_leaves_none_or_a_whole_one(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()

    steps = killed_at_each_step(tmp_path / "base", "renew")

    assert {found.partition(" localhost")[0] for _, found, _ in steps} == {"wss.certificate", "INSi Agent"}
    assert in_clear(tmp_path) == []


def test_who_is_killed_while_loading_leaves_the_pair_and_no_key_in_clear(tmp_path: Path) -> None:
    made = local_tls(tmp_path / "base").renew(NOW).authority.name

    steps = killed_at_each_step(tmp_path / "base", "load")

    assert {found for _, found, _ in steps} == {made}
    assert list(tmp_path.glob("left-load-*/tls-*/material.pem"))  # until somebody loads again
    assert list(tmp_path.glob("killed-load-*/tls-*")) == []
    assert in_clear(tmp_path) == []


def test_who_is_killed_while_removing_can_still_say_what_to_trust_no_longer(tmp_path: Path) -> None:
    old, new = (local_tls(tmp_path / "base").renew(NOW).authority.name for _ in range(2))

    steps = killed_at_each_step(tmp_path / "base", "forget")

    assert {found for _, found, _ in steps} == {new, "wss.certificate"}
    assert [known for _, _, known in steps] == [[new, old]] * (len(steps) - 1) + [[]]
    assert steps[-1][1] == "wss.certificate"
    assert list((tmp_path / f"killed-forget-{len(steps)}").iterdir()) == []


# ---------------------------------------------------------------- what a person is told


def test_the_lines_for_each_trust_store_are_exact(tmp_path: Path) -> None:
    made = local_tls(tmp_path / "l'été").renew(NOW).authority
    file = local_tls(tmp_path / "l'été").authority_file
    keychain = '"$HOME/Library/Keychains/login.keychain-db"'

    assert trust(Store.WINDOWS, made, file) == f'certutil -user -addstore Root "{file}"'
    assert distrust(Store.WINDOWS, made) == f"certutil -user -delstore Root {made.sha1}"
    assert trust(Store.MACOS, made, file) == (
        f"security add-trusted-cert -r trustRoot -p ssl -k {keychain} {shlex.quote(str(file))}"
    )
    assert distrust(Store.MACOS, made) == f"security delete-certificate -Z {made.sha1} -t {keychain}"
    assert re.fullmatch(r"[0-9A-F]{40}", made.sha1)
    assert [stores_of(system) for system in ("win32", "darwin", "linux")] == [
        [Store.WINDOWS],
        [Store.MACOS],
        [Store.CHROMIUM, Store.FIREFOX],
    ]


def test_the_lines_for_linux_do_it_in_any_folder_twice_without_harm_and_undo_it(tmp_path: Path) -> None:
    tls = local_tls(tmp_path / "l'été d'un poste")
    made = tls.renew(NOW).authority
    profile = tmp_path / ".config/mozilla/firefox/a.default"
    profile.mkdir(parents=True)
    subprocess.run(["certutil", "-d", f"sql:{profile}", "-N", "--empty-password"], check=True, timeout=60)

    def listed(store: Path) -> bool:
        command = ["certutil", "-d", f"sql:{store}", "-L"]
        return made.name in subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    def shell(line: str) -> None:
        subprocess.run(["sh", "-ec", line], env={**os.environ, "HOME": str(tmp_path)}, check=True, timeout=60)

    for store, database in ((Store.CHROMIUM, tmp_path / ".pki/nssdb"), (Store.FIREFOX, profile)):
        for _ in range(2):
            shell(trust(store, made, tls.authority_file))
            assert listed(database)
        shell(distrust(store, made))
        assert not listed(database)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["wss", *arguments, "--simulated"]) == 0
    return capsys.readouterr().out


def named(text: str) -> list[str]:
    """The authorities spoken of, each once, in order."""
    return list(dict.fromkeys(re.findall(r"INSi Agent localhost [0-9a-f]{8}", text)))


def test_enable_says_what_to_trust_renew_what_to_replace_and_remove_what_to_take_out(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = said(capsys, "enable")
    again = said(capsys, "enable")
    renewed = said(capsys, "renew")
    (old,), (old_again,), (gone, new) = named(first), named(again), named(renewed)
    renewed_again = named(said(capsys, "renew"))
    removed = said(capsys, "remove")
    nothing = said(capsys, "remove")

    assert old == old_again == gone != new
    assert renewed_again[0] == new
    assert first == again
    assert f"certutil -d \"sql:$HOME/.pki/nssdb\" -A -t C,, -n '{old}'" in first
    assert '{"policies": {"Certificates": {"Install": ["' in first
    assert renewed.index(f"-D -n '{old}'") < renewed.index(f"-A -t C,, -n '{new}'")
    assert named(removed) == [renewed_again[1], new, old]  # nobody knows which of them were taken out
    assert "-A -t" not in removed
    assert [removed.count(f"-D -n '{one}'") for one in named(removed)] == [2, 2, 2]
    assert "l'enlever de /etc/firefox/policies/policies.json" in removed
    assert nothing == "Il n'y avait pas de certificat pour wss.\n"
    assert not list(home.rglob("wss*"))


def test_with_for_the_line_is_said_alone(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = said(capsys, "enable", "--for", "windows").splitlines()
    both = said(capsys, "renew", "--for", "macos").splitlines()

    assert line.startswith("certutil -user -addstore Root ")
    assert [one.split()[:2] for one in both] == [["security", "delete-certificate"], ["security", "add-trusted-cert"]]
    with pytest.raises(SystemExit) as ended:
        main(["wss", "enable", "--for", "beos"])
    assert ended.value.code == 2


def test_show_says_the_fingerprint_as_openssl_does_and_that_there_is_none_as_the_catalogue_does(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["wss", "show", "--simulated"]) == 1
    row = CATALOGUE[Code.WSS_CERTIFICATE]
    assert capsys.readouterr().err.startswith(f"{row.title.fr} {row.action.fr}\n")

    said(capsys, "enable")
    shown = said(capsys, "show")

    (file,) = home.rglob("wss-ca.pem")
    fingerprint = openssl("x509", "-in", file, "-noout", "-fingerprint", "-sha256").stdout.strip().partition("=")[2]
    until_when = openssl("x509", "-in", file, "-noout", "-enddate", "-dateopt", "iso_8601").stdout.split("=")[1]
    assert f"SHA-256 {fingerprint}\n" in shown
    assert f"jusqu'au {until_when[:10]}" in shown
    assert "ne s'en sert pas" in shown


DOCTOR = """
from agent.config import Settings, Wss
from agent.doctor import _wss
print(_wss(Settings(wss=Wss(enabled=True, ports=[0]))))
"""


LEFT = """
from agent.secrets import KeyringSecrets
print("passphrase:", KeyringSecrets().get("wss-passphrase") is not None)
"""


def test_the_doctor_says_that_wss_is_off_or_lacks_its_certificate(home: Path) -> None:
    off = _probe("wss", _wss, Settings())
    bare = _probe("wss", _wss, Settings(wss=Wss(enabled=True)))

    assert (off.well, bare.well) == (True, False)
    assert "Safari" in off.says
    assert "[wss.certificate" in bare.says


def test_a_real_keyring_has_the_passphrase_and_the_disk_nothing_in_clear(home: Path) -> None:
    agent = f"{sys.executable} -m agent wss"
    made = f"{agent} enable && {agent} enable && {agent} renew && {agent} show"
    look, left = (f"{sys.executable} -c '{script}'" for script in (DOCTOR, LEFT))
    steps = f"{made} && {look} && {left} && cp -r .local kept && {agent} remove && {left}"
    (home / "run").mkdir(mode=0o700)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_RUNTIME_DIR": str(home / "run")}

    run = subprocess.run(
        in_a_session(["sh", "-ec", steps]),
        cwd=home,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )

    assert run.returncode == 0, run.stderr
    assert len(named(run.stdout)) == 2
    assert re.search(r"^jusqu'au \d{4}-\d\d-\d\d, pas servi$", run.stdout, re.MULTILINE)
    assert [file.name for file in (home / "kept").rglob("wss*")].count("wss.pem") == 1
    assert re.findall("^passphrase: (.*)$", run.stdout, re.MULTILINE) == ["True", "False"]
    assert in_clear(home) == []
    assert not list(home.rglob("*.secret")) and not list((home / ".local").rglob("wss*"))


def test_without_a_keyring_nothing_is_made(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    command = [sys.executable, "-m", "agent", "wss", "enable"]

    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)

    assert run.returncode == 1
    assert "[keyring.absent" in run.stderr and run.stdout == ""
    assert not list(home.rglob("wss*"))


def test_without_a_keyring_remove_says_what_to_trust_no_longer_and_can_be_begun_again(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    authorities = named(said(capsys, "enable") + said(capsys, "renew"))
    (made,) = {file.parent for file in home.rglob("wss.pem")}
    (home / ".local/share").mkdir()
    made.rename(home / ".local/share/insi-agent")  # as a real agent's
    (home / "run").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "run"))
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    command = [sys.executable, "-m", "agent", "wss", "remove"]

    def removed(command: list[str], **more: str) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, **more}
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=100
        )

    first, again = (removed(command, PYTHON_KEYRING_BACKEND="keyring.backends.null.Keyring") for _ in range(2))
    last, nothing = (removed(in_a_session(command)) for _ in range(2))

    assert [run.returncode for run in (first, again, last, nothing)] == [1, 1, 0, 0]
    assert named(first.stdout) == authorities[::-1]
    assert first.stdout == again.stdout == last.stdout
    assert "[keyring.absent" in first.stderr
    assert nothing.stdout == "Il n'y avait pas de certificat pour wss.\n"
    assert not list(home.rglob("wss*.pem"))


# ---------------------------------------------------------------- the agent


def warned(agent: Simulation) -> list[str]:
    return [warning["reason"] for warning in agent.site().call("agent.status")["warnings"]]


def wss_settings(*ports: int) -> str:
    return f"[wss]\nenabled = true\nports = {list(ports)}\n"


def test_an_agent_without_its_certificate_serves_ws_and_says_why_not_wss(
    simulation: Callable[..., Simulation],
) -> None:
    port = free_port()
    agent = simulation(wss_settings(port))
    shown: list[tuple[Code, ...]] = []
    agent.running.show_state_in(lambda state: shown.append(state.troubles))

    until(lambda: bool(shown) and Code.WSS_CERTIFICATE in shown[-1], "the trouble in the tray")
    assert warned(agent) == ["wss.certificate"]

    tls = local_tls(agent.places.data)
    made = tls.renew(datetime.now(UTC))
    assert served_on(made, [port]) is None
    agent.reload()
    until(lambda: served_on(made, [port]) == port, "wss is served")
    until(lambda: shown[-1] == (), "no trouble any more")
    assert warned(agent) == []


def test_wss_is_served_again_on_the_same_port_after_a_switch(simulation: Callable[..., Simulation]) -> None:
    port = free_port()
    agent = simulation(wss_settings(port))
    made = local_tls(agent.places.data).renew(datetime.now(UTC))
    agent.reload()
    until(lambda: served_on(made, [port]) == port, "wss is served")
    native = find_running(agent.places.runtime)
    assert native

    ask(native, ("agent.switch", {"profile": "consumer"}))

    until(lambda: served_on(made, [port]) == port, "wss is served again")
    assert warned(agent) == []


def test_the_agent_serves_nobody_below_tls_1_2(simulation: Callable[..., Simulation]) -> None:
    port = free_port()
    agent = simulation(wss_settings(port))
    tls = local_tls(agent.places.data)
    made = tls.renew(datetime.now(UTC))
    agent.reload()
    until(lambda: served_on(made, [port]) == port, "wss is served")

    asking = ["s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", tls.authority_file, "-verify_return_error"]
    said = {
        version: openssl(*asking, f"-{version}", "-cipher", "ALL@SECLEVEL=0")  # what this OpenSSL would not ask else
        for version in ("tls1", "tls1_1", "tls1_2", "tls1_3")
    }

    for version in ("tls1", "tls1_1"):
        assert said[version].returncode != 0
        assert "Cipher is (NONE)" in said[version].stdout
    for version in ("tls1_2", "tls1_3"):
        assert said[version].returncode == 0, said[version].stderr
        assert "Verify return code: 0 (ok)" in said[version].stdout


def test_an_agent_whose_wss_ports_are_taken_serves_ws_and_says_so(simulation: Callable[..., Simulation]) -> None:
    listeners = loopback_sockets(0)
    assert listeners
    agent = simulation(wss_settings(listeners[0].getsockname()[1]))
    local_tls(agent.places.data).renew(datetime.now(UTC))
    agent.reload()

    until(lambda: warned(agent) == ["ports.busy"], "the warning")
    for listener in listeners:
        listener.close()
    agent.reload()
    until(lambda: warned(agent) == [], "no warning any more")


def test_the_page_is_warned_30_days_before_the_end_and_told_at_the_end(agent: Simulation) -> None:
    desk = agent.running.agent.desk

    def reasons(left: timedelta) -> list[str]:
        desk.wss_seen = desk.now() + left
        return [notice.reason for notice in notices(desk)]

    assert reasons(timedelta(days=31, minutes=1)) == []
    assert reasons(timedelta(days=30, minutes=1)) == ["wss.expires"]
    assert notices(desk)[0].message == {
        "fr": "Le certificat local pour wss expire dans 30 jours : demander à l'informatique de lancer"
        " « insi-agent wss renew », puis les lignes qu'il affiche.",
        "en": "The local certificate for wss expires in 30 days: ask IT to run"
        ' "insi-agent wss renew", then the lines that it prints.',
    }
    assert reasons(timedelta(0)) == ["wss.certificate"]


def test_show_tells_whether_the_agent_serves_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "enable")
    (folder,) = {file.parent for file in home.rglob("wss.pem")}
    _, context = local_tls(folder).load(datetime.now(UTC))
    config = home / "config.toml"
    with tls_site(context) as port:
        config.write_text(wss_settings(free_port(), port), encoding="utf-8")
        assert f"L'agent s'en sert, port {port}." in said(capsys, "show", "--config", str(config))
    assert "ne s'en sert pas" in said(capsys, "show", "--config", str(config))
