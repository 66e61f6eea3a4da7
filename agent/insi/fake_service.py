"""What the simulated INSi answers to a message: checks in the gateway's order, faults in its shapes. No I/O of its own.

Source: faults and answers recorded by padoa/tlsi-ins and SAPA, second hand. Codes of INSi that are not public
are replaced by ours, which begin with `sim_`. It is a simulator: passing it proves nothing about CNDA.
"""

import logging
import re
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from xml.sax.saxutils import escape, quoteattr

from cryptography import x509
from lxml import etree

from agent.insi import fake_assertion, fake_people
from agent.insi.fake_people import Past, Person
from agent.insi.operations import WIRE, Operation
from agent.model import AuthMode

log = logging.getLogger(__name__)

NotFound = Literal["01", "insi_102", "desir_1020"]


@dataclass(frozen=True)
class Style:
    """How the service writes, as it was seen to write over the years."""

    not_found: NotFound = "01"  # qualification hid "nobody" behind faults for years
    fault: Literal["2022", "2026"] = "2026"
    body_prefix: Literal["soap", "env", "S"] = "soap"
    result_prefix: Literal["", "ns2"] = ""
    header: Literal["absent", "empty"] = "absent"
    old_given_name: bool = False  # Prenom beside ListePrenom, until 2022
    dates_first: bool = False  # DateDeb and DateFin before IdIndividu: against the schema, in a CNDA file
    production: bool = False  # ADRUN is unknown there


@dataclass(frozen=True)
class Fault:
    """A row of the gateway's table."""

    subcode: str
    code: str
    severity: str
    reason: str
    detail: str
    back_end: bool = False  # said by INSi itself, not by the gateway


_ASK_AGAIN = (
    "Le service est temporairement inaccessible. Veuillez renouveler votre demande ultérieurement. "
    "Si le problème persiste, contactez l'éditeur du progiciel ou votre responsable informatique."
)
UNKNOWN_SOFTWARE = Fault(
    "siram_100",
    "desir_550",
    "erreur",
    "L'accès par ce progiciel au service n'est pas autorisé. "
    "Contactez l'éditeur du progiciel ou votre responsable informatique.",
    "Numéro d'autorisation du logiciel inconnu.",
)
NO_RIGHT = Fault(  # its subcode and severity are not known [guess]
    "siram_100",
    "desir_560",
    "erreur",
    "Vous ne disposez pas des droits suffisants pour accéder à ce service",
    "Niveau d'accès insuffisant",
)
UNAVAILABLE = Fault("siram_40", "desir_1020", "fatale", _ASK_AGAIN, "Le service appelé est temporairement indisponible")
TECHNICAL = Fault(
    "siram_40",
    "insi_102",
    "fatal",  # so written, against the schema
    _ASK_AGAIN,
    "L'appel au service de recherche avec les traits d'identité renvoie une erreur technique.",
    back_end=True,
)
NAME_MISSING = Fault(
    "siram_10",
    "insi_19",
    "erreur",
    "Le champ nom de naissance est obligatoire",
    "Le champ nom de naissance est obligatoire",
)


def _simulated(subcode: str, code: str, sentence: str) -> Fault:
    """A fault whose real code is not public."""
    return Fault(subcode, code, "erreur", f"Simulateur : {sentence}", sentence)


_SOAP = "http://www.w3.org/2003/05/soap-envelope"
_WSA = "{http://www.w3.org/2005/08/addressing}"
_WSSE = "{http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd}"
_LPS = "{urn:siram:lps:ctxlps}"
_TRAITS = "{http://www.cnamts.fr/INSiRecSans}"
_VITALE = "{http://www.cnamts.fr/INSiRecVit}"
_OPERATIONS = {wire.action: operation for operation, wire in WIRE.items()}
_ORGANISATION_NAMES = ("INSI-MANU", "INSI-AUTO")


