"""What an exact message tells to somebody whom its people do not concern: its shape, and nobody. No I/O of its own.

An allowlist [choice]: what is known to be technical stays where it is known to stand, and only in the form that it is
known to have; every other text becomes `[9]`, its length. So a member that the next edition of INSi brings is masked
until somebody says that it is technical. Of the teleservice's own sentences those stay that faults.py knows. Names of
elements and attributes, prefixes and namespaces stay as they are: they are the shape.
"""

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from agent.insi.faults import TABLE

Called = Callable[[str, str], str]  # (kind, value) → what a person's or a structure's value is called instead


class Pseudonyms:
    """The same value under the same short name throughout, so that it is seen which lines belong together."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], str] = {}
        self._counts = Counter[str]()

    def called(self, kind: str, value: object) -> str:
        """`[professionnel 1]` for the first value of this kind, and for each that is equal to it."""
        known = self._names.get((kind, str(value)))
        if known is None:
            self._counts[kind] += 1
            known = self._names[kind, str(value)] = f"[{kind} {self._counts[kind]}]"
        return known


def masked_xml(data: bytes) -> bytes:
    """The message with its elements, codes, moments, technical identifiers and OIDs; no text or value tells a person.

    Names of elements, attributes and namespaces stay, also those that nobody knows.
    What is no XML, or has a DTD, becomes its size: `[812 octets]`. Comments and processing instructions go.
    """
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True)
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError):
        return _size(data)
    if root.getroottree().docinfo.doctype:
        return _size(data)
    for element in root.iter():
        name = etree.QName(element).localname
        element.text = _masked(element.text, _TEXTS.get(name))
        element.tail = _masked(element.tail, None)
        for attribute, value in element.attrib.items():
            element.set(attribute, _masked(value, _ATTRIBUTES.get(etree.QName(attribute).localname)))
    told: bytes = etree.tostring(root, encoding="UTF-8", xml_declaration=True, with_tail=False)
    return told


def without_signatures(data: bytes) -> bytes:
    """A request with its people; of one that was kept as it was sent, signatures and certificates become digests.

    What is no XML, or holds another thing in their place, becomes its size.
    """
    from lxml import etree

    from agent.insi.envelope import digest_signatures

    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    try:
        root = etree.fromstring(data, parser)
        digest_signatures(root)
    except (etree.XMLSyntaxError, ValueError):
        return _size(data)
    told: bytes = etree.tostring(root, encoding="UTF-8", xml_declaration=True)
    return told


def masked_json(data: bytes, called: Called) -> Any:
    """What a page asked, or got, as a value without patients' data; who called is told as `called` says.

    What is no JSON becomes its size: `[812 octets]`.
    """
    try:
        return _masked_member(json.loads(data), (), called)
    except (ValueError, RecursionError):
        return _size(data).decode()


def _size(data: bytes) -> bytes:
    return f"[{len(data)} octets]".encode()


def _masked(text: str | None, allowed: re.Pattern[str] | None) -> str | None:
    said = (text or "").strip(_BLANKS)
    return text if not said or (allowed and allowed.fullmatch(said)) else f"[{len(said)}]"


def _masked_member(value: Any, path: tuple[str, ...], called: Called) -> Any:
    if isinstance(value, dict):
        return {_name(name): _masked_member(member, (*path, name), called) for name, member in value.items()}
    if isinstance(value, list):
        return [_masked_member(member, (*path, "*"), called) for member in value]
    if value is None or isinstance(value, bool):
        return value
    at = ".".join(path)
    if at in _PEOPLE:
        return called(_PEOPLE[at], str(value))
    if _STAYS.fullmatch(at) or (path[-1:] == ("label",) and value in _SENTENCES):
        return value
    return _masked(str(value), None)


def _name(name: str) -> str:
    """A member's name as our own messages have them; any other may be a value."""
    return name if re.fullmatch(r"[a-z][A-Za-z0-9]{0,40}", name) else f"[{len(name)}]"


_BLANKS = " \t\r\n"
_SENTENCES = {text for row in TABLE for text in (row.text, row.detail) if text}

