"""`insi-agent journal`: who sees what of whom, and that nothing but what is asked is written anywhere."""

import csv
import hashlib
import io
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.cli import main
from agent.errors import Code
from agent.journal.ports import Conclusion, Intent, Step, Switch
from agent.journal.retention import Rule
from agent.model import AuthMode, DeclaredUser, Environment, Profile, SoftwareName
from tests.journal.installed import Installed
from tests.journal.making import NOW, ORIGIN, REPLY, found, intent, journal, not_found, whole
from tests.parts.desktop import until
from tests.parts.mounts import with_own_mounts
from tests.parts.session import in_a_session

ROOT = Path(__file__).parents[1]
OTHER_DOCTOR = "899700000002"
CALLERS = ("899700000001", OTHER_DOCTOR, "accueil-3", "Paule Invente", "1invente", "poste")
PATIENTS = ("TESTEUSE", "dossier-4711", "as it came", "<request>sent</request>", "Jeanne")
RESULT = b'{"outcome":"found","identity":{"givenNamesList":"Jeanne"},"trace":{"user":{"id":"accueil-3"}}}'


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of a simulator whose journal has four operations."""
    state = tmp_path_factory.mktemp("made") / "state"
    with Installed(state).agent() as own:
        for asked, came in operations():
            intended = own.intend(asked)
            if came:
                own.conclude(intended, came)
                if came.code == "00":
                    own.finish(asked.trace_id, asked.at, lambda *_: RESULT)
    return state


@pytest.fixture
def installed(made_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installed]:
    """A home of its own, in Paris, without keyring."""
    shutil.copytree(made_once, tmp_path / "state")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (("HOME", tmp_path), ("XDG_STATE_HOME", tmp_path / "state"), ("TZ", "Europe/Paris")):
        monkeypatch.setenv(name, str(value))
    time.tzset()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    yield Installed(tmp_path / "state")
    monkeypatch.undo()
    time.tzset()


def operations() -> list[tuple[Intent, Conclusion | None]]:
    """Of four days: found at the second attempt by one doctor; not found for another one; a fault; cut short."""
    declared = DeclaredUser(id="accueil-3", name="Paule Invente")
    first = replace(intent("trace-1", client_ref="dossier-4711", request=b"<request>sent</request>"), user=declared)
    second = replace(intent("trace-2", at=NOW + timedelta(days=1)), professional=OTHER_DOCTOR, operation="WS_INS1")
    third = replace(
        intent("trace-3", at=NOW + timedelta(days=2), origin="https://accueil.example"),
        software=SoftwareName(name="=Accueil", version="3"),
        auth_mode=AuthMode.ORGANISATION,
        professional=None,
        certificate="INSI-AUTO",
    )
    fourth = replace(intent("trace-4", at=NOW + timedelta(days=3)), environment=Environment.TEST)
    return [
        (first, not_found()),
        (replace(first, attempt=2, message_id="uuid:trace-1-2"), found()),
        (second, not_found()),
        (third, Conclusion(NOW, "desir_550", "", 12, 500, b"<fault/>")),
        (fourth, None),
    ]


def told(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    assert status == main(["journal", *arguments, "--simulated"])
    return capsys.readouterr().out


def listed(capsys: pytest.CaptureFixture[str], *filters: str) -> list[str]:
    return [json.loads(line)["traceId"] for line in told(capsys, "list", "--json", *filters).splitlines()]


def files_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()}


# ---------------------------------------------------------------- list


def test_a_line_says_when_here_what_came_for_which_software_and_the_trace_last(
    installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = told(capsys, "list").splitlines()

    assert 4 == len(lines)
    assert lines[0] == (
        "2025-03-04 06:06:07+01:00  WS_INS2  01 00  simulated  Dossier 1.2  https://dossier.example  "
        "[professionnel 1] [utilisateur 1]  trace-1"
    )
    assert "  (sans retour)  " in lines[3]
    assert lines[3].endswith("trace-4")


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["--since", "2025-03-05"], ["trace-2", "trace-3", "trace-4"]),
        (["--until", "2025-03-05"], ["trace-1", "trace-2"]),
        (["--since", "2025-03-05", "--until", "2025-03-05"], ["trace-2"]),
        (["--since", "2025-03-04T06:06:08+01:00"], ["trace-2", "trace-3", "trace-4"]),
        (["--until", "2025-03-04T05:06:08Z"], ["trace-1"]),
        (["--professional", OTHER_DOCTOR], ["trace-2"]),
        (["--professional", OTHER_DOCTOR[1:]], ["trace-2"]),
        (["--professional", "899"], []),
        (["--user", "accueil-3"], ["trace-1", "trace-2", "trace-3", "trace-4"]),
        (["--user", "accueil"], []),
        (["--software", "=Accueil"], ["trace-3"]),
        (["--operation", "WS_INS1"], ["trace-2"]),
        (["--code", "01"], ["trace-1", "trace-2"]),
        (["--code", "unknown"], ["trace-4"]),
        (["--origin", ORIGIN], ["trace-1", "trace-2", "trace-4"]),
        (["--environment", "test"], ["trace-4"]),
        (["--code", "01", "--operation", "WS_INS2", "--user", "accueil-3"], ["trace-1"]),
    ],
    ids=" ".join,
)
def test_a_filter_lets_through_what_it_names_and_all_filters_count(
    installed: Installed, capsys: pytest.CaptureFixture[str], filters: list[str], expected: list[str]
) -> None:
    assert expected == listed(capsys, *filters)


def test_a_day_is_one_of_this_place_also_when_it_has_23_hours(
    installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    with installed.agent() as own:
        for trace, at in (("before", "29T22:59"), ("first", "29T23:00"), ("last", "30T21:59"), ("after", "30T22:00")):
            own.intend(intent(trace, at=datetime.fromisoformat(f"2025-03-{at}:00+00:00")))

    assert ["first", "last"] == listed(capsys, "--since", "2025-03-30", "--until", "2025-03-30")


@pytest.mark.parametrize(
    "moment", ["2025-3-4", "2025-02-30", "hier", "2025-03-04T05:06:07", "", "9999-12-31T99", "9999-12-31"]
)
def test_what_is_no_moment_is_a_wrong_argument(
    installed: Installed, capsys: pytest.CaptureFixture[str], moment: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["journal", "list", "--simulated", "--until", moment])

    assert 2 == ended.value.code
    assert "RFC 3339" in capsys.readouterr().err


def test_nothing_is_written_where_the_journal_is(installed: Installed, capsys: pytest.CaptureFixture[str]) -> None:
    before = files_of(installed.journal)

    for words in (["list"], ["show", "trace-1"], ["verify"], ["export"]):
        told(capsys, *words)

    assert before == files_of(installed.journal)


AGENT = """
import sys
from pathlib import Path
from tests.journal.installed import Installed
from tests.journal.making import whole
with Installed(Path(sys.argv[1])).agent() as own:
    whole(own, "trace-5")
    print("open", flush=True)
    sys.stdin.readline()
    whole(own, "trace-6")
    print(own.verify())
