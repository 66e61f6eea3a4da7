"""Where secrets are kept: the user's keyring or, for the simulator alone, private files. ★

Never plain text in silence: without a keyring of the system, keyring.absent, and nothing is stored.
"""

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from agent.errors import AgentError, Code
from agent.identity import Identity
from agent.places import private_folder, write_private

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend


class Secrets(Protocol):
    """Small secrets by name. Both calls block: a keyring may ask the person to unlock it."""

    def get(self, name: str) -> bytes | None:
        """The secret; None when it was never set. Raises keyring.absent."""
        ...

    def set(self, name: str, value: bytes) -> None:
        """Keep the secret. Raises keyring.absent; then nothing is stored."""
        ...


def load_identity(secrets: Secrets) -> Identity:
    """This installation's key, made at its first use. Raises keyring.absent."""
    kept = secrets.get(_IDENTITY)
    if kept is None:
        identity = Identity.create()
        secrets.set(_IDENTITY, identity.private_bytes())
        return identity
    try:
        return Identity.from_private_bytes(kept)
    except ValueError:  # never replaced in silence: servers have enrolled this key
        raise AgentError(Code.KEYRING_ABSENT, "the kept identity is unreadable") from None


class KeyringSecrets:
    """The keyring of the user's session, reached through `keyring`."""

    def get(self, name: str) -> bytes | None:
        with _door():
            text = _backend().get_password(_SERVICE, name)
        if text is None:
            return None
        try:
            return base64.b64decode(text, validate=True)
        except ValueError:
            raise AgentError(Code.KEYRING_ABSENT, f"the kept {name} is unreadable") from None

    def set(self, name: str, value: bytes) -> None:
        with _door():
            _backend().set_password(_SERVICE, name, base64.b64encode(value).decode())


class FileSecrets:
    """Files that only this user reads, in plain text: for the simulator's worthless keys alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, name: str) -> bytes | None:
        file = self._file(name)
        return file.read_bytes() if file.exists() else None

    def set(self, name: str, value: bytes) -> None:
        private_folder(self._folder)
        write_private(self._file(name), value)

    def _file(self, name: str) -> Path:
        if not re.fullmatch(r"[a-z0-9-]{1,64}", name):
            raise ValueError("a secret's name is a file's name")
        return self._folder / f"{name}.secret"


_SERVICE = "insi-agent"
_IDENTITY = "identity"
_KEYRINGS = frozenset(
    {
        "keyring.backends.SecretService",
        "keyring.backends.libsecret",
        "keyring.backends.kwallet",
        "keyring.backends.Windows",
        "keyring.backends.macOS",
    }
)  # the systems' own; keyrings.alt writes plain text and is picked by keyring without a word
_FOREIGN = frozenset({"keyring", "secretstorage", "jeepney", "dbus", "gi", "win32ctypes", "pywintypes"})


def _backend() -> "KeyringBackend":
    """The keyring of the system, also behind keyring's chain of several."""
    import keyring
    from keyring.backends.chainer import ChainerBackend

    found = keyring.get_keyring()
    for backend in found.backends if isinstance(found, ChainerBackend) else [found]:
        if type(backend).__module__ in _KEYRINGS:
            return backend
    raise AgentError(Code.KEYRING_ABSENT, f"back-end {type(found).__module__}")


@contextmanager
def _door() -> Iterator[None]:
    """Errors of keyring, and of what its back-ends let through, become keyring.absent."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _FOREIGN:
            raise AgentError(Code.KEYRING_ABSENT, f"{type(error).__module__}.{type(error).__name__}") from None
        raise
