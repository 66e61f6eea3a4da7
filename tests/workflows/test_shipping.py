"""The journal's second copy while the agent runs: it follows, it is late and says so, and no call waits for it."""

import asyncio
import itertools
import logging
import re
import selectors
import socket
import threading
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest

from agent.config import Settings
from agent.errors import CATALOGUE, AgentError, Code
from agent.identity import Identity
from agent.journal.apart import opened
from agent.journal.chain import Entry
from agent.journal.shipped import ShippedVerdict, verify_shipped
from agent.journal.shipping import entry_of, target_of
from agent.log import Redacting
from agent.simulator.pki import issue_server, make_ca
from agent.tray.state import TrayState
from agent.workflows.shipping import LONGEST_PAUSE_S, Shipping, pauses
from tests.journal.making import whole
from tests.parts.agent import Simulation, Site
from tests.parts.desktop import until
from tests.parts.journal_server import MESSAGE, Receiver, receiver
from tests.workflows.making import Bench

TOUSSAINT = {"birthName": "ADRTROIS", "givenNames": ["TOUSSAINT"], "sex": "M", "birthDate": "1960-01-01"}
Start = Callable[..., Simulation]


def ships_to(folder: Path) -> str:
    return f'[journal.ship]\nto = "folder"\nfolder = "{folder}"\n'


def ask(site: Site) -> str:
    code: str = site.call("insi.retrieveByTraits", traits=TOUSSAINT)["code"]
    return code


def shipped(folder: Path) -> list[Entry]:
    """Every entry that is there, in the order in which it came."""
    files = sorted(folder.rglob("*.jsonl"))
    return [entry_of(line) for file in files for line in file.read_bytes().splitlines()]


def kinds(entries: Sequence[Entry]) -> list[str]:
    return [entry.kind for entry in entries]


def warnings(site: Site) -> list[dict[str, Any]]:
    return [one for one in site.call("agent.status")["warnings"] if one["reason"] == "journal.notShipped"]


def late_lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [
        (record.levelname, record.getMessage()) for record in caplog.records if "second copy" in record.getMessage()
    ]


def reconfigure(agent: Simulation, config: str) -> None:
    file = agent.running.agent.options.config_file
    assert file
    file.write_text(config, encoding="utf-8")
    agent.reload()


# ---------------------------------------------------------------- it follows


def test_the_entries_of_a_call_go_together_to_the_folder_of_this_installation(simulation: Start, tmp_path: Path):
    agent = simulation(ships_to(tmp_path))
    site = agent.site()
    assert ask(site) == "00"

    own = tmp_path / site.hello["agent"]["instanceId"]
    until(lambda: len(shipped(own)) == 3, "the second copy has the call")
    assert kinds(shipped(own)) == ["intent", "outcome", "result"]
    assert warnings(site) == []
    identity = agent.running.agent.desk.load_identity()
    with opened(agent.places.journal) as local:
        assert ShippedVerdict(1, 3) == verify_shipped(own, identity.verify_bytes, local.entries())


def test_a_server_by_tls_gets_the_entries_and_nothing_of_anybody_in_clear(simulation: Start, tmp_path: Path):
    authority = make_ca()
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    with receiver(shows=issue_server(authority)) as server:
        agent = simulation(
            f'[journal.ship]\nto = "syslog"\nsyslog = "tls://localhost:{server.port}"\n'
            f'anchors = ["{tmp_path / "ca.pem"}"]\nmax_message_bytes = 1000000\n'
        )
        site = agent.site()
        assert ask(site) == "00"
        until(lambda: len(server.messages) == 3, "the server has the call")

    arrived = [MESSAGE.fullmatch(message) for message in server.messages]
    assert {(site.hello["agent"]["instanceId"].encode(), b"true")} == {
        message.group("instance", "simulated") for message in arrived
    }
    entries = [entry_of(message["message"]) for message in arrived]
    assert kinds(entries) == ["intent", "outcome", "result"]
    assert all(entry.personal for entry in entries)
    for told in (b"".join(entry.clear for entry in entries), b"".join(server.messages)):
        assert not [name for name in (b"ADRTROIS", b"TOUSSAINT", b"1960-01-01") if name in told]


