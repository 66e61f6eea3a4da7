"""What the simulated INSi answers to a message: checks in the gateway's order, then its people. No I/O of its own.

Source: headers, rules and actions of contract DESIR_ICIR_EXP 1.5.0 and of deployed clients (padoa/tlsi-ins, SAPA),
name rules of the GIE's guide (EF_INS01_03, EF_INS10), second hand. It is a simulator: passing it proves nothing
about CNDA.
"""

import logging
import re
from collections import deque
from collections.abc import Collection, Sequence
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

from cryptography import x509
from lxml import etree

from agent.insi import fake_assertion, fake_people
from agent.insi.fake_answers import (
    FAULTS,
    NAME_MISSING,
    NO_RIGHT,
    SOAP,
    TECHNICAL,
    UNAVAILABLE,
    UNKNOWN_SOFTWARE,
    Fault,
    Said,
    fault_document,
    result_document,
    simulated,
)
from agent.insi.fake_batch import USUAL_BATCHES, BatchRules, Placeholder
from agent.insi.fake_people import Person
from agent.insi.fake_style import NOBODY, Style
from agent.model import AuthMode

log = logging.getLogger(__name__)


class Remark(StrEnum):
    """What the service accepts although the client's rules forbid it."""

    PLACE_FIRST = "place-first"  # an installation's search that began with the birth place (S102)
    MESSAGE_ID_AGAIN = "message-id-again"  # also a repeat has a new one
    ASSERTION_UNWANTED = "assertion-unwanted"  # in mutual TLS the certificate says who asks
    SCHEMA = "schema"  # a search whose elements are not those of the schema, in its order
    DATE = "date"  # of no calendar; a month or a day that nobody knows is 00


_WSA = "{http://www.w3.org/2005/08/addressing}"
_WSSE = "{http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd}"
_SAML = "{urn:oasis:names:tc:SAML:2.0:assertion}"
_LPS = "{urn:siram:lps:ctxlps}"
_BAM = "{urn:siram:bam:ctxbam}"
_TRAITS = "{http://www.cnamts.fr/INSiRecSans}"
_VITALE = "{http://www.cnamts.fr/INSiRecVit}"
_URN = "urn:ServiceIdentiteCertifiee:1.0.0:"
_BY_CARD = _URN + "rechercherInsAvecCarteVitale"
_BY_TRAITS = _URN + "rechercherInsAvecTraitsIdentite"
_ORGANISATION_NAMES = ("INSI-MANU", "INSI-AUTO")
_NOT_FOUND = {"insi_102": TECHNICAL, "desir_1020": UNAVAILABLE}

_BIRTH_NAME = re.compile(r"(?![ -])(?!.*[ '][ '])[A-Z' -]+")
_GIVEN_NAME = re.compile(r"(?![ -])(?!.*(?:[ '][ ']|--))[A-Z' -]*[A-Z ]")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MATRICULE = re.compile(r"[0-9]{6}[A-Z0-9][0-9]{6}")
_NUMBER = ("NumIdentifiant", "Cle", "TypeMatricule")
_MEMBERS = {  # by local name, in the schema's order; all the others hold a text
    "RECSANSVITALE": ("NomNaissance", "Prenom", "Sexe", "DateNaissance", "LieuNaissance"),
    "RECVITALE": ("MatriculeIndividu", "MatriculeOD", "NomNaissance", "DateNaissance", "RangNaissance"),
    "MatriculeIndividu": _NUMBER,
    "MatriculeOD": _NUMBER,
}
_REMEMBERED = 1000  # messages and searches, for the remarks

_KEPT = etree.XMLParser(resolve_entities=False, no_network=True)
_PLAIN = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True)


