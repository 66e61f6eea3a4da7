"""The assertion PS before its signature: who signs, for whom INSi answers. No I/O of its own.

Shape: the one public assertion signed by a CPS3 test card (ansforge-independent client padoa/tlsi-ins,
MIT), in every detail; the attributes' obligations are those of SEL-MP-043 v05.00.01 §3.2 (second hand).
No Conditions, no AuthnStatement, no SubjectConfirmation, no white space between elements.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from lxml import etree

from agent.model import rfc3339
from agent.signing.cpx import CardFacts

SAML = "urn:oasis:names:tc:SAML:2.0:assertion"
DSIG = "http://www.w3.org/2000/09/xmldsig#"
SUBJECT_NAME = "urn:oasis:names:tc:SAML:1.1:nameid-format:X509SubjectName"


@dataclass(frozen=True)
class AttributeNames:
    """Wire names, case-sensitive; settings, because only the first and the last are proven."""

    billing_id: str = "identifiantFacturation"
    speciality: str = "codeSpecialiteAMO"
    sector: str = "secteurActivite"


def assertion_attributes(
    billing_id: str, sector: str, speciality: str | None, names: AttributeNames
) -> list[tuple[str, str]]:
    """The attributes in order. `speciality` is for physicians only."""
    return [
        (names.billing_id, billing_id),
        *([(names.speciality, speciality)] if speciality else []),
        (names.sector, sector),
    ]


def unsigned_assertion(
    facts: CardFacts, *, assertion_id: str, issued_at: datetime, attributes: Sequence[tuple[str, str]]
) -> etree._Element:
    """An Assertion with the place of its Signature after Issuer. `assertion_id` begins with "_"; times are UTC."""
    root = etree.Element(
        f"{{{SAML}}}Assertion",
        {"ID": assertion_id, "IssueInstant": rfc3339(issued_at), "Version": "2.0"},
        nsmap={None: SAML},
    )
    _add(root, "Issuer", facts.issuer_text, Format=SUBJECT_NAME)
    etree.SubElement(root, f"{{{DSIG}}}Signature", {"Id": "placeholder"}, nsmap={None: DSIG})
    _add(_add(root, "Subject"), "NameID", facts.professional.national_id, NameQualifier=facts.name_qualifier)
    statement = _add(root, "AttributeStatement")
    for name, value in attributes:
        _add(_add(statement, "Attribute", Name=name), "AttributeValue", value)
    return root


def _add(parent: etree._Element, name: str, text: str | None = None, **attributes: str) -> etree._Element:
    child = etree.SubElement(parent, f"{{{SAML}}}{name}", attributes)
    child.text = text
    return child
