"""Read what INSi sent back. No I/O of its own.

Source: XSD INSiResultat and siram of the contract, answers recorded by padoa/tlsi-ins and SAPA, CNDA
reply files; all second hand. Prefixes change, official replies break the schema, and nobody knows the next
edition, so one rule decides: never lose what INSi said, never invent.

- An element is known by its namespace and local name, in any order, without the schema. RESULTAT is the
  answer wherever it stands in the SOAP body (1.2 or 1.1), or alone, and whatever the HTTP status, which
  only names what is no answer. A fault counts before an answer beside it.
- What identifies a person and stands twice is unreadable: to choose would be to invent. So is a value with elements
  inside, whose texts nobody said together, and a 00 without a matricule of 13 characters and its OID. A label
  identifies nobody and never stops an answer. A person who comes with a 01 or 02 is not passed on.
- Texts are kept to the letter. The given names are ListePrenom; a Prenom beside it, or alone, is only the
  first of them and stays in the exact reply.
- The size is bounded by the transport, the depth by the parser (256). A DTD is refused, so there is no entity.
"""

import codecs
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from agent.errors import AgentError, Code
from agent.insi.faults import FAMILIES, TABLE, Fault, error_of
from agent.insi.ports import HttpReply
from agent.insi.rules import kind_of
from agent.model import Ins, InsIdentity, Outcome, PastIns

if TYPE_CHECKING:
    from agent.insi.contract.bindings import AnswerShape

_OUTCOMES = {row.code: row.ours for row in TABLE if isinstance(row.ours, Outcome)}

_SOAP = "{http://www.w3.org/2003/05/soap-envelope}"
_SOAP_11 = "{http://schemas.xmlsoap.org/soap/envelope/}"
_FAULTS = (f"{_SOAP}Fault", f"{_SOAP_11}Fault")
_RESULT = "{http://www.cnamts.fr/INSiResultat}"
_ERREUR = "{urn:siram}Erreur"
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"

_SEVERAL = " ; "  # between texts that say one thing together
_CHARSET = re.compile(r'\bcharset\s*=\s*"?([\w.:+-]{1,40})', re.ASCII | re.IGNORECASE)  # of a content type

_MATRICULE = re.compile(r"[0-9]{6}[A-Za-z0-9][0-9]{6}")
_DECLARATION = re.compile(r"\s*(<\?xml\s[^>]*\?>)?")
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


@dataclass(frozen=True)
class Answer:
    """A business answer of INSi: its code and label as sent. The code is one of a table: it may be told."""

    code: str
    label: str
    outcome: Outcome
    identity: InsIdentity | None = field(default=None, repr=False)  # with code 00, and only then


@dataclass(frozen=True)
class Deposited:
    """INSi took a batch. `batch`: how it calls it."""

    code: str
    label: str
    batch: str


class BatchItem(NamedTuple):
    """What INSi says of one person of a batch, as sent; no outcome for a code that the binding does not know."""

    reference: str  # ours, as it was deposited
    code: str  # tell it by faults.short_code
    label: str
    outcome: Outcome | None


@dataclass(frozen=True)
class BatchAnswer:
    """Where a batch is. Not ready: ask again later."""

    code: str
    label: str
    ready: bool
    items: list[BatchItem] = field(repr=False)  # in INSi's order


def read_answer(reply: HttpReply, shape: "AnswerShape | None" = None) -> Answer:
    """The answer in this reply: RESULTAT of WS_INS1 and 2; with a shape, verified or not verified.

    Raises insi.fault.* for a SOAP fault and for a code of no table (fact insi: it says neither found
    nor not found, so nobody may act on it); insi.http (fact status) for an error that is no answer;
    insi.unreadable for a 200 that is none: cut short, no XML, or ambiguous.
    """
    if shape is not None:
        code, label, meaning = _shaped(_answer_in(reply, shape.element), shape, "verified", "notVerified")
        return Answer(code, label, Outcome(meaning))
    result = _answer_in(reply, f"{_RESULT}RESULTAT")
    report = _one(result, "CR")
    code = _token(report, "CodeCR")
    if report is None or not code:
        raise AgentError(Code.INSI_UNREADABLE, "no CodeCR")
    label = _joined(report.findall(f"{_RESULT}LibelleCR"))
    outcome = _OUTCOMES.get(code)
    if outcome is None:
        raise _of_no_table(code, label)
    return Answer(code, label, outcome, _read_person(result) if outcome is Outcome.FOUND else None)


def read_deposit(reply: HttpReply, shape: "AnswerShape") -> Deposited:
    """The answer of WS_INS4. Raises as `read_answer`; insi.unreadable too for a batch taken and not named."""
    element = _answer_in(reply, shape.element)
    code, label, _ = _shaped(element, shape, "accepted")
    batch = _at(element, shape.batch)
    if not batch:
        raise AgentError(Code.INSI_UNREADABLE, "a batch without its name")
    return Deposited(code, label, batch)