class FakeService:
    """INSi and its gateway, without a network."""

    def __init__(
        self,
        *,
        authorisations: Collection[str],
        ca: Sequence[x509.Certificate],
        style: Style | None = None,
        assertion_max_age: timedelta = timedelta(hours=1),
        batches: BatchRules | None = USUAL_BATCHES,
    ) -> None:
        """`ca`: who issues the cards that are let in. `batches`: None for no operation of the placeholder contract."""
        self.style = style or Style()
        self.remarks: list[Remark] = []  # on the last message
        self.places_too_early = 0  # searches that began with the birth place
        self._authorisations = authorisations
        self._ca = ca
        self._assertion_max_age = assertion_max_age
        self._placeholder = batches and Placeholder(batches, check_traits)
        self._bodies = {_BY_CARD: f"{_VITALE}RECVITALE", _BY_TRAITS: f"{_TRAITS}RECSANSVITALE"}  # by action
        if self._placeholder:
            self._bodies |= self._placeholder.actions
        self._injected: deque[list[Person] | tuple[int, bytes] | None] = deque()  # None: the service's own answer
        self._searches: deque[tuple[str | None, ...]] = deque(maxlen=_REMEMBERED)
        self._message_ids: deque[str] = deque(maxlen=_REMEMBERED)

    def inject(self, test: str | None) -> None:
        """Answer the next good request by the reply file of this CNDA test; None for REP_CR01 (nobody)."""
        self._injected.append([] if test is None else [fake_people.TESTS[test]])

    def inject_person(self, person: Person) -> None:
        """Answer the next good request by this person."""
        self._injected.append([person])

    def inject_reply(self, reply: bytes, status: int = 200) -> None:
        """Answer the next good request by exactly these bytes, a reply file."""
        self._injected.append((status, reply))

    def inject_nothing(self) -> None:
        """Answer the next good request as it deserves, then go on with what was injected behind this."""
        self._injected.append(None)

    def answer(
        self,
        message: bytes,
        *,
        mode: AuthMode,
        client_name: str | None,
        now: datetime,
        action: str = "",
        style: Style | None = None,
    ) -> tuple[int, bytes]:
        """HTTP status and body for this message.

        `client_name`: CN of the client certificate. `action`: of the content type, where no wsa:Action says it.
        `style`: for this call, in place of the service's.
        """
        self.remarks = []
        style, message_id = style or self.style, None
        try:
            whole, plain = _read(message)
            header = plain[0]
            message_id = _text(header, f"{_WSA}MessageID")
            action = _text(header, f"{_WSA}Action") or action
            self._admit(whole, header, mode, client_name, now, action)
            _check_contexts(header)
            self._remark(message_id, header, mode)
            return self._served(action, header, plain[1], style)
        except Said as said:
            return self.fault(said.fault, message_id, style)

    def fault(self, fault: Fault, message_id: str | None = None, style: Style | None = None) -> tuple[int, bytes]:
        """HTTP status and body of this fault."""
        return 500, fault_document(fault, style or self.style, message_id)

    def _admit(
        self, whole: Any, header: Any, mode: AuthMode, client_name: str | None, now: datetime, action: str
    ) -> None:
        """Raises what the gateway has against this message, in its order."""
        if _text(header, f"{_LPS}ContexteLPS/{_LPS}LPS/{_LPS}IDAM") not in self._authorisations:
            raise Said(UNKNOWN_SOFTWARE)
        if mode is AuthMode.ORGANISATION and client_name not in _ORGANISATION_NAMES:
            raise Said(NO_RIGHT)
        if mode is AuthMode.CPX:
            try:
                fake_assertion.check(
                    whole,
                    whole.find(f"{{{SOAP}}}Header/{_WSSE}Security"),
                    ca=self._ca,
                    now=now,
                    max_age=self._assertion_max_age,
                    with_vitale=action == _BY_CARD,
                )
            except fake_assertion.Refused as refused:
                raise simulated("siram_100", refused.code, refused.sentence) from None
        if action not in self._bodies:
            raise simulated("siram_10", "sim_action", "wsa:Action inconnue")

    def _served(self, action: str, header: Any, body: Any, style: Style) -> tuple[int, bytes]:
        """The answer to a message of somebody who may ask."""
        if [child.tag for child in body] != [self._bodies[action]]:
            name = etree.QName(self._bodies[action]).localname
            raise simulated("siram_10", "sim_body", f"{name} est attendu, seul, dans le Body")
        document, found = b"", None
        if action in (_BY_CARD, _BY_TRAITS) and not _as_described(body[0]):
            self._note(Remark.SCHEMA)
        if action == _BY_CARD:
            found = self._by_card(body[0], style)
        elif action == _BY_TRAITS:
            found = self._by_traits(body[0], _client(header), style)
        elif self._placeholder:
            document = self._placeholder.answer(action, body[0], style)
        injected = self._injected.popleft() if self._injected else None
        if isinstance(injected, tuple):
            return injected
        if style.answer in FAULTS:
            raise Said(FAULTS[style.answer])
        if found is None:
            return 200, document
        if injected is None and style.answer:
            injected = [] if style.answer == NOBODY else [fake_people.TESTS[style.answer]]
        if injected is not None:
            return 200, result_document(injected, style)
        if not found and style.not_found in _NOT_FOUND:
            raise Said(_NOT_FOUND[style.not_found])
        return 200, result_document(found, style)

    def _by_traits(self, request: Any, client: tuple[str | None, ...], style: Style) -> list[Person]:
        birth_name, given_name, sex, birth_date, place = (
            _text(request, f"{_TRAITS}{name}")
            for name in ("NomNaissance", "Prenom", "Sexe", "DateNaissance", "LieuNaissance")
        )
        if not birth_name:
            raise Said(NAME_MISSING)
        if not given_name or not sex or not birth_date or len(request.findall(f"{_TRAITS}Prenom")) != 1:
            raise simulated("siram_10", "sim_field", "un champ obligatoire manque, ou est répété")
        check_traits(birth_name, given_name, sex, birth_date)
        self._look_at_date(birth_date)
        asked = (*client, birth_name, sex, birth_date)
        if place and asked not in self._searches:
            self.places_too_early += 1
            self._note(Remark.PLACE_FIRST)
        self._searches.append(asked)
        return fake_people.by_traits(birth_name, given_name, sex, birth_date, place, production=style.production)

    def _by_card(self, request: Any, style: Style) -> list[Person]:
        insured, own = (_text(request, f"{_VITALE}{who}/{_VITALE}NumIdentifiant") for who in _NUMBERS)
        birth_date, rank = (_text(request, f"{_VITALE}{name}") for name in ("DateNaissance", "RangNaissance"))
        numbers = [number for number in (insured, own) if number]
        if not numbers or not birth_date or not rank:
            raise simulated("siram_10", "sim_field", "un champ obligatoire manque")
        if not all(map(_MATRICULE.fullmatch, numbers)) or not _DATE.fullmatch(birth_date):
            raise simulated("siram_10", "sim_field", "numéro ou date mal formés")
        if not re.fullmatch(r"[0-9]{1,2}", rank):
            raise simulated("siram_10", "sim_field", "rang mal formé")
        self._look_at_date(birth_date)
        return fake_people.by_card(insured, own, birth_date, int(rank), production=style.production)

    def _remark(self, message_id: str | None, header: Any, mode: AuthMode) -> None:
        if message_id in self._message_ids:
            self._note(Remark.MESSAGE_ID_AGAIN)
        self._message_ids.append(message_id or "")
        if mode is AuthMode.ORGANISATION and header.find(f"{_WSSE}Security/{_SAML}Assertion") is not None:
            self._note(Remark.ASSERTION_UNWANTED)

    def _look_at_date(self, text: str) -> None:
        try:
            date.fromisoformat(text.replace("-00", "-01"))
        except ValueError:
            self._note(Remark.DATE)

    def _note(self, remark: Remark) -> None:
        self.remarks.append(remark)
        log.warning("simulated INSi: %s", remark)


