"""The last net: what looks like a person or a secret does not reach a line, a file or the memory.

And the log itself: one line per request, ten files of a megabyte, and nobody who waits for it or hears it fail.
"""

import asyncio
import logging
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.client import ask
from agent.errors import AgentError, Code
from agent.log import (
    FILE_BYTES,
    FILES,
    FIRST_LINES,
    LAST_LINES,
    FirstAndLast,
    Redacting,
    configure,
    follow,
    redact,
    remembered,
    uncaught_in_loop,
)
from tests.parts.agent import SITE, Simulation, Site

log = logging.getLogger("agent.test")


@pytest.fixture
def memory() -> Iterator[FirstAndLast]:
    """Logging as the agent sets it up; put back as it was."""
    root = logging.getLogger()
    level, loud = root.level, logging.raiseExceptions
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    yield configure("DEBUG", stderr=None, folder=None)
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    for handler in [handler for handler in root.handlers if isinstance(handler.formatter, Redacting)]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    logging.raiseExceptions = loud


@pytest.mark.parametrize(
    "personal",
    [
        "260058815400233",
        "2600588154002",
        "184122A004089",
        "255082B03304283",
        "2 60 05 88 154 002 33",
        "2.60.05.88.154.002.33",
        "2-60-05-88-154-002-33",
        "2/60/05/88/154/002",
        "2\u00a060\u00a005\u00a088\u00a0154\u00a0002\u00a033",
        "2\u202f60\u202f05\u202f88\u202f154\u202f002",
        "1 84 12 2A 004 089 22",
        "184122a004089",
        "2 55 08 2b 033 042 83",
        "2%2060%2005%2088%20154%20002%2033",
        "2+60+05+88+154+002",
        "2&nbsp;60&nbsp;05&nbsp;88&nbsp;154&nbsp;002",
        r"2\u00a060\u00a005\u00a088\u00a0154\u00a0002",
        "810100000017",
        "10100000017",
        "-----BEGIN CERTIFICATE-----\nMIIB\nQUJD\n-----END CERTIFICATE-----",
        "-----BEGIN PRIVATE KEY-----\nMIIB\nQUJD",
        '<saml2:Assertion ID="x"><saml2:NameID>TESTEUSE</saml2:NameID></saml2:Assertion>',
        "<Assertion><NameID>TESTEUSE</NameID>",
        "<ds:X509Certificate>QUJD</ds:X509Certificate>",
        "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9w",
        "eyJhbGciOiJFZERTQSJ9.eyJvdXRjb21lIjoiZm91bmQifQ.c2lnbmF0dXJl",
    ],
)
def test_what_has_the_shape_of_a_person_or_of_a_secret_is_gone(personal):
    left = redact(f"before {personal} after")

    assert personal not in left
    assert "TESTEUSE" not in left and "QUJD" not in left
    assert left.startswith("before [")


@pytest.mark.parametrize(
    "said",
    [
        "pin=1234", "PIN: 1234", 'codePin = "1234"', "pin=b'1234'", "pin=bytearray(b'1234')", "code porteur : 1234",
        '{"pin": "1234"}', "password=1234", "passphrase='12 34 1234'", "Bearer 1234", "token=1234,",
        "mot de passe: 1234",
    ],
)  # fmt: skip
def test_a_code_said_by_its_name_is_gone(said):
    assert "1234" not in redact(said)


@pytest.mark.parametrize(
    "useful",
    [
        "insi.verify https://dossier.example pin.wrong 42 ms 1b4e28ba-2fa1-41d2-883f-0016d3cca427",
        "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "key kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
        "CKR 0x80000001 at 2025-03-04T05:06:07.089Z",
        "pin state low, 127.0.0.1:19847",
        "insi.fault.access desir_550",
    ],
)
def test_what_support_needs_stays(useful):
    assert useful == redact(useful)


@given(st.text())
def test_any_text_can_be_redacted_and_twice_is_as_once(text):
    assert redact(redact(text)) == redact(redact(redact(text)))


def test_the_net_is_under_arguments_too(memory):
    log.info("holder %s", "260058815400233")
    log.info("reply %s", {"matricule": "2600588154002"})

    assert ["holder [nir]", "reply {'matricule': '[nir]'}"] == [line.partition(": ")[2] for line in memory.lines()]


