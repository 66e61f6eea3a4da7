"""The documents of a contract: a folder's WSDL and XSD files, wherever they lie in it, and never the network."""

import os
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, unquote, urlsplit

from lxml import etree

from agent.errors import AgentError, Code

_ROOT = "file:///contrat/"  # documents name one another by addresses below it, the same on every system
_MAX_BYTES = 4 << 20
_MAX_ENTRIES = 5_000
_MAX_FILES = 500
_KINDS = (".wsdl", ".xsd")


class Trouble(StrEnum):
    """Why a document cannot be used, for whoever installs it."""

    FOLDER = "le dossier est introuvable ou ne se lit pas"
    TOO_MANY = "le dossier contient trop de fichiers : désigner celui du paquet"
    NO_WSDL = "le dossier ne contient aucun fichier .wsdl"
    UNREADABLE = "le fichier ne se lit pas"
    TOO_LARGE = "le fichier est trop grand"
    NOT_XML = "le fichier n'est pas un XML bien formé"
    DTD = "le fichier contient une DTD, ce qu'un contrat ne demande pas : la retirer"
    MISSING = "un document importé manque au dossier, et rien n'est cherché sur le réseau"
    AMBIGUOUS = "plusieurs fichiers différents portent ce nom, et l'import ne dit pas lequel"
    LOOP = "les imports tournent en rond"
    NOT_A_CONTRACT = "le contrat ne se comprend pas"
    NO_OPERATION = "le contrat n'a aucune opération SOAP 1.2"


def unreadable(file: str, trouble: Trouble, detail: object = "") -> NoReturn:
    """Raises contract.unreadable {file, reason}."""
    raise AgentError(Code.CONTRACT_UNREADABLE, f"{file}: {detail or trouble.name}", file=file, reason=trouble.value)


class Files:
    """The WSDL and XSD files of a folder, by address."""

    def __init__(self, folder: Path, spare: "Files | None" = None) -> None:
        """`spare`: where a document that the folder lacks is looked for. Raises contract.unreadable."""
        self._spare = spare
        self._files = {_ROOT + quote(path.relative_to(folder).as_posix()): path for path in _found(folder)}
        self._read: dict[str, bytes] = {}
        if not self.wsdls:
            unreadable(folder.name, Trouble.NO_WSDL)

    @property
    def wsdls(self) -> list[str]:
        """Addresses of the WSDL files."""
        return sorted(address for address in self._files if address.lower().endswith(".wsdl"))

    @staticmethod
    def name(address: str) -> str:
        """For people: its path in the folder, or the address that nobody serves."""
        return unquote(address).removeprefix(_ROOT)

    def load(self, address: str) -> bytes:
        """The bytes of a document: well-formed, without DTD, which is dropped from a schema that uses no entity.

        Raises contract.unreadable.
        """
        own = self._own(address)
        if own is None:
            return self._spare.load(address) if self._spare else unreadable(self.name(address), Trouble.MISSING)
        return self._content(own)

    def _content(self, address: str) -> bytes:
        if address not in self._read:
            self._read[address] = _screened(self._files[address], self.name(address))
        return self._read[address]

    def _own(self, address: str) -> str | None:
        """The address here of what a document calls `address`: in its place, else the only one of that name."""
        plain = quote(unquote(address).replace("\\", "/"), safe="/:")
        if plain in self._files:
            return plain
        name = unquote(urlsplit(address).path).replace("\\", "/").rpartition("/")[2].lower()
        same = [known for known, path in self._files.items() if path.name.lower() == name]
        if len({self._content(known) for known in same}) > 1:
            unreadable(self.name(address), Trouble.AMBIGUOUS)
        return same[0] if same else None


def parsed(content: bytes, address: str | None = None, resolver: Any = None) -> Any:
    """The root element. No DTD, no entity, no network, no size tricks. Raises lxml's errors, ValueError."""
    parser = etree.XMLParser(
        resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False, remove_comments=True, remove_pis=True
    )
    if resolver is not None:
        parser.resolvers.add(resolver)
    return etree.fromstring(content, parser, base_url=address)


def _found(folder: Path) -> Iterator[Path]:
    entries = files = 0

    def refused(error: OSError) -> NoReturn:
        unreadable(folder.name, Trouble.FOLDER, error.strerror)

    for place, _, names in os.walk(folder, onerror=refused):
        entries += len(names) + 1
        paths = [Path(place, name) for name in sorted(names) if name.lower().endswith(_KINDS)]
        files += len(paths)
        if entries > _MAX_ENTRIES or files > _MAX_FILES:
            unreadable(folder.name, Trouble.TOO_MANY)
        yield from paths


def read_small(path: Path, name: str) -> bytes:
    """The bytes of a file that is not large. Raises contract.unreadable."""
    try:
        if not path.is_file():  # a pipe would keep us waiting
            unreadable(name, Trouble.UNREADABLE)
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        unreadable(name, Trouble.UNREADABLE, error.strerror)
    if len(content) > _MAX_BYTES:
        unreadable(name, Trouble.TOO_LARGE)
    return content


def _screened(path: Path, name: str) -> bytes:
    content = read_small(path, name)
    try:
        root = parsed(content)
    except (etree.LxmlError, ValueError) as error:
        unreadable(name, Trouble.NOT_XML, type(error).__name__)
    return _without_dtd(root, name) if root.getroottree().docinfo.doctype else content


def _without_dtd(root: Any, name: str) -> bytes:
    """W3C's own schema of XML signatures has one, which it does not need. Nothing that it declares is resolved."""
    plain: bytes = etree.tostring(root, encoding="UTF-8")
    try:
        parsed(plain)  # an entity is unknown from here on
    except (etree.LxmlError, ValueError):
        unreadable(name, Trouble.DTD)
    return plain if root.tag == "{http://www.w3.org/2001/XMLSchema}schema" else unreadable(name, Trouble.DTD)