_NUMBERS = ("MatriculeOD", "MatriculeIndividu")


def check_traits(birth_name: str, given_name: str, sex: str, birth_date: str) -> None:
    """Raises the fault of a trait that is not written as INSi wants it."""
    if not _BIRTH_NAME.fullmatch(birth_name) or not _GIVEN_NAME.fullmatch(given_name):
        raise simulated("siram_10", "sim_name", "caractère interdit, ou mal placé, dans un nom")
    if sex not in ("M", "F") or not _DATE.fullmatch(birth_date):
        raise simulated("siram_10", "sim_field", "sexe ou date mal formés")


def _read(message: bytes) -> tuple[Any, Any]:
    """The envelope as it came, and without its comments; both hold one Header and one Body."""
    try:
        whole, plain = etree.fromstring(message, _KEPT), etree.fromstring(message, _PLAIN)
    except (etree.XMLSyntaxError, ValueError):
        raise simulated("siram_10", "sim_message", "le message n'est pas du XML") from None
    if whole.getroottree().docinfo.doctype:
        raise simulated("siram_10", "sim_message", "pas de DTD dans un message")
    names = [plain.tag, *(child.tag for child in plain)]
    if names != [f"{{{SOAP}}}{name}" for name in ("Envelope", "Header", "Body")]:
        raise simulated("siram_10", "sim_soap", "une Envelope de SOAP 1.2 avec un Header et un Body est attendue")
    return whole, plain


def _check_contexts(header: Any) -> None:
    """What the contract demands of every message."""
    for context in (f"{_LPS}ContexteLPS", f"{_BAM}ContexteBAM"):
        namespace = context.partition("}")[0] + "}"
        element = header.find(context)
        if element is None or not element.get("Version") or not _text(element, f"{namespace}Id"):
            raise simulated("siram_10", "sim_header", "un contexte, sa Version ou son Id manque")
        try:
            datetime.fromisoformat(_text(element, f"{namespace}Temps") or "")
        except ValueError:
            raise simulated("siram_10", "sim_header", "Temps n'est pas une date et une heure") from None
    if header.find(f"{_BAM}ContexteBAM/{_BAM}COUVERTURE") is None:
        raise simulated("siram_10", "sim_header", "COUVERTURE manque : présente, même vide")
    if not _text(header, f"{_WSA}MessageID"):
        raise simulated("siram_10", "sim_header", "MessageID manque")


def _client(header: Any) -> tuple[str | None, ...]:
    """The installation that asks."""
    return tuple(_text(header, f"{_LPS}ContexteLPS/{_LPS}LPS/{_LPS}{name}") for name in ("IDAM", "Instance"))


def _as_described(element: Any) -> bool:
    """Whether this element of a search, and those inside, are the schema's, in its order, each once."""
    names = etree.QName(element)
    allowed = [f"{{{names.namespace}}}{name}" for name in _MEMBERS.get(names.localname, ())]
    tags = [child.tag for child in element]
    return not element.attrib and tags == [tag for tag in allowed if tag in tags] and all(map(_as_described, element))


def _text(parent: Any, path: str) -> str | None:
    text: str | None = parent.findtext(path)
    return text
