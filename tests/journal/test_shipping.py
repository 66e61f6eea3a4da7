"""The second copy of a journal: what travels, where it arrives, what it shows of a journal that was put back."""

import json
import logging
import os
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cli import main
from agent.config import Settings, Ship, Source, load
from agent.desks import ship_carrier
from agent.errors import AgentError, Code
from agent.journal.carriers import FolderCarrier, SyslogCarrier
from agent.journal.chain import Entry, intact, sha256
from agent.journal.parts import personal_of
from agent.journal.shipped import ShippedFault, ShippedFaultKind, ShippedVerdict, folder_of, in_words, verify_shipped
from agent.journal.shipping import entry_of, file_name, framed, line_of, syslog_message, target_of
from agent.journal.store import Journal
from agent.places import instance_id
from agent.simulator.pki import Issued, issue_server, make_ca
from tests.parts.journal_server import MESSAGE, Receiver, messages_in, receiver
from tests.parts.mounts import with_own_mounts

from .installed import Installed
from .making import KEY, KEYS, MAX_REPLY, REPLY, found, intent, journal, whole
from .shipper import INSTANCE, TARGET, carrier_to, ship

ROOT = Path(__file__).parents[2]


def entries_of(folder: Path, operations: int = 2) -> list[Entry]:
    """The entries of a new journal; three each."""
    own = journal(folder)
    for number in range(operations):
        whole(own, f"trace-{number}")
    own.close()
    return all_of(folder)


def all_of(folder: Path) -> list[Entry]:
    """Every entry of this journal."""
    own = journal(folder)
    entries = own.unshipped("nobody", 10_000)
    own.close()
    return entries


def refusal(send: Callable[..., object], *given: Any, **named: Any) -> AgentError:
    with pytest.raises(AgentError) as refused:
        send(*given, **named)
    assert refused.value.code is Code.JOURNAL_NOT_SHIPPED
    return refused.value


# ---------------------------------------------------------------- what travels


def test_an_entry_arrives_with_every_member_and_is_read_by_who_has_the_key(tmp_path):
    entries = entries_of(tmp_path)

    arrived = [entry_of(line_of(entry)) for entry in entries]

    assert entries == arrived
    assert all(intact(entry, KEY.verify_bytes) for entry in arrived)
    assert REPLY == personal_of(arrived[1], lambda: KEYS, KEY.verify_bytes)
    assert REPLY not in b"".join(map(line_of, entries))
    assert b64encode(REPLY) not in b"".join(map(line_of, entries))


_ENTRIES = st.builds(
    Entry,
    **{
        field.name: {
            int: st.integers(1, (1 << 63) - 1),
            str: st.text(),
            bytes: st.binary(),
            str | None: st.none() | st.text(),
            bytes | None: st.none() | st.binary().map(lambda part: b"insi-agent gcm/1" + part),  # as sealing.py marks
        }[field.type]
        for field in fields(Entry)
    },
)


@given(_ENTRIES)
def test_any_entry_is_one_line_and_comes_back(entry):
    line = line_of(entry)

    assert b"\n" not in line
    assert entry == entry_of(line)


@given(
    st.binary() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda it: json.dumps(it).encode())
)
def test_whatever_is_no_entry_is_refused(line):
    with pytest.raises(ValueError, match=r"."):
        entry_of(line)


@given(_ENTRIES, st.data())
def test_an_entry_with_another_member_or_one_of_another_type_is_refused(entry, data):
    members = json.loads(line_of(entry))
    name = data.draw(st.sampled_from(sorted(members)))
    wrong = data.draw(st.sampled_from([[], {}, 1.5, True, {"more": 1}, -1, 1 << 63, "é"]))
    for changed in (members | {name: wrong}, members | {"more": 1}, {n: v for n, v in members.items() if n != name}):
        try:
            read = entry_of(json.dumps(changed).encode())
        except ValueError:
            continue
        assert changed == json.loads(line_of(read))  # it was an entry after all


def test_lines_too_deep_or_with_a_number_too_long_are_refused():
    for line in (b"[" * 100_000, b'{"seq":' + b"9" * 10_000 + b"}"):
        with pytest.raises(ValueError, match=r"."):
            entry_of(line)


def test_the_same_entries_go_under_the_same_name_and_no_other_ones_do(tmp_path):
    entries, others = entries_of(tmp_path / "one"), entries_of(tmp_path / "other")

    assert file_name(entries) == file_name(list(entries))
    assert re.fullmatch(r"000000000001-000000000006-[0-9a-f]{16}\.jsonl", file_name(entries))
    assert file_name(entries) != file_name(others)  # of a journal that was begun anew


