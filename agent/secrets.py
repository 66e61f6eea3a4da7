"""Where secrets are kept: the user's keyring, sealed under the machine's secret or, for the simulator alone, files. ★

Never plain text in silence: without a keyring of the system, keyring.absent, and nothing is stored. Nor is a key
replaced in silence: what is public of it is noted in the data folder, where an emptied keyring is noticed.
"""

import base64
import hashlib
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from secrets import token_bytes
from typing import TYPE_CHECKING, Protocol, TypeVar

from agent.errors import AgentError, Code
from agent.identity import Identity
from agent.journal.sealing import KEY_BYTES, Keys, key_id
from agent.places import one_at_a_time, private_folder, set_aside, write_private
from agent.sealed_secrets import KEYS_OF_HISTORY, SealedSecrets, file_of

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

    from agent.config import Settings

log = logging.getLogger(__name__)
B = TypeVar("B")

MAX_JOURNAL_KEYS = 16  # [choice] far below the 2,560 bytes that Windows' keyring takes (CRED_MAX_CREDENTIAL_BLOB_SIZE)


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


class Keyring(Secrets, Protocol):
    """The secrets of a session, which a person may have to open."""

    def is_there(self) -> bool:
        """Whether this session has one at all, open or closed. Raises keyring.absent where that cannot be told."""
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


def renew_lost(
    secrets: Secrets, folder: Path, *, at: datetime, leave: Callable[[Identity | None], None] = lambda _: None
) -> Identity:
    """Keys, of the identity and of the journal, in the place of those that are lost; whole ones stay.

    First what is in the keyring is taken as it is; if that does not do, a new key. What tells of a lost one goes
    aside under this date. Servers must enrol another identity, and what a lost journal key sealed stays closed.
    Before an identity is given up, `leave` is called, perhaps twice, with the one that is kept all the same, if any is.
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
                if name == _IDENTITY:
                    leave(_kept_identity(secrets, folder))
                give_up(name)
        load(secrets, folder)
    return load_identity(secrets, folder)


def _kept_identity(secrets: Secrets, folder: Path) -> Identity | None:
    """The identity that is kept, whatever is noted of it; None where it is gone or unreadable."""
    try:
        kept, statements = secrets.get(_IDENTITY) or b"", _statements(folder)
        return Identity.from_private_bytes(_key_after(len(statements), kept)[0], statements)
    except ValueError:
        return None
    except AgentError as error:
        if error.code is not Code.IDENTITY_DAMAGED:
            raise
        return None


def load_journal_keys(secrets: Secrets, folder: Path) -> Keys:
    """The keys of the journal's personal parts, one made at the first use.

    Kept one after the other, the newest first: who renews the key puts one before the others. Raises keyring.absent,
    config.invalid, identity.damaged: never replaced in silence, because it opens what the journal holds.
    """
    kept = _kept_or_made(secrets, folder, _JOURNAL_KEY, lambda: token_bytes(KEY_BYTES))
    try:
        keys = Keys(_each(kept))
    except ValueError:
        raise AgentError(Code.IDENTITY_DAMAGED, "the kept journal key is unreadable") from None
    _note(folder, _JOURNAL_KEY, keys.ids[::-1])
    return keys


def rotate_journal_key(secrets: Secrets, folder: Path, *, in_use: Collection[str] | None) -> tuple[Keys, int]:
    """Put a new key before the journal's others; the keys, and how many have left.

    `in_use`: ids of the keys that open what the journal holds. Another one leaves, but for the present one: an entry
    may be on its way. None: not known, or an agent runs, which may have an older one in hand; then none leaves. A kill
    at any instant leaves the old keys or the new ones. Raises as `load_journal_keys`, and config.invalid {reason} for
    one too many.
    """
    load_journal_keys(secrets, folder)
    with _turn(folder):
        kept = _each(secrets.get(_JOURNAL_KEY) or b"")
        staying = [key for key in kept if in_use is None or key is kept[0] or key_id(key) in in_use]
        if not staying or len(staying) >= MAX_JOURNAL_KEYS:
            reason = (
                f"le journal a déjà {len(staying)} clés dont il dépend : la plus ancienne doit d'abord ne plus servir"
            )
            raise AgentError(Code.CONFIG_INVALID, "too many keys", setting="journal", reason=reason)
        noted = f"{key_id(staying[-1])}\n".encode()
        write_private(_noted(folder, _JOURNAL_KEY), noted)  # one that is known before and after
        secrets.set(_JOURNAL_KEY, token_bytes(KEY_BYTES) + b"".join(staying))
        write_private(_noted(folder, _JOURNAL_KEY), noted)  # a running agent sees that the file is another one
    return load_journal_keys(secrets, folder), len(kept) - len(staying)


def journal_keys_changed(folder: Path) -> object:
    """Another value once the journal's keys were rotated: so cheap that it may be asked before each entry."""
    try:
        about = _noted(folder, _JOURNAL_KEY).stat()
    except OSError:
        return None
    return about.st_ino, about.st_mtime_ns


