"""Secrets in private files, each sealed under the machine's secret, for one account and one name. ★ (files)

Where there is no keyring (kiosk, terminal server, no desktop), or IT wants its own. The key of a file is derived
(HKDF-SHA-256, RFC 5869 §2) from the machine's secret, the account and the secret's name: this program opens no file
that was copied from another machine, another account or another name. The file says under which generation it is
sealed: `insi-agent sealed 1 ` and the generation's id, end of line; 12 bytes of nonce, the ciphertext, 16 of tag
(AES-256-GCM, NIST SP 800-38D; a random nonce of 96 bits per writing).

What it does not protect from: an administrator, and who has the whole disk, the machine's secret on it. Nor from the
other accounts that may read the machine's secret, once they have a copy of the file: an account's number is no secret.
The rights of the file keep them apart.
"""

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from secrets import token_bytes

from agent.errors import AgentError, Code
from agent.machine_secret import Generation, generations, secret_file
from agent.places import private_folder, write_private

KEYS_OF_HISTORY = frozenset({"identity", "journal-key"})  # what was signed or sealed with them depends on them

_HEADER = re.compile(rb"insi-agent sealed 1 ([0-9a-f]{16})\n")
_NONCE_BYTES, _TAG_BYTES = 12, 16
_MAX_BYTES = 64 << 10


class SealedSecrets:
    """Of one account. One writer at a time: whoever uses it sees to that."""

    def __init__(
        self, folder: Path, *, machine: Callable[[], Sequence[Generation]] | None = None, account: str | None = None
    ) -> None:
        """`machine`: the generations, the newest first; they are read each time. None: those of this machine.

        `account`: None: ours.
        """
        self._folder = folder
        self._machine = machine or (lambda: generations(secret_file()))
        self._account = account

    def get(self, name: str) -> bytes | None:
        """The secret; None when it was never set.

        Raises keyring.absent {reason} without the machine's secret, and for a file that does not open; identity.damaged
        where that is one of the keys of our history.
        """
        found = self.opened(name)
        return found[0] if found else None

    def opened(self, name: str) -> tuple[bytes, str] | None:
        """The secret, and the id of the generation that it is sealed under. As `get`."""
        if not self.has(name):
            return None
        known = {one.id: one for one in self._machine()}
        try:
            return self._open(name, known)
        except FileNotFoundError:  # forgotten meanwhile
            return None
        except (OSError, ValueError) as error:
            raise _lost(name, str(error) if isinstance(error, ValueError) else type(error).__name__) from None

    def newest(self) -> str:
        """The id of the generation that seals. Raises keyring.absent {reason}."""
        return self._machine()[0].id

    def set(self, name: str, value: bytes) -> None:
        """Keep the secret, sealed under the newest generation. Raises keyring.absent, config.invalid."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        newest = self._machine()[0]
        header, nonce = f"insi-agent sealed 1 {newest.id}\n".encode(), token_bytes(_NONCE_BYTES)
        sealed = AESGCM(self._key(newest, name)).encrypt(nonce, value, header)
        private_folder(self._folder)
        write_private(self._file(name), header + nonce + sealed)

    def forget(self, name: str) -> None:
        """Also what does not open. Raises config.invalid."""
        try:
            self._file(name).unlink(missing_ok=True)
        except OSError as error:
            raise AgentError(
                Code.CONFIG_INVALID, f"errno {error.errno}", setting=str(self._file(name)), reason=_STAYS
            ) from None

    def has(self, name: str) -> bool:
        return os.path.lexists(self._file(name))

    def _open(self, name: str, known: dict[str, Generation]) -> tuple[bytes, str]:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        content = self._content(name)
        generation = known.get(_generation(content))
        if generation is None:
            raise ValueError("sealed under a generation that is not here")
        header, _, rest = content.partition(b"\n")
        if len(rest) < _NONCE_BYTES + _TAG_BYTES:
            raise ValueError("cut off")
        try:
            opens = AESGCM(self._key(generation, name))
            return opens.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], header + b"\n"), generation.id
        except InvalidTag:
            raise ValueError("damaged, or of another account or name") from None

    def _key(self, generation: Generation, name: str) -> bytes:
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        about = "\0".join(("insi-agent sealed 1", self._account or _account(), name))  # neither holds a zero
        return HKDF(SHA256(), length=32, salt=None, info=about.encode()).derive(generation.secret)

    def _content(self, name: str) -> bytes:
        with self._file(name).open("rb") as file:
            return file.read(_MAX_BYTES)

    def _file(self, name: str) -> Path:
        return file_of(self._folder, name, "sealed")


def file_of(folder: Path, name: str, kind: str) -> Path:
    """Where a secret of this name is kept. Raises ValueError for what is no file's name."""
    if not re.fullmatch(r"[a-z0-9-]{1,64}", name):
        raise ValueError("a secret's name is a file's name")
    return folder / f"{name}.{kind}"


def _generation(content: bytes) -> str:
    header = _HEADER.match(content)
    if header is None:
        raise ValueError("not a sealed secret")
    return header[1].decode()


def _account() -> str:
    """Who we are to this machine: its number or SID, because an account may be given another name."""
    if sys.platform != "win32":
        return str(os.geteuid())
    from agent import dpapi

    try:
        return dpapi.account()
    except OSError as error:
        raise AgentError(Code.KEYRING_ABSENT, f"account: {type(error).__name__}") from None


def _lost(name: str, why: str) -> AgentError:
    code = Code.IDENTITY_DAMAGED if name in KEYS_OF_HISTORY else Code.KEYRING_ABSENT
    reason = "un secret scellé de ce compte ne s'ouvre pas : le remettre d'une sauvegarde, ou l'enregistrer de nouveau"
    return AgentError(code, f"the sealed {name}: {why}", reason=reason)


_STAYS = "un secret scellé n'a pas pu être effacé"