def test_a_target_tells_neither_path_nor_address():
    ships = [
        Ship(),
        Ship(to="folder", folder=Path("/partage/a")),
        Ship(to="folder", folder=Path("/partage/b")),
        Ship(to="syslog", syslog="tcp://journal.example:601"),
        Ship(to="syslog", syslog="tcp://journal.example:601", folder=Path("/partage/a"), max_message_bytes=4096),
    ]

    none, *targets = [target_of(ship) for ship in ships]

    assert none is None
    assert 3 == len(set(targets))
    assert targets[2] == targets[3]
    assert all(re.fullmatch("[0-9a-f]{16}", target or "") for target in targets)


# ---------------------------------------------------------------- the settings


@pytest.mark.parametrize(
    "wrong",
    [
        {"to": "folder"},
        {"to": "folder", "folder": "relative"},
        {"to": "syslog"},
        {"to": "syslog", "syslog": "udp://journal.example:514"},
        {"to": "syslog", "syslog": "tcp://journal.example"},
        {"to": "syslog", "syslog": "tcp://journal.example:0"},
        {"to": "syslog", "syslog": "tcp://journal.example:99999"},
        {"to": "syslog", "syslog": "tcp://somebody@journal.example:601"},
        {"to": "syslog", "syslog": "tcp://[::g]:601"},
        {"to": "syslog", "syslog": "tls://journal.example:6514"},
        {"to": "syslog", "syslog": "unix:dev/log"},
        {"to": "syslog", "syslog": "unix:/dev/log", "max_message_bytes": 1 << 17},
        {"to": "elsewhere"},
        {"max_message_bytes": 100},
    ],
)
def test_a_second_place_that_cannot_be_is_refused_by_name(wrong):
    with pytest.raises(AgentError) as refused:
        load([(Source.MACHINE, {"journal": {"ship": wrong}})])

    assert refused.value.code is Code.CONFIG_INVALID
    assert refused.value.facts["setting"].startswith("journal.ship")


@pytest.mark.parametrize(
    "right",
    [
        {},
        {"to": "folder", "folder": "/partage"},
        {"to": "syslog", "syslog": "tls://journal.example:6514", "anchors": ["/etc/ca.pem"]},
        {"to": "syslog", "syslog": "tcp://[::1]:601"},
        {"to": "syslog", "syslog": "unix:/dev/log"},
    ],
)
def test_a_second_place_is_none_a_folder_or_a_syslog(right):
    assert right.get("to", "none") == load([(Source.MACHINE, {"journal": {"ship": right}})]).settings.journal.ship.to


# ---------------------------------------------------------------- the journal's side


def test_what_is_not_there_yet_comes_oldest_first_and_once_marked_no_more(tmp_path):
    own = journal(tmp_path)
    assert (None, [], 0) == (own.shipped_to("a"), own.unshipped("a", 10), own.ship_backlog("a"))
    whole(own, "trace-1")
    whole(own, "trace-2")

    assert [1, 2, 3, 4] == [entry.seq for entry in own.unshipped("a", 4)]
    own.mark_shipped("a", 4)
    assert [5, 6] == [entry.seq for entry in own.unshipped("a", 4)]
    assert (4, 2) == (own.shipped_to("a"), own.ship_backlog("a"))
    own.close()

    own = journal(tmp_path)
    assert (4, 2) == (own.shipped_to("a"), own.ship_backlog("a"))
    own.close()


def test_another_target_begins_again_from_the_oldest_entry(tmp_path):
    own = journal(tmp_path)
    whole(own, "trace-1")
    own.mark_shipped("a", 3)

    assert (None, 3) == (own.shipped_to("b"), own.ship_backlog("b"))
    assert [1, 2, 3] == [entry.seq for entry in own.unshipped("b", 10)]
    assert [] == own.unshipped("a", 10)
    own.close()


def test_whether_something_is_not_there_yet_is_known_without_any_key_and_no_journal_is_made(tmp_path):
    def asked(*_: object) -> Any:
        raise AssertionError("a keyring was asked")

    def without() -> Journal:
        return Journal(tmp_path / "journal", sign=asked, verify=asked, keys=asked, max_reply_bytes=MAX_REPLY)

    assert not without().behind("a")
    assert not (tmp_path / "journal").exists()
    own = journal(tmp_path / "journal")
    assert not own.shipped_to("a")
    own.close()
    assert not without().behind("a")  # it has no entry

    own = journal(tmp_path / "journal")
    whole(own, "trace-1")
    for mark, seq in (("some", 2), ("all", 3), ("beyond", 4)):
        own.mark_shipped(mark, seq)
    here = own.behind("none"), own.behind("some"), own.behind("all"), own.behind("beyond")
    own.close()
    there = without().behind("none"), without().behind("some"), without().behind("all"), without().behind("beyond")

    assert (True, True, False, True) == here == there


def test_a_journal_that_has_left_is_not_taken_for_one_that_was_shipped(tmp_path):
    own = journal(tmp_path)
    whole(own, "trace-1")
    own.close()
    (tmp_path / "journal.sqlite").unlink()

    with pytest.raises(AgentError) as refused:
        own.behind("a")
    assert refused.value.code is Code.JOURNAL_UNAVAILABLE