_UUID = r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}"
_IDENTIFIER = rf"(urn:)?(uuid:)?_?{_UUID}"
# Of a message that was sent: since there is INSi, with its zone, and at no full hour, as a birth date would be written.
_MOMENT = r"20[2-9]\d-\d\d-\d\dT\d\d:(?!00:00(\.0+)?(Z|[+-]))\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)"
_VERSION = r"\d{1,2}[._]\d{1,2}"  # of three numbers a date is made
_SIMULATED = (  # what our simulator refuses
    "action|body|field|header|message|name|soap|batch_(reference|size|unknown)"
    "|assertion_(age|algorithm|attribute|certificate|chain|digest|missing|shape|signature|subject)"
)
_FAULT = rf"(desir|insi|siram)_\d{{1,5}}|sim_({_SIMULATED})"
_PREFIX = r"soap|soapenv|SOAP-ENV|env|S|s"  # of SOAP, as services write it
_SENTENCE = "|".join(map(re.escape, sorted(_SENTENCES)))

# The local name of an element, or of an attribute → what may stand in it. A prefix means nothing, and a name alone
# neither: `Id` is an identifier in the contexts and a person in COUVERTURE.
_TEXTS = {
    name: re.compile(pattern, re.ASCII)
    for name, pattern in {
        "MessageID": _IDENTIFIER,
        "RelatesTo": _IDENTIFIER,
        "Id": _IDENTIFIER,
        "Instance": _IDENTIFIER,
        "IdLot": _IDENTIFIER,
        "Action": r"urn:ServiceIdentiteCertifiee:\d\.\d\.\d:rechercherInsAvec(CarteVitale|TraitsIdentite)"
        r"|urn:insi-agent:placeholder:1:(verifierIns|deposerLot|recupererLot)",
        "Address": re.escape("http://www.w3.org/2005/08/addressing/anonymous"),
        "Temps": _MOMENT,
        "Version": _VERSION,
        "OID": r"1\.2\.250\.1\.213\.1\.4\.\d{1,2}",  # of matricules INS
        "TypeMatricule": "NIR|NIA",
        "CodeCR": r"\d{1,3}|OK|KO|PRET|EN_COURS",
        "LibelleCR": _SENTENCE,
        "Value": rf"(({_PREFIX}):)?(Sender|Receiver|MustUnderstand|VersionMismatch|DataEncodingUnknown|{_FAULT})",
        "Text": _SENTENCE,
        "Erreur": _SENTENCE,
    }.items()
}
_ATTRIBUTES = {
    name: re.compile(pattern, re.ASCII)
    for name, pattern in {
        "Version": _VERSION,
        "Nature": "CTXBAM|CTXLPS",
        "R": r"\d",
        "ID": _IDENTIFIER,
        "Id": rf"placeholder|{_IDENTIFIER}",
        "messageID": _IDENTIFIER,
        "URI": rf"#{_IDENTIFIER}",
        "IssueInstant": _MOMENT,
        "Format": r"urn:oasis:names:tc:SAML:(1\.1|2\.0):nameid-format:(X509SubjectName|unspecified)",
        "Algorithm": r"http://www\.w3\.org/(2000/09/xmldsig#(enveloped-signature|rsa-sha1|sha1)|2001/04/xmlenc#sha256"
        r"|2001/04/xmldsig-more#rsa-sha256|(2001/10/xml-exc-c14n|TR/2001/REC-xml-c14n-20010315)#?(WithComments)?)",
        "Name": "identifiantFacturation|codeSpecialiteAMO|secteurActivite",
        "lang": "fr(-FR)?|en(-(US|GB))?",
        "mustUnderstand": "0|1|true|false",
        "nil": "0|1|true|false",
        "code": _FAULT,
        "severite": "erreur|fatale?|avertissement",
    }.items()
}

# Of a page's params and of a result: the members whose values are ours, or of a closed list, by path.
_STAYS = re.compile(
    r"""
    authMode | activity | context | continues | readId | holder | identity\.(status | attributes\.\*)
    | outcome | code | (reasons | warnings)\.\* | ((identity | asked)\.)?ins\.oid | identity\.history\.\*\.oid
    | identity\.ins\.kind
    | trace\.(id | operation | at | durationMs | environment | authMode | messageId | requestSha256 | origin | context
              | seq | previous | software\.(name | version) | attempts\.\*\.(code | messageId | durationMs | given\.\*))
    """,
    re.VERBOSE,
)  # not trace.responseSha256: an answer can be guessed, and its digest tells whether one guessed right
_PEOPLE = {
    f"{where}{path}": kind
    for where in ("", "trace.")
    for path, kind in {
        "user.id": "utilisateur",
        "user.name": "nom",
        "user.role": "fonction",
        "professional.nationalId": "professionnel",
        "professional": "professionnel",
        "structure": "structure",
        "certificate": "certificat",
    }.items()
}