"""


def test_a_running_agent_is_no_obstacle_and_goes_on(
    installed: Installed, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", AGENT, str(tmp_path / "state")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    ) as agent:  # fmt: skip
        assert agent.stdin
        assert agent.stdout
        assert "open\n" == agent.stdout.readline()
        assert "trace-5" == listed(capsys)[-1]
        assert "Journal entier" in told(capsys, "verify")
        agent.stdin.close()
        said = agent.stdout.read()

    assert "fault=None" in said


def test_a_text_that_somebody_wrote_into_the_journal_moves_no_cursor(
    installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    installed.do("UPDATE entry SET origin = ?", "\x1b[2Jhttps://\u202eexample\nfake")

    out = told(capsys, "list") + told(capsys, "show", "trace-1")

    assert "\x1b" not in out
    assert "\u202e" not in out
    assert [] == [line for line in out.splitlines() if line.startswith("fake")]


# ---------------------------------------------------------------- show


def test_everything_of_one_operation_is_shown_and_nobody(
    installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    out = told(capsys, "show", "trace-1")

    kept = (
        "WS_INS2",
        "code 01",
        "code 00",
        "120 ms",
        "uuid:trace-1-2",
        "ab" * 32,
        "écriture 1 (intention), signature valable",
        "écriture 2 (retour), signature valable",
        "écriture 5 (résultat), signature valable",
    )
    assert [] == [text for text in kept if text not in out]
    assert [] == [text for text in (*CALLERS, *PATIENTS) if text in out]
    entries = installed.entries()
    shown = json.loads(told(capsys, "show", "trace-1", "--json"))
    assert [(entry.seq, entry.link, True) for entry in entries[:5]] == [
        (place["seq"], place["link"], place["intact"]) for place in shown["chain"]
    ]
    assert "[12]" == shown["clientRef"]
    assert [None, "[51 octets]"] == [attempt["reply"] for attempt in shown["attempts"]]


def test_an_attempt_that_was_cut_short_is_said_to_be(installed: Installed, capsys: pytest.CaptureFixture[str]) -> None:
    assert "sans retour connu : l'agent s'est arrêté" in told(capsys, "show", "trace-4")


@pytest.mark.parametrize(
    ("reveal", "shown", "hidden", "warning"),
    [
        ([], (), (*CALLERS, *PATIENTS), ""),
        (["--reveal", "users"], CALLERS, PATIENTS, "données personnelles de professionnels et d'utilisateurs"),
        (["--reveal", "patients"], (*CALLERS, *PATIENTS), (), "données personnelles de patients, de professionnels"),
        (["--reveal", "users", "--reveal", "patients"], (*CALLERS, *PATIENTS), (), "de patients, de professionnels"),
    ],
    ids=["nobody", "users", "patients", "both"],
)
def test_people_are_shown_only_to_who_asks_and_the_first_line_says_so(
    installed: Installed,
    capsys: pytest.CaptureFixture[str],
    reveal: list[str],
    shown: tuple[str, ...],
    hidden: tuple[str, ...],
    warning: str,
) -> None:
    out = ""
    for words in (["list"], ["show", "trace-1"], ["show", "trace-1", "--json"], ["list", "--json"]):
        assert 0 == main(["journal", *words, *reveal, "--simulated"])
        said = capsys.readouterr()
        assert warning in said.err.partition("\n")[0]
        out += said.out
    assert 0 == main(["journal", "export", "--format", "json", "--output", "out", *reveal, "--simulated"])
    out += Path("out").read_text()

    assert [] == [text for text in hidden if text in out]
    assert [] == [text for text in shown if text not in out]


def test_the_same_person_has_one_name_throughout(installed: Installed, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [json.loads(line)["people"] for line in told(capsys, "list", "--json").splitlines()]

    assert ["[professionnel 1]", "[professionnel 2]", None, "[professionnel 1]"] == [
        row["professional"] for row in rows
    ]
    assert {"[structure 1]"} == {row["structure"] for row in rows}


def test_the_exact_messages_are_written_for_this_user_alone_and_never_over_a_file(
    installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    told(capsys, "show", "trace-1", "--image", "image.xml", "--request", "request.xml")

    assert REPLY == Path("image.xml").read_bytes()
    assert b"<request>sent</request>" == Path("request.xml").read_bytes()
    assert {0o600} == {stat.S_IMODE(Path(name).stat().st_mode) for name in ("image.xml", "request.xml")}
    assert 1 == main(["journal", "show", "trace-1", "--image", "image.xml", "--simulated"])
    assert "Raison : ce fichier existe déjà" in capsys.readouterr().err
    told(capsys, "show", "trace-1", "--attempt", "1", "--request", "first.xml")
    assert 1 == main(["journal", "show", "trace-1", "--attempt", "1", "--image", "none.xml", "--simulated"])
    assert "aucun n'est conservé pour cette tentative" in capsys.readouterr().err
    assert not Path("none.xml").exists()


def test_a_real_message_is_asked_for_by_its_name(installed: Installed, capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--image", "--request"):
        assert 1 == main(["journal", "show", "trace-1", option, "out.xml"])
        assert "le demander avec --reveal patients" in capsys.readouterr().err
    assert not Path("out.xml").exists()


def test_an_unknown_trace_is_said(installed: Installed, capsys: pytest.CaptureFixture[str]) -> None:
    assert 1 == main(["journal", "show", "trace-77", "--simulated"])

    said = capsys.readouterr().err
    assert Code.TRACE_UNKNOWN in said
    assert said.startswith("Identifiant inconnu : voir « insi-agent journal list »")


def test_what_was_erased_is_said_to_be(installed: Installed, capsys: pytest.CaptureFixture[str]) -> None:
    installed.do("UPDATE entry SET personal = NULL, erased_at = '2028-03-04T00:00:00.000Z' WHERE trace_id = 'trace-1'")

    shown = told(capsys, "show", "trace-1")
    assert "Qui : les données personnelles ont été effacées" in shown
    assert "signature valable, partie personnelle effacée\n" in shown
    assert "2028" not in shown + told(capsys, "show", "trace-1", "--json")  # nobody signed when
    assert ["trace-2"] == listed(capsys, "--code", "01", "--user", "accueil-3")
    assert 1 == main(["journal", "show", "trace-1", "--image", "out.xml", "--simulated"])
    assert "effacées par la règle de conservation" in capsys.readouterr().err


# ---------------------------------------------------------------- what is no operation


@pytest.fixture
def lived(installed: Installed) -> Installed:
    """It went to production, its rule erased and took out the first day, and once it found no head."""
    test, production = (
        Step(environment, Profile.REPOSITORY) for environment in (Environment.TEST, Environment.PRODUCTION)
    )
    rule, later = Rule(personal_days=59, entry_days=59), NOW + timedelta(days=60)
    with installed.agent() as own:
        own.switched(Switch(NOW + timedelta(days=4), test, production, account="poste"))
        own.switched(Switch(NOW + timedelta(days=5), production, test, why="config.invalid"))
        while own.retain(rule, later):
            pass
    for head in installed.journal.glob("head-*.json"):
        head.unlink()
    with installed.agent() as own:
        assert len(own.switches()) == 2
    return installed


HAPPENED = [
    "passage de l'environnement test à production, profil repository",
    "retour de l'environnement production à test, profil repository, après un échec (config.invalid)",
    "données personnelles effacées jusqu'à l'écriture 5, au bout de 59 jours",
    "écritures sorties par la règle de conservation jusqu'à la 5 (5 en tout)",
    "aucune tête signée valable à l'ouverture (0 trouvée) : une fin a pu manquer",
]


def test_what_retention_and_switches_did_is_listed_among_the_operations(
    lived: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = told(capsys, "list").splitlines()

    assert ["trace-2", "trace-3", "trace-4"] == [line.split()[-1] for line in lines[:3]]
    assert [] == [says for says, line in zip(HAPPENED, lines[3:], strict=True) if says not in line]
    assert lines[3].startswith("2025-03-08 06:06:07+01:00  passage de")
    assert lines[3].endswith("  [compte 1]  écriture 11")
    assert "poste" not in "\n".join(lines)
    rows = [json.loads(line) for line in told(capsys, "list", "--json").splitlines()]
    assert [*["operation"] * 3, "switch", "switch", "erasure", "checkpoint", "headLost"] == [
        row["kind"] for row in rows
    ]
    assert {"environment": "production", "profile": "repository"} == rows[3]["clear"]["to"]
    assert [11, 12, 13, 14, 15] == [row["seq"] for row in rows[3:]]
    assert {"account": "[compte 1]"} == rows[3]["people"]
    revealed = told(capsys, "list", "--json", "--reveal", "users").splitlines()
    assert {"account": "poste"} == json.loads(revealed[3])["people"]


@pytest.mark.parametrize(
    ("filters", "kinds"),
    [
        (["--environment", "production"], ["switch", "switch"]),
        (["--environment", "simulated"], ["operation", "operation"]),
        (["--since", "2025-03-09", "--until", "2025-03-09"], ["switch"]),
        (["--code", "01"], ["operation"]),
        (["--user", "poste"], []),
        (["--origin", ""], []),
        (["--environment", "production", "--operation", "WS_INS2"], []),
    ],
    ids=" ".join,
)
def test_what_is_no_operation_is_filtered_by_its_day_and_its_environment(
    lived: Installed, capsys: pytest.CaptureFixture[str], filters: list[str], kinds: list[str]
) -> None:
    assert kinds == [json.loads(line)["kind"] for line in told(capsys, "list", "--json", *filters).splitlines()]


def test_an_entry_is_shown_by_its_number_alone_or_with_its_operation(
    lived: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = told(capsys, "show", "11")
    assert [] == [text for text in (HAPPENED[0], "écriture 11 (changement), signature valable") if text not in shown]
    as_json = json.loads(told(capsys, "show", "12", "--json"))
    assert ("switch", 12, True, [12]) == (
        as_json["kind"],
        as_json["seq"],
        as_json["intact"],
        [place["seq"] for place in as_json["chain"]],
    )
    assert "Opération trace-2" in told(capsys, "show", "7")
    for number in ("5", "99", "9" * 30):
        told(capsys, "show", number, status=1)
    assert 1 == main(["journal", "show", "11", "--image", "out.xml", "--simulated"])
    assert "aucun n'est conservé" in capsys.readouterr().err


def test_an_export_has_what_is_no_operation_too(lived: Installed, capsys: pytest.CaptureFixture[str]) -> None:
    said = told(capsys, "export", "--output", "out.csv")
    told(capsys, "export", "--format", "json", "--output", "out.json")

    assert "opérations 3, tentatives 3, autres écritures 5" in said
    assert "Dans la chaîne : écritures 6 à 15" in said
    rows = rows_of(Path("out.csv"))
    assert [*["opération"] * 3, "changement", "changement", "effacement", "point de départ", "tête perdue"] == [
        row["nature"] for row in rows
    ]
    assert HAPPENED == [row["détail"] for row in rows[3:]]
    assert ("", "", "[compte 1]", "11", "oui") == tuple(
        rows[3][name] for name in ("opération", "code", "compte", "écriture", "intègre")
    )
    assert "2025-03-08T05:06:07.089Z" == rows[3]["date (UTC)"]
    assert json.loads(told(capsys, "show", "11", "--json")) == json.loads(Path("out.json").read_text())[3]


def test_an_entry_of_a_kind_that_nobody_knows_or_that_somebody_wrote_is_told_all_the_same(
    lived: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    lived.do("UPDATE entry SET kind = '\x1bnew' WHERE seq = 11")
    lived.do("""UPDATE entry SET clear = CAST('{"from":7,"to":[],"why":{}}' AS BLOB) WHERE seq = 12""")
    lived.do("UPDATE entry SET clear = CAST('no JSON' AS BLOB) WHERE seq = 13")

    lines = told(capsys, "list").splitlines()
    told(capsys, "export", "--output", "out.csv")

    assert 8 == len(lines)
    assert ["(!) modifiée" in line for line in lines[3:]] == [True, True, True, False, False]
    assert "?new" in lines[3]


# ---------------------------------------------------------------- export


def rows_of(file: Path) -> list[dict[str, str]]:
    text = file.read_bytes().decode("utf-8")
    assert text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(text[1:], newline=""), delimiter=";"))


def test_a_table_has_a_row_for_each_attempt_under_a_name_made_of_days(
    installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    said = told(capsys, "export")

    file = Path("insi-agent-journal-20250304-20250307.csv")
    assert [file.name] == [one.name for one in Path().iterdir()]
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    rows = rows_of(file)
    assert [
        ("trace-1", "01"),
        ("trace-1", "00"),
        ("trace-2", "01"),
        ("trace-3", "desir_550"),
        ("trace-4", "unknown"),
    ] == [(row["opération"], row["code"]) for row in rows]
    assert {"oui"} == {row["intègre"] for row in rows}
    assert [] == [text for text in (*CALLERS, *PATIENTS) if text in file.read_text()]
    last = installed.entries()[-1]
    assert f"SHA-256 du fichier : {hashlib.sha256(file.read_bytes()).hexdigest()}" in said
    assert f"Dans la chaîne : écritures 1 à {last.seq}, dernier lien {last.link}" in said
    assert "opérations 4, tentatives 5" in said


def test_no_cell_is_a_formula(installed: Installed, capsys: pytest.CaptureFixture[str]) -> None:
    """A page's software, and a user's name, are whatever somebody called them."""
    with installed.agent() as own:
        for number, start in enumerate(("=", "+", "-", "@", "\t=", "\r=", " =", "＝", "\n=")):
            named = DeclaredUser(id=f"{start}cmd|'/c calc'!A0;\"x\"")
            own.intend(replace(intent(f"formula-{number}"), user=named))

    told(capsys, "export", "--output", "out.csv", "--reveal", "users")

    cells = [row["utilisateur"] for row in rows_of(Path("out.csv")) if row["opération"].startswith("formula")]
    assert 9 == len(cells)
    assert {"'"} == {cell[0] for cell in cells}
    assert {"=Accueil"} == {
        json.loads(line)["software"]["name"]
        for line in told(capsys, "list", "--json", "--code", "desir_550").splitlines()
    }
    assert {"'=Accueil"} == {row["logiciel"] for row in rows_of(Path("out.csv")) if row["code"] == "desir_550"}


def test_the_exact_messages_are_in_a_table_only_for_who_asks(
    installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    told(capsys, "export", "--output", "masked.csv")
    told(capsys, "export", "--output", "whole.csv", "--reveal", "patients")

    assert "réponse reçue" not in rows_of(Path("masked.csv"))[0]
    assert "<request>sent</request>" == rows_of(Path("whole.csv"))[1]["demande envoyée"]


def test_json_is_one_array_with_everything_of_each_operation(
    installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    told(capsys, "export", "--format", "json", "--until", "2025-03-05")

    exported = json.loads(Path("insi-agent-journal-20250304-20250305.json").read_text())
    shown = json.loads(told(capsys, "show", "trace-1", "--json"))
    assert shown == exported[0]
    assert ["trace-1", "trace-2"] == [one["traceId"] for one in exported]


def test_an_export_of_nothing_is_a_whole_file(installed: Installed, capsys: pytest.CaptureFixture[str]) -> None:
    for form in ("csv", "json"):
        told(capsys, "export", "--format", form, "--code", "99", "--output", f"none.{form}")

    assert [] == rows_of(Path("none.csv"))
    assert [] == json.loads(Path("none.json").read_text())


def test_a_file_is_never_written_over_unless_it_is_said(
    installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.csv").write_text("mine")
    Path("link.csv").symlink_to("nowhere")

    for name in ("mine.csv", "link.csv"):
        assert 1 == main(["journal", "export", "--output", name, "--simulated"])
        assert "Raison : ce fichier existe déjà" in capsys.readouterr().err
    assert "mine" == Path("mine.csv").read_text()
    assert 1 == main(["journal", "export", "--output", "no/where.csv", "--simulated"])
    assert "son dossier n'existe pas" in capsys.readouterr().err
    told(capsys, "export", "--output", "mine.csv", "--force")
    assert 5 == len(rows_of(Path("mine.csv")))
    assert {"mine.csv", "link.csv"} == {one.name for one in Path().iterdir()}


def test_nothing_that_stands_in_a_journal_names_a_file(
    installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    installed.do("UPDATE entry SET at = '../../../outside' WHERE seq IN (1, 10)")

    told(capsys, "export")

    today = datetime.now(UTC).astimezone()
    days = {f"{today - timedelta(days=back):%Y%m%d}" for back in (0, 1)}  # midnight may pass
    assert {one.name for one in Path().iterdir()} <= {f"insi-agent-journal-{day}-{day}.csv" for day in days}


FULL = """
import os, subprocess, sys
from pathlib import Path
from agent.cli import main
disk = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], check=True)
export = ["journal", "export", "--format", "json", "--reveal", "patients", "--simulated"]
print(main([*export, "--output", str(disk / "out")]))
print(sorted(os.listdir(disk)))
import tempfile
tempfile.tempdir = str(disk)
from agent.journal import apart
apart._ON_DISK = ()
print(main(["journal", "list", "--simulated"]))
print(sorted(os.listdir(disk)))
"""


def test_a_disk_that_fills_leaves_no_half_file_and_a_copy_without_room_is_not_begun(
    installed: Installed, tmp_path: Path
) -> None:
    """On a real file system of 256 kB, mounted where only the child sees it."""
    with installed.agent(max_reply_bytes=1 << 20) as own:
        own.conclude(own.intend(intent("trace-5")), found(b"x" * (1 << 20)))
    (tmp_path / "disk").mkdir()

    run = with_own_mounts("-c", FULL, str(tmp_path / "disk"))

    assert ["1", "[]", "1", "[]"] == run.stdout.split("\n")[:4], run.stderr
    assert "Raison : le disque est plein" in run.stderr
    assert "Pas assez de place sur le disque pour lire le journal : il faut" in run.stderr
    assert Code.JOURNAL_FULL in run.stderr


# ---------------------------------------------------------------- the end, and without keys


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_copy_goes_whatever_ends_the_command(installed: Installed, tmp_path: Path, number: signal.Signals) -> None:
    """Stopped while it waits for whoever reads its lines: they are more than a pipe holds."""
    with installed.agent() as own:
        for trace in range(12):
            own.intend(replace(intent(f"long-{trace}"), software=SoftwareName(name="x" * 20_000, version="1")))
    (tmp_path / "temporary").mkdir()

    with subprocess.Popen(
        [sys.executable, "-m", "agent", "journal", "list", "--json", "--simulated"],
        cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path / "temporary")}, stdout=subprocess.PIPE,
    ) as command:  # fmt: skip
        assert command.stdout
        command.stdout.readline()
        during = list((tmp_path / "temporary").iterdir())
        command.send_signal(number)
        behind = command.stdout.readlines()
        status = command.wait(30)

    assert 1 == len(during)
    assert [] == list((tmp_path / "temporary").iterdir())
    assert 130 == status
    assert len(behind) < 12


@pytest.mark.parametrize(
    "words", [["support-bundle", "--last", "1"], ["journal", "verify"], ["journal", "list"]], ids=" ".join
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_copy_goes_whatever_ends_any_command_while_it_is_made(
    installed: Installed, tmp_path: Path, words: list[str], number: signal.Signals
) -> None:
    """Stopped while it reads the last file of the journal, from which nothing comes."""
    (installed.journal / "head-1.json").unlink()
    os.mkfifo(installed.journal / "head-1.json")
    (tmp_path / "temporary").mkdir()

    with subprocess.Popen(
        [sys.executable, "-m", "agent", *words, "--simulated"],
        cwd=tmp_path / "here", env={**os.environ, "TMPDIR": str(tmp_path / "temporary"), "PYTHONPATH": str(ROOT)},
    ) as command:  # fmt: skip
        until(lambda: bool(list((tmp_path / "temporary").rglob("head-0.json"))), "the copy is being made")
        command.send_signal(number)
        status = command.wait(30)

    assert 130 == status
    assert [] == list((tmp_path / "temporary").iterdir())


def test_what_was_told_to_outlive_its_terminal_does(installed: Installed, tmp_path: Path) -> None:
    (installed.journal / "head-1.json").unlink()
    os.mkfifo(installed.journal / "head-1.json")
    (tmp_path / "temporary").mkdir()

    with subprocess.Popen(
        ["nohup", sys.executable, "-m", "agent", "journal", "list", "--simulated"],
        cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path / "temporary")}, stdout=subprocess.PIPE, text=True,
    ) as command:  # fmt: skip
        until(lambda: bool(list((tmp_path / "temporary").rglob("head-0.json"))), "the copy is being made")
        command.send_signal(signal.SIGHUP)
        fed = os.open(installed.journal / "head-1.json", os.O_WRONLY)
        (installed.journal / "head-1.json").unlink()
        os.close(fed)
        out, _ = command.communicate()

    assert (0, 4) == (command.returncode, len(out.splitlines()))


@pytest.mark.parametrize("code", ["cp1252", "ascii", "cp850"])
def test_a_console_that_does_not_know_a_letter_gets_its_number(installed: Installed, tmp_path: Path, code: str) -> None:
    """A page chooses the names; Windows writes in its old code page into a file."""
    with installed.agent() as own:
        own.intend(replace(intent("trace-5"), user=DeclaredUser(id="accueil-3", name="Łukasz \u2192 I")))
    environment = {**os.environ, "PYTHONIOENCODING": code, "PYTHONPATH": str(ROOT)}

    def said(*words: str) -> "subprocess.CompletedProcess[bytes]":
        command = [sys.executable, "-m", "agent", *words]
        return subprocess.run(command, env=environment, capture_output=True, check=False)

    shown = said("journal", "show", "trace-5", "--reveal", "users", "--simulated")
    assert (0, True) == (shown.returncode, rb"nom \u0141ukasz \u2192 I" in shown.stdout), shown.stderr
    assert 0 == said("journal", "verify", "--simulated").returncode
    assert 0 == said("journal", "--help").returncode


def real_journal(home: Path) -> Path:
    """A journal of the real agent, whose keys are nowhere here."""
    folder = home / ".local" / "share" / "insi-agent" / "journal"
    own = journal(folder)
    whole(own, "trace-1")
    own.close()
    return folder


def test_without_keyring_what_is_clear_is_listed_and_people_are_not(
    installed: Installed, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    real_journal(tmp_path)

    assert 0 == main(["journal", "list", "--json"])
    said = capsys.readouterr()
    assert ("trace-1", "noKey", False) == tuple(
        json.loads(said.out)[name] for name in ("traceId", "people", "doubtful")
    )
    assert "Les personnes et les messages ne se lisent pas ici" in said.err
    for option in ("--user", "--professional"):
        assert 1 == main(["journal", "list", option, "x"])
        assert Code.KEYRING_ABSENT in capsys.readouterr().err
    assert 1 == main(["journal", "show", "trace-1", "--image", "out", "--reveal", "patients"])
    assert "sans les clés de ce poste" in capsys.readouterr().err


def test_without_keyring_the_links_are_verified_and_that_no_signature_was_is_said(
    installed: Installed, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = real_journal(tmp_path)

    assert 1 == main(["journal", "verify", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (True, False, 3) == (found["whole"], found["signatures"], found["entries"])
    assert 1 == main(["journal", "verify"])
    assert "Les signatures n'ont pas été regardées" in capsys.readouterr().out
    (folder / "head-1.json").write_bytes((folder / "head-1.json").read_bytes().replace(b'"seq":3', b'"seq":4'))
    assert 3 == main(["journal", "verify"])
    assert "Journal ROMPU à l'écriture 4" in capsys.readouterr().out


def test_with_a_lost_journal_key_the_chain_is_proved_and_people_stay_closed(
    installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    installed.secrets.forget("journal-key")

    assert "Journal entier" in told(capsys, "verify")
    assert 1 == main(["journal", "list", "--user", "accueil-3", "--simulated"])
    assert Code.IDENTITY_DAMAGED in capsys.readouterr().err
    assert 0 == main(["journal", "list", "--json", "--simulated"])
    said = capsys.readouterr()
    assert {"noKey"} == {json.loads(line)["people"] for line in said.out.splitlines()}
    assert Code.IDENTITY_DAMAGED in said.err


def test_with_a_lost_identity_no_signature_is_looked_at_and_no_other_key_is_made(
    installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    installed.secrets.forget("identity")
    before = files_of(installed.places.data)

    assert "Les signatures n'ont pas été regardées" in told(capsys, "verify", status=1)
    assert 4 == len(told(capsys, "list").splitlines())
    assert before == files_of(installed.places.data)


def test_without_a_journal_it_is_said_and_none_is_made(
    installed: Installed, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = set(tmp_path.rglob("*"))

    for words in (["list"], ["show", "trace-1"], ["verify"], ["export"]):
        assert 1 == main(["journal", *words])
        said = capsys.readouterr().err
        assert "Le journal n'a pas pu être lu : aucun journal dans" in said
        assert Code.JOURNAL_UNAVAILABLE in said
    assert before == set(tmp_path.rglob("*"))


IN_A_SESSION = """
import sys
from pathlib import Path
from agent.cli import main
from agent.journal.chain import signed_at
from agent.journal.store import Journal
from agent.places import Places
from agent.secrets import KeyringSecrets, load_identity, load_journal_keys
from tests.journal.making import MAX_REPLY, whole
places = Places.real().create()
secrets = KeyringSecrets()
identity, keys = load_identity(secrets, places.data), load_journal_keys(secrets, places.data)
by = {"sign": identity.sign_bytes, "verify": identity.verify_bytes, "keys": lambda: keys}
own = Journal(places.journal, **by, max_reply_bytes=MAX_REPLY)
whole(own, "trace-1")
own.close()
image = ["show", "trace-1", "--reveal", "patients", "--image", "image.xml"]
for words in (["list", "--user", "accueil-3"], ["verify"], image):
    print(main(["journal", *words]), flush=True)
"""


def test_with_the_sessions_keyring_everything_opens(installed: Installed, tmp_path: Path) -> None:
    """A real gnome-keyring in a session of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "DBUS_"))}

    run = subprocess.run(
        in_a_session([sys.executable, "-c", IN_A_SESSION]),
        cwd=tmp_path / "here", env={**clean, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert ["0", "0", "0"] == [line for line in run.stdout.splitlines() if line in {"0", "1", "2", "3"}], run.stderr
    assert "Journal entier : 3 écritures" in run.stdout
    assert REPLY == Path("image.xml").read_bytes()
