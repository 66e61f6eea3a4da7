"""Where secrets are kept: the user's keyring or, for the simulator alone, private files. ★

Never plain text in silence: without a keyring of the system, keyring.absent, and nothing is stored. Nor is a key
replaced in silence: what is public of it is noted in the data folder, where an emptied keyring is noticed.
"""

import base64
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from secrets import token_bytes
from typing import TYPE_CHECKING, Protocol, TypeVar

from agent.errors import AgentError, Code
from agent.identity import Identity
from agent.journal.sealing import KEY_BYTES, Keys
from agent.places import one_at_a_time, private_folder, set_aside, write_private

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

B = TypeVar("B")


class Secrets(Protocol):
    """Small secrets by name. Both calls block: a keyring may ask the person to unlock it."""

    def get(self, name: str) -> bytes | None:
        """The secret; None when it was never set. Raises keyring.absent."""
        ...

    def set(self, name: str, value: bytes) -> None:
        """Keep the secret. Raises keyring.absent; then nothing is stored."""
        ...

    def forget(self, name: str) -> None:
        """Remove the secret, if there is one. Raises keyring.absent."""
        ...


def load_identity(secrets: Secrets, folder: Path) -> Identity:
    """This installation's key, made at its first use; `folder` is where `identity-rotations` is.

    A rotation that was cut short once its statement was written is brought to its end. Raises keyring.absent,
    config.invalid, identity.damaged: never replaced in silence, because servers have enrolled this key.
    """
    statements = _statements(folder)
    kept = _kept_or_made(secrets, folder, _IDENTITY, lambda: Identity.create().private_bytes(), used=bool(statements))
    try:
        seed, was_cut_short = _key_after(len(statements), kept)
        identity = Identity.from_private_bytes(seed, statements)
    except ValueError as error:
        raise AgentError(Code.IDENTITY_DAMAGED, str(error)) from None
    _note(folder, _IDENTITY, [*(former.public_jwk["kid"] for former in identity.former), identity.thumbprint])
    if was_cut_short:
        with _turn(folder):
            if secrets.get(_IDENTITY) == kept:  # else another program did it, and perhaps went on
                secrets.set(_IDENTITY, _kept(seed, len(statements)))
    return identity


def rotate_identity(secrets: Secrets, folder: Path, *, instance_id: str, at: datetime) -> Identity:
    """Put a new key in this installation's place and destroy the old one, which says so before.

    A kill at any instant leaves the old identity, or the new one for `load_identity` to finish: the new key is kept
    beside the old one before the statement names it, and the old one goes once the statement is written.
    Raises keyring.absent, identity.damaged, config.invalid.
    """
    present, new = load_identity(secrets, folder), Identity.create()
    statements = [former.statement for former in present.former]
    with _turn(folder):
        secrets.set(_IDENTITY, _kept(present.private_bytes(), len(statements), new.private_bytes()))
    statements.append(present.rotation(new, instance_id=instance_id, at=at))
    write_private(folder / _ROTATIONS, "".join(f"{statement}\n" for statement in statements).encode())
    return load_identity(secrets, folder)


def renew_lost(secrets: Secrets, folder: Path, *, at: datetime) -> Identity:
    """Keys, of the identity and of the journal, in the place of those that are lost; whole ones stay.

    First what is in the keyring is taken as it is; if that does not do, a new key. What tells of a lost one goes
    aside under this date. Servers must enrol another identity, and what a lost journal key sealed stays closed.
    Raises keyring.absent, config.invalid.
    """

    def forget(name: str) -> None:
        secrets.forget(name)
        if name == _IDENTITY:
            set_aside(folder / _ROTATIONS, at)

    for name, load in ((_IDENTITY, load_identity), (_JOURNAL_KEY, load_journal_keys)):
        for give_up in (lambda name: set_aside(_noted(folder, name), at), forget):
            try:
                load(secrets, folder)
            except AgentError as error:
                if error.code is not Code.IDENTITY_DAMAGED:
                    raise
                give_up(name)
        load(secrets, folder)
    return load_identity(secrets, folder)


def load_journal_keys(secrets: Secrets, folder: Path) -> Keys:
    """The keys of the journal's personal parts, one made at the first use.

    Kept one after the other, the newest first: who renews the key puts one before the others. Raises keyring.absent,
    config.invalid, identity.damaged: never replaced in silence, because it opens what the journal holds.
    """
    kept = _kept_or_made(secrets, folder, _JOURNAL_KEY, lambda: token_bytes(KEY_BYTES))
    try:
        keys = Keys(kept[at : at + KEY_BYTES] for at in range(0, len(kept), KEY_BYTES))
    except ValueError:
        raise AgentError(Code.IDENTITY_DAMAGED, "the kept journal key is unreadable") from None
    _note(folder, _JOURNAL_KEY, keys.ids[::-1])
    return keys


