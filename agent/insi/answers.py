"""Read what INSi sent back. No I/O of its own.

Source: XSD INSiResultat and siram of the contract, answers recorded by padoa/tlsi-ins and SAPA, CNDA
reply files; all second hand. Read by namespace and local name, in any order, without the schema:
prefixes change and official replies break the schema. What INSi said is kept to the letter.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from agent.errors import AgentError, Code
from agent.insi.faults import Fault, error_of
from agent.insi.ports import HttpReply
from agent.model import Ins, InsIdentity, InsKind, Outcome, PastIns

OUTCOMES = {"00": Outcome.FOUND, "01": Outcome.NOT_FOUND, "02": Outcome.SEVERAL}

KINDS = {
    "1.2.250.1.213.1.4.8": InsKind.NIR,
    "1.2.250.1.213.1.4.9": InsKind.NIA,
    "1.2.250.1.213.1.4.10": InsKind.NIR_TEST,
    "1.2.250.1.213.1.4.11": InsKind.NIR_DEMO,
}

_SOAP = "{http://www.w3.org/2003/05/soap-envelope}"
_RESULT = "{http://www.cnamts.fr/INSiResultat}"
_SIRAM = "{urn:siram}"


@dataclass(frozen=True)
class Answer:
    """A business answer of INSi: its code and label as sent."""

    code: str
    label: str
    outcome: Outcome
    identity: InsIdentity | None = field(default=None, repr=False)  # with code 00, and only then


def read_answer(reply: HttpReply) -> Answer:
    """The answer in this reply.

    Raises insi.fault.* for a SOAP fault and for a CodeCR of no table (fact insi: it says neither found
    nor not found, so nobody may act on it); insi.http (fact status) for an error that is not SOAP;
    insi.unreadable for a 200 that is cut short, no XML, or no answer.
    """
    root = _parse(reply.body)
    body = None if root is None else root.find(f"{_SOAP}Body")
    fault = None if body is None else body.find(f"{_SOAP}Fault")
    if fault is not None:
        raise error_of(_read_fault(fault))
    if reply.status != 200:
        raise AgentError(Code.INSI_HTTP, f"status {reply.status}", status=reply.status)
    result = None if body is None else body.find(f"{_RESULT}RESULTAT")
    if result is None:
        raise AgentError(Code.INSI_UNREADABLE, "no SOAP answer")
    return _read_result(result)


def _parse(content: bytes) -> Any | None:
    """The root element, or None. No DTD, no entity, no network, no size tricks."""
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(content.lstrip(), parser)  # some official replies begin with blank lines
    except (etree.XMLSyntaxError, ValueError):
        return None
    return None if root.getroottree().docinfo.internalDTD is not None else root


def _read_fault(fault: Any) -> Fault:
    error = fault.find(f"{_SOAP}Detail/{_SIRAM}Erreur")
    return Fault(
        code="" if error is None else error.get("code", ""),
        subcode=_text(fault, f"{_SOAP}Code/{_SOAP}Subcode/{_SOAP}Value") or "",
        severity="" if error is None else error.get("severite", ""),
        reason=_text(fault, f"{_SOAP}Reason/{_SOAP}Text") or "",
        detail="" if error is None else "".join(error.itertext()),
    )


def _read_result(result: Any) -> Answer:
    code = _token(result, f"{_RESULT}CR/{_RESULT}CodeCR")
    label = _text(result, f"{_RESULT}CR/{_RESULT}LibelleCR") or ""
    if code is None:
        raise AgentError(Code.INSI_UNREADABLE, "no CodeCR")
    outcome = OUTCOMES.get(code)
    if outcome is None:
        raise error_of(Fault(code=code, subcode="", severity="", reason=label, detail=""))
    if outcome is not Outcome.FOUND:
        return Answer(code, label, outcome)
    person = result.find(f"{_RESULT}INDIVIDU")
    active = None if person is None else person.find(f"{_RESULT}INSACTIF")
    if person is None or active is None:
        raise AgentError(Code.INSI_UNREADABLE, "code 00 without an INS")
    return Answer(code, label, outcome, _read_person(person, active))


def _read_person(person: Any, active: Any) -> InsIdentity:
    matricule, key, oid = _number(active)
    if not re.fullmatch(r"[0-9]{6}[A-Za-z0-9][0-9]{6}", matricule) or not oid:
        raise AgentError(Code.INSI_UNREADABLE, "an INS without its OID, or not of 13 characters")

    def trait(name: str) -> str | None:
        return _text(person, f"{_RESULT}TIQ/{_RESULT}{name}")

    return InsIdentity(
        ins=Ins(matricule=matricule, key=key, oid=oid, kind=KINDS.get(oid, InsKind.UNKNOWN)),
        birth_name=trait("NomNaissance"),
        given_names_list=trait("ListePrenom"),
        sex=trait("Sexe"),
        birth_date=trait("DateNaissance"),
        birth_place_code=trait("LieuNaissance"),
        history=[_read_past(past) for past in person.findall(f"{_RESULT}INSHISTO")],
    )


def _read_past(past: Any) -> PastIns:
    matricule, key, oid = _number(past)
    start, end = _text(past, f"{_RESULT}DateDeb"), _text(past, f"{_RESULT}DateFin")
    return PastIns(matricule=matricule, key=key, oid=oid, from_=start, to=end)


def _number(ins: Any) -> tuple[str, str | None, str]:
    """Matricule, key and OID, as sent."""
    identifier = f"{_RESULT}IdIndividu/{_RESULT}"
    return (
        _token(ins, f"{identifier}NumIdentifiant") or "",
        _token(ins, f"{identifier}Cle"),
        _token(ins, f"{_RESULT}OID") or "",
    )


def _text(element: Any, path: str) -> str | None:
    """The whole text at this path, to the letter; None where there is no such element."""
    found = element.find(path)
    return None if found is None else "".join(found.itertext())


def _token(element: Any, path: str) -> str | None:
    """A code at this path: the blanks around it are the printer's, not INSi's."""
    text = _text(element, path)
    return None if text is None else text.strip()
