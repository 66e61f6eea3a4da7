"""A journal made one of an agent of the first days: other indexes, and the same words signed by entries and heads."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from agent.journal.chain import Head, canonical
from agent.journal.files import FILE, head_file, write_head

_BACK = """
DROP TABLE shipped;
DROP INDEX entry_of_few;
DROP INDEX entry_with_person;
DROP INDEX entry_of_origin;
CREATE INDEX entry_of_origin ON entry (origin, seq) WHERE kind = 'intent' AND attempt = 1;
PRAGMA user_version = 1;
"""


def with_schema_of_version_1(folder: Path) -> None:
    """What anybody can do who may write to the file."""
    with closing(sqlite3.connect(folder / FILE)) as database:
        database.executescript(_BACK)


def made_version_1(folder: Path, sign: Callable[[bytes], bytes]) -> None:
    """As it was written then. One at least of its entries is there."""
    with closing(sqlite3.connect(folder / FILE)) as database:
        places = database.execute("SELECT seq, link, at FROM entry ORDER BY seq").fetchall()
        signed = [(sign(b"insi-agent journal head " + canonical(list(place))), place[0]) for place in places]
        database.executemany("UPDATE entry SET signature = ? WHERE seq = ?", signed)
        database.commit()
    for slot in (0, 1):
        head_file(folder, slot).unlink()
    for place, (signature, _) in list(zip(places, signed, strict=True))[-2:]:
        write_head(folder, Head(*place, signature))
    with_schema_of_version_1(folder)
