"""The file of the person's decisions: kept in one step, private, and never an "allow" by accident."""

import json
import logging
import os
import signal
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.consent import Consent, Decided, Decisions
from agent.errors import AgentError, Code
from agent.sites import keep_decisions, read_decisions

SITE = "https://dossier.example"
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
ALLOWED = Decisions().answered(SITE, Consent.ALLOW, NOW)


def kept(folder: Path) -> Path:
    keep_decisions(folder, ALLOWED)
    return folder / "sites.json"


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    keep_decisions(tmp_path, ALLOWED)

    assert read_decisions(tmp_path) == ALLOWED


def test_without_a_file_nothing_is_decided(tmp_path: Path) -> None:
    assert read_decisions(tmp_path) == Decisions()
    assert list(tmp_path.iterdir()) == []


def test_only_this_user_reads_the_file(tmp_path: Path) -> None:
    """Defence list D18."""
    assert stat.S_IMODE(kept(tmp_path).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"version":2,"sites":[]}',
        b'{"version":1,"sites":[{"origin":"https://x.example","state":"admin","since":"2026-11-23T09:00:00Z"}]}',
        b'{"version":1,"sites":[{"origin":"http://x.example","state":"allowed","since":"2026-11-23T09:00:00Z"}]}',
        b'{"version":1,"sites":[{"origin":"https://x.example/","state":"allowed","since":"2026-11-23T09:00:00Z"}]}',
        b'{"version":1,"sites":[{"origin":"https://x.example","state":"allowed","since":"9999-12-31T23:59:59Z"}]}',
        (
            b'{"version":1,"sites":[{"origin":"https://x.example","state":"allowed","since":"2026-11-23T09:00:00Z"},'
            b'{"origin":"https://x.example","state":"blocked","since":"2026-11-23T09:00:00Z"}]}'
        ),
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_is_set_aside_and_said_and_nobody_is_allowed(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    kept(tmp_path).write_bytes(damage)

    with caplog.at_level(logging.ERROR):
        assert read_decisions(tmp_path) == Decisions()
    assert (tmp_path / "sites.damaged").read_bytes() == damage
    assert not (tmp_path / "sites.json").exists()
    assert "damaged" in caplog.text
    assert read_decisions(tmp_path) == Decisions()


def test_a_file_that_cannot_be_read_is_a_wrong_configuration(tmp_path: Path) -> None:
    (tmp_path / "sites.json").mkdir()

    with pytest.raises(AgentError) as refused:
        read_decisions(tmp_path)
    assert refused.value.code is Code.CONFIG_INVALID


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["version", "sites", "origin", "state", "since", "putOff", "x"]), inner, max_size=5
            )
        ),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_file_gives_decisions_that_were_written_as_such(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("sites")
    (folder / "sites.json").write_bytes(content)

    found = read_decisions(folder)

    assert found.in_state(Decided.ALLOWED, NOW) == set() or b"allowed" in content


def test_a_kill_while_it_is_kept_leaves_the_file_before_or_the_file_after(tmp_path: Path) -> None:
    """However often it is killed, the file is whole, and its place is not taken by a half one."""
    script = f"""
from datetime import UTC, datetime
from pathlib import Path
from agent.consent import Consent, Decisions
from agent.sites import keep_decisions
decisions = Decisions()
print("begun", flush=True)
while True:
    for number in range(50):
        decisions = decisions.answered(f"https://site-{{number}}.example", Consent.ALLOW, datetime.now(UTC))
        keep_decisions(Path({str(tmp_path)!r}), decisions)
"""
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent
        )
        assert writer.stdout
        assert writer.stdout.readline() == b"begun\n"
        while not (tmp_path / "sites.json").exists():
            assert writer.poll() is None
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()

        assert read_decisions(tmp_path).sites
        assert not (tmp_path / "sites.damaged").exists()
