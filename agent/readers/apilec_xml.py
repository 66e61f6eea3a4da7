"""Read the answer of the licensed Vitale reading library (api_lec). No I/O of its own.

No official document is public and no real answer was at hand. Second hand: element names as read by ABAK
(abak_desktop_companion, `vitale_xml_parser.dart`) and by Mediboard; the beneficiary's choice, lunar dates
and the key by the GIE text "Données API Lecture Vitale 6.xx" (RG_BS601, RG_BS610).

[guess], all in this file: names differ by case, prefix `T_Asn` or namespace only; what declares no
encoding is ISO-8859-1; `ident/nir`, read where `amo/nir` is absent, is of nobody known; a certified number
that is blank or all zeroes is none; a number of 13 characters comes without its key, which is then computed.
"""

import hashlib
import re
from collections.abc import Sequence
from datetime import date
from typing import Any

from lxml import etree

from agent.errors import AgentError, Code
from agent.model import CardKind, NameKind, NirOf, VitaleCard, VitaleHolder
from agent.nir import key_of
from agent.readers.vitale import VitaleContent, warnings_of

_LIST, _PERSON, _IDENTITY, _INSURED = "listebenef", "beneficiaire", "ident", "amo"
_NIR_LENGTH = 13


def parse_content(xml: bytes, today: date) -> VitaleContent:
    """Everyone in the answer, in its order, with the birth rank where it is given.

    `today` tells the century of a birth date that has none. The fingerprint is that of the holders: the
    rest may say when it was read. Raises apilec.unreadable, vitale.empty.
    """
    people = _people(_parse(xml))
    if not people:
        raise AgentError(Code.VITALE_EMPTY, "no holder in the answer")
    holders = tuple(_holder(index, person, today) for index, person in enumerate(people))
    return VitaleContent(VitaleCard(kind=CardKind.UNKNOWN), holders, _fingerprint(holders), "apilec")


def year_first(raw: str, today: date) -> str:
    """JJMMAAAA or AAMMJJ as AAAAMMJJ, whatever month and day are.

    Empty for what is neither, and for AAMMJJ of either century: a year up to this one's may be 19.. or 20..,
    a later one is 19.. for sure.
    """
    if not (raw.isascii() and raw.isdigit()):
        return ""
    if len(raw) == 6 and raw[:2] > f"{today:%y}":
        return f"19{raw}"
    return raw[4:] + raw[2:4] + raw[:2] if len(raw) == 8 and "1850" < raw[4:] <= str(today.year) else ""


def _parse(xml: bytes) -> Any:
    """The root. No entity, no DTD, no network; a document that is cut short is none: holders would be missing."""
    text = xml.strip()
    declares = text.startswith(b"<?xml") and b"encoding" in text.partition(b"?>")[0]
    parser = etree.XMLParser(encoding=None if declares else "iso-8859-1", resolve_entities=False, no_network=True)
    try:
        root = etree.fromstring(text, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise AgentError(Code.APILEC_UNREADABLE, type(error).__name__) from None
    if root.getroottree().docinfo.doctype:
        raise AgentError(Code.APILEC_UNREADABLE, "a document type")
    return root


def _people(root: Any) -> list[Any]:
    """Whatever the list holds; without a list, whoever is called a beneficiary. Raises apilec.unreadable."""
    for listed in root.iter("*"):
        if _name(listed) == _LIST:
            return list(listed.iterchildren("*"))
    people = [element for element in root.iter("*") if _name(element) == _PERSON]
    if not people:
        raise AgentError(Code.APILEC_UNREADABLE, "no list of holders")
    return people


def _holder(index: int, person: Any, today: date) -> VitaleHolder:
    identity, insured = _block(person, _IDENTITY), _block(person, _INSURED)
    birth_name = _text(identity, "nompatronymique")
    name = birth_name or _text(identity, "nomusuel")
    if not name:
        raise AgentError(Code.APILEC_UNREADABLE, f"holder {index} has no name")
    insured_nir = _number(_text(insured, "nir"))
    nir = insured_nir or _number(_text(identity, "nir"))
    certified = _number(_text(identity, "nircertifie"))
    nir, nir_key = nir[:_NIR_LENGTH], nir[_NIR_LENGTH:] or key_of(nir) or ""
    born = _born(identity)
    ordered = year_first(born, today)
    rank = _text(identity, "rangdenaissance")
    known = re.fullmatch("0?[1-9]", rank, re.ASCII) is not None
    return VitaleHolder(
        index=index,
        name=name,
        name_kind=NameKind.BIRTH if birth_name else NameKind.USED,
        given_names=_text(identity, "prenomusuel") or None,
        birth_date=_dashed(ordered),
        birth_date_raw=born,
        nir=nir,
        nir_key=nir_key,
        nir_of=NirOf.INSURED if insured_nir else NirOf.UNKNOWN,
        certified_nir=certified[:_NIR_LENGTH] if certified.strip("0") else None,
        rank=int(rank) if known else 1,
        rank_assumed=not known,
        warnings=warnings_of(nir, nir_key, ordered),
    )


def _born(identity: Any | None) -> str:
    """The birth date as it is written: with its century if there is such a one."""
    for name in ("naissance", "datenaissance"):
        if raw := _text(_block(identity, name), "date", "dateencarte", name):
            return raw
    return ""


def _dashed(ordered: str) -> str | None:
    """YYYY-MM-DD, zeroes of a lunar date kept; None for what has no such form, as a month of 13."""
    if not ordered or ordered[4:6] > "12" or ordered[6:] > "31":
        return None
    return f"{ordered[:4]}-{ordered[4:6]}-{ordered[6:]}"


def _block(parent: Any | None, name: str) -> Any | None:
    """The first element of this name in `parent`."""
    return None if parent is None else next((found for found in parent.iter("*") if _name(found) == name), None)


def _text(block: Any | None, *names: str) -> str:
    """What the first of these fields that is not blank holds; empty when all are."""
    fields = [] if block is None else [(_name(field), (field.text or "").strip()) for field in block.iter("*")]
    return next((text for name in names for found, text in fields if found == name and text), "")


def _name(element: Any) -> str:
    return str(etree.QName(element).localname).casefold().removeprefix("t_asn")


def _number(text: str) -> str:
    return "".join(text.split())


def _fingerprint(holders: Sequence[VitaleHolder]) -> str:
    return hashlib.sha256("\n".join(holder.model_dump_json() for holder in holders).encode()).hexdigest()
