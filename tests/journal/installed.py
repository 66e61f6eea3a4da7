"""A simulated installation with a journal of its own, as the commands find it, and the hands of who tampers with it."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.journal.chain import Entry, link_of, sha256, signed_at
from agent.journal.files import FILE, INSERT, SELECT, read_heads
from agent.journal.store import Journal
from agent.places import Places
from agent.secrets import FileSecrets, load_identity, load_journal_keys

from .making import MAX_REPLY, whole


class Installed:
    """Set XDG_STATE_HOME to the parent of `state`, and `--simulated` means this one."""

    def __init__(self, state_home: Path) -> None:
        self.places = Places.simulated(state_home / "insi-agent").create()
        self.journal = self.places.journal
        self.file = self.journal / FILE
        self.secrets = FileSecrets(self.places.data)

    @contextmanager
    def agent(self, max_reply_bytes: int = MAX_REPLY) -> Iterator[Journal]:
        """The journal as the agent writes it."""
        identity, keys = (
            load_identity(self.secrets, self.places.data),
            load_journal_keys(self.secrets, self.places.data),
        )
        own = Journal(
            self.journal,
            sign=identity.sign_bytes,
            verify=lambda data, signature: identity.verify_dated(data, signature, signed_at),
            keys=lambda: keys,
            max_reply_bytes=max_reply_bytes,
            noted=self.places.noted_head,
        )
        try:
            yield own
        finally:
            own.close()

    def fill(self, operations: int = 3) -> None:
        """So many whole operations more: three entries each."""
        before = max((head.seq for head in read_heads(self.journal)), default=0) // 3  # no name twice
        with self.agent() as own:
            for number in range(1, operations + 1):
                whole(own, f"trace-{before + number}")

    @contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        """The file, in anybody's hands."""
        opened = sqlite3.connect(self.file)
        try:
            yield opened
            opened.commit()
            opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            opened.close()

    def entries(self) -> list[Entry]:
        with self.database() as database:
            return [Entry(*row) for row in database.execute(f"{SELECT} ORDER BY seq")]

    def rewrite(self, change: Callable[[list[Entry]], list[Entry]]) -> None:
        """Put other entries in the place of all."""
        changed = change(self.entries())
        with self.database() as database:
            database.execute("DELETE FROM entry")
            database.executemany(INSERT, [vars(entry) for entry in changed])

    def do(self, statement: str, *values: Any) -> None:
        with self.database() as database:
            database.execute(statement, values)


def relinked(entries: list[Entry]) -> list[Entry]:
    """With all digests and links as they should be; the signatures stay, because nobody has the key."""
    done: list[Entry] = []
    for entry in entries:
        members = vars(entry) | {
            "clear_sha256": sha256(entry.clear),
            "personal_sha256": entry.personal and sha256(entry.personal),
            "previous": done[-1].link if done else "0" * 64,
        }
        bare = Entry(**members)
        done.append(Entry(**members | {"link": link_of(bare)}))
    return done
