"""The personal part of an entry, sealed with AES-256-GCM and tied to its entry. No I/O of its own.

Source: NIST SP 800-38D. §8.2.2: a random nonce of 96 bits; §8.3: no more than 2^32 parts per key, which no
workstation reaches. The digest in the chain is of the sealed bytes: a chain is verified without any key, and a
digest that outlives its part tells nothing, for the nonce left with the part. What must be found again without
being opened, a page's own reference, stands in clear as a keyed digest (HMAC-SHA-256, RFC 2104): equal ones are
seen to be equal, and nobody without the key tries what they may be.

A sealed part: 16 bytes that name the scheme, 12 of nonce, the ciphertext, 16 of tag. Before there was a key,
parts were stored as 16 bytes of salt and the part in clear (scheme "none"); they stay readable.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from contextlib import suppress

KEY_BYTES = 32
SCHEME = "aes-256-gcm"
SCHEME_NONE = "none"
_MARK = b"insi-agent gcm/1"  # who relabels a sealed part as a clear one is not believed
_SALT_BYTES = _NONCE_AT = len(_MARK)
_NONCE_BYTES = 12
_REFERENCES = b"insi-agent journal references"


class Keys:
    """The journal's keys: the first one seals, each opens what it has sealed. Does not print."""

    def __init__(self, keys: Iterable[bytes]) -> None:
        """`keys`: 32 bytes each, the newest first. Raises ValueError for none, or for any other length."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        known = list(keys)
        if not known or any(len(key) != KEY_BYTES for key in known):
            raise ValueError(f"keys of {KEY_BYTES} bytes")
        self._by_id = {key_id(key): AESGCM(key) for key in known}
        # Derived, so that no key serves two algorithms.
        self._of_references = [hmac.digest(key, _REFERENCES, "sha256") for key in known]
        self.id = next(iter(self._by_id))  # public: of the key that seals

    def seal(self, part: bytes, tied_to: bytes) -> bytes:
        """The part as it is stored under the key `id`; it opens beside the same `tied_to` only."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _MARK + nonce + self._by_id[self.id].encrypt(nonce, part, tied_to)

    def open(self, sealed: bytes, sealed_with: str | None, tied_to: bytes) -> bytes:
        """The part in clear. `sealed_with` is a hint that anybody may have written: the tag decides.

        Raises ValueError saying why not: a key we do not have, bytes that are not ours.
        """
        return self.opened(sealed, sealed_with, tied_to)[1]

    def opened(self, sealed: bytes, sealed_with: str | None, tied_to: bytes) -> tuple[str, bytes]:
        """The key that opens it, and the part in clear. Raises as `open`."""
        from cryptography.exceptions import InvalidTag

        nonce, content = sealed[_NONCE_AT:][:_NONCE_BYTES], sealed[_NONCE_AT + _NONCE_BYTES :]
        for name in sorted(self._by_id, key=lambda name: name != sealed_with):  # first the one that is named
            with suppress(InvalidTag, ValueError):
                return name, self._by_id[name].decrypt(nonce, content, tied_to)
        raise ValueError("damaged" if sealed_with in self._by_id else "sealed with a key that is not known here")

    @property
    def ids(self) -> list[str]:
        """Public: of each key, the newest first."""
        return list(self._by_id)

    def references(self, to: bytes) -> list[str]:
        """What stands in clear for `to`, by each key; the first is by the key that seals."""
        return [hmac.digest(key, to, "sha256").hex() for key in self._of_references]

    def __repr__(self) -> str:
        return f"Keys({self.id})"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("keys are never serialised")


def key_id(key: bytes) -> str:
    """What an entry says of the key of its personal part: it tells which, and nothing of the key."""
    return hashlib.sha256(b"insi-agent journal key " + key).hexdigest()[:16]


def is_sealed(stored: bytes) -> bool:
    return stored.startswith(_MARK)


def in_clear(stored: bytes) -> bytes:
    """A part of scheme "none"."""
    return stored[_SALT_BYTES:]