def test_a_batch_of_large_entries_is_a_small_one_and_never_empty(tmp_path):
    own = journal(tmp_path, max_reply_bytes=8 << 20)
    for number in range(3):
        own.conclude(own.intend(intent(f"trace-{number}")), found(b"x" * (3 << 20)))

    sizes = []
    while entries := own.unshipped("a", 100):
        sizes.append(len(entries))
        own.mark_shipped("a", entries[-1].seq)

    assert [3, 2, 1] == sizes
    own.conclude(own.intend(intent("trace-4")), found(b"x" * (8 << 20)))
    own.mark_shipped("a", 7)
    assert [8] == [entry.seq for entry in own.unshipped("a", 100)]
    own.close()


def test_every_entry_is_told_once_it_is_written(tmp_path):
    told: list[str] = []
    own = Journal(
        tmp_path,
        sign=KEY.sign_bytes,
        verify=KEY.verify_bytes,
        keys=lambda: KEYS,
        max_reply_bytes=MAX_REPLY,
        appended=lambda: told.append("an entry"),
    )
    whole(own, "trace-1")
    own.mark_shipped("a", 3)

    assert ["an entry"] * 3 == told
    own.close()


# ---------------------------------------------------------------- a folder


def test_a_batch_is_one_file_in_this_installation_s_own_folder_for_its_user_alone(tmp_path):
    entries, share = entries_of(tmp_path / "journal"), tmp_path / "share"
    share.mkdir()

    FolderCarrier(share, INSTANCE).send(entries, beginning=True)

    (file,) = share.rglob("*.*")
    assert share / INSTANCE / file_name(entries) == file
    assert entries == [entry_of(line) for line in file.read_bytes().splitlines()]
    assert (0o700, 0o600) == (file.parent.stat().st_mode & 0o777, file.stat().st_mode & 0o777)


def test_the_same_entries_again_leave_one_file(tmp_path):
    entries = entries_of(tmp_path / "journal")
    for _ in range(2):
        FolderCarrier(tmp_path, INSTANCE).send(entries, beginning=True)

    assert [file_name(entries)] == [file.name for file in (tmp_path / INSTANCE).iterdir()]


def test_two_installations_share_a_folder(tmp_path):
    first, second = entries_of(tmp_path / "one"), entries_of(tmp_path / "other")
    FolderCarrier(tmp_path, "first").send(first, beginning=True)
    FolderCarrier(tmp_path, "second").send(second, beginning=True)

    assert ShippedVerdict(1, 6) == verify_shipped(folder_of(tmp_path, "first"), KEY.verify_bytes, first)
    assert ShippedVerdict(1, 6) == verify_shipped(folder_of(tmp_path, "second"), KEY.verify_bytes, second)


def test_what_a_kill_left_half_written_goes_with_the_next_batch(tmp_path):
    entries = entries_of(tmp_path / "journal")
    own = tmp_path / INSTANCE
    own.mkdir()
    (own / "entries-1234.new").write_bytes(line_of(entries[0])[:40])
    (own / "somebody-s.new").write_bytes(b"")

    FolderCarrier(tmp_path, INSTANCE).send(entries, beginning=False)

    assert {file_name(entries), "somebody-s.new"} == {file.name for file in own.iterdir()}


def test_where_another_account_put_a_link_in_our_folder_s_place_nothing_is_written_or_deleted(tmp_path):
    share, elsewhere = tmp_path / "share", tmp_path / "elsewhere"
    share.mkdir()
    elsewhere.mkdir()
    (elsewhere / "entries-1234.new").write_bytes(b"precious")
    (share / INSTANCE).symlink_to(elsewhere)

    why = refusal(FolderCarrier(share, INSTANCE).send, entries_of(tmp_path / "journal"), beginning=True)

    assert "a link or a file is in our folder's place" in str(why)
    assert ["entries-1234.new"] == [file.name for file in elsewhere.iterdir()]


def test_a_folder_that_another_account_made_for_us_takes_nothing(tmp_path):
    assert os.geteuid() == 0, "run as root: a folder of another account needs it"
    own = tmp_path / INSTANCE
    own.mkdir(mode=0o777)
    os.chown(own, 65534, 65534)

    why = refusal(FolderCarrier(tmp_path, INSTANCE).send, entries_of(tmp_path / "journal"), beginning=True)

    assert "our folder is another account's" in str(why)
    assert [] == list(own.iterdir())


def test_a_folder_that_is_not_there_is_not_made_nor_our_own_once_it_was_there(tmp_path):
    """A share that is not mounted: under its name is another disk."""
    entries = entries_of(tmp_path / "journal")
    assert "ENOENT" in str(refusal(FolderCarrier(tmp_path / "share", INSTANCE).send, entries, beginning=True))
    assert not (tmp_path / "share").exists()

    (tmp_path / "share").mkdir()
    assert "ENOENT" in str(refusal(FolderCarrier(tmp_path / "share", INSTANCE).send, entries, beginning=False))
    assert [] == list((tmp_path / "share").iterdir())


