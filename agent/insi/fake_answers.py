"""What the simulated INSi and its gateway say, in the shapes seen over the years. No I/O of its own.

Source: faults and answers recorded by padoa/tlsi-ins and SAPA, codes of ABAK's test data, second hand. Codes of
INSi that are not public are replaced by ours, which begin with `sim_`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from agent.insi.fake_people import Past, Person
from agent.insi.fake_style import Style

SOAP = "http://www.w3.org/2003/05/soap-envelope"


@dataclass(frozen=True)
class Fault:
    """A row of the gateway's table."""

    subcode: str
    code: str
    severity: str
    reason: str
    detail: str
    back_end: bool = False  # said by INSi itself, not by the gateway


class Said(Exception):  # noqa: N818  (an answer of the simulated server, not an error of ours)
    """The service answers with this fault."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.code)
        self.fault = fault


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
CLOSED = Fault(
    "siram_40",
    "insi_111",
    "fatale",
    "Indisponibilité des téléservices",
    "Indisponibilité des téléservices",
    back_end=True,
)
FAULTS = {fault.code: fault for fault in (UNKNOWN_SOFTWARE, NO_RIGHT, UNAVAILABLE, TECHNICAL, NAME_MISSING, CLOSED)}


def simulated(subcode: str, code: str, sentence: str) -> Said:
    """A fault whose real code is not public."""
    return Said(Fault(subcode, code, "erreur", f"Simulateur : {sentence}", sentence))


def fault_document(fault: Fault, style: Style, message_id: str | None = None) -> bytes:
    """A fault in the shape of the year and of who says it. The gateway alone repeats the MessageID."""
    old = style.fault == "2022"
    prefix = "S" if old or fault.back_end else "soap"
    noise = ' xmlns:ns4="http://schemas.xmlsoap.org/soap/envelope/"' if old else ""
    language = ("en" if old or fault.back_end else "fr") if style.lang == "auto" else style.lang
    attributes = {"code": fault.code, "messageID": message_id, "severite": fault.severity}
    if fault.back_end:
        attributes |= {"messageID": None, "severite": style.severity if fault.severity == "fatal" else fault.severity}
    attributes = {style.first_attribute: attributes.pop(style.first_attribute), **attributes}
    written = "".join(f" {name}={quoteattr(value)}" for name, value in attributes.items() if value is not None)
    return document(
        f"<{prefix}:Fault{noise}><{prefix}:Code>"
        f"<{prefix}:Value>{prefix}:{'Receiver' if fault.back_end else 'Sender'}</{prefix}:Value>"
        f"<{prefix}:Subcode><{prefix}:Value>{prefix}:{fault.subcode}</{prefix}:Value></{prefix}:Subcode>"
        f'</{prefix}:Code><{prefix}:Reason><{prefix}:Text xml:lang="{language}">{escape(fault.reason)}</{prefix}:Text>'
        f'</{prefix}:Reason><{prefix}:Detail><siram:Erreur xmlns:siram="urn:siram"{written}>{escape(fault.detail)}'
        f"</siram:Erreur></{prefix}:Detail></{prefix}:Fault>",
        style,
        header=style.header == "empty" or (fault.back_end and not old),
    )


def result_document(found: Sequence[Person], style: Style) -> bytes:
    """RESULTAT: one person with their INS, nobody, or several without a word on them."""
    code, label = [("01", "Aucune identite trouvee"), ("00", "OK"), ("02", "Plusieurs identites trouvees")][
        min(len(found), 2)
    ]
    content = f"<CR><CodeCR>{code}</CodeCR><LibelleCR>{label}</LibelleCR></CR>"
    if len(found) == 1:
        content += _individual(found[0], style)
    namespaces = 'xmlns="http://www.cnamts.fr/INSiResultat" xmlns:ns0="http://www.cnamts.fr/INSiRecVit"'
    if style.result_prefix:
        content = re.sub(r"<(/?)(?=[A-Z])", rf"<\1{style.result_prefix}:", content)
        namespaces = 'xmlns:ns2="http://www.cnamts.fr/INSiResultat" xmlns="http://www.cnamts.fr/INSiRecSans"'
    result = f"{style.result_prefix}:RESULTAT".removeprefix(":")
    return document(f"<{result} {namespaces}>{content}</{result}>", style, header=style.header == "empty")


def document(body: str, style: Style, *, header: bool) -> bytes:
    """An envelope around this; its prefixes mean nothing, and are all bound to SOAP 1.2."""
    prefix = style.body_prefix
    empty = f'<env:Header xmlns:env="{SOAP}"/>' if header else ""
    declared = "".join(f' xmlns:{name}="{SOAP}"' for name in dict.fromkeys((prefix, "S")))
    text = f'<soap:Envelope xmlns:soap="{SOAP}">{empty}<{prefix}:Body{declared}>{body}</{prefix}:Body></soap:Envelope>'
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + text.encode()


def element(name: str, value: str | None) -> str:
    """An element with this text; nothing for None."""
    return "" if value is None else f"<{name}>{escape(value)}</{name}>"


def _individual(person: Person, style: Style) -> str:
    active = Past(person.matricule, person.key or "", person.oid)
    traits = {
        "NomNaissance": person.birth_name,
        "Prenom": person.given_names.split()[0] if style.old_given_name else None,
        "ListePrenom": person.given_names,
        "Sexe": person.sex,
        "DateNaissance": person.birth_date,
        "LieuNaissance": person.birth_place,
    }
    if person.left_empty:
        traits[person.left_empty] = None if style.empty_absent else ""
    return (
        f"<INDIVIDU>{_number('INSACTIF', active, style)}"
        f"{''.join(_number('INSHISTO', past, style) for past in person.history)}"
        f"<TIQ>{''.join(element(name, value) for name, value in traits.items())}</TIQ></INDIVIDU>"
    )


def _number(name: str, number: Past, style: Style) -> str:
    identifier = (
        f"<IdIndividu>{element('NumIdentifiant', number.matricule)}{element('Cle', number.key or None)}"
        f"{element('TypeMatricule', number.number_type)}</IdIndividu>{element('OID', number.oid)}"
    )
    dates = f"{element('DateDeb', number.start)}{element('DateFin', number.end)}"
    content = dates + identifier if style.dates_first else identifier + dates
    return f"<{name}>{content}</{name}>"