def read_batch(reply: HttpReply, shape: "AnswerShape") -> BatchAnswer:
    """The answer of WS_INS5. Raises as `read_answer`; a code of no table of one person is kept with the others."""
    element = _answer_in(reply, shape.element)
    code, label, meaning = _shaped(element, shape, "ready", "pending")
    items = [_read_item(item, shape) for item in _place(element, shape.items)[0]]
    return BatchAnswer(code, label, meaning == "ready", items)


def body_of(reply: HttpReply) -> Any:
    """The lxml element that the reply says, in its SOAP body or alone, for whoever compares it with a schema.

    Raises insi.unreadable for what is no XML.
    """
    root = _parse(reply)
    if root is None:
        raise AgentError(Code.INSI_UNREADABLE, "no XML")
    return next((element for body in _bodies(root) for element in body), root)


# ---------------------------------------------------------------- the message


def _answer_in(reply: HttpReply, name: str) -> Any:
    """The one element of this name that the reply says."""
    root = _parse(reply)
    places = [] if root is None else _said(root, name)
    faults = [fault for place in places for fault in place.iter(*_FAULTS)]
    if faults:
        raise error_of(_read_fault(faults[0]))
    answers = [answer for place in places for answer in place.iter(name)]
    if len(answers) == 1:
        return answers[0]
    if answers or reply.status == 200:
        raise AgentError(Code.INSI_UNREADABLE, "two answers" if answers else "no answer")
    raise AgentError(Code.INSI_HTTP, f"status {reply.status}", status=reply.status)


def _said(root: Any, name: str) -> list[Any]:
    """Where the message says something: the answer or the fault alone, or the SOAP body, never a header."""
    return [root] if root.tag in (name, *_FAULTS) else _bodies(root)


def _bodies(root: Any) -> list[Any]:
    return [body for soap in (_SOAP, _SOAP_11) for body in root.findall(f"{soap}Body")]


def _parse(reply: HttpReply) -> Any | None:
    """The root element, or None. The message tells its encoding; where it makes no sense so, the content type does."""
    charset = _CHARSET.search(reply.content_type)
    root = _parse_as(reply.body, None)
    return _parse_as(reply.body, charset[1]) if root is None and charset else root


def _parse_as(content: bytes, encoding: str | None) -> Any | None:
    """No DTD, no entity, no XInclude, no network, no size tricks."""
    from lxml import etree

    try:
        parser = etree.XMLParser(
            encoding=encoding,
            resolve_entities=False,
            load_dtd=False,
            no_network=True,
            huge_tree=False,
            remove_comments=True,
            remove_pis=True,
        )
        root = etree.fromstring(_from_its_start(content), parser)
    except (etree.XMLSyntaxError, ValueError, LookupError):  # the last: an encoding that libxml2 does not know
        return None
    return None if root.getroottree().docinfo.internalDTD is not None else root


def _from_its_start(content: bytes) -> bytes:
    """Without the blank lines that some official replies begin with; a byte order mark decides the encoding."""
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            return _DECLARATION.sub("", content[len(mark) :].decode(encoding), count=1).encode()
    return content.lstrip()


def _read_fault(fault: Any) -> Fault:
    """Of SOAP 1.2, and of 1.1 as far as it has the same things. Of several errors the first decides."""
    error, *others = [*fault.iter(_ERREUR)] or [*fault.iter("{*}Erreur")] or [None]
    detail = error if error is not None else next(fault.iter(f"{_SOAP}Detail", "detail"), None)
    more = [f"{_attribute(other, 'code')} {_said_by(other)}" for other in others]
    values = [_said_by(value).strip() for value in fault.iter("faultcode")]
    values += [_said_by(value).strip() for value in fault.iterfind(f".//{_SOAP}Subcode/{_SOAP}Value")]
    known = [value for value in values if value.rpartition(":")[2] in FAMILIES]
    reasons = list(fault.iter(f"{_SOAP}Text", "faultstring"))
    french = [reason for reason in reasons if reason.get(_LANGUAGE, "").lower().startswith("fr")]
    return Fault(
        code=_attribute(error, "code"),
        subcode=[*known, *reversed(values), ""][0],  # nested: the one that we know, else the innermost
        severity=_attribute(error, "severite"),
        reason=_said_by([*french, *reasons, None][0]),
        detail=_SEVERAL.join([_said_by(detail), *more]),
    )


def _attribute(element: Any | None, name: str) -> str:
    return "" if element is None else [*_attributes(element, name), ""][0].strip()


# ---------------------------------------------------------------- RESULTAT