def test_a_file_in_the_folder_s_place_is_refused(tmp_path):
    (tmp_path / INSTANCE).write_bytes(b"")

    why = refusal(carrier_to(str(tmp_path)).send, entries_of(tmp_path / "j"), beginning=True)

    assert "a link or a file is in our folder's place" in str(why)


def test_on_full_and_read_only_disks_nothing_is_half_there_and_no_outcome_loses_its_room(tmp_path):
    """On real file systems, mounted where only the child sees them."""
    run = with_own_mounts("-m", "tests.journal.full_share", str(tmp_path))
    assert 0 == run.returncode, f"needs a mount namespace: {run.stderr}"

    assert {
        "share full": "journal.notShipped: OSError: ENOSPC",
        "left on the full share": [],
        "share read-only": "journal.notShipped: OSError: EROFS",
        "share gone": "journal.notShipped: FileNotFoundError: ENOENT",
        "share again": "done",
        "marks on the journal's full disk": ["done"] * 500,
        "outcomes on the journal's full disk": ["done"] * 3,
        "copy": "entire",
    } == json.loads(run.stdout)


# ---------------------------------------------------------------- a syslog server


@cache
def authority() -> Issued:
    return make_ca()


@cache
def server() -> Issued:
    return issue_server(authority())


def to(where: Receiver | int, *, tls: bool = False, name: str = "127.0.0.1", **how: Any) -> SyslogCarrier:
    port = where if isinstance(where, int) else where.port
    known = {"instance_id": INSTANCE, "simulated": False, "max_message_bytes": 8192}
    given = {"anchors": lambda: authority().pem, **known, **how}
    return SyslogCarrier(f"{'tls' if tls else 'tcp'}://{name}:{port}", **given)