def identity_was_used(folder: Path) -> bool:
    """Whether this installation had an identity before, wherever it is now."""
    return _noted(folder, _IDENTITY).exists()


def _kept_or_made(secrets: Secrets, folder: Path, name: str, make: Callable[[], bytes], *, used: bool = False) -> bytes:
    """The secret; at its first use one program makes it and the others find it.

    Raises keyring.absent, config.invalid, identity.damaged where it is gone: noted before, or `used`.
    """
    kept = secrets.get(name)
    if kept is None:
        with _turn(folder):
            if secrets.get(name) is None:
                if used or _noted(folder, name).exists():
                    raise AgentError(Code.IDENTITY_DAMAGED, f"the kept {name} is gone")
                secrets.set(name, make())
            kept = secrets.get(name)
    if kept is None:
        raise AgentError(Code.KEYRING_ABSENT, "it kept nothing")
    return kept


def _note(folder: Path, name: str, public: Sequence[str]) -> None:
    """Note what is public of a key, its oldest; raises identity.damaged where the one noted is none of these."""
    file = _noted(folder, name)
    if not file.exists():
        with _turn(folder):
            if not file.exists():
                write_private(file, f"{public[0]}\n".encode())
    try:
        noted = file.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise AgentError(Code.IDENTITY_DAMAGED, f"{file.name}: {type(error).__name__}") from None
    if noted not in public:
        raise AgentError(Code.IDENTITY_DAMAGED, f"the kept {name} is another one")


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """What several programs may come to write at once, when they start, is written by one at a time."""
    private_folder(folder)
    with one_at_a_time(folder / "secrets.lock"):
        yield


def _noted(folder: Path, name: str) -> Path:
    return folder / f"{name}.public"


def _statements(folder: Path) -> list[str]:
    """The rotations up to now, oldest first: one JWS a line, nothing secret."""
    try:
        return (folder / _ROTATIONS).read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise AgentError(Code.IDENTITY_DAMAGED, f"{_ROTATIONS}: {type(error).__name__}") from None


def _kept(seed: bytes, rotations: int, following: bytes = b"") -> bytes:
    """The secret: the key and, once there was a rotation, how many led to it, so that a lost statement is missed."""
    return seed + rotations.to_bytes(_COUNT_BYTES) + following


def _key_after(rotations: int, kept: bytes) -> tuple[bytes, bool]:
    """The key to which so many rotations led, and whether it still stands behind the one before. Raises ValueError."""
    if len(kept) not in (_SEED_BYTES, _SEED_BYTES + _COUNT_BYTES, 2 * _SEED_BYTES + _COUNT_BYTES):
        raise ValueError("the kept identity is unreadable")
    seed, rest = kept[:_SEED_BYTES], kept[_SEED_BYTES:]
    counted, following = int.from_bytes(rest[:_COUNT_BYTES]), rest[_COUNT_BYTES:]
    if following and counted == rotations - 1:
        return following, True
    if counted != rotations:
        raise ValueError(f"{counted} rotations, {rotations} statements")
    return seed, False


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

    def forget(self, name: str) -> None:
        with _door():
            if _backend().get_password(_SERVICE, name) is not None:
                _backend().delete_password(_SERVICE, name)


def secrets_of(folder: Path, *, simulated: bool) -> "KeyringSecrets | FileSecrets":
    """The user's keyring; the simulator's private files, in its own data folder."""
    return FileSecrets(folder) if simulated else KeyringSecrets()


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

    def forget(self, name: str) -> None:
        self._file(name).unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        if not re.fullmatch(r"[a-z0-9-]{1,64}", name):
            raise ValueError("a secret's name is a file's name")
        return self._folder / f"{name}.secret"


_SERVICE = "insi-agent"
_IDENTITY = "identity"
_ROTATIONS = "identity-rotations"
_SEED_BYTES, _COUNT_BYTES = 32, 4
_JOURNAL_KEY = "journal-key"
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
            return keep_on_this_machine(backend)
    raise AgentError(Code.KEYRING_ABSENT, f"back-end {type(found).__module__}")


def keep_on_this_machine(backend: B) -> B:
    """Windows' keyring lets secrets follow a roaming user unless told otherwise; from its documents, untested there."""
    if hasattr(backend, "persist"):
        backend.persist = "local machine"
    return backend


@contextmanager
def _door() -> Iterator[None]:
    """Errors of keyring, and of what its back-ends let through, become keyring.absent."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _FOREIGN:
            raise AgentError(Code.KEYRING_ABSENT, f"{type(error).__module__}.{type(error).__name__}") from None
        raise
