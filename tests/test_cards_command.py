"""insi-agent cards: as a program, on a real card service with virtual cards, and beside a simulated agent."""

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.errors import CATALOGUE, Code
from agent.readers.recording import Refusal
from agent.readers.transcript import load_transcript
from tests.cards.process import CardProcess
from tests.parts.agent import Simulation
from tests.parts.desktop import until
from tests.parts.other_program import OtherProgram
from tests.parts.pcscd import Pcscd
from tests.parts.program import Program
from tests.readers.test_recording import answers_of

CHECKOUT = Path(__file__).parent.parent
CARDS = CHECKOUT / "agent" / "simulator" / "cards"
AGENT = [sys.executable, "-m", "agent"]
PEOPLE = ("DURAND", "HÉLÈNE", "LÉO", "19841231", "2841276451089")


def ended(home: Path, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`insi-agent cards …`, run to its end."""
    return subprocess.run(
        [*AGENT, "cards", *map(str, arguments)],
        cwd=home,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(CHECKOUT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def sentence(code: Code) -> str:
    row = CATALOGUE[code]
    return f"{row.title.fr} {row.action.fr}\n"


@contextmanager
def running(program: Path) -> Iterator[None]:
    """A program of this name; what it does is wait."""
    program.symlink_to("/bin/sleep")
    process = subprocess.Popen([program, "600"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


# ---------------------------------------------------------------- a real card service


@pytest.fixture
def two_holders(pcscd: Pcscd) -> Iterator[CardProcess]:
    with CardProcess("tests.cards.vitale", pcscd.port_of("Vitale"), "--case4", "--exact") as card:
        card.insert()
        yield card


@pytest.fixture
def cps(pcscd: Pcscd) -> Iterator[CardProcess]:
    with CardProcess("tests.cards.vitale", pcscd.port_of("CPS"), "--card", "cps") as card:
        card.insert()
        yield card


def test_a_vitale_is_read_without_an_agent_and_without_a_word_about_its_people(
    pcscd: Pcscd, two_holders: CardProcess, tmp_path: Path
) -> None:
    said = ended(tmp_path, "read", **pcscd.environment)

    assert (0, "") == (said.returncode, said.stderr)
    assert f"{pcscd.reader('Vitale')} : carte Vitale\n" in said.stdout
    assert f"Carte Vitale lue dans {pcscd.reader('Vitale')}, voie : chemin court.\n" in said.stdout
    assert "Bénéficiaires : 2.\n  1 : clé du NIR juste\n  2 : clé du NIR juste\n" in said.stdout
    assert not any(word in said.stdout for word in PEOPLE)
    assert not list(tmp_path.rglob("*.log*"))


def test_its_people_are_shown_to_who_asks_for_them(pcscd: Pcscd, two_holders: CardProcess, tmp_path: Path) -> None:
    said = ended(tmp_path, "read", "--show", **pcscd.environment)

    assert "DURAND HÉLÈNE, 19841231\n      2841276451089 93\n" in said.stdout
    assert "DURAND LÉO, 20150201\n" in said.stdout


def test_only_the_readers_asked_for_are_used(
    pcscd: Pcscd, two_holders: CardProcess, cps: CardProcess, tmp_path: Path
) -> None:
    wrong = ended(tmp_path, "read", "--reader", "cps*", **pcscd.environment)
    right = ended(tmp_path, "read", "--reader", "vitale*", **pcscd.environment)

    assert 1 == wrong.returncode
    assert wrong.stderr.startswith(sentence(Code.VITALE_ABSENT))
    assert f"{pcscd.reader('CPS')} : carte de professionnel\n" in wrong.stdout
    assert 0 == cps.counts()["apdus"]
    assert 0 == right.returncode


def test_a_reader_is_chosen_or_excluded_by_its_whole_name_brackets_and_all(tmp_path: Path) -> None:
    """Most names hold some; fnmatch takes them for a choice of letters."""
    settings = tmp_path / "config.toml"
    with Pcscd(tmp_path / "pcscd", ["Lecteur [CCID Interface] (0001)"]) as service:
        port = service.port_of("Lecteur [CCID Interface] (0001)")
        name = service.reader("Lecteur [CCID Interface] (0001)")
        with CardProcess("tests.cards.vitale", port) as card:
            card.insert()
            chosen = ended(tmp_path, "read", "--reader", name, **service.environment)
            settings.write_text(f'readers.exclude = ["{name}"]\n', encoding="utf-8")
            before = card.counts()["apdus"]
            excluded = ended(tmp_path, "record", "x.txt", "--test-card", "--config", settings, **service.environment)

            assert (0, "") == (chosen.returncode, chosen.stderr)
            assert excluded.stderr.startswith(sentence(Code.CARD_ABSENT))
            assert before == card.counts()["apdus"] > 0


def test_the_program_that_may_hold_the_card_and_the_atr_of_an_unknown_one_are_shown(
    pcscd: Pcscd, tmp_path: Path
) -> None:
    with CardProcess("tests.cards.vitale", pcscd.port_of("Vitale"), "--foreign", "--atr", "3B0102") as card:
        card.insert()
        unknown = ended(tmp_path, "read", "--reader", "vitale*", **pcscd.environment)
    assert f"{sentence(Code.CARD_UNKNOWN)}ATR de la carte : 3B0102\n" in unknown.stderr

    with (
        CardProcess("tests.cards.vitale", pcscd.port_of("Vitale")) as card,
        OtherProgram(pcscd.environment) as other,
        running(tmp_path / "Pyxvital.exe"),
        running(tmp_path / "galsvw32.exe"),
    ):
        card.insert()
        assert other.hold(pcscd.reader("Vitale"), 60)
        held = ended(tmp_path, "read", **pcscd.environment)
    assert f"{sentence(Code.CARD_IN_USE)}Peut-être utilisée par : Pyxvital, GALSS\n" in held.stderr


def test_a_test_card_is_recorded_for_this_user_alone_and_read_back(
    pcscd: Pcscd, two_holders: CardProcess, tmp_path: Path
) -> None:
    file = tmp_path / "carte.txt"

    made = ended(tmp_path, "record", file, "--test-card", **pcscd.environment)
    back = ended(tmp_path, "replay", file, "--show")

    assert (0, "") == (made.returncode, made.stderr)
    assert "Voies de lecture : chemin court. Bénéficiaires : 2.\n" in made.stdout
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert not any(word in answers_of(file.read_text(encoding="utf-8")).decode("latin-1") for word in PEOPLE)
    assert 0 == back.returncode
    assert "voie : chemin court.\nBénéficiaires : 2.\n  1 : clé du NIR juste\n" in back.stdout
    assert not any(word in back.stdout for word in PEOPLE)


def test_nothing_is_written_without_the_word_of_a_person_nor_over_a_file_nor_where_one_may_not(
    pcscd: Pcscd, two_holders: CardProcess, tmp_path: Path
) -> None:
    file = tmp_path / "carte.txt"

    unsaid = ended(tmp_path, "record", file, **pcscd.environment)
    assert (1, 0) == (unsaid.returncode, two_holders.counts()["apdus"])
    assert f"{sentence(Code.RECORDING_REFUSED)}Raison : {Refusal.NOT_A_TEST}\n" in unsaid.stderr

    file.write_text("à garder", encoding="utf-8")
    over = ended(tmp_path, "record", file, "--test-card", **pcscd.environment)
    assert "Raison : ce fichier existe ; --force le remplace.\n" in over.stderr
    nowhere = ended(tmp_path, "record", tmp_path / "absent" / "carte.txt", "--test-card", **pcscd.environment)
    assert "Raison : le fichier ne peut pas être écrit à cet endroit.\n" in nowhere.stderr
    assert (1, 1, "à garder") == (over.returncode, nowhere.returncode, file.read_text(encoding="utf-8"))

    assert 0 == ended(tmp_path, "record", file, "--test-card", "--force", **pcscd.environment).returncode
    assert load_transcript(file).title
    assert [file] == [left for left in tmp_path.iterdir() if left.is_file()]


def test_of_a_professionals_card_only_atr_and_status_words_are_recorded(
    pcscd: Pcscd, cps: CardProcess, tmp_path: Path
) -> None:
    file = tmp_path / "cps.txt"

    assert 0 == ended(tmp_path, "record", file, "--test-card", "--reader", "cps*", **pcscd.environment).returncode

    card = load_transcript(file)
    assert "3BAC00402A001225006480000310009000" == card.atr.hex().upper()
    assert {2} == {len(answer) for answer in card.answers.values()}


def test_an_empty_desk_and_a_missing_card_service_are_said(pcscd: Pcscd, tmp_path: Path) -> None:
    for word in (["read"], ["record", "carte.txt", "--test-card"]):
        empty = ended(tmp_path, *word, **pcscd.environment)
        stopped = ended(tmp_path, *word, PCSCLITE_CSOCK_NAME=str(tmp_path / "nobody"))
        assert (1, 1) == (empty.returncode, stopped.returncode)
        assert sentence(Code.PCSC_UNAVAILABLE) in stopped.stderr
        assert sentence(Code.VITALE_ABSENT if word == ["read"] else Code.CARD_ABSENT) in empty.stderr
        assert "Traceback" not in empty.stderr + stopped.stderr
    assert not (tmp_path / "carte.txt").exists()


def test_a_card_that_somebody_holds_can_be_given_up_without_a_complaint(
    pcscd: Pcscd, two_holders: CardProcess, tmp_path: Path
) -> None:
    reader = pcscd.reader("Vitale")
    with OtherProgram(pcscd.environment) as other:
        assert other.hold(reader, 60)
        reading = subprocess.Popen(
            ["env", "--default-signal=INT", *AGENT, "cards", "read"],  # as a terminal starts it
            env={
                "HOME": str(tmp_path),
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(CHECKOUT),
                "PYTHONUNBUFFERED": "1",
            }
            | pcscd.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert reading.stdout and reader in reading.stdout.readline()
        reading.send_signal(signal.SIGINT)

        _, complaint = reading.communicate(timeout=30)

    assert (130, "") == (reading.returncode, complaint)


# ---------------------------------------------------------------- a recording


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("vitale1", Code.VITALE_TOO_OLD),
        ("empty", Code.VITALE_EMPTY),
        ("protected", Code.VITALE_PROTECTED),
        ("cpx", Code.VITALE_CPX_INSTEAD),
    ],
)
def test_a_recording_that_cannot_be_read_ends_with_the_catalogues_sentence(
    name: str, code: Code, tmp_path: Path
) -> None:
    said = ended(tmp_path, "replay", CARDS / f"{name}.txt")

    assert 1 == said.returncode
    assert said.stderr.startswith(sentence(code))


def test_what_is_odd_on_a_card_is_said(tmp_path: Path) -> None:
    said = ended(tmp_path, "replay", CARDS / "lunar-date.txt")

    assert "  1 : clé du NIR juste, date de naissance hors du calendrier\n" in said.stdout


def test_a_file_that_is_no_recording_is_named(tmp_path: Path) -> None:
    said = ended(tmp_path, "replay", "absent.txt")

    assert (1, "") == (said.returncode, said.stdout)
    assert said.stderr.startswith(f"{sentence(Code.CONFIG_INVALID)}Réglage : absent.txt\n")


# ---------------------------------------------------------------- beside a simulated agent


class Watcher:
    """`cards watch`, followed line by line."""

    def __init__(self, home: Path, *options: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [*AGENT, "cards", "watch", *options],
            env={"HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(CHECKOUT), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().rstrip("\n")

    def event(self) -> tuple[str, str]:
        told = json.loads(self.line())
        assert told["at"].endswith("Z")
        return told["event"], told["reader"]

    def until(self, sentence: str) -> bool:
        """Whether a line with this sentence comes before the end."""
        return any(sentence in line for line in iter(self.line, ""))

    def end(self) -> tuple[int, str]:
        """How it ended and what it complained of."""
        _, complaint = self.process.communicate(timeout=30)
        return self.process.returncode, complaint


@pytest.fixture
def watching(agent: Simulation, tmp_path: Path) -> Iterator[Callable[..., Watcher]]:
    started: list[Watcher] = []
    state = tmp_path / "state"
    state.mkdir()
    (state / "insi-agent").symlink_to(agent.places.runtime.parent.parent)

    def start(*options: str) -> Watcher:
        started.append(Watcher(tmp_path, "--simulated", *options, XDG_STATE_HOME=str(state)))
        return started[-1]

    yield start
    for watcher in started:
        watcher.process.kill()
        watcher.process.communicate()


VITALE, CPS = "Simulateur Vitale 0", "Simulateur CPS 0"


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_each_event_is_a_line_until_a_person_has_seen_enough(
    agent: Simulation, watching: Callable[..., Watcher], end: signal.Signals
) -> None:
    watcher = watching("--json")
    assert [("reader.added", VITALE), ("reader.added", CPS)] == [watcher.event(), watcher.event()]

    agent.readers.insert(VITALE, None)
    assert ("card.removed", VITALE) == watcher.event()
    agent.readers.insert(VITALE, "corsican")
    assert ("card.inserted", VITALE) == watcher.event()

    watcher.process.send_signal(end)
    assert (0, "") == watcher.end()


def test_the_lines_are_sentences_and_the_end_of_the_agent_is_one_too(
    agent: Simulation, watching: Callable[..., Watcher]
) -> None:
    watcher = watching()
    assert watcher.line().endswith(f" {VITALE} : lecteur présent, carte Vitale")
    assert watcher.line().endswith(f" {CPS} : lecteur présent, carte de professionnel")
    agent.readers.insert(CPS, None)
    assert watcher.line().endswith(f" {CPS} : carte de professionnel retirée")
    assert watcher.line().endswith(" Carte de professionnel : absente, session fermée")

    agent.restart()

    assert (1, f"{sentence(Code.AGENT_NOT_RUNNING)}[agent.notRunning]\n") == watcher.end()


def test_who_stops_reading_hears_no_complaint(agent: Simulation, watching: Callable[..., Watcher]) -> None:
    watcher = watching("--json")
    watcher.line()
    watcher.line()
    assert watcher.process.stdout
    watcher.process.stdout.close()

    agent.readers.insert(VITALE, None)

    assert 0 == watcher.process.wait(30)
    assert watcher.process.stderr
    assert "" == watcher.process.stderr.read()


def test_readers_that_come_and_go_with_their_service_are_followed(
    pcscd: Pcscd, two_holders: CardProcess, tmp_path: Path
) -> None:
    vitale = pcscd.reader("Vitale")
    with Program(
        [*AGENT, "run", "--no-tray", "--port", "0"],
        tmp_path,
        PYTHONPATH=str(CHECKOUT),
        PYTHON_KEYRING_BACKEND="keyring.backends.null.Keyring",
        **pcscd.environment,
    ):
        until(lambda: vitale in ended(tmp_path).stdout, "the agent sees the reader")
        watcher = Watcher(tmp_path)
        try:
            assert watcher.until(f"{vitale} : lecteur présent, carte Vitale")
            pcscd.kill()
            assert watcher.until(f"{vitale} : carte Vitale retirée")
            assert watcher.until(f"{vitale} : lecteur retiré")
            pcscd.restart()
            assert watcher.until(f"{vitale} : lecteur présent, vide")
        finally:
            watcher.process.terminate()
            left = watcher.end()
    assert (0, "") == left


def test_without_an_agent_there_is_nothing_to_watch(tmp_path: Path) -> None:
    said = ended(tmp_path, "watch")

    assert (1, sentence(Code.AGENT_NOT_RUNNING) + "[agent.notRunning]\n") == (said.returncode, said.stderr)


def test_the_simulator_takes_a_recorded_card(tmp_path: Path) -> None:
    arguments = ["run", "--simulate", "--no-tray", "--port", "0", "--card", str(CARDS / "vitale1.txt")]
    with Program([*AGENT, *arguments], tmp_path, PYTHONPATH=str(CHECKOUT)):
        seen: list[str] = []

        def listens() -> bool:
            seen.append(ended(tmp_path, "--simulated").stdout)
            return bool(seen[-1])

        until(listens, "the program listens")

    assert f"{VITALE} : carte Vitale d'un ancien modèle\n" in seen[-1]


def test_a_recorded_card_goes_into_no_real_agent(tmp_path: Path) -> None:
    said = subprocess.run(
        [*AGENT, "run", "--no-tray", "--card", "carte.txt"],
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert 1 == said.returncode
    assert f"{sentence(Code.CONFIG_INVALID)}Réglage : --card\n" in said.stderr