@pytest.mark.parametrize("version", [None, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_gets_a_message_of_rfc_5424_for_each_entry(tmp_path, version):
    entries = entries_of(tmp_path)
    with receiver(shows=server() if version else None, version=version) as here:
        to(here, tls=version is not None).send(entries, beginning=True)
        arrived = [MESSAGE.fullmatch(message) for message in here.messages]

    assert entries == [entry_of(message["message"]) for message in arrived]
    assert {(b"110", b"insi-agent", b"-", b"journal", INSTANCE.encode(), b"false")} == {
        message.group("priority", "app", "process", "id", "instance", "simulated") for message in arrived
    }
    assert [(b"%d" % entry.seq, entry.kind.encode(), entry.at.encode()) for entry in entries] == [
        message.group("seq", "kind", "at") for message in arrived
    ]


def test_a_personal_part_too_large_for_a_message_is_left_out_and_that_is_said(tmp_path):
    own = journal(tmp_path)
    own.conclude(own.intend(intent()), found(b"x" * 3000))
    own.close()
    entries = all_of(tmp_path)
    large, small = entries[1], entries[0]

    message = message_of(large)
    told = json.loads(MESSAGE.fullmatch(message)["message"])

    assert len(message) <= 4096
    assert (True, None, large.personal_sha256) == (told["personalLeftOut"], told["personal"], told["personalSha256"])
    assert replace(large, personal=None) == entry_of(json.dumps(told).encode())
    assert b"personalLeftOut" not in message_of(small)


def message_of(entry: Entry) -> bytes:
    return syslog_message(entry, host="poste", instance_id=INSTANCE, simulated=False, max_bytes=4096)


def test_how_many_personal_parts_stayed_here_is_in_the_log_once_the_rest_has_gone(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    own = journal(tmp_path)
    for number in range(2):
        own.conclude(own.intend(intent(f"trace-{number}")), found(b"x" * 3000))
    own.close()
    with receiver() as here:
        to(here, max_message_bytes=4096).send(all_of(tmp_path), beginning=True)
        to(here, max_message_bytes=8192).send(all_of(tmp_path), beginning=False)
    refusal(to(here, max_message_bytes=4096).send, all_of(tmp_path), beginning=False)

    assert ["journal: 2 personal parts stayed here: journal.ship.max_message_bytes is 4096"] == [
        record.getMessage() for record in caplog.records if "stayed here" in record.getMessage()
    ]


@pytest.mark.parametrize("environment", ["simulated", "test", "production"])
def test_a_server_is_told_which_entries_are_the_simulator_s(tmp_path, environment):
    with receiver() as here:
        syslog = f"tcp://127.0.0.1:{here.port}"
        settings = {"environment": environment, "journal": {"ship": {"to": "syslog", "syslog": syslog}}}
        ship_carrier(Settings.model_validate(settings), INSTANCE).send(entries_of(tmp_path), beginning=True)
        arrived = [MESSAGE.fullmatch(message) for message in here.messages]

    assert {b"true" if environment == "simulated" else b"false"} == {message["simulated"] for message in arrived}


@given(_ENTRIES, st.text(), st.integers(0, 4096))
def test_any_entry_and_any_name_of_a_machine_make_a_message(entry, host, max_bytes):
    message = syslog_message(entry, host=host, instance_id=INSTANCE, simulated=False, max_bytes=max_bytes)

    read = MESSAGE.fullmatch(message)
    assert read is not None
    assert replace(entry, personal=None) == replace(entry_of(read["message"]), personal=None)
    assert [message, message] == messages_in(framed(message) * 2 + framed(message)[:-1])


def test_a_stranger_s_server_gets_nothing(tmp_path):
    with receiver(shows=issue_server(make_ca("AC d'un autre"))) as here:
        why = refusal(to(here, tls=True).send, entries_of(tmp_path), beginning=True)

    assert "unable to get local issuer certificate" in str(why)
    assert [] == here.messages


def test_a_server_of_another_name_gets_nothing(tmp_path):
    with receiver(shows=issue_server(authority(), names=["autre.example"], addresses=[])) as here:
        why = refusal(to(here, tls=True).send, entries_of(tmp_path), beginning=True)

    assert "IP address mismatch" in str(why)
    assert [] == here.messages


@pytest.mark.parametrize("anchors", [b"", b"no certificate"])
def test_without_a_readable_authority_nobody_is_believed(tmp_path, anchors):
    with receiver(shows=server()) as here:
        refusal(to(here, tls=True, anchors=lambda: anchors).send, entries_of(tmp_path), beginning=True)

    assert [] == here.messages


def test_nobody_there_is_a_failure(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]

    assert "ECONNREFUSED" in str(refusal(to(port).send, entries_of(tmp_path), beginning=True))


def closes_after(octets: int) -> Callable[[socket.socket, Callable[[bytes], None]], None]:
    def serve(connection: socket.socket, keep: Callable[[bytes], None]) -> None:
        left = octets
        while left and (came := connection.recv(left)):
            keep(came)
            left -= len(came)

    return serve


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("octets", [0, 1, 100, 20_000])
def test_a_server_that_closes_in_the_middle_has_not_taken_the_batch(tmp_path, tls, octets):
    """Also where it closes in good order, before what was written last has come."""
    entries = entries_of(tmp_path, operations=20)
    with receiver(shows=server() if tls else None, serve=closes_after(octets)) as here:
        for _ in range(10):
            refusal(to(here, tls=tls).send, entries, beginning=True)


@pytest.mark.parametrize("tls", [False, True])
def test_a_server_that_never_reads_is_given_up(tmp_path, tls):
    entries = entries_of(tmp_path) * 2000
    gone = threading.Event()
    try:
        with receiver(shows=server() if tls else None, serve=lambda *_: bool(gone.wait(60))) as here:
            why = refusal(to(here, tls=tls, send_s=0.5).send, entries, beginning=True)
            gone.set()
    finally:
        gone.set()

    assert "TimeoutError" in str(why)


def test_a_server_that_reads_and_never_closes_is_given_up(tmp_path):
    gone = threading.Event()

    def serve(connection: socket.socket, keep: Callable[[bytes], None]) -> None:
        keep(connection.recv(1 << 16))
        gone.wait(60)

    with receiver(serve=serve) as here:
        why = refusal(to(here, send_s=0.5).send, entries_of(tmp_path), beginning=True)
        gone.set()

    assert "TimeoutError" in str(why)


def test_a_socket_of_this_machine_gets_a_datagram_for_each_entry(tmp_path):
    entries = entries_of(tmp_path / "journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as local:
        local.bind(str(tmp_path / "log"))
        carrier = SyslogCarrier(
            f"unix:{tmp_path}/log",
            anchors=bytes,
            instance_id=INSTANCE,
            simulated=False,
            max_message_bytes=8192,
            send_s=0.5,
        )
        carrier.send(entries, beginning=True)
        arrived = [local.recv(1 << 16) for _ in entries]
        why = refusal(carrier.send, entries * 2000, beginning=True)  # nobody reads

    assert entries == [entry_of(MESSAGE.fullmatch(message)["message"]) for message in arrived]
    assert "TimeoutError" in str(why)
    assert "ECONNREFUSED" in str(refusal(carrier.send, entries, beginning=True))
    (tmp_path / "log").unlink()
    assert "ENOENT" in str(refusal(carrier.send, entries, beginning=True))


# ---------------------------------------------------------------- a kill


_WRITES = "mkdir,fsync,fdatasync,rename,pwrite64,unlink"


def traced(folder: Path, *inject: str) -> tuple[int, list[str]]:
    """Ship what is in this folder with strace looking on: the status, and the names of the calls that write."""
    log = folder / "strace"
    command = ["strace", "-qq", "-o", str(log), "-e", f"trace={_WRITES}", *inject]
    child = [sys.executable, "-B", "-m", "tests.journal.shipper", str(folder / "journal"), str(folder / "share")]
    done = subprocess.run([*command, *child], cwd=ROOT, check=False)
    return done.returncode, [line.partition("(")[0] for line in log.read_text().splitlines() if "(" in line]


def test_kill_9_at_each_call_that_writes_leaves_nothing_out_of_the_copy(tmp_path):
    """Whatever was marked is there; what was not is sent again, under the same name."""
    base = tmp_path / "base"
    entries = entries_of(base / "journal")
    (base / "share").mkdir()
    shutil.copytree(base, tmp_path / "whole")
    status, calls = traced(tmp_path / "whole")
    assert 0 == status
    assert {"mkdir", "fsync", "fdatasync", "rename", "pwrite64"} <= set(calls)
    points = [(call, when) for call in sorted(set(calls)) for when in range(1, calls.count(call) + 1)]

    reached = []
    for number, (call, when) in enumerate(points):
        here = tmp_path / str(number)
        shutil.copytree(base, here)
        status, _ = traced(here, "-e", f"inject={call}:signal=KILL:when={when}")
        assert -signal.SIGKILL == status
        own, copy = journal(here / "journal"), here / "share" / INSTANCE
        reached.append(own.shipped_to(TARGET) or 0)
        if reached[-1]:
            assert reached[-1] == verify_shipped(copy, KEY.verify_bytes, entries).last
        ship(own, carrier_to(str(here / "share")))
        own.close()

        assert ShippedVerdict(1, 6) == verify_shipped(copy, KEY.verify_bytes, entries)
        assert [file_name(entries)] == [file.name for file in copy.iterdir()]
    assert {0, 6} == set(reached)  # some before the mark, some after


def test_kill_9_at_random_while_it_writes_and_ships_leaves_nothing_out_at_a_server(tmp_path):
    chance = random.Random(6)  # noqa: S311  (where to kill)
    with receiver() as here:
        where = f"tcp://127.0.0.1:{here.port}"
        for _ in range(6):
            child = subprocess.Popen(
                [sys.executable, "-m", "tests.journal.shipper", str(tmp_path), where, "1000"],
                cwd=ROOT,
                stdout=subprocess.PIPE,
            )
            assert child.stdout
            marked = [child.stdout.readline() for _ in range(chance.randrange(1, 12))]
            child.kill()
            marked += child.stdout.readlines()
            assert -signal.SIGKILL == child.wait()
            child.stdout.close()

            arrived = {entry_of(MESSAGE.fullmatch(message)["message"]).seq for message in here.messages}
            assert set(range(1, int(marked[-1]) + 1)) <= arrived
        own = journal(tmp_path)
        ship(own, carrier_to(where))
        own.close()
        arrived = {entry_of(MESSAGE.fullmatch(message)["message"]) for message in here.messages}

    assert set(all_of(tmp_path)) == arrived


# ---------------------------------------------------------------- what it shows


class Workplace:
    """A journal with its second copy."""

    def __init__(self, folder: Path) -> None:
        self.journal, self.share, self.before = folder / "journal", folder / "share", folder / "before"
        self.share.mkdir()
        self.copy = self.share / INSTANCE

    def write(self, *traces: str, ships: bool = True) -> None:
        own = journal(self.journal)
        for trace in traces:
            whole(own, trace)
        if ships:
            ship(own, carrier_to(str(self.share)), limit=3)
        own.close()

    def save(self) -> None:
        shutil.copytree(self.journal, self.before)

    def put_back(self) -> None:
        """The journal of then, with its head and its marks."""
        shutil.rmtree(self.journal)
        shutil.copytree(self.before, self.journal)

    def verdict(self) -> ShippedVerdict:
        local = all_of(self.journal) if self.journal.exists() else []
        return verify_shipped(self.copy, KEY.verify_bytes, local)

    def fault(self) -> tuple[ShippedFaultKind, int]:
        found = self.verdict().fault
        assert found and found.file.endswith(".jsonl")
        return found.kind, found.seq

    @property
    def files(self) -> list[Path]:
        return sorted(self.copy.iterdir())


@pytest.fixture
def here(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


def test_a_copy_is_entire_and_what_is_still_to_come_is_told(here):
    here.write("trace-1", "trace-2")
    here.write("trace-3", ships=False)

    assert ShippedVerdict(1, 6, to_come=3) == here.verdict()
    assert in_words(here.verdict()) == (
        "Seconde copie : entière de l'écriture 1 à la 6, conforme au journal ; 3 plus récentes n'y sont pas encore."
    )


def test_a_journal_that_was_put_back_with_its_head_is_found_although_its_own_chain_holds(here):
    here.write("trace-1")
    here.save()
    here.write("trace-2")
    here.put_back()

    own = journal(here.journal)
    assert own.verify().fault is None
    own.close()
    assert (ShippedFaultKind.BEHIND, 4) == here.fault()
    assert "l'écriture 4, le journal de ce poste s'arrête avant" in in_words(here.verdict())


def test_one_that_was_put_back_and_went_on_is_found_before_it_ships(here):
    here.write("trace-1")
    here.save()
    here.write("trace-2", "trace-3")
    here.put_back()
    here.write("other-2", ships=False)

    assert (ShippedFaultKind.DIFFERENT, 4) == here.fault()
    assert "l'écriture 4 de la copie" in in_words(here.verdict())


def test_one_that_was_put_back_and_shipped_on_leaves_both_in_the_copy(here):
    """Neither overwrites the other: the proof stays."""
    here.write("trace-1")
    here.save()
    here.write("trace-2")
    here.put_back()
    here.write("other-2", "other-3")

    kind, seq = here.fault()
    assert seq == 4
    assert kind in {ShippedFaultKind.FORKED, ShippedFaultKind.DIFFERENT}  # whichever of the two is read first
    assert 4 == len(here.files)


def test_two_entries_of_one_number_are_a_fork_wherever_the_journal_is(here):
    here.write("trace-1", "trace-2")
    here.save()
    shutil.rmtree(here.journal)
    here.write("other-1", "other-2", "other-3")

    verdicts = [
        verify_shipped(here.copy, KEY.verify_bytes, local) for local in (all_of(here.journal), all_of(here.before))
    ]

    assert {1} == {verdict.fault.seq for verdict in verdicts if verdict.fault}
    assert ShippedFaultKind.FORKED in {verdict.fault.kind for verdict in verdicts if verdict.fault}
    assert any("deux écritures 1, signées par ce poste" in in_words(verdict) for verdict in verdicts)


def test_a_journal_that_was_deleted_or_begun_anew_is_found(here):
    here.write("trace-1")
    shutil.rmtree(here.journal)
    assert (ShippedFaultKind.BEHIND, 1) == here.fault()

    here.write("other-1", ships=False)
    assert (ShippedFaultKind.DIFFERENT, 1) == here.fault()


def test_entries_that_came_twice_in_other_batches_are_no_fault(here):
    here.write("trace-1", "trace-2")
    entries = all_of(here.journal)
    FolderCarrier(here.share, INSTANCE).send(entries[1:5], beginning=False)
    FolderCarrier(here.share, INSTANCE).send(entries, beginning=False)

    assert 4 == len(here.files)
    assert ShippedVerdict(1, 6) == here.verdict()


def test_the_owner_of_a_copy_may_erase_its_oldest_files_and_personal_parts(here):
    here.write("trace-1", "trace-2", "trace-3")
    here.files[0].unlink()
    entries = [entry_of(line) for line in here.files[0].read_bytes().splitlines()]
    here.files[0].write_bytes(b"".join(line_of(replace(entry, personal=None)) + b"\n" for entry in entries))

    assert ShippedVerdict(4, 9) == here.verdict()


def test_a_journal_whose_oldest_entries_left_by_rule_is_held_against_the_rest(here):
    here.write("trace-1", "trace-2")

    assert ShippedVerdict(1, 6) == verify_shipped(here.copy, KEY.verify_bytes, all_of(here.journal)[4:])


def test_a_file_that_is_gone_from_the_middle_is_missed(here):
    here.write("trace-1", "trace-2", "trace-3")
    here.files[1].unlink()

    assert (ShippedFaultKind.MISSING, 4) == here.fault()
    assert "l'écriture 4 manque dans la copie" in in_words(here.verdict())


def rewritten(file: Path, at: int, **changed: Any) -> None:
    """What somebody can do who may write there, and has not the key."""
    entries = [entry_of(line) for line in file.read_bytes().splitlines()]
    entries = [replace(entry, **changed) if entry.seq == at else entry for entry in entries]
    file.write_bytes(b"".join(line_of(entry) + b"\n" for entry in entries))


@pytest.mark.parametrize(
    "changed",
    [
        {"clear": b"{}"},
        {"clear": b"{}", "clear_sha256": sha256(b"{}")},
        {"origin": "https://autre.example"},
        {"personal": b"insi-agent gcm/1 other"},
        {"personal": None, "personal_sha256": None},
        {"signature": b"\0" * 64},
        {"previous": "0" * 64},
        {"link": "0" * 64},
        {"seq": 7},
    ],
)
def test_a_changed_entry_of_the_copy_is_found_in_its_file(here, changed):
    here.write("trace-1", "trace-2")
    rewritten(here.files[1], 5, **changed)

    assert ShippedFault(ShippedFaultKind.CHANGED, changed.get("seq", 5), here.files[1].name) == here.verdict().fault
    assert f"l'écriture {changed.get('seq', 5)} n'est pas telle que ce poste l'a signée" in in_words(here.verdict())


def test_a_line_that_is_no_entry_is_found_in_its_file(here):
    here.write("trace-1", "trace-2")
    whole_file = here.files[1].read_bytes()
    for content in (whole_file[:-200], b"\n" + whole_file, b"", b"{}\n"):
        here.files[1].write_bytes(content)
        found = here.verdict().fault if content else here.verdict()

        if content:
            assert (ShippedFaultKind.UNREADABLE, here.files[1].name) == (found.kind, found.file)
            assert "une ligne n'est pas une écriture" in in_words(here.verdict())
        else:
            assert ShippedVerdict(1, 3, to_come=3) == found


@given(lines=st.lists(st.binary(max_size=40) | st.sampled_from(range(6)), max_size=8))
def test_whatever_lies_in_a_copy_gets_a_verdict(tmp_path_factory, lines):
    folder = tmp_path_factory.mktemp("copy")
    entries = _six()
    content = b"\n".join(line_of(entries[line]) if isinstance(line, int) else line for line in lines)
    (folder / "a.jsonl").write_bytes(content)
    (folder / "b.jsonl").write_bytes(content[::-1])

    verdict = verify_shipped(folder, KEY.verify_bytes, entries)

    assert in_words(verdict).startswith("Seconde copie : ")
    assert verdict.last <= 6


@cache
def _six() -> Sequence[Entry]:
    with tempfile.TemporaryDirectory() as folder:
        return entries_of(Path(folder))


def test_a_copy_that_is_not_there_is_said_and_an_empty_one_is_empty(tmp_path):
    with pytest.raises(AgentError) as refused:
        verify_shipped(tmp_path / "nowhere", KEY.verify_bytes, [])
    assert refused.value.code is Code.JOURNAL_UNAVAILABLE

    assert "Seconde copie : aucune écriture." == in_words(verify_shipped(tmp_path, KEY.verify_bytes, _six()))
    assert 6 == verify_shipped(tmp_path, KEY.verify_bytes, _six()).to_come


# ---------------------------------------------------------------- the command


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    """A simulated installation that has shipped two operations, and the folder that it shares."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    here = Installed(tmp_path)
    here.fill(2)
    (tmp_path / "share").mkdir()
    shared(here, tmp_path / "share")
    return here


def shared(here: Installed, share: Path) -> None:
    with here.agent() as own:
        ship(own, FolderCarrier(share, instance_id(here.places.data)))


def test_the_command_holds_a_journal_against_its_second_copy(installed, tmp_path, capsys):
    share = str(tmp_path / "share")
    assert 0 == main(["journal", "verify", "--simulated", "--shipped", share])
    assert "Seconde copie : entière de l'écriture 1 à la 6, conforme au journal." in capsys.readouterr().out
    noted, before = installed.places.noted_head, installed.places.noted_head.read_bytes()
    shutil.copytree(installed.journal, tmp_path / "before")
    installed.fill(1)
    shared(installed, tmp_path / "share")
    shutil.rmtree(installed.journal)
    shutil.copytree(tmp_path / "before", installed.journal)
    noted.write_bytes(before)

    assert 0 == main(["journal", "verify", "--simulated"])  # its own chain holds
    assert 3 == main(["journal", "verify", "--simulated", "--shipped", share])
    assert "la copie a l'écriture 7, le journal de ce poste s'arrête avant" in capsys.readouterr().out
    assert 3 == main(["journal", "verify", "--simulated", "--json", "--shipped", share])
    told = json.loads(capsys.readouterr().out)
    assert (True, "behind", 7) == (told["whole"], told["shipped"]["fault"]["kind"], told["shipped"]["fault"]["seq"])

    shutil.rmtree(installed.journal)
    assert 3 == main(["journal", "verify", "--simulated", "--shipped", share])
    said = capsys.readouterr().out
    assert "Journal ROMPU à l'écriture 1 : " in said  # as is remembered outside its folder
    assert "la copie a l'écriture 1, le journal de ce poste s'arrête avant" in said
    noted.unlink()
    assert 3 == main(["journal", "verify", "--simulated", "--shipped", share])
    assert "la copie a l'écriture 1, le journal de ce poste s'arrête avant" in capsys.readouterr().out


def test_a_second_copy_that_cannot_be_looked_at_is_said(installed, tmp_path, capsys):
    assert 1 == main(["journal", "verify", "--simulated", "--shipped", str(tmp_path / "nowhere")])
    assert "journal.unavailable" in capsys.readouterr().err


def test_a_mark_beyond_the_end_is_none(tmp_path):
    """Whoever may write the file would otherwise keep later entries from the copy."""
    own = journal(tmp_path)
    whole(own, "trace-1")
    own.mark_shipped("a", 3)
    for mark in (4, 1 << 40):
        own.mark_shipped("a", mark)

        assert (None, [1, 2, 3]) == (own.shipped_to("a"), [entry.seq for entry in own.unshipped("a", 10)])
    own.close()
