"""Write the SOAP message of one attempt, of any operation, after its contract. Clock and ids are arguments.

The headers are the same everywhere; the body is what the operation's binding says.
Source: contexts CTXLPS V01_00 and CTXBAM V01_02, wsa and wsse headers as deployed clients send them
(padoa/tlsi-ins, SAPA), second hand.
"""

import base64
import copy
import hashlib
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lxml import etree

from agent.insi.operations import DepositQuery, FetchQuery, Operation, Query, TraitsQuery, VerifyQuery, VitaleQuery
from agent.model import rfc3339

if TYPE_CHECKING:
    from agent.insi.contract import Contract

_SOAP = "http://www.w3.org/2003/05/soap-envelope"
_WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
_PREFIXES = {  # mean nothing to INSi; they are for who reads the frames
    "soap": _SOAP,
    "wsa": "http://www.w3.org/2005/08/addressing",
    "wsse": _WSSE,
    "ctxbam": "urn:siram:bam:ctxbam",
    "ctxlps": "urn:siram:lps:ctxlps",
}
_DSIG = "{http://www.w3.org/2000/09/xmldsig#}"
_SECURITY = f"{{{_WSSE}}}Security"

_Values = dict[str, str | None]


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
    given: tuple[str, ...]  # the query's, without those that the binding omits
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
        digest_signatures(root)
        stored: bytes = etree.tostring(root, encoding="UTF-8", xml_declaration=True)
        return stored


def digest_signatures(root: Any) -> None:
    """Every signature and certificate below becomes the digest of what it encodes. Raises ValueError: no base64."""
    for element in root.iter(f"{_DSIG}SignatureValue", f"{_DSIG}X509Certificate"):
        text = element.text or ""
        if not text.startswith("sha256:"):
            element.text = "sha256:" + hashlib.sha256(base64.b64decode(text)).hexdigest()


def build(
    query: Query,
    *,
    contract: "Contract",
    lps: Lps,
    emitter: str,
    assertion: Any | None,
    ids: Ids,
    at: datetime,
    vitale_assertion: Any | None = None,
    rank_format: str = "1",
    send_key: bool = False,
    bam_version: str = "01_02",
    lps_version: str = "01_00",
) -> Envelope:
    """The message for this query.

    `emitter`: NameID of the assertion, or OU of the organisation's certificate; empty where it has none, then no
    element says it. `assertion`: the signed lxml element, copied as it is; None in organisation mode. `at`: aware,
    UTC. `vitale_assertion`: put behind the other, the same way. `rank_format`: "1" or "01".
    Raises contract.missing, and the codes of `write_body`.
    """
    from agent.insi.contract.bindings import ADDRESSING, CONTEXTS

    operation = query.operation
    binding = contract.binding(operation)
    known: _Values = {
        "messageId": ids.message_id,
        "action": binding.action,
        "bamId": ids.bam,
        "bamVersion": bam_version,
        "lpsId": ids.lps,
        "lpsVersion": lps_version,
        "at": rfc3339(at),
        "emitter": emitter or None,
        "authorisation": lps.authorisation,
        "softwareVersion": lps.version,
        "instance": lps.instance,
        "nom": lps.nom,
        **_cover(query),
    }
    root = etree.Element(f"{{{_SOAP}}}Envelope", nsmap=_PREFIXES)
    header = etree.SubElement(root, f"{{{_SOAP}}}Header")
    for request in ADDRESSING:
        contract.write(operation, request, request.content(known), header)
    if assertions := [element for element in (assertion, vitale_assertion) if element is not None]:
        security = etree.SubElement(header, _SECURITY)
        security.extend(copy.deepcopy(element) for element in assertions)  # their next message needs them too
    for request in CONTEXTS:
        contract.write(operation, request, request.content(known), header)
    body = etree.SubElement(root, f"{{{_SOAP}}}Body")
    write_body(query, body, contract=contract, rank_format=rank_format, send_key=send_key)
    message: bytes = etree.tostring(root, encoding="UTF-8", xml_declaration=True)
    given = tuple(name for name in query.given if name not in binding.request.omits)
    return Envelope(operation, binding.action, ids.message_id, message, given, vitale_assertion is not None)


def write_body(
    query: Query, into: Any, *, contract: "Contract", rank_format: str = "1", send_key: bool = False
) -> None:
    """Put the body of this query into this element; also to know beforehand whether it can be written.

    Raises contract.missing; contract.binding, and traits.refused for what its schema wants and a page may add.
    """
    request = contract.binding(query.operation).request
    content = request.content(*values(query, rank_format=rank_format, send_key=send_key))
    contract.write(query.operation, request, content, into)


def values(query: Query, *, rank_format: str = "1", send_key: bool = True) -> tuple[_Values, list[_Values]]:
    """What the body may hold (operations.VALUES), and each person of a batch. None: an element that stays absent."""
    match query:
        case VitaleQuery():
            return {
                "certifiedNir": query.certified_nir,
                "nirOfInsured": query.nir_of_insured,
                "keyOfInsured": query.key_of_insured if send_key else None,
                "birthName": query.birth_name,
                "birthDate": query.birth_date,
                "rank": str(query.rank).zfill(len(rank_format)),
            }, []
        case TraitsQuery():
            return {
                "birthName": query.birth_name,
                "givenName": query.given_name,
                "sex": query.sex,
                "birthDate": query.birth_date,
                "birthPlaceCode": query.birth_place_code,
            }, []
        case VerifyQuery():
            return _to_verify(query), []
        case DepositQuery():
            each = [{"reference": reference, **_to_verify(person)} for reference, person in query.items]
            return {"reference": query.reference, "count": str(len(each))}, each
        case FetchQuery():
            return {"batch": query.batch}, []


def _to_verify(query: VerifyQuery) -> _Values:
    return {
        "matricule": query.matricule,
        "key": query.key,
        "oid": query.oid,
        "birthName": query.birth_name,
        "givenName": query.given_name,
        "givenNames": query.given_names,
        "sex": query.sex,
        "birthDate": query.birth_date,
        "birthPlaceCode": query.birth_place_code,
    }


def _cover(query: Query) -> _Values:
    """COUVERTURE: filled for a card, empty for all else."""
    if not isinstance(query, VitaleQuery):
        return {}
    return {
        "coverNirOfInsured": query.nir_of_insured,
        "coverCertifiedNir": query.certified_nir,
        "coverBirthDate": query.birth_date,
        "coverRank": str(query.rank),
    }
