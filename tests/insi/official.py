"""A package as an editor might receive it: names, namespaces, files and shapes of our invention, none of ours in it.

WS_INS1 and WS_INS2 keep their actions and elements, in other files and with other prefixes. The verification and the
batch are described as differently from our placeholder as XML Schema allows: attributes, choices, unqualified
elements, a repeated sequence, a schema that includes another.
"""

from pathlib import Path

from agent.insi.contract import Contract, open_contract

WSDL = "http://schemas.xmlsoap.org/wsdl/"
SEARCH = "1 Contrat/Recherche v9.wsdl"
VERIFY = "1 Contrat/Verif.WSDL"

_HEAD = f"""<?xml version="1.0" encoding="UTF-8"?>
<w:definitions xmlns:w="{WSDL}" xmlns:s="http://schemas.xmlsoap.org/wsdl/soap12/" xmlns:x="http://www.w3.org/2001/XMLSchema"
  xmlns:a="http://www.w3.org/2005/08/addressing" """
_SECURITY = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"


def _operation(name: str, action: str, request: str, answer: str) -> str:
    """Message, port type and binding of one operation, as a WSDL of its own part."""
    return f"""
  <w:message name="{name}"><w:part name="p" element="{request}"/><w:part name="id" element="a:MessageID"/></w:message>
  <w:message name="{name}Response"><w:part name="p" element="{answer}"/></w:message>
  <w:portType name="{name}">
    <w:operation name="{name}">
      <w:input message="t:{name}"/><w:output message="t:{name}Response"/>
    </w:operation>
  </w:portType>
  <w:binding name="{name}" type="t:{name}">
    <s:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/>
    <w:operation name="{name}">
      <s:operation soapAction="{action}"/>
      <w:input><s:body parts="p" use="literal"/><s:header message="t:{name}" part="id" use="literal"/></w:input>
      <w:output><s:body use="literal"/></w:output>
    </w:operation>
  </w:binding>"""


URN = "urn:ServiceIdentiteCertifiee:1.0.0:"
SEARCH_WSDL = (
    f"""{_HEAD} targetNamespace="urn:t" xmlns:t="urn:t"
  xmlns:v="http://www.cnamts.fr/INSiRecVit" xmlns:r="http://www.cnamts.fr/INSiResultat"
  xmlns:n="http://www.cnamts.fr/INSiRecSans">
  <w:types><x:schema>
    <x:import namespace="http://www.cnamts.fr/INSiRecVit" schemaLocation="..\\schemas\\carte.xsd"/>
    <x:import namespace="http://www.cnamts.fr/INSiRecSans" schemaLocation="sans.xsd"/>
    <x:import namespace="http://www.cnamts.fr/INSiResultat" schemaLocation="../schemas/resultat.xsd"/>
    <x:import namespace="http://www.w3.org/2005/08/addressing"
      schemaLocation="http://www.w3.org/2006/03/addressing/ws-addr.xsd"/>
  </x:schema></w:types>"""
    + _operation("rechercherInsAvecCarteVitale", f"{URN}rechercherInsAvecCarteVitale", "v:RECVITALE", "r:RESULTAT")
    + _operation(
        "rechercherInsAvecTraitsIdentite", f"{URN}rechercherInsAvecTraitsIdentite", "n:RECSANSVITALE", "r:RESULTAT"
    )
    + "</w:definitions>"
)


def schema(namespace: str, content: str, *, form: str = "qualified", more: str = "") -> str:
    return (
        f'<x:schema xmlns:x="http://www.w3.org/2001/XMLSchema" xmlns:t="{namespace}" targetNamespace="{namespace}" '
        f'elementFormDefault="{form}" {more}>{content}</x:schema>'
    )


def element(name: str, content: str = "", *, least: int = 1, most: int | str = 1) -> str:
    occurs = f'minOccurs="{least}" maxOccurs="{most}"'
    if not content:
        return f'<x:element name="{name}" type="x:string" {occurs}/>'
    return f'<x:element name="{name}" {occurs}><x:complexType>{content}</x:complexType></x:element>'


def root(name: str, content: str) -> str:
    return f'<x:element name="{name}"><x:complexType>{content}</x:complexType></x:element>'


def sequence(*members: str) -> str:
    return f"<x:sequence>{''.join(members)}</x:sequence>"