def test_a_foreign_exception_gives_its_type_and_frames_and_not_its_words(memory):
    def inner():
        raise KeyError("TESTEUSE")

    try:
        try:
            inner()
        except KeyError as error:
            raise ValueError("born 1960 in TESTEUSE") from error
    except ValueError:
        log.exception("it failed")

    (text,) = memory.lines()
    assert "TESTEUSE" not in text
    assert text.index("KeyError") < text.index("ValueError")
    assert "test_log.py" in text and " inner" in text


def test_our_own_exception_says_its_code_and_its_detail(memory):
    error = AgentError(Code.TOKEN_UNKNOWN, "CKR 0x80000001", holder="TESTEUSE")
    log.error("it failed", exc_info=error)

    (text,) = memory.lines()
    assert text.endswith("AgentError: token.unknown: CKR 0x80000001")


# what ends a line, moves a terminal's cursor, or ends a text: C0, DEL, C1, and Unicode's two
UNPRINTED = [chr(number) for number in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)]


def test_what_a_page_sent_cannot_start_a_line_of_its_own_nor_speak_to_a_terminal(memory):
    for character in UNPRINTED:
        log.info("client %s", f"demo{character}2025-01-01T00:00:00.000Z INFO agent: all is well{character}")

    assert len(UNPRINTED) == len(memory.lines())
    assert [] == [line for line in memory.lines() if not line.isprintable()]


def test_nor_can_the_words_of_our_own_exceptions_wherever_they_are_in_the_chain(memory):
    for character in UNPRINTED:
        ours = f"{character}2025-01-01T00:00:00.000Z INFO agent: all is well, holder {character}2600588154002"
        error = ValueError("TESTEUSE")
        error.__context__ = AgentError(Code.JOURNAL_UNAVAILABLE, ours)
        log.error("incident", exc_info=error)

    lines = "\n".join(memory.lines()).split("\n")
    told = [line for line in lines if "all is well" in line]
    assert [] == [line for line in lines if not line.isprintable()]
    assert len(UNPRINTED) == len(told)
    assert all(line.startswith("AgentError: ") and line.endswith("[nir]") for line in told)


def apart(handler: logging.Handler) -> logging.Logger:
    """A logger that only `handler` hears, not the test runner's."""
    alone = logging.getLogger("apart")
    alone.propagate = False
    alone.handlers = [handler]
    return alone


def test_a_line_that_cannot_be_written_is_not_printed_with_its_arguments(memory, capsys):
    apart(memory).info("%d", "260058815400233")

    (line,) = memory.lines()
    assert "cannot be written, from test_log.py:" in line
    assert "2600588154002" not in "".join([*capsys.readouterr(), line])


def test_the_first_and_the_last_lines_are_remembered(memory):
    for number in range(FIRST_LINES + LAST_LINES + 7):
        log.info("line %s", number)

    lines = [line.partition(": ")[2] or line for line in memory.lines()]

    assert [f"line {n}" for n in range(FIRST_LINES)] == lines[:FIRST_LINES]
    assert "… 7 lines …" == lines[FIRST_LINES]
    assert [f"line {n}" for n in range(FIRST_LINES + 7, FIRST_LINES + LAST_LINES + 7)] == lines[FIRST_LINES + 1 :]


@pytest.mark.parametrize("name", ["zeep.transports", "websockets.server", "urllib3.connectionpool", "requests"])
def test_libraries_that_print_whole_messages_are_kept_quiet(memory, name):
    """zeep prints whole bodies at DEBUG."""
    logging.getLogger(name).debug("body")
    logging.getLogger(name).info("body")
    logging.getLogger(name).warning("trouble")

    assert ["trouble"] == [line.partition(": ")[2] for line in memory.lines()]


@pytest.mark.parametrize(
    "said",
    [
        '{"matricule":"2600588154002","cle":"33"}',
        "<insi:NumIdentifiant>2600588154002</insi:NumIdentifiant>",
        "<a nir='260058815400233'/>",
        "https://dossier.example/?nir=260058815400233&x=1",
        "https://dossier.example/patients/2600588154002/fiche",
        "https://dossier.example/?q=%222600588154002%22",
        "https://dossier.example/?q%3D2600588154002",
        "nir2600588154002",
        "nir_2600588154002_",
        "C:\\\\patients\\\\2600588154002.txt",
    ],
)
def test_a_number_is_found_wherever_it_stands(said):
    left = redact(said)

    assert "[nir]" in left
    assert "2600588154002" not in left


