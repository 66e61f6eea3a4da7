"""Write the SOAP message of one attempt. Clock and ids are arguments.

zeep fills our own contract (contract/insi.wsdl), read from the package's folder and never from the network.
Source: contexts CTXLPS V01_00 and CTXBAM V01_02, wsa and wsse headers as deployed clients send them
(padoa/tlsi-ins, SAPA), second hand.
"""

import base64
import hashlib
import logging
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from lxml import etree

from agent.insi.operations import WIRE, Operation, Query, VitaleQuery
from agent.model import rfc3339

_CONTRACT = Path(__file__).parent / "contract" / "insi.wsdl"
_BINDING = "{http://www.cnamts.fr/webservice}Insi"
_PREFIXES = {  # mean nothing to INSi; they are for who reads the frames
    "wsa": "http://www.w3.org/2005/08/addressing",
    "wsse": "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd",
    "ctxbam": "urn:siram:bam:ctxbam",
    "ctxlps": "urn:siram:lps:ctxlps",
}
_DSIG = "{http://www.w3.org/2000/09/xmldsig#}"
_SECURITY = f"{{{_PREFIXES['wsse']}}}Security"


@dataclass(frozen=True)
class Lps:
    """The calling software, as INSi authorised it (ContexteLPS)."""

    authorisation: str = field(repr=False)  # CNDA number of this environment (IDAM)
    name: str
    version: str
    instance: str  # UUID of this installation
    nom: str  # LPS/Nom, `urn:lps:<name>:<version>`


@dataclass(frozen=True)
class Ids:
    """The identifiers of one message. Never used twice, also not by a repeat."""

    message_id: str
    lps: str
    bam: str

    @classmethod
    def fresh(cls) -> "Ids":
        return cls(f"uuid:{uuid.uuid4()}", str(uuid.uuid4()), str(uuid.uuid4()))


@dataclass(frozen=True)
class Envelope:
    """One message, as it travels."""

    operation: Operation
    action: str
    message_id: str
    body: bytes = field(repr=False)
    vitale_assertion: bool = False  # the last one in Security is not the professional's

    @property
    def sha256(self) -> str:
        """Of the exact bytes sent."""
        return hashlib.sha256(self.body).hexdigest()

    def without_secrets(self) -> bytes:
        """For storage: the assertion's signature and certificate replaced by the digest of what they encode.

        A signed assertion is a bearer secret: nothing binds it to its message. How a Vitale assertion is
        signed is not public: its own digest stays, and nothing else.
        """
        root = etree.fromstring(self.body)
        if self.vitale_assertion:
            last = root.find(f".//{_SECURITY}")[-1]
            digest = hashlib.sha256(etree.tostring(last, method="c14n", exclusive=True, with_tail=False)).hexdigest()
            last.clear()
            last.text = f"sha256:{digest}"
        for element in root.iter(f"{_DSIG}SignatureValue", f"{_DSIG}X509Certificate"):
            element.text = "sha256:" + hashlib.sha256(base64.b64decode(element.text or "")).hexdigest()
        stored: bytes = etree.tostring(root, encoding="UTF-8", xml_declaration=True)
        return stored


def build(
    query: Query,
    *,
    lps: Lps,
    emitter: str,
    assertion: Any | None,
    ids: Ids,
    at: datetime,
    rank_format: str = "1",
    vitale_assertion: Any | None = None,
) -> Envelope:
    """The message for this query.

    `emitter`: NameID of the assertion, or OU of the organisation's certificate. `assertion`: the signed
    lxml element, copied as it is; None in organisation mode. `at`: aware, UTC. `rank_format`: "1" or "01".
    `vitale_assertion`: put behind it, the same way.
    """
    assertions = [element for element in (assertion, vitale_assertion) if element is not None]
    wire = WIRE[query.operation]
    about = {"Temps": rfc3339(at), "Emetteur": emitter}
    headers = {
        "MessageID": ids.message_id,
        "Action": wire.action,
        "Security": {"_value_1": assertions} if assertions else None,
        "ContexteBAM": {"Nature": "CTXBAM", "Version": "01_02", "Id": ids.bam, **about, "COUVERTURE": _cover(query)},
        "ContexteLPS": {
            "Nature": "CTXLPS",
            "Version": "01_00",
            "Id": ids.lps,
            **about,
            "LPS": {
                "IDAM": {"_value_1": lps.authorisation, "R": "4"},
                "Version": lps.version,
                "Instance": lps.instance,
                "Nom": lps.nom,
            },
        },
    }
    # Straight from the operation: zeep 4.3's create_message wants a client, hence a network transport.
    message = _binding().get(wire.name).create(**_content(query, rank_format), _soapheaders=headers).content
    body = etree.tostring(message, encoding="UTF-8", xml_declaration=True)
    return Envelope(query.operation, wire.action, ids.message_id, body, vitale_assertion is not None)


def load() -> None:
    """Read our contract now: a third of a second, once, that somebody else may have to wait for otherwise."""
    _binding()


def _content(query: Query, rank_format: str) -> dict[str, Any]:
    """The body's elements. Absent ones stay absent."""
    if isinstance(query, VitaleQuery):
        return {
            "MatriculeIndividu": query.certified_nir and {"NumIdentifiant": query.certified_nir},
            "MatriculeOD": {"NumIdentifiant": query.nir_of_insured},
            "NomNaissance": query.birth_name,
            "DateNaissance": query.birth_date,
            "RangNaissance": str(query.rank).zfill(len(rank_format)),
        }
    return {
        "NomNaissance": query.birth_name,
        "Prenom": query.given_name,
        "Sexe": query.sex,
        "DateNaissance": query.birth_date,
        "LieuNaissance": query.birth_place_code,
    }


def _cover(query: Query) -> dict[str, Any]:
    """COUVERTURE is always present: empty for a search by traits."""
    if not isinstance(query, VitaleQuery):
        return {}
    return {
        "ASSURE": {"Id": {"Num": query.nir_of_insured}},
        "BENEFICIAIRE": {
            "Nir": query.certified_nir and {"Num": query.certified_nir},
            "DateNai": query.birth_date,
            "Rang": query.rank,
        },
    }


@cache
def _binding() -> Any:
    """Our contract as zeep reads it, loaded on first use."""
    from zeep.wsdl import Document

    logging.getLogger("zeep").setLevel(logging.WARNING)  # it prints whole messages at DEBUG
    transport: Any = _PackageFile()
    document: Any = Document(str(_CONTRACT), transport)
    for prefix, namespace in _PREFIXES.items():
        document.types.set_ns_prefix(prefix, namespace)
    return document.bindings[_BINDING]


class _PackageFile:
    """What zeep takes for its transport: reads a file of the package, knows no network."""

    def load(self, path: str) -> bytes:
        return Path(path).read_bytes()