class FakeService:
    """INSi and its gateway, without a network."""

    def __init__(
        self,
        *,
        authorisations: Collection[str],
        ca: Sequence[x509.Certificate],
        style: Style | None = None,
        assertion_max_age: timedelta = timedelta(hours=1),
    ) -> None:
        self.style = style or Style()
        self.places_too_early = 0  # searches that began with the birth place: accepted here, forbidden by S102
        self._authorisations = authorisations
        self._ca = ca
        self._assertion_max_age = assertion_max_age
        self._injected: deque[Person | None] = deque()
        self._seen: set[tuple[str, str, str]] = set()

    def inject(self, test: str | None) -> None:
        """Answer the next good request by the reply file of this CNDA test; None for REP_CR01 (nobody)."""
        self._injected.append(None if test is None else fake_people.injected(test))

    def answer(self, message: bytes, *, mode: AuthMode, client_name: str | None, now: datetime) -> tuple[int, bytes]:
        """HTTP status and body for this message. `client_name`: CN of the client certificate."""
        parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True)
        try:
            envelope = etree.fromstring(message, parser)
        except (etree.XMLSyntaxError, ValueError):
            return self.fault(_simulated("siram_10", "sim_message", "le message n'est pas du XML"))
        message_id = envelope.findtext(f"{{{_SOAP}}}Header/{_WSA}MessageID")
        fault = self._refusal(envelope, mode, client_name, now)
        if fault is not None:
            return self.fault(fault, message_id)
        operation = _OPERATIONS[envelope.findtext(f"{{{_SOAP}}}Header/{_WSA}Action") or ""]
        body = envelope.find(f"{{{_SOAP}}}Body")
        try:
            found = self._by_card(body) if operation is Operation.WITH_VITALE else self._by_traits(body)
        except _BadRequest as bad:
            return self.fault(bad.fault, message_id)
        if self._injected:
            person = self._injected.popleft()
            found = [] if person is None else [person]
        return self._result(found, message_id)

    def fault(self, fault: Fault, message_id: str | None = None) -> tuple[int, bytes]:
        """A fault in the shape of the year and of who says it. The gateway alone repeats the MessageID."""
        old = self.style.fault == "2022"
        prefix = "S" if old or fault.back_end else "soap"
        noise = ' xmlns:ns4="http://schemas.xmlsoap.org/soap/envelope/"' if old else ""
        echo = "" if fault.back_end or message_id is None else f" messageID={quoteattr(message_id)}"
        header = f'<env:Header xmlns:env="{_SOAP}"/>' if fault.back_end else ""
        text = (
            f'<soap:Envelope xmlns:soap="{_SOAP}">{header}<env:Body xmlns:env="{_SOAP}" xmlns:S="{_SOAP}">'
            f"<{prefix}:Fault{noise}><{prefix}:Code>"
            f"<{prefix}:Value>{prefix}:{'Receiver' if fault.back_end else 'Sender'}</{prefix}:Value>"
            f"<{prefix}:Subcode><{prefix}:Value>{prefix}:{fault.subcode}</{prefix}:Value></{prefix}:Subcode>"
            f'</{prefix}:Code><{prefix}:Reason><{prefix}:Text xml:lang="{"en" if old or fault.back_end else "fr"}">'
            f"{escape(fault.reason)}</{prefix}:Text></{prefix}:Reason><{prefix}:Detail>"
            f'<siram:Erreur xmlns:siram="urn:siram" code="{fault.code}"{echo} severite="{fault.severity}">'
            f"{escape(fault.detail)}</siram:Erreur></{prefix}:Detail></{prefix}:Fault></env:Body></soap:Envelope>"
        )
        return 500, _document(text)

    def _refusal(self, envelope: Any, mode: AuthMode, client_name: str | None, now: datetime) -> Fault | None:
        """What the gateway has against this message, in its order."""
        header = f"{{{_SOAP}}}Header"
        if envelope.findtext(f"{header}/{_LPS}ContexteLPS/{_LPS}LPS/{_LPS}IDAM") not in self._authorisations:
            return UNKNOWN_SOFTWARE
        if mode is AuthMode.ORGANISATION and client_name not in _ORGANISATION_NAMES:
            return NO_RIGHT
        if mode is AuthMode.CPX:
            try:
                fake_assertion.check(
                    envelope,
                    envelope.find(f"{header}/{_WSSE}Security"),
                    ca=self._ca,
                    now=now,
                    max_age=self._assertion_max_age,
                )
            except fake_assertion.Refused as refused:
                return _simulated("siram_100", refused.code, refused.sentence)
        if envelope.findtext(f"{header}/{_WSA}Action") not in _OPERATIONS:
            return _simulated("siram_10", "sim_action", "wsa:Action inconnue")
        return None

    def _by_traits(self, body: Any) -> list[Person]:
        request = body.find(f"{_TRAITS}RECSANSVITALE") if body is not None else None
        birth_name, given_name, sex, birth_date, place = (
            _field(request, f"{_TRAITS}{name}")
            for name in ("NomNaissance", "Prenom", "Sexe", "DateNaissance", "LieuNaissance")
        )
        if request is None or not birth_name:
            raise _BadRequest(NAME_MISSING)
        if not given_name or not sex or not birth_date or len(request.findall(f"{_TRAITS}Prenom")) != 1:
            raise _BadRequest(_simulated("siram_10", "sim_field", "un champ obligatoire manque, ou est répété"))
        if not re.fullmatch(r"[A-Z' -]+", birth_name) or not re.fullmatch(r"[A-Z' -]+", given_name):
            raise _BadRequest(_simulated("siram_10", "sim_name", "caractère interdit dans un nom"))
        if sex not in ("M", "F") or not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", birth_date):
            raise _BadRequest(_simulated("siram_10", "sim_field", "sexe ou date mal formés"))
        asked = (birth_name, sex, birth_date)
        if place and asked not in self._seen:
            self.places_too_early += 1
            log.warning("simulated INSi: a search began with the birth place (S102 forbids it)")
        self._seen.add(asked)
        return fake_people.by_traits(birth_name, given_name, sex, birth_date, place, production=self.style.production)

    def _by_card(self, body: Any) -> list[Person]:
        request = body.find(f"{_VITALE}RECVITALE") if body is not None else None
        nir = _field(request, f"{_VITALE}MatriculeOD/{_VITALE}NumIdentifiant")
        birth_date = _field(request, f"{_VITALE}DateNaissance")
        rank = _field(request, f"{_VITALE}RangNaissance") or ""
        if not nir or not birth_date or not re.fullmatch(r"[0-9]{1,2}", rank):
            raise _BadRequest(_simulated("siram_10", "sim_field", "un champ obligatoire manque"))
        certified = _field(request, f"{_VITALE}MatriculeIndividu/{_VITALE}NumIdentifiant")
        return fake_people.by_card(nir, certified, birth_date, int(rank), production=self.style.production)

    def _result(self, found: list[Person], message_id: str | None) -> tuple[int, bytes]:
        faults = {"insi_102": TECHNICAL, "desir_1020": UNAVAILABLE}
        if not found and self.style.not_found in faults:
            return self.fault(faults[self.style.not_found], message_id)
        code, label = [("01", "Aucune identite trouvee"), ("00", "OK"), ("02", "Plusieurs identites trouvees")][
            min(len(found), 2)
        ]
        content = f"<CR><CodeCR>{code}</CodeCR><LibelleCR>{label}</LibelleCR></CR>"
        if len(found) == 1:
            content += self._individual(found[0])
        namespaces = 'xmlns="http://www.cnamts.fr/INSiResultat" xmlns:ns0="http://www.cnamts.fr/INSiRecVit"'
        if self.style.result_prefix:
            content = re.sub(r"<(/?)(?=[A-Z])", rf"<\1{self.style.result_prefix}:", content)
            namespaces = 'xmlns:ns2="http://www.cnamts.fr/INSiResultat" xmlns="http://www.cnamts.fr/INSiRecSans"'
        result = f"{self.style.result_prefix}:RESULTAT".removeprefix(":")
        prefix = self.style.body_prefix
        header = f'<env:Header xmlns:env="{_SOAP}"/>' if self.style.header == "empty" else ""
        return 200, _document(
            f'<soap:Envelope xmlns:soap="{_SOAP}">{header}<{prefix}:Body xmlns:{prefix}="{_SOAP}">'
            f"<{result} {namespaces}>{content}</{result}></{prefix}:Body></soap:Envelope>"
        )

    def _individual(self, person: Person) -> str:
        active = Past(person.matricule, person.key or "", person.oid)
        traits = {
            "NomNaissance": person.birth_name,
            "Prenom": person.given_names.split()[0] if self.style.old_given_name else None,
            "ListePrenom": person.given_names,
            "Sexe": person.sex,
            "DateNaissance": person.birth_date,
            "LieuNaissance": person.birth_place,
        }
        if person.left_empty:
            traits[person.left_empty] = ""
        return (
            f"<INDIVIDU>{self._number('INSACTIF', active)}"
            f"{''.join(self._number('INSHISTO', past) for past in person.history)}"
            f"<TIQ>{''.join(_element(name, value) for name, value in traits.items())}</TIQ></INDIVIDU>"
        )

    def _number(self, name: str, number: Past) -> str:
        identifier = (
            f"<IdIndividu>{_element('NumIdentifiant', number.matricule)}{_element('Cle', number.key or None)}"
            f"{_element('TypeMatricule', number.number_type)}</IdIndividu>{_element('OID', number.oid)}"
        )
        dates = f"{_element('DateDeb', number.start)}{_element('DateFin', number.end)}"
        content = dates + identifier if self.style.dates_first else identifier + dates
        return f"<{name}>{content}</{name}>"


class _BadRequest(Exception):  # noqa: N818  (carries a fault of the simulated server)
    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.code)
        self.fault = fault


def _field(request: Any | None, path: str) -> str | None:
    return None if request is None else request.findtext(path)


def _element(name: str, value: str | None) -> str:
    return "" if value is None else f"<{name}>{escape(value)}</{name}>"


def _document(text: str) -> bytes:
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + text.encode()
