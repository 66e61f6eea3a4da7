"""Hand a certificate and its key to a TLS context; the key never lies in clear on a disk. ★

OpenSSL takes them from a file only: the key is written encrypted under a passphrase made for this
load, in a private folder, and deleted at once.
"""

import os
import secrets
import ssl
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes


def load_key(context: ssl.SSLContext, chain_pem: bytes, key: PrivateKeyTypes, folder: Path | None = None) -> None:
    """Make `context` present this chain (own certificate first), through `folder` (None: the temporary folder).

    Raises ssl.SSLError when key and certificate do not belong together, OSError for the disk.
    """
    passphrase = secrets.token_hex(32)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase.encode()),
    )
    with tempfile.TemporaryDirectory(prefix="tls-", dir=folder) as private:  # 0700
        file = Path(private) / "material.pem"
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(chain_pem.rstrip() + b"\n" + encrypted)
        context.load_cert_chain(file, password=passphrase)