_NUMBER = sequence(element("NumIdentifiant"), element("Cle", least=0))
CARD = schema(
    "http://www.cnamts.fr/INSiRecVit",
    root(
        "RECVITALE",
        sequence(
            element("MatriculeIndividu", _NUMBER, least=0),
            element("MatriculeOD", _NUMBER),
            element("NomNaissance", least=0),
            element("DateNaissance"),
            element("RangNaissance"),
        ),
    ),
)
TRAITS = schema(
    "http://www.cnamts.fr/INSiRecSans",
    root(
        "RECSANSVITALE",
        sequence(
            *map(element, ("NomNaissance", "Prenom", "Sexe", "DateNaissance")),
            element("LieuNaissance", least=0),
        ),
    ),
)
_INS = sequence(
    element("IdIndividu", sequence(element("NumIdentifiant"), element("Cle", least=0))),
    element("OID"),
    *(f'<x:element name="{name}" type="x:date" minOccurs="0"/>' for name in ("DateDeb", "DateFin")),
)
_TIQ = ("NomNaissance", "ListePrenom", "Sexe", "DateNaissance", "LieuNaissance", "Prenom")
RESULT = schema(
    "http://www.cnamts.fr/INSiResultat",
    root(
        "RESULTAT",
        sequence(
            element("CR", sequence(element("CodeCR"), element("LibelleCR"))),
            element(
                "INDIVIDU",
                sequence(
                    element("INSACTIF", _INS),
                    element("INSHISTO", _INS, least=0, most="unbounded"),
                    element("TIQ", sequence(*(element(name, least=0) for name in _TIQ))),
                    "<x:any processContents='skip' minOccurs='0' maxOccurs='9'/>",
                ),
                least=0,
            ),
        ),
    ),
)

V = "urn:exemple:verification"
PERSON = schema(  # what the others include
    V,
    """
  <x:complexType name="Personne"><x:all>
    <x:element name="Naissance"><x:complexType>
      <x:sequence><x:element name="Le" type="x:string"/><x:element name="A" type="x:string" minOccurs="0"/></x:sequence>
    </x:complexType></x:element>
    <x:element name="Nom" type="x:string"/>
    <x:element name="Prenoms" type="x:string"/>
    <x:element name="Genre" type="t:Genre"/>
  </x:all></x:complexType>
  <x:simpleType name="Genre"><x:restriction base="x:token"><x:enumeration value="M"/><x:enumeration value="F"/>
  </x:restriction></x:simpleType>
  <x:complexType name="Identite">
    <x:choice><x:element name="Ins" type="t:Numero"/><x:element name="Provisoire" type="x:string"/></x:choice>
    <x:attribute name="cle" type="x:string"/>
  </x:complexType>
  <x:complexType name="Numero"><x:simpleContent><x:extension base="x:string">
    <x:attribute name="domaine" type="x:string" use="required"/>
  </x:extension></x:simpleContent></x:complexType>""",
    form="unqualified",
)
ASKED = schema(
    V,
    '<x:include schemaLocation="../schemas/personne.xsd"/>'
    + root(
        "Verifier",
        sequence(
            '<x:element name="Identite" type="t:Identite"/>',
            element("Service"),
            '<x:element name="Personne" type="t:Personne"/>',
        ),
    )
    + root("Verdict", sequence(element("Code"), element("Motif", least=0)))
    + root(
        "Depot",
        '<x:sequence maxOccurs="unbounded">'
        '<x:element name="Identite" type="t:Identite" minOccurs="0"/>'
        + element(
            "Dossier",
            sequence(
                '<x:element name="Numero" type="t:Numero"/>',
                '<x:element name="Personne" type="t:Personne"/>',
                element("Rang"),
            ),
            least=0,
        )
        + '</x:sequence><x:attribute name="lot" type="x:string" use="required"/>',
    )
    + root("Accuse", sequence(element("Code"), element("Recu", sequence(element("Numero")))))
    + root("Retrait", sequence(element("Numero")))
    + root(
        "Retour",
        sequence(
            element("Etat", sequence(element("Code"))),
            element("Ligne", '<x:attribute name="rang" type="x:string"/><x:attribute name="avis" type="x:string"/>'),
        ).replace('"Ligne" minOccurs="1" maxOccurs="1"', '"Ligne" minOccurs="0" maxOccurs="unbounded"'),
    ),
    form="unqualified",
)
VERIFY_WSDL = (
    f"""{_HEAD} targetNamespace="{V}" xmlns:t="{V}"><w:types>{ASKED}
  <x:schema><x:import namespace="http://www.w3.org/2005/08/addressing" schemaLocation="ws-addr.xsd"/></x:schema>
  </w:types>"""
    + _operation("verifier", "urn:exemple:verifier", "t:Verifier", "t:Verdict")
    + _operation("deposer", "urn:exemple:deposer", "t:Depot", "t:Accuse")
    + _operation("retirer", "urn:exemple:retirer", "t:Retrait", "t:Retour")
    + "</w:definitions>"
)
OTHER = "urn:exemple:autre/espace"
REPLY = (
    sequence(
        element("Code"),
        element("Motif", least=0, most="unbounded"),
        element("Avis", sequence(element("Code")), least=0, most=2),
        element("Sens", least=0),
        '<x:element ref="k:Sens" minOccurs="0"/>',
    )
    + '<x:attribute name="code" type="x:string"/>'
)
FILES = {
    SEARCH: SEARCH_WSDL,
    VERIFY: VERIFY_WSDL,
    "schemas/carte.xsd": CARD,
    "autres/sans.xsd": TRAITS,  # not where the WSDL says: found by its name
    "schemas/resultat.xsd": RESULT,
    "schemas/personne.xsd": PERSON,
    "LISEZMOI.txt": "rien",
}

