"""Hand a certificate and its key to a TLS context; the key never lies in clear on a disk. ★

OpenSSL takes them from a file only: the key is written encrypted under a passphrase made for this
load, in a private folder, and deleted at once. What a killed load left behind nobody can open, and
the next load removes it.
"""

import os
import secrets
import shutil
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from agent.places import one_at_a_time

_PREFIX = "tls-"


def load_key(context: ssl.SSLContext, chain_pem: bytes, key: PrivateKeyTypes, folder: Path | None = None) -> None:
    """Make `context` present this chain (own certificate first), through `folder` (None: the temporary folder).

    Raises ssl.SSLError when key and certificate do not belong together, OSError for the disk, config.invalid when
    nothing can be written to `folder`.
    """
    passphrase = secrets.token_hex(32)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase.encode()),
    )
    with _private(folder) as private:
        file = private / "material.pem"
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(chain_pem.rstrip() + b"\n" + encrypted)
        context.load_cert_chain(file, password=passphrase)


@contextmanager
def _private(folder: Path | None) -> Iterator[Path]:
    """A new folder (0700), gone afterwards. In a folder of ours, with those of loads that were killed."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix=_PREFIX) as private:
            yield Path(private)
        return
    with one_at_a_time(folder / "tls.lock"):  # so that whatever is there is nobody's
        for left in folder.glob(f"{_PREFIX}*"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=folder) as private:
            yield Path(private)