def _read_person(result: Any) -> InsIdentity:
    person = _one(result, "INDIVIDU")
    if person is None:
        raise AgentError(Code.INSI_UNREADABLE, "found, and nobody")
    active, traits = _one(person, "INSACTIF"), _one(person, "TIQ")
    matricule, key, oid = _number(active)
    if not _MATRICULE.fullmatch(matricule) or not oid:
        raise AgentError(Code.INSI_UNREADABLE, "no INS, one without its OID, or not of 13 characters")
    return InsIdentity(
        ins=Ins(matricule=matricule, key=key, oid=oid, kind=kind_of(oid)),
        birth_name=_text(traits, "NomNaissance"),
        given_names_list=_text(traits, "ListePrenom"),
        sex=_text(traits, "Sexe"),
        birth_date=_text(traits, "DateNaissance"),
        birth_place_code=_text(traits, "LieuNaissance"),
        history=[_read_past(past) for past in person.findall(f"{_RESULT}INSHISTO")],
    )


def _read_past(past: Any) -> PastIns:
    matricule, key, oid = _number(past)
    return PastIns(matricule=matricule, key=key, oid=oid, from_=_text(past, "DateDeb"), to=_text(past, "DateFin"))


def _number(ins: Any) -> tuple[str, str | None, str]:
    """Matricule, key and OID, as sent."""
    identifier = _one(ins, "IdIndividu")
    return _token(identifier, "NumIdentifiant"), _token(identifier, "Cle") or None, _token(ins, "OID")


def _one(parent: Any | None, name: str) -> Any | None:
    """The child of this name; None where there is none. Raises insi.unreadable for two."""
    found = [] if parent is None else parent.findall(_RESULT + name)
    if len(found) > 1:
        raise AgentError(Code.INSI_UNREADABLE, f"two {name}")
    return found[0] if found else None


def _text(parent: Any | None, name: str) -> str | None:
    """The text of this child, to the letter; None where there is no such element. Raises insi.unreadable."""
    found = _one(parent, name)
    return None if found is None else _value(found)


def _token(parent: Any | None, name: str) -> str:
    """A code in this child: the blanks around it are the printer's, not INSi's."""
    return (_text(parent, name) or "").strip()


def _value(element: Any) -> str:
    """The text of this element. Raises insi.unreadable for one with elements inside: nobody said their texts as one."""
    if len(element):
        raise AgentError(Code.INSI_UNREADABLE, "elements inside a value")
    return element.text or ""


def _joined(labels: list[Any]) -> str:
    return _SEVERAL.join(filter(None, map(_said_by, labels)))


def _said_by(element: Any | None) -> str:
    return "" if element is None else "".join(element.itertext())


# ---------------------------------------------------------------- answers of a binding's shape


def _shaped(element: Any, shape: "AnswerShape", *meanings: str) -> tuple[str, str, str]:
    """The code, the label, and which of these meanings the binding gives to the code."""
    code, label = _at(element, shape.code), _label(element, shape.label)
    if not code:
        raise AgentError(Code.INSI_UNREADABLE, "no code")
    meaning = shape.outcomes.get(code)
    if meaning not in meanings:
        raise _of_no_table(code, label)
    return code, label, meaning


def _read_item(item: Any, shape: "AnswerShape") -> BatchItem:
    code = _at(item, shape.item_code)
    meaning = shape.item_outcomes.get(code)
    return BatchItem(
        reference=_at(item, shape.item_reference),
        code=code,
        label=_label(item, shape.item_label),
        outcome=Outcome(meaning) if meaning else None,
    )


def _at(element: Any, path: str | None) -> str:
    """The code or name at a path. Raises insi.unreadable for two, and for elements inside."""
    elements, attribute = _place(element, path)
    texts = [value for one in elements for value in (_attributes(one, attribute) if attribute else [_value(one)])]
    if len(texts) > 1:
        raise AgentError(Code.INSI_UNREADABLE, f"two {path}")
    return texts[0].strip() if texts else ""


def _label(element: Any, path: str | None) -> str:
    """The label at a path: however many say it, and whatever is inside."""
    elements, attribute = _place(element, path)
    if not attribute:
        return _joined(elements)
    return _SEVERAL.join(value for one in elements for value in _attributes(one, attribute))


def _place(element: Any, path: str | None) -> tuple[list[Any], str]:
    """The elements at a binding's path, and the attribute that is its last step, if one is."""
    from agent.insi.contract.shapes import steps_of

    if path is None:
        return [], ""
    steps = steps_of(path)
    attribute = steps.pop()[1:] if steps[-1].startswith("@") else ""
    return _below(element, steps), attribute


def _below(element: Any, steps: list[str]) -> list[Any]:
    """The elements at these steps, in any namespace where a step names none; `.`, and no step, is this one."""
    if steps in ([], ["."]):
        return [element]
    return list(element.findall("/".join(step if step.startswith("{") else f"{{*}}{step}" for step in steps)))


def _attributes(element: Any, name: str) -> list[str]:
    """The values of this name, in any namespace where it names none."""
    return [value for key, value in element.items() if name in (key, key.rpartition("}")[2])]


def _of_no_table(code: str, label: str) -> AgentError:
    return error_of(Fault(code=code, subcode="", severity="", reason=label, detail=""))
