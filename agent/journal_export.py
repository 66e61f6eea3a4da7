"""What the journal holds in a file of its own, CSV or JSON: written whole, or not at all.

CSV as RFC 4180 says, with `;` as spreadsheets of a French workstation want it, in UTF-8 with its mark, one row an
attempt, or an entry that is of no operation; a cell that a spreadsheet would take for a formula begins with `'` (OWASP,
"CSV Injection"). JSON: one array, an operation or such an entry a line, as journal_told.py tells it. Both stream: a
journal of any size needs no more memory.
"""

import csv
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from agent.errors import AgentError, Code
from agent.journal.chain import Kind
from agent.journal_told import OPERATION
from agent.journal_words import KINDS, happened
from agent.places import DISK_FULL


class Form(Protocol):
    """How operations and notes are written."""

    def add(self, told: dict[str, Any]) -> None: ...

    def end(self) -> None: ...


class Json:
    """One array, an operation or a note a line."""

    def __init__(self, write: "Writing") -> None:
        self._write, self._before = write, b"[\n"

    def add(self, told: dict[str, Any]) -> None:
        self._write(self._before + json.dumps(told, ensure_ascii=False).encode("utf-8", "backslashreplace"))
        self._before = b",\n"

    def end(self) -> None:
        self._write(b"[]\n" if self._before == b"[\n" else b"\n]\n")


class Csv:
    """One row an attempt or a note, for a spreadsheet."""

    def __init__(self, write: "Writing", *, messages: bool) -> None:
        """`messages`: also what was asked and answered."""
        self._columns = {**_COLUMNS, **(_MESSAGES if messages else {})}
        self._rows = csv.writer(_Texts(write), delimiter=";")
        write("\N{ZERO WIDTH NO-BREAK SPACE}".encode())  # the mark: else a spreadsheet takes UTF-8 for another code
        self._rows.writerow(self._columns)

    def add(self, told: dict[str, Any]) -> None:
        if told["kind"] != OPERATION:
            alone = {"attempt": {"at": told["at"]}, "intent": told["chain"][0], "happened": happened(told)}
            self._row(told | alone)
            return
        places = {(place["kind"], place["attempt"]): place for place in told["chain"]}
        for attempt in told["attempts"]:
            intent, outcome = (places.get((kind, attempt["attempt"])) for kind in (Kind.INTENT, Kind.OUTCOME))
            self._row(told | {"attempt": attempt, "intent": intent, "outcome": outcome})

    def _row(self, told: dict[str, Any]) -> None:
        about = told | {"kind": KINDS.get(told["kind"], told["kind"])}
        self._rows.writerow([_cell(_found(about, path)) for path in self._columns.values()])

    def end(self) -> None:
        return


_COLUMNS = {  # a column's name → where its value stands in what is told
    "nature": "kind",
    "opération": "traceId",
    "date (UTC)": "attempt.at",
    "tentative": "attempt.attempt",
    "service": "operation",
    "code": "attempt.code",
    "libellé": "attempt.label",
    "durée (ms)": "attempt.durationMs",
    "HTTP": "attempt.httpStatus",
    "environnement": "environment",
    "mode": "authMode",
    "logiciel": "software.name",
    "version": "software.version",
    "origine": "origin",
    "professionnel": "people.professional",
    "utilisateur": "people.user",
    "nom de l'utilisateur": "people.userName",
    "fonction": "people.userRole",
    "structure": "people.structure",
    "certificat": "people.certificate",
    "compte": "people.account",
    "référence": "clientRef",
    "message": "attempt.messageId",
    "éléments envoyés": "attempt.given",
    "SHA-256 demande": "attempt.requestSha256",
    "SHA-256 réponse": "attempt.responseSha256",
    "écriture": "intent.seq",
    "lien": "intent.link",
    "écriture du retour": "outcome.seq",
    "lien du retour": "outcome.link",
    "intègre": "intact",
    "effacé": "intent.erased",
    "détail": "happened",
}
_MESSAGES = {
    "demande de la page": "params",
    "demande envoyée": "attempt.request",
    "réponse reçue": "attempt.reply",
    "résultat rendu": "result",
}


def _found(told: Any, path: str) -> Any:
    for name in path.split("."):
        told = told.get(name) if isinstance(told, dict) else None
    return told


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "oui" if value else "non"
        case dict():
            text = json.dumps(value, ensure_ascii=False)
        case list():
            text = ", ".join(map(str, value))
        case _:
            text = str(value)
    return f"'{text}" if text.lstrip()[:1] in _FORMULAS or text[:1] in _ALSO_FORMULAS else text


_FORMULAS = tuple("=+-@＝＋－＠")
_ALSO_FORMULAS = ("\t", "\r", "\n")


class _Texts:
    """What csv writes to."""

    def __init__(self, write: "Writing") -> None:
        self._write = write

    def write(self, text: str) -> None:
        self._write(text.encode("utf-8", "backslashreplace"))


# ---------------------------------------------------------------- the file


class Writing:
    """Writes into a file that nobody sees before its end, and knows the digest of what it wrote."""

    def __init__(self, descriptor: int, door: Callable[[], AbstractContextManager[None]]) -> None:
        self._descriptor, self._door, self._digest = descriptor, door, hashlib.sha256()

    def __call__(self, data: bytes) -> None:
        self._digest.update(data)
        with self._door():
            left = memoryview(data)
            while left:
                left = left[os.write(self._descriptor, left) :]

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


@contextmanager
def new_file(file: Path, option: str, *, replace: bool = False) -> Iterator[Writing]:
    """A file of this user alone, there when all was written and not before.

    Raises config.invalid {setting: `option`, file, reason} where one is there already, or where it cannot be written.
    """
    door = partial(_door, option, file)
    with door():
        if not replace and os.path.lexists(file):  # a link that leads nowhere is there too
            raise FileExistsError
        descriptor, name = tempfile.mkstemp(prefix=".insi-agent-", dir=file.parent)  # 0600
    written = Path(name)
    try:
        try:
            yield Writing(descriptor, door)
            with door():
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        with door():
            _put(written, file, replace=replace)
    finally:
        written.unlink(missing_ok=True)


def _put(written: Path, file: Path, *, replace: bool) -> None:
    """Give it its name. Raises OSError."""
    if not replace:
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))  # who came first keeps the name
    try:
        written.replace(file)
    except OSError:
        if not replace:
            file.unlink()
        raise


@contextmanager
def _door(option: str, file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = next((why for kind, why in _WHY.items() if isinstance(error, kind)), "il ne peut pas être écrit")
        if error.errno in DISK_FULL:
            reason = "le disque est plein"
        detail = f"{type(error).__name__}: errno {error.errno}"
        raise AgentError(Code.CONFIG_INVALID, detail, setting=option, file=str(file), reason=reason) from None


_WHY: dict[type[OSError], str] = {
    FileExistsError: "ce fichier existe déjà",
    FileNotFoundError: "son dossier n'existe pas",
    PermissionError: "son dossier ne se laisse pas écrire",
}