BINDINGS = {
    "verification.toml": f"""
operation = "WS_INS3"
action = "urn:exemple:verifier"

[request]
element = "{{{V}}}Verifier"

[request.values]
"Personne/Prenoms" = "givenNames"
"Personne/Nom" = "birthName"
"Personne/Genre" = "sex"
"Personne/Naissance/Le" = "birthDate"
"Personne/Naissance/A" = "birthPlaceCode"
"Identite/Ins" = "matricule"
"Identite/Ins/@domaine" = "oid"
"Identite/@cle" = "key"

[request.constants]
"Service" = "INSI"

[answer]
element = "{{{V}}}Verdict"
code = "Code"
label = "Motif"
outcomes = {{ "1" = "verified", "2" = "notVerified" }}
""",
    "depot.toml": f"""
operation = "WS_INS4"
action = "urn:exemple:deposer"

[request]
element = "{{{V}}}Depot"

omits = ["count"]

[request.values]
"@lot" = "reference"

[request.items]
element = "Dossier"
omits = ["key", "birthPlaceCode"]

[request.items.values]
"Numero" = "matricule"
"Numero/@domaine" = "oid"
"Personne/Nom" = "birthName"
"Personne/Prenoms" = "givenNames"
"Personne/Genre" = "sex"
"Personne/Naissance/Le" = "birthDate"
"Rang" = "reference"

[answer]
element = "{{{V}}}Accuse"
code = "Code"
batch = "Recu/Numero"
outcomes = {{ "0" = "accepted" }}
""",
    "retrait.toml": f"""
operation = "WS_INS5"
action = "urn:exemple:retirer"

[request]
element = "{{{V}}}Retrait"

[request.values]
"Numero" = "batch"

[answer]
element = "{{{V}}}Retour"
code = "Etat/Code"
items = "Ligne"
item_reference = "@rang"
item_code = "@avis"
outcomes = {{ "0" = "ready", "1" = "pending" }}
item_outcomes = {{ "O" = "verified", "N" = "notVerified" }}
""",
}


def package(folder: Path, files: dict[str, str] | None = None, bindings: dict[str, str] | None = None) -> Path:
    """The package in this folder, its bindings in `bindings`; what is given replaces the whole."""
    for name, content in (FILES if files is None else files).items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    for name, content in (BINDINGS if bindings is None else bindings).items():
        file = folder / "bindings" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    return folder


def asking(
    folder: Path, demand: str, values: str, *, more: str = "", header: bool = False, **sections: str
) -> Contract:
    """The contract of a package whose verification asks this DEMANDE and answers REPONSE.

    `demand`: what is in its type; `more`: other elements and types; `sections` of the binding: constants, answer.
    """
    others = f'<x:import namespace="{OTHER}" schemaLocation="autre.xsd"/>'
    schemas = schema(V, others + root("DEMANDE", demand) + root("REPONSE", REPLY) + more, more=f'xmlns:k="{OTHER}"')
    wsdl = (
        f"""{_HEAD} targetNamespace="{V}" xmlns:t="{V}" xmlns:k="{OTHER}"><w:types>{schemas}
  <x:schema><x:import namespace="http://www.w3.org/2005/08/addressing" schemaLocation="ws-addr.xsd"/></x:schema>
  </w:types>"""
        + _operation("verifier", "urn:exemple:verifier", "t:DEMANDE", "t:REPONSE")
        + "</w:definitions>"
    )
    if header:
        wsdl = wsdl.replace("</w:message>", '<w:part name="h" element="k:Num"/></w:message>', 1)
        wsdl = wsdl.replace("</w:input>\n", '<s:header message="t:verifier" part="h" use="literal"/></w:input>\n', 1)
    omits = [name for name in ("key", "birthPlaceCode") if f'"{name}"' not in values]
    binding = f"""
operation = "WS_INS3"
action = "urn:exemple:verifier"
[request]
element = "{{{V}}}DEMANDE"
omits = {omits}
[request.values]
{values}
[request.constants]
{sections.get("constants", "")}
[answer]
element = "{{{V}}}REPONSE"
{sections.get("answer", 'code = "Code"')}
outcomes = {{ "1" = "verified", "2" = "notVerified" }}
"""
    types = schema(OTHER, '<x:element name="Num" type="x:string"/><x:element name="Sens" type="x:string"/>')
    files = {**FILES, VERIFY: wsdl, "autre.xsd": types}
    return open_contract(package(folder, files, {"v.toml": binding}), None)
