"""The organisations' certificates as they lie on the disk: each opened once for as long as its file stays the same."""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import AgentError, Code
from agent.signing.structures import Opened

if TYPE_CHECKING:
    from agent.signing.organisation import OrganisationCertificate

_Stamp = tuple[int, int]  # of a file: when it was written, how long it is


class CertificateFiles:
    """The configured files. One at a time opens them; what is open, any thread may look up."""

    def __init__(
        self,
        files: Callable[[], Sequence[Path]],
        passphrase_of: Callable[[Path], bytes | None],
        *,
        check: Callable[[Path], None] = lambda _file: None,
    ) -> None:
        """`passphrase_of` may raise keyring.absent; None where none was enrolled. `check` refuses a file by raising."""
        self._files, self._passphrase_of, self._check = files, passphrase_of, check
        self._kept: dict[Path, tuple[_Stamp, OrganisationCertificate]] = {}

    def open(self) -> list[Opened]:
        """Every file in its order; one that does not open hides no other, and is tried again the next time.

        Blocks: a keyring may ask the person.
        """
        kept: dict[Path, tuple[_Stamp, OrganisationCertificate]] = {}
        opened = []
        for file in self._files():
            try:
                kept[file] = self._open(file)
                opened.append(Opened(file, kept[file][1]))
            except AgentError as error:
                opened.append(Opened(file, error))
        self._kept = kept
        return opened

    def of(self, fingerprint: str) -> "OrganisationCertificate":
        """The open certificate with this fingerprint; for any thread. Raises certificate.missing."""
        for _, certificate in self._kept.values():
            if certificate.fingerprint == fingerprint:
                return certificate
        raise AgentError(Code.CERTIFICATE_MISSING, "no longer among those that are open")

    def _open(self, file: Path) -> tuple[_Stamp, "OrganisationCertificate"]:
        from agent.signing.organisation import open_p12

        try:
            about = file.stat()
        except OSError as error:
            raise AgentError(Code.CERTIFICATE_MISSING, type(error).__name__) from None
        self._check(file)
        stamp = about.st_mtime_ns, about.st_size
        if file in self._kept and self._kept[file][0] == stamp:
            return self._kept[file]
        passphrase = self._passphrase_of(file)
        if passphrase is None:
            raise AgentError(Code.CERTIFICATE_UNREADABLE, "its passphrase was not enrolled")
        return stamp, open_p12(file, passphrase)


def secret_name(file: Path) -> str:
    """Under which name the passphrase of the file at this place is kept; the place cannot be read from it."""
    place = os.path.normcase(os.path.abspath(file))  # noqa: PTH100  (links stay: what they lead to may be renewed)
    return f"organisation-{hashlib.sha256(os.fsencode(place)).hexdigest()[:32]}"
