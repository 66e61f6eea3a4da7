"""Who is at the other end: a second real user of this machine, real processes, real sockets."""

import os
import pwd
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import LocalProxy
from agent.peers import (
    Link,
    SocketRow,
    ask_kernel,
    is_foreign,
    is_welcome,
    kernel_answers,
    parse_answer,
    parse_table,
    processes,
    read_table,
)
from tests.parts.knocker import NOBODY, Knocker

LINK = Link(("127.0.0.1", 40000), ("127.0.0.1", 19847))
BOTH = pytest.mark.parametrize("look", [ask_kernel, read_table])
Look = Callable[[Link], SocketRow | None]


@contextmanager
def listening(host: str = "127.0.0.1") -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.bind((host, 0))
        listener.listen()
        yield listener


def accepted(listener: socket.socket) -> tuple[socket.socket, Link]:
    one, theirs = listener.accept()
    return one, Link(theirs[:2], one.getsockname()[:2])


@BOTH
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_socket_of_a_peer_is_found_with_its_account(look: Look, host: str) -> None:
    with (
        listening(host) as door,
        socket.create_connection(door.getsockname()[:2]) as peer,
        Knocker(door.getsockname()[1], uid=NOBODY, host=host),
    ):
        own, own_link = accepted(door)
        other, other_link = accepted(door)

        assert look(own_link) == SocketRow(os.geteuid(), os.fstat(peer.fileno()).st_ino)
        found = look(other_link)
        assert found is not None and found.uid == NOBODY
        own.close()
        other.close()


@BOTH
def test_an_ipv4_peer_on_an_ipv6_socket_is_found(look: Look) -> None:
    with listening() as door, socket.socket(socket.AF_INET6) as peer:
        peer.connect(("::ffff:127.0.0.1", door.getsockname()[1]))
        one, link = accepted(door)

        found = look(link)
        assert found is not None and found.inode == os.fstat(peer.fileno()).st_ino
        one.close()


@BOTH
def test_a_socket_that_its_program_has_closed_is_nobodys(look: Look) -> None:
    """The kernel says account 0 of it: who sends a request and closes at once must not pass for root."""
    with listening() as door:
        peers = [socket.create_connection(door.getsockname()) for _ in range(2)]
        both = [accepted(door) for _ in peers]
        peers[0].close()
        peers[1].shutdown(socket.SHUT_WR)

        assert [look(link) for _, link in both] == [None, None]
        assert not any(is_welcome(link, [LocalProxy(account="root")]) for _, link in both)
        for one, _ in both:
            one.close()
        peers[1].close()


def test_this_kernel_is_asked_rather_than_its_whole_table() -> None:
    assert kernel_answers()


@BOTH
def test_a_link_of_nobody_is_not_found(look: Look) -> None:
    assert look(Link(("127.0.0.1", 1), ("127.0.0.1", 2))) is None


def test_another_users_program_is_refused_and_our_own_is_welcome() -> None:
    with listening() as door, Knocker(door.getsockname()[1], uid=NOBODY):
        other, link = accepted(door)
        assert not is_welcome(link, [])
        other.close()
    with listening() as door, Knocker(door.getsockname()[1]):
        own, link = accepted(door)
        assert is_welcome(link, [])
        own.close()


def test_an_account_that_is_not_welcome_is_seen_at_a_glance_and_one_that_may_be_is_not_foreign() -> None:
    nobody = pwd.getpwuid(NOBODY).pw_name
    rows = {
        (): True,
        (LocalProxy(account="daemon"),): True,
        (LocalProxy(account=nobody),): False,
        (LocalProxy(account=nobody, program=Path("/usr/bin/antivirus")),): False,  # `is_welcome` looks which it is
    }
    with listening() as door, Knocker(door.getsockname()[1], uid=NOBODY), Knocker(door.getsockname()[1]):
        links = dict(reversed(accepted(door)) for _ in range(2))
        assert sorted(is_foreign(link, []) for link in links) == [False, True]
        (other,) = (link for link in links if is_foreign(link, []))
        assert {row: is_foreign(other, row) for row in rows} == rows
        for one in links.values():
            one.close()


def test_a_program_of_an_accepted_account_is_welcome_if_it_is_the_named_one() -> None:
    """Root sees which program it is; an ordinary user does not, and the account alone decides."""
    nobody, itself = pwd.getpwuid(NOBODY).pw_name, Path(sys.executable).resolve()
    rows = {
        (LocalProxy(account=nobody),): True,
        (LocalProxy(account=nobody, program=itself),): True,
        (LocalProxy(account=nobody, program=Path("/usr/bin/antivirus")),): False,
        (LocalProxy(account=nobody, program=Path("/usr/bin/antivirus")), LocalProxy(account=nobody)): True,
        (LocalProxy(account="daemon"),): False,
    }
    with listening() as door, Knocker(door.getsockname()[1], uid=NOBODY):
        other, link = accepted(door)
        assert {row: is_welcome(link, row) for row in rows} == rows
        other.close()


def test_an_ordinary_user_sees_no_program_of_another_account_so_that_the_account_decides() -> None:
    """Asked in a child that is nobody; the peer is ours, root's."""
    script = """
import os, pwd, sys
from pathlib import Path
from agent.config import LocalProxy
from agent.peers import Link, is_welcome, processes

link = Link(("127.0.0.1", int(sys.argv[1])), ("127.0.0.1", int(sys.argv[2])))
row = LocalProxy(account="root", program=Path("/usr/bin/antivirus"))
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
print(is_welcome(link, []), is_welcome(link, [row]), processes([link]))
"""
    assert os.geteuid() == 0, "a second user needs root: run these tests as root"
    with listening() as door, socket.create_connection(door.getsockname()):
        one, link = accepted(door)
        said = subprocess.run(
            [sys.executable, "-c", script, str(link.theirs[1]), str(link.ours[1])],
            capture_output=True,
            text=True,
            check=True,
        )
        one.close()
    assert said.stdout.split() == ["False", "True", "{}"]


def test_the_process_of_each_connection_is_found_in_one_look() -> None:
    with listening() as door, socket.create_connection(door.getsockname()):
        own, own_link = accepted(door)
        with Knocker(door.getsockname()[1], count=2) as other:
            theirs = [accepted(door) for _ in range(2)]
            unknown = Link(("127.0.0.1", 1), ("127.0.0.1", 2))

            found = processes([own_link, unknown, *(link for _, link in theirs)])

            assert found == {own_link: os.getpid(), **{link: other.pid for _, link in theirs}}
            for one in (own, *(one for one, _ in theirs)):
                one.close()


@given(st.binary(max_size=200))
def test_any_answer_of_the_kernel_is_a_row_or_none(answer: bytes) -> None:
    found = parse_answer(answer, LINK)
    assert found is None or found.inode > 0


@given(st.binary(max_size=100), st.booleans())
def test_any_table_is_a_row_or_none(rest: bytes, mapped: bool) -> None:
    head = "0000000000000000FFFF0000" if mapped else ""
    line = f"  7: {head}0100007F:9C40 {head}0100007F:4D87 01 ".encode()
    good = line + b"00000000:00000000 00:00000000 00000000  1000        0 77 1 0\n"

    assert parse_table(good, LINK, mapped=mapped) == SocketRow(1000, 77)
    assert parse_table(good, LINK, mapped=not mapped) is None
    found = parse_table(line + rest, LINK, mapped=mapped)
    assert found is None or found.inode > 0
