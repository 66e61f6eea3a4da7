"""The last net: what looks like a person or a secret does not reach a line, a file or the memory."""

import logging
import stat
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import AgentError, Code
from agent.log import FIRST_LINES, LAST_LINES, FirstAndLast, Redacting, configure, follow, redact

log = logging.getLogger("agent.test")


@pytest.fixture
def memory() -> Iterator[FirstAndLast]:
    """Logging as the agent sets it up; put back as it was."""
    root = logging.getLogger()
    level, loud = root.level, logging.raiseExceptions
    yield configure("DEBUG", stderr=False, folder=None)
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


def test_what_a_page_sent_cannot_start_a_line_of_its_own(memory):
    log.info("client %s", "demo\n2025-01-01T00:00:00.000Z INFO agent: all is well\r\n")

    (line,) = memory.lines()
    assert "\n" not in line and "\r" not in line


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


def test_files_are_this_user_s_alone_and_never_more_than_ten_megabytes(memory, tmp_path):
    for number in range(1, 10):
        (tmp_path / f"agent.log.{number}").touch(mode=0o600)
    configure("INFO", stderr=False, folder=tmp_path)
    (files,) = [handler for handler in logging.getLogger().handlers if hasattr(handler, "backupCount")]
    alone = apart(files)
    for _ in range(220):
        alone.info("a line " * 1400)

    kept = sorted(tmp_path.iterdir())
    assert 10 == len(kept)
    assert [True, True, True] == [bool(file.stat().st_size) for file in kept[:3]]
    assert max(file.stat().st_size for file in kept) <= 1_000_000
    assert {0o600} == {stat.S_IMODE(file.stat().st_mode) for file in kept}


def test_files_go_on_in_another_folder_and_none_is_begun_where_none_was_wanted(memory, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    follow(first)
    log.info("nowhere but in memory")
    assert [*first.iterdir()] == []

    configure("DEBUG", stderr=False, folder=first)
    log.info("before")
    follow(second)
    log.info("after")

    told = [(folder / "agent.log").read_text().splitlines() for folder in (first, second)]
    assert [[line.rpartition(" ")[2] for line in lines] for lines in told] == [["before"], ["after"]]


def test_a_line_is_cut_after_it_is_redacted(memory):
    apart(memory).info("%s", "word " * 1998 + "2600588154002 and more")

    (line,) = memory.lines()
    assert len(line) < 10_100
    assert "26005" not in line


def test_stderr_gets_the_redacted_lines_and_only_when_asked(memory, capsys):
    configure("INFO", stderr=False, folder=None)
    log.info("quiet")
    configure("INFO", stderr=True, folder=None)
    log.info("holder 260058815400233")

    said = capsys.readouterr().err
    assert "quiet" not in said
    assert said.endswith("agent.test: holder [nir]\n")


def test_set_up_again_it_logs_each_line_once(memory):
    memory = configure("INFO", stderr=False, folder=None)
    log.debug("too low")
    log.info("once")

    assert ["once"] == [line.partition(": ")[2] for line in memory.lines()]