def _each(kept: bytes) -> list[bytes]:
    return [kept[at : at + KEY_BYTES] for at in range(0, len(kept), KEY_BYTES)]


def identity_was_used(folder: Path) -> bool:
    """Whether this installation had an identity before, wherever it is now."""
    return _noted(folder, _IDENTITY).exists()


def journal_key_was_made(folder: Path) -> bool:
    """Whether this installation's journal has had a key, wherever it is now."""
    return _noted(folder, _JOURNAL_KEY).exists()


def _kept_or_made(secrets: Secrets, folder: Path, name: str, make: Callable[[], bytes], *, used: bool = False) -> bytes:
    """The secret; at its first use one program makes it and the others find it.

    Raises keyring.absent, config.invalid, identity.damaged where it is gone: noted before, or `used`.
    """
    kept = secrets.get(name)
    if kept is None:
        with _turn(folder):
            if secrets.get(name) is None:
                if used or _noted(folder, name).exists():
                    raise AgentError(Code.IDENTITY_DAMAGED, f"the kept {name} is gone", reason=_GONE)
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
def _turn(folder: Path, lock: str = "secrets.lock") -> Iterator[None]:
    """What several programs may come to write at once, when they start, is written by one at a time."""
    private_folder(folder)
    with one_at_a_time(folder / lock):
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

    def is_there(self) -> bool:
        with _door():
            return _found() is not None

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


def secrets_of(folder: Path, *, simulated: bool, settings: "Callable[[], Settings]") -> Secrets:
    """Where this installation keeps its secrets, `folder` being its data's: the one place that chooses.

    By the setting `secrets`, as it is each time; the simulator's are its own, whatever is set.
    """
    if simulated:
        return FileSecrets(folder)
    return ChosenSecrets(folder, KeyringSecrets(), SealedSecrets(folder), lambda: settings().secrets == "machine")