@given(st.from_regex(r"\A[0-9a-f]{64}\Z"))
def test_a_digest_stays_whatever_its_digits_are(digest):
    assert redact(f"sha256 {digest}, sha256:{digest}") == f"sha256 {digest}, sha256:{digest}"


@given(st.uuids())
def test_an_identifier_of_a_trace_stays_whatever_its_digits_are(identifier):
    assert redact(f"insi.verify 00 12 ms {identifier}") == f"insi.verify 00 12 ms {identifier}"


# ---------------------------------------------------------------- files


def kept(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def alone_in(folder: Path) -> logging.Logger:
    """A logger that only the files of this folder hear."""
    configure("INFO", stderr=None, folder=folder)
    (files,) = [one for one in logging.getLogger().handlers if hasattr(one, "place")]
    return apart(files)


def too_deep(left: int) -> None:
    if left:
        too_deep(left - 1)
    raise ValueError("a deep one")


def test_files_are_this_user_s_alone_and_never_more_than_ten_megabytes_whatever_is_logged(memory, tmp_path):
    """Lines of every size, letters of four octets, traces without end, a page's lone surrogates."""
    alone, written = alone_in(tmp_path), 0
    try:
        too_deep(900)
    except ValueError as error:
        deep = error
    while written < (FILES + 2) * FILE_BYTES:
        for text in ("short", "a line " * 1400, "\N{GRINNING FACE}" * 50_000, "x" * 3_000_000, "\ud800 alone"):
            alone.info("%s", text)
        alone.error("it failed", exc_info=deep)
        written += 7 + 9_800 + 40_000 + 10_000 + 2_000

    assert [file.name for file in kept(tmp_path)] == ["agent.log", *(f"agent.log.{n}" for n in range(1, FILES))]
    sizes = [file.stat().st_size for file in kept(tmp_path)]
    assert max(sizes) <= FILE_BYTES
    assert min(sizes[1:]) > FILE_BYTES - 50_000  # each was filled
    assert {0o600} == {stat.S_IMODE(file.stat().st_mode) for file in kept(tmp_path)}
    text = (tmp_path / "agent.log.1").read_text()  # no letter was cut in two
    assert "\\ud800 alone" in text
    assert "\n  … 862 frames …\n" in text


def test_a_file_that_was_large_already_goes_aside_first(memory, tmp_path):
    (tmp_path / "agent.log").write_text("older\n" * 200_000)
    alone_in(tmp_path).info("newer")

    assert ["agent.log", "agent.log.1"] == [file.name for file in kept(tmp_path)]
    assert "newer" in (tmp_path / "agent.log").read_text()


def test_a_full_disk_loses_lines_silently_and_the_file_says_how_many_once_there_is_room(memory, tmp_path, capfd):
    (tmp_path / "agent.log").symlink_to("/dev/full")
    alone = alone_in(tmp_path)
    for number in range(3):
        alone.info("lost %s", number)
    (tmp_path / "agent.log").unlink()
    alone.info("there is room")
    alone.info("more")

    lines = (tmp_path / "agent.log").read_text().splitlines()
    assert lines[0] == "… 3 lines could not be written …"
    assert [line.rpartition(": ")[2] for line in lines[1:]] == ["there is room", "more"]
    assert tuple(capfd.readouterr()) == ("", "")


def test_a_folder_that_is_gone_stops_nobody_and_is_written_to_again_once_it_is_back(memory, tmp_path, capfd):
    folder = tmp_path / "log"
    folder.mkdir()
    alone = alone_in(folder)
    alone.info("before")
    shutil.rmtree(folder)
    alone.info("meanwhile")
    folder.mkdir()
    alone.info("after")

    lines = (folder / "agent.log").read_text().splitlines()
    assert lines[0] == "… 1 lines could not be written …"
    assert lines[1].endswith(": after")
    assert tuple(capfd.readouterr()) == ("", "")


def test_a_file_that_somebody_took_away_is_begun_anew(memory, tmp_path):
    alone = alone_in(tmp_path)
    alone.info("before")
    (tmp_path / "agent.log").unlink()
    alone.info("after")

    assert (tmp_path / "agent.log").read_text().endswith(": after\n")


def test_who_started_us_and_reads_nothing_of_what_we_say_holds_up_nobody():
    """Far more than a pipe takes, in lines longer than what it takes at once."""
    script = """
import logging
from agent.log import configure
configure("INFO", stderr="INFO", folder=None)
for number in range(100):
    logging.info("%s %s", number, "word " * 1500)
print("done")
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout and child.stderr
        try:
            assert child.stdout.readline() == "done\n"
        finally:
            child.kill()
        assert "INFO root: 0 word word" in child.stderr.read()


def test_files_go_on_in_another_folder_and_none_is_begun_where_none_was_wanted(memory, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    follow(first, system=False)
    log.info("nowhere but in memory")
    assert [*first.iterdir()] == []

    configure("DEBUG", stderr=None, folder=first)
    log.info("before")
    follow(second, system=False)
    log.info("after")

    told = [(folder / "agent.log").read_text().splitlines() for folder in (first, second)]
    assert [[line.rpartition(" ")[2] for line in lines] for lines in told] == [["before"], ["after"]]


def test_a_line_is_cut_after_it_is_redacted(memory):
    apart(memory).info("%s", "word " * 1998 + "2600588154002 and more")

    (line,) = memory.lines()
    assert len(line) < 10_100
    assert "26005" not in line


@pytest.mark.parametrize("before", range(19_970, 20_010, 3))
def test_nothing_is_cut_in_two_where_the_search_ends(memory, before):
    """What went before it became short, so that this place is in sight."""
    secret = f"<Assertion>{'x' * (before - 23)}</Assertion>"
    apart(memory).info("%s", secret + "2 60 05 88 154 002 33 and more" + "." * 100)

    (line,) = memory.lines()
    assert not any(digit in line.partition("INFO apart: ")[2] for digit in "0123456789")


def test_stderr_gets_the_redacted_lines_and_only_when_asked(memory, capsys):
    configure("INFO", stderr=None, folder=None)
    log.info("quiet")
    configure("INFO", stderr="INFO", folder=None)
    log.info("holder 260058815400233")

    said = capsys.readouterr().err
    assert "quiet" not in said
    assert said.endswith("agent.test: holder [nir]\n")


def test_set_up_again_it_logs_each_line_once(memory):
    memory = configure("INFO", stderr=None, folder=None)
    log.debug("too low")
    log.info("once")

    assert ["once"] == [line.partition(": ")[2] for line in memory.lines()]


def test_what_a_command_asks_for_are_the_remembered_lines_long_ones_without_their_middle(memory):
    log.info("short")
    log.info("%s the end", "word " * 1000)

    short, long = remembered()
    assert short.endswith(": short")
    assert len(long) < 700
    assert long.startswith("20") and long.endswith("the end") and " … " in long


# ---------------------------------------------------------------- what nobody catches

UNCAUGHT = """
import asyncio, gc, sys, threading
from pathlib import Path
from agent.log import configure, uncaught_in_loop

configure("INFO", stderr="INFO", folder=Path(sys.argv[1]))

def fails(why):
    raise ValueError(why)

class Dies:
    def __del__(self):
        fails("TESTEUSE")

async def loses():
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(uncaught_in_loop)
    loop.call_soon(fails, "TESTEUSE")
    lost = asyncio.ensure_future(fails_later())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del lost
    gc.collect()

async def fails_later():
    fails("TESTEUSE")

one = threading.Thread(target=fails, args=("TESTEUSE",), name="watcher")
one.start()
one.join()
asyncio.run(loses())
Dies()
fails("TESTEUSE")
"""


def test_what_nobody_catches_leaves_its_type_and_its_frames_and_not_its_words(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", UNCAUGHT, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )

    written = (tmp_path / "agent.log").read_text()
    assert run.returncode == 1
    assert "TESTEUSE" not in written + run.stderr + run.stdout
    heads = [line.partition("Z ")[2] for line in written.splitlines() if line.startswith("20")]
    assert heads == [
        "ERROR agent.log: uncaught in thread watcher",
        "ERROR agent.log: uncaught in the loop",
        "ERROR agent.log: uncaught in the loop",
        "WARNING agent.log: ignored",
        "CRITICAL agent.log: uncaught",
    ]
    assert written.count("ValueError") == len(heads)
    assert written.count(" fails") >= len(heads)


def test_what_the_loop_says_without_an_exception_is_told(memory):
    loop = asyncio.new_event_loop()
    uncaught_in_loop(loop, {"message": "Task was destroyed but it is pending!"})
    loop.close()

    assert memory.lines()[-1].endswith("ERROR agent.log: uncaught in the loop: Task was destroyed but it is pending!")


# ---------------------------------------------------------------- one line per request

FOUND = {"birthName": "ADRTROIS", "givenNames": ["TOUSSAINT"], "sex": "M", "birthDate": "1960-01-01"}


def requests_in(memory: FirstAndLast) -> list[list[str]]:
    """Method, origin, code, trace id of each line of a request."""
    lines = [line.partition(" agent.protocol.server: ")[2].split(" ") for line in memory.lines()]
    return [[method, origin, code, trace] for method, origin, code, _, ms, trace in (x for x in lines if len(x) == 6)]


def test_each_request_leaves_one_line_with_its_code_and_its_trace(memory, agent: Simulation, site: Site):
    result = site.call("insi.retrieveByTraits", traits=FOUND)
    nobody = site.call("insi.retrieveByTraits", traits=FOUND | {"birthName": "PERSONNE"})
    agent.insi.service.inject_reply(b"no SOAP at all")
    fault = site.refusal("insi.retrieveByTraits", traits=FOUND)
    site.call("trace.get", traceId=result["trace"]["id"])
    site.call("operation.cancel", id=99)

    assert requests_in(memory) == [
        ["agent.hello", SITE, "ok", "-"],
        ["insi.retrieveByTraits", SITE, "00", result["trace"]["id"]],
        ["insi.retrieveByTraits", SITE, "01", nobody["trace"]["id"]],
        ["insi.retrieveByTraits", SITE, fault.reason, fault.facts["traceId"]],
        ["trace.get", SITE, "ok", "-"],
        ["operation.cancel", SITE, "ok", "-"],
    ]
    assert not [line for line in memory.lines() if "ADRTROIS" in line or "TOUSSAINT" in line]


def test_a_request_that_is_refused_leaves_its_line_too_and_never_what_the_page_wrote(memory, agent: Simulation):
    early = agent.site(hello=False)
    early.refusal("vitale.read")
    early.call("agent.hello", apiLevels=[1], client={"name": "TESTEUSE", "version": "1"})
    early.refusal("TESTEUSE")
    early.refusal("cpx.unlock", TESTEUSE=1)
    early.refusal("vitale.read", wait="TESTEUSE")
    early.refusal("agent.lines")
    early.socket.send("TESTEUSE")
    early.socket.recv(timeout=20)
    early.call("agent.status")

    assert requests_in(memory) == [
        ["vitale.read", SITE, "session.helloFirst", "-"],
        ["agent.hello", SITE, "ok", "-"],
        ["?", SITE, "-32601", "-"],
        ["cpx.unlock", SITE, "-32602", "-"],
        ["vitale.read", SITE, "-32602", "-"],
        ["agent.lines", SITE, "right.missing", "-"],
        ["?", SITE, "-32700", "-"],
        ["agent.status", SITE, "ok", "-"],  # at DEBUG: pages ask every second
    ]
    assert "TESTEUSE" not in "".join(memory.lines())


def test_sites_that_the_person_has_not_let_in_cannot_fill_the_log(memory, simulation):
    agent = simulation('[origins]\nunknown = "ask"\n')
    stranger = agent.site(origin="https://inconnu.example", hello=False)
    for _ in range(50):
        stranger.refusal("vitale.read")

    said = [line for line in memory.lines() if "vitale.read" in line]
    assert len(said) == 1
    assert said[0].endswith("refused vitale.read of a site that waits: session.helloFirst")


def test_the_command_line_alone_is_given_the_lines(memory, agent: Simulation, site: Site):
    token = agent.running.agent._running.token
    own = Site(agent.port, token=token)
    lines = own.call("agent.lines")["lines"]
    own.close()

    assert [line for line in lines if f"agent.hello {SITE} ok" in line]
    assert site.refusal("agent.lines").reason == "right.missing"


def test_lines_without_number_fit_into_one_answer(memory, agent: Simulation):
    for number in range(FIRST_LINES + LAST_LINES + 5):
        log.info("%s %s", number, "é" * 5000)
    lines = ask(agent.running.agent._running, ("agent.lines", {}))[0]["lines"]

    assert len(lines) == FIRST_LINES + LAST_LINES + 1