def test_what_the_last_stop_left_behind_goes_at_the_next_start(simulation: Start, tmp_path: Path):
    agent = simulation()
    assert ask(agent.site()) == "00"
    file = agent.running.agent.options.config_file
    assert file
    file.write_text(ships_to(tmp_path / "share"), encoding="utf-8")
    (tmp_path / "share").mkdir()

    agent.restart()

    until(lambda: kinds(shipped(tmp_path / "share")) == ["intent", "outcome", "result"], "what was left behind")


def test_a_stop_sends_what_has_just_come(simulation: Start, tmp_path: Path):
    agent = simulation(ships_to(tmp_path))
    assert ask(agent.site()) == "00"

    agent.restart()

    assert kinds(shipped(tmp_path)) == ["intent", "outcome", "result"]


def test_another_place_gets_everything_and_none_gets_nothing(simulation: Start, tmp_path: Path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    agent = simulation(ships_to(first))
    site = agent.site()
    ask(site)
    until(lambda: len(shipped(first)) == 3, "the first place")

    reconfigure(agent, ships_to(second))
    until(lambda: len(shipped(second)) == 3, "the second place")
    reconfigure(agent, "")
    ask(site)
    agent.restart()

    assert [3, 3] == [len(shipped(first)), len(shipped(second))]


# ---------------------------------------------------------------- it is late


def test_while_it_is_late_it_says_so_everywhere_once_and_calls_go_on(
    simulation: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    share, states = tmp_path / "share", list[TrayState]()
    caplog.set_level(logging.INFO)
    agent = simulation(ships_to(share))
    agent.running.show_state_in(states.append)
    site = agent.site()

    assert ask(site) == "00"
    until(lambda: bool(warnings(site)), "the copy is late")
    (warning,) = warnings(site)
    words = CATALOGUE[Code.JOURNAL_NOT_SHIPPED].title
    assert warning["message"] == {"fr": words.fr, "en": words.en}
    assert warning["facts"]["entries"] == 3
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", warning["facts"]["since"])
    assert warning in site.notified("agent.changed")["warnings"]
    until(lambda: bool(states) and words.fr in states[-1].warnings, "the tray says so")
    assert ask(site) == "00"

    reconfigure(agent, ships_to(share))  # tries at once, in vain
    share.mkdir()
    reconfigure(agent, ships_to(share))

    until(lambda: not warnings(site), "the copy is no longer late")
    assert len(shipped(share)) == 6
    until(lambda: words.fr not in states[-1].warnings, "the tray no longer says so")
    assert late_lines(caplog) == [
        ("WARNING", "journal: its second copy is late: journal.notShipped: FileNotFoundError: ENOENT"),
        ("INFO", "journal: its second copy is no longer late"),
    ]


def test_a_call_does_not_wait_for_a_server_that_never_answers_and_neither_does_the_end(simulation: Start):
    gone, reached = threading.Event(), threading.Event()

    def serve(connection: socket.socket, keep: Callable[[bytes], None]) -> None:
        keep(connection.recv(1 << 16))
        reached.set()
        gone.wait(120)

    with receiver(serve=serve) as server:
        agent = simulation(f'[journal.ship]\nto = "syslog"\nsyslog = "tcp://127.0.0.1:{server.port}"\n')
        site = agent.site()
        assert ask(site) == "00"
        assert reached.wait(60)

        assert [ask(site) for _ in range(3)] == ["00"] * 3  # while it holds our first batch
        assert server.ended == 0
        agent.restart()  # ends, and begins with the same batch
        gone.set()
        until(lambda: numbers(server) >= set(range(1, 13)), "the server has every entry")


def numbers(server: Receiver) -> set[int]:
    return {int(MESSAGE.fullmatch(message)["seq"]) for message in server.messages}


def test_each_try_waits_twice_as_long_as_the_one_before_up_to_five_minutes():
    assert list(itertools.islice(pauses(1), 11)) == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert LONGEST_PAUSE_S == 300


# ---------------------------------------------------------------- step by step


class Takes:
    """A second place that takes everything, once it has failed as it was told."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.came: list[tuple[int, int, bool]] = []  # first and last number, and whether it was the beginning

    def __call__(self, _settings: Settings) -> "Takes":
        return self

    def send(self, entries: Sequence[Entry], *, beginning: bool) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.came.append((entries[0].seq, entries[-1].seq, beginning))


class Idle(selectors.DefaultSelector):
    """Knows whether a loop that has nothing to do sleeps until it is woken."""

    def __init__(self) -> None:
        super().__init__()
        self.without_end = threading.Event()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        (self.without_end.set if timeout is None else self.without_end.clear)()
        return super().select(timeout)


class Shipped:
    """A desk whose journal is shipped without pauses, on a loop that is watched."""

    def __init__(self, bench: Bench, place: Takes) -> None:
        bench.configure(journal={"ship": {"to": "folder", "folder": "/nowhere"}})
        self.bench, self.changes, self._idle = bench, 0, Idle()
        self.shipping: Shipping
        self._place = place

    def run(self, work: Callable[["Shipped"], Coroutine[Any, Any, None]]) -> None:
        async def to_its_end() -> None:
            self.shipping = Shipping(self.bench.desk, self._place, self._changed, linger_s=0, first_pause_s=0)
            self.shipping.start()
            await work(self)
            await self.shipping.stop()

        with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(self._idle)) as runner:
            runner.run(to_its_end())

    async def write(self, *traces: str) -> None:
        """One operation each, of three entries; shipping is told, as by the journal."""
        journal = self.bench.desk.journal
        written = self.bench.desk.lanes.journal.run(lambda: [whole(journal, trace) for trace in traces], timeout_s=60)
        await written
        self.shipping.wake()

    async def rests(self) -> None:
        """Return when the loop sleeps and no timer would wake it."""
        self._idle.without_end.clear()
        assert await asyncio.to_thread(self._idle.without_end.wait, 60), "something wakes it"

    def _changed(self) -> None:
        self.changes += 1


def test_once_everything_is_there_nothing_wakes_it_but_an_entry(bench: Bench):
    place = Takes()

    async def story(here: Shipped) -> None:
        await here.rests()
        assert place.came == []
        await here.write("trace-1")
        await here.rests()
        assert place.came == [(1, 3, True)]
        await here.write("trace-2")
        await here.rests()

    Shipped(bench, place).run(story)

    assert place.came == [(1, 3, True), (4, 6, False)]


def test_a_long_backlog_goes_in_batches_of_a_hundred(bench: Bench):
    place = Takes()

    async def story(here: Shipped) -> None:
        await here.write(*(f"trace-{number}" for number in range(70)))
        await here.rests()

    Shipped(bench, place).run(story)

    assert place.came == [(1, 100, True), (101, 200, False), (201, 210, False)]


def test_it_is_tried_until_it_works_and_only_the_change_is_told(bench: Bench, caplog: pytest.LogCaptureFixture):
    """The settings of a place may be wrong, its lane may hang, anything may happen there."""
    caplog.set_level(logging.INFO)
    refused = AgentError(Code.JOURNAL_NOT_SHIPPED, "OSError: ENOSPC")
    place = Takes(refused, AgentError(Code.DEVICE_TIMEOUT, "lane ship"), ValueError("a name"), refused)

    async def story(here: Shipped) -> None:
        await here.write("trace-1")
        await here.rests()
        assert bench.desk.not_shipped is None

    here = Shipped(bench, place)
    here.run(story)

    assert place.came == [(1, 3, True)]
    assert here.changes == 2
    assert late_lines(caplog) == [
        ("WARNING", "journal: its second copy is late: journal.notShipped: OSError: ENOSPC"),
        ("INFO", "journal: its second copy is no longer late"),
    ]


def test_a_failure_that_nobody_foresaw_is_a_late_copy_and_its_text_stays_out_of_the_log(
    bench: Bench, caplog: pytest.LogCaptureFixture
):
    async def story(here: Shipped) -> None:
        await here.write("trace-1")
        await here.rests()

    Shipped(bench, Takes(ValueError("TESTEUSE"))).run(story)

    assert late_lines(caplog)[0] == ("WARNING", "journal: its second copy is late: ValueError")
    assert not [line for line in map(Redacting().format, caplog.records) if "TESTEUSE" in line]


@pytest.mark.parametrize("code", [Code.KEYRING_ABSENT, Code.IDENTITY_DAMAGED])
def test_without_keys_it_waits_for_an_entry_and_nobody_is_asked_again_and_again(bench: Bench, code: Code):
    place, asked = Takes(), []
    load = bench.desk.load_identity

    def fails() -> Identity:
        asked.append(code)
        raise AgentError(code)

    async def story(here: Shipped) -> None:
        await here.rests()
        await here.write("trace-1")
        await here.rests()
        assert (asked, bench.desk.not_shipped) == ([code], None)
        bench.desk.load_identity = load
        await here.write("trace-2")
        await here.rests()

    bench.desk.load_identity = fails
    Shipped(bench, place).run(story)

    assert place.came == [(1, 6, True)]


def test_with_nothing_to_send_nobody_is_asked_for_a_keyring_and_no_journal_is_made(bench: Bench):
    place, asked = Takes(), []
    load = bench.desk.load_identity

    def asks() -> Identity:
        asked.append("the keyring")
        return load()

    async def nothing(here: Shipped) -> None:
        await here.rests()

    async def one(here: Shipped) -> None:
        await here.write("trace-1")
        await here.rests()

    bench.desk.load_identity = asks
    Shipped(bench, place).run(nothing)
    assert (asked, (bench.folder / "journal").exists()) == ([], False)
    Shipped(bench, place).run(one)
    assert (len(asked), place.came) == (1, [(1, 3, True)])
    Shipped(bench, place).run(nothing)  # all is there

    assert len(asked) == 1


def test_while_a_person_has_the_question_of_a_keyring_before_them_nothing_is_said_to_be_late(bench: Bench):
    place, load = Takes(), bench.desk.load_identity
    refusals = [AgentError(Code.DEVICE_BUSY, "lane secrets"), AgentError(Code.DEVICE_TIMEOUT, "lane secrets")]

    def asks() -> Identity:
        if refusals:
            raise refusals.pop(0)
        return load()

    async def story(here: Shipped) -> None:
        await here.write("trace-1")
        await here.rests()

    bench.desk.load_identity = asks
    here = Shipped(bench, place)
    here.run(story)

    assert (place.came, here.changes) == ([(1, 3, True)], 0)


# ---------------------------------------------------------------- what is marked


def test_a_batch_goes_to_the_place_where_it_is_marked_whatever_the_settings_become_meanwhile(bench: Bench):
    sent: list[tuple[str, int, int, bool]] = []
    load = bench.desk.load_identity

    class Place(Takes):
        def __call__(self, settings: Settings) -> "Place":
            self.folder = str(settings.journal.ship.folder)
            return self

        def send(self, entries: Sequence[Entry], *, beginning: bool) -> None:
            sent.append((self.folder, entries[0].seq, entries[-1].seq, beginning))

    def changes() -> Identity:
        """The settings are read again while a batch is on its way."""
        bench.configure(journal={"ship": {"to": "folder", "folder": "/elsewhere"}})
        return load()

    async def story(here: Shipped) -> None:
        first = target_of(bench.settings.journal.ship)
        await here.write("trace-1")
        await here.rests()
        second, journal = target_of(bench.settings.journal.ship), bench.desk.journal
        assert first and second
        marks = bench.desk.lanes.journal.run(
            lambda: [journal.shipped_to(target) for target in (first, second)], timeout_s=60
        )
        assert await marks == [3, 3]

    bench.desk.load_identity = changes
    Shipped(bench, Place()).run(story)

    assert sent == [("/nowhere", 1, 3, True), ("/elsewhere", 1, 3, True)]


class Fails:
    """A journal one of whose methods fails first, as often as it was told."""

    def __init__(self, journal: Any, method: str, *failures: AgentError) -> None:
        self._journal, self._method, self._failures = journal, method, list(failures)

    def __getattr__(self, name: str) -> Any:
        return self._fail if name == self._method and self._failures else getattr(self._journal, name)

    def _fail(self, *_given: object) -> None:
        raise self._failures.pop(0)


@pytest.mark.parametrize("code", [Code.JOURNAL_FULL, Code.JOURNAL_UNAVAILABLE])
@pytest.mark.parametrize("method", ["behind", "unshipped", "mark_shipped"])
def test_a_journal_that_fails_the_copy_alone_is_told_as_a_late_copy_and_nothing_goes_twice(
    bench: Bench, method: str, code: Code
):
    """A full disk that cannot remember what was sent, or a damaged row: calls may still be in the journal."""
    place, journal = Takes(), bench.desk.journal
    bench.desk.journal = Fails(journal, method, *[AgentError(code)] * 4)

    async def story(here: Shipped) -> None:
        await here.write("trace-1")
        await here.rests()
        assert bench.desk.not_shipped is None
        await here.write("trace-2")
        await here.rests()

    here = Shipped(bench, place)
    here.run(story)

    assert place.came == [(1, 3, True), (4, 6, False)]
    assert (here.changes, bench.desk.journal_failed) == (2, None)