class ChosenSecrets:
    """The user's keyring or the machine's secret, as is set.

    Whoever sets the other one loses nothing: a secret that is still in the place of before is taken over when it is
    asked for, read back, then forgotten there. By itself, because a policy changes the setting for every account, and
    only in an account's own session can its keyring be opened: a command would have to be run by each person.

    What is sealed is what counts, as long as it is there, so that a stop at any instant leaves one of the two.
    """

    def __init__(self, folder: Path, keyring: Keyring, sealed: SealedSecrets, by_machine: Callable[[], bool]) -> None:
        self._folder, self._keyring, self._sealed, self._by_machine = folder, keyring, sealed, by_machine
        self._not_in_keyring: set[str] = set()  # a person is not asked for the same in vain at each operation

    def get(self, name: str) -> bytes | None:
        """As `Secrets`. Under the machine's secret, keyring.absent {reason} also for a noted key of our history that is
        not sealed while the keyring, which may have it, cannot be asked: else it would pass for lost.
        """
        by_machine = self._by_machine()
        if not by_machine:
            self._not_in_keyring.discard(name)
        if self._sealed.has(name) is not by_machine:
            return self._taken_over(name, by_machine=by_machine)
        found = self._sealed_anew(name) if by_machine else self._keyring.get(name)
        if found is None and (by_machine or self._sealed.has(name)):  # a program of the other setting took it meanwhile
            return self._taken_over(name, by_machine=by_machine)
        return found

    def set(self, name: str, value: bytes) -> None:
        with self._turn():
            if not self._by_machine():
                self._keyring.set(name, value)
                self._sealed.forget(name)
                self._not_in_keyring.discard(name)
                return
            first = not self._sealed.has(name)
            self._sealed.set(name, value)
            if first and name not in self._not_in_keyring:
                self._forget_in_keyring(name)

    def forget(self, name: str) -> None:
        with self._turn():
            if self._by_machine():
                self._sealed.forget(name)
                self._forget_in_keyring(name)  # else it would be taken over again
            else:
                self._keyring.forget(name)
                self._sealed.forget(name)

    def _taken_over(self, name: str, *, by_machine: bool) -> bytes | None:
        """From the place that is not set; None where it is in neither."""
        if name in self._not_in_keyring:
            return None
        opens = self._keyring_opens(name, by_machine=by_machine)
        with self._turn():
            if self._sealed.has(name) is by_machine:  # another program has done it meanwhile
                return (self._sealed if by_machine else self._keyring).get(name)
            there = self._keyring.get(name) if opens else None
            kept = there if by_machine else self._sealed.get(name)
            if kept is None:
                if by_machine and not self._is_noted(name):
                    self._not_in_keyring.add(name)
                return None
            if not by_machine and there not in (None, kept):
                kept = self._beside(name, kept, there)
            to: Secrets = self._sealed if by_machine else self._keyring
            to.set(name, kept)
            if to.get(name) != kept:
                to.forget(name)
                raise AgentError(Code.KEYRING_ABSENT, f"it did not keep {name}")
            if by_machine:
                self._forget_in_keyring(name)
            else:
                self._sealed.forget(name)
            log.info("%s was taken over: it is now %s", name, "sealed" if by_machine else "in the keyring")
            return kept

    def _keyring_opens(self, name: str, *, by_machine: bool) -> bool:
        """Asked before it is our turn: it may ask the person, and other programs would wait for them as well."""
        if by_machine:
            self._sealed.newest()  # without the machine's secret there is nothing to take it over to
        try:
            self._keyring.get(name)
        except AgentError as error:
            if not by_machine:
                raise
            if self._is_noted(name) and self._keyring.is_there():
                raise AgentError(Code.KEYRING_ABSENT, error.detail, reason=_CLOSED) from None
            log.info("%s is not sealed here, and the keyring could not be asked for it: %s", name, error)
            return False
        return True

    def _beside(self, name: str, kept: bytes, there: bytes) -> bytes:
        """What is sealed, for the keyring, which has had another one since: no key of our history is written over.

        That of the journal joins the others; what else it was stays in the keyring under a name of its own.
        """
        if name == _JOURNAL_KEY and len(there) % KEY_BYTES == 0:
            return b"".join(dict.fromkeys(_each(kept) + _each(there)))
        if name in KEYS_OF_HISTORY:
            aside = f"{name}-{hashlib.sha256(there).hexdigest()[:8]}"
            self._keyring.set(aside, there)
            log.warning("the keyring had another %s: it is kept there as %s", name, aside)
        return kept

    def _is_noted(self, name: str) -> bool:
        return name in KEYS_OF_HISTORY and _noted(self._folder, name).exists()

    def _sealed_anew(self, name: str) -> bytes | None:
        """What is sealed; under the newest generation of the machine's secret from now on."""
        found = self._sealed.opened(name)
        if found is None:
            return None
        kept, generation = found
        if generation != self._sealed.newest():
            try:
                with self._turn():
                    if self._sealed.opened(name) == found:  # else another program has written, under the newest one
                        self._sealed.set(name, kept)
            except AgentError as error:  # it opens all the same: a full disk, perhaps
                log.warning("%s stays sealed under an older generation: %s", name, error)
        return kept

    def _forget_in_keyring(self, name: str) -> None:
        with suppress(AgentError):
            self._keyring.forget(name)

    def _turn(self) -> AbstractContextManager[None]:
        return _turn(self._folder, "secrets-place.lock")


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
        return file_of(self._folder, name, "secret")


_GONE = "elle n'est plus où « secrets » la fait chercher ; si un trousseau est fermé, l'ouvrir d'abord"
_CLOSED = "cette clé est peut-être encore dans le trousseau, qui ne s'ouvre pas : l'ouvrir une fois pour la reprendre"
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
    found = _found()
    if found is None:
        raise AgentError(Code.KEYRING_ABSENT, "no back-end of the system")
    return keep_on_this_machine(found)


def _found() -> "KeyringBackend | None":
    """The keyring of the system, also behind keyring's chain of several."""
    import keyring
    from keyring.backends.chainer import ChainerBackend

    found = keyring.get_keyring()
    each: Sequence[KeyringBackend] = found.backends if isinstance(found, ChainerBackend) else [found]
    return next((backend for backend in each if type(backend).__module__ in _KEYRINGS), None)


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
