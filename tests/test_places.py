"""Folders and the small files in them are this user's alone."""

import os
import re
import stat
import subprocess
import sys
import uuid
from dataclasses import fields
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import AgentError, Code
from agent.places import (
    Places,
    announce,
    claim,
    find_running,
    instance_id,
    keep_names,
    one_at_a_time,
    private_folder,
    withdraw,
    write_private,
)


def test_the_simulator_has_nothing_of_the_real_agent(tmp_path):
    real, simulated = Places.real(), Places.simulated(tmp_path)

    for place in fields(Places):
        assert (tmp_path / "simulator") in getattr(simulated, place.name).parents
        assert getattr(real, place.name) != getattr(simulated, place.name)


def test_the_journal_goes_where_the_setting_says(tmp_path):
    assert tmp_path == Places.real(tmp_path).journal


def test_folders_are_made_for_this_user_alone_even_where_they_were_open(tmp_path):
    (tmp_path / "simulator").mkdir()
    (tmp_path / "simulator" / "log").mkdir(mode=0o755)

    places = Places.simulated(tmp_path).create()

    assert {0o700} == {stat.S_IMODE(getattr(places, place.name).stat().st_mode) for place in fields(Places)}


def test_a_folder_that_is_a_link_laid_by_somebody_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "runtime").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(AgentError) as refused:
        private_folder(tmp_path / "runtime")

    assert Code.CONFIG_INVALID == refused.value.code


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(AgentError) as refused:
        private_folder(tmp_path / "file" / "below")

    assert (Code.CONFIG_INVALID, str(tmp_path / "file" / "below")) == (
        refused.value.code,
        refused.value.facts["setting"],
    )


def test_the_instance_id_is_a_uuid_made_once(tmp_path):
    first = instance_id(tmp_path)

    assert first == str(uuid.UUID(first))
    assert first == instance_id(tmp_path)
    assert 0o600 == stat.S_IMODE((tmp_path / "instance-id").stat().st_mode)


def test_an_instance_id_half_written_is_made_again(tmp_path):
    (tmp_path / "instance-id").write_text("1234-")

    made = instance_id(tmp_path)

    assert made == str(uuid.UUID(made)) == instance_id(tmp_path)


def test_a_native_client_finds_the_running_agent_and_nobody_else_does(tmp_path):
    running = announce(tmp_path, 19847)

    assert running == find_running(tmp_path)
    assert 0o600 == stat.S_IMODE((tmp_path / "agent.json").stat().st_mode)
    assert running.token not in repr(running)
    withdraw(tmp_path, running)
    assert find_running(tmp_path) is None


def test_one_agent_at_a_time_by_a_file_of_this_user_alone(tmp_path):
    umask = os.umask(0)
    try:
        release = claim(tmp_path)
    finally:
        os.umask(umask)
    with pytest.raises(AgentError) as refused:
        claim(tmp_path)
    release()

    assert Code.AGENT_RUNNING == refused.value.code
    assert 0o600 == stat.S_IMODE((tmp_path / "agent.lock").stat().st_mode)
    claim(tmp_path)()


def test_one_program_at_a_time_does_what_must_be_done_once(tmp_path):
    """Whoever comes while another one is at it waits: what they do never interleaves."""
    order: list[str] = []

    def take_turn(name: str) -> None:
        with one_at_a_time(tmp_path / "turn.lock"):
            order.append(name)
            assert 0o600 == stat.S_IMODE((tmp_path / "turn.lock").stat().st_mode)
            order.append(name)

    with one_at_a_time(tmp_path / "turn.lock"):
        others = [Thread(target=take_turn, args=(name,)) for name in "abc"]
        for other in others:
            other.start()
        assert order == []
    for other in others:
        other.join()

    assert order[::2] == order[1::2]
    assert sorted(order) == list("aabbcc")


def test_each_start_has_its_own_token(tmp_path):
    assert announce(tmp_path, 1).token != announce(tmp_path, 1).token


def test_an_agent_leaves_the_file_of_the_one_that_came_after(tmp_path):
    first = announce(tmp_path, 19847)
    second = announce(tmp_path, 19848)

    withdraw(tmp_path, first)

    assert second == find_running(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary() | st.sampled_from([b"[" * 100_000, b'{"port": Infinity, "token": "", "pid": 1}', b"null"]))
def test_whatever_agent_json_holds_nothing_runs(tmp_path, content):
    (tmp_path / "agent.json").write_bytes(content)

    assert find_running(tmp_path) is None


def test_a_private_file_is_replaced_whole_and_leaves_nothing_behind(tmp_path):
    write_private(tmp_path / "file", b"one")
    write_private(tmp_path / "file", b"two")

    assert ["file"] == [file.name for file in tmp_path.iterdir()]
    assert b"two" == (tmp_path / "file").read_bytes()


@pytest.mark.parametrize(
    "act",
    [
        "from agent.places import write_private; write_private(file, b'one')",
        "from agent.machine_secret import enrol; enrol(file, group='staff', rotate=False)",  # as root
    ],
)
def test_a_file_that_was_replaced_keeps_its_name_through_a_power_cut(tmp_path, act):
    """fsync(2): that of a file does not bring the entry of its folder to the disk."""
    file, trace = tmp_path / "folder" / "file", tmp_path / "trace"
    file.parent.mkdir()
    script = f"from pathlib import Path; file = Path({str(file)!r}); {act}"
    calls = "trace=rename,renameat,renameat2,fsync"
    command = ["strace", "-qq", "-y", "-o", str(trace), "-e", calls, sys.executable, "-B", "-c", script]
    subprocess.run(command, cwd=Path(__file__).parents[1], check=True)

    done = [line for line in trace.read_text().splitlines() if str(file.parent) in line]
    assert ["fsync", "rename", "fsync"] == [line.partition("(")[0] for line in done]
    assert re.search(rf"<{re.escape(str(file.parent))}>\)", done[-1])


def test_a_file_system_that_cannot_keep_names_is_no_failure():
    """fsync(2), EINVAL, which procfs answers; any other failure counts."""
    keep_names(Path("/proc"))

    with pytest.raises(FileNotFoundError):
        keep_names(Path("/proc/nothing"))
