"""An editor's own client of INSi, in a few lines: messages written by hand, sent by http.client, no code of ours."""

import http.client
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import uuid4

from lxml import etree

from agent.simulator.pki import Issued
from agent.tls_key import load_key

URN = "urn:ServiceIdentiteCertifiee:1.0.0:"
BY_TRAITS, BY_CARD = URN + "rechercherInsAvecTraitsIdentite", URN + "rechercherInsAvecCarteVitale"
PLACEHOLDER = "urn:insi-agent:placeholder:1"
SOAP_12 = "http://www.w3.org/2003/05/soap-envelope"
SOAP_TYPE = "application/soap+xml; charset=utf-8"
WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
WSA = "http://www.w3.org/2005/08/addressing"

_ids = count(1)


def traits(name: str, given: str, sex: str, date: str, place: str | None = None) -> str:
    """The body of WS_INS2."""
    values = {"NomNaissance": name, "Prenom": given, "Sexe": sex, "DateNaissance": date, "LieuNaissance": place}
    return f'<RECSANSVITALE xmlns="http://www.cnamts.fr/INSiRecSans">{elements(values)}</RECSANSVITALE>'


def card(insured: str | None, date: str, rank: str, *, own: str | None = None) -> str:
    """The body of WS_INS1."""
    numbers = {"MatriculeIndividu": own, "MatriculeOD": insured}
    written = "".join(
        f"<{who}><NumIdentifiant>{number}</NumIdentifiant></{who}>" for who, number in numbers.items() if number
    )
    rest = elements({"DateNaissance": date, "RangNaissance": rank})
    return f'<RECVITALE xmlns="http://www.cnamts.fr/INSiRecVit">{written}{rest}</RECVITALE>'


def elements(values: dict[str, str | None]) -> str:
    return "".join(f"<{name}>{value}</{name}>" for name, value in values.items() if value is not None)


TOUSSAINT = traits("ADRTROIS", "TOUSSAINT", "M", "1960-01-01")
NOBODY = traits("HOUILLES", "PIERRE", "M", "1993-01-27")


@dataclass(frozen=True)
class Shape:
    """How a client writes; the defaults are one that signs its requests' assertions itself and says no more."""

    idam: str = "SIMULATEUR-0001"
    soap: str = SOAP_12
    security: str = ""  # what stands in the place of wsse:Security
    action: str | None = BY_TRAITS  # of the header
    order: str = "id action security bam lps"
    between: str = ""  # blanks between the headers
    bam: str = ""  # replaces the whole ContexteBAM
    bam_version: str = "01_02"
    at: str = "2026-11-22T08:00:00.000Z"
    emitter: str = "899900000017"
    instance: str = ""  # LPS/Instance, an element only if there is one
    more: str = ""  # other headers
    message_id: str = field(default_factory=lambda: f"uuid:{uuid4()}")


def message(body: str, shape: Shape | None = None) -> bytes:
    """One message."""
    shape = shape or Shape()
    about = f"<c:Temps>{shape.at}</c:Temps><c:Emetteur>{shape.emitter}</c:Emetteur>"
    bam = (
        f'<c:ContexteBAM xmlns:c="urn:siram:bam:ctxbam" Nature="CTXBAM" Version="{shape.bam_version}">'
        f"<c:Id>{next(_ids)}</c:Id>{about}<c:COUVERTURE/></c:ContexteBAM>"
    )
    instance = f"<c:Instance>{shape.instance}</c:Instance>" if shape.instance else ""
    parts = {
        "id": f'<MessageID xmlns="{WSA}">{shape.message_id}</MessageID>',
        "action": f'<Action xmlns="{WSA}">{shape.action}</Action>' if shape.action else "",
        "security": shape.security,
        "bam": shape.bam or bam,
        "lps": '<c:ContexteLPS xmlns:c="urn:siram:lps:ctxlps" Nature="CTXLPS" Version="01_00">'
        f'<c:Id>{next(_ids)}</c:Id>{about}<c:LPS><c:IDAM R="4">{shape.idam}</c:IDAM>{instance}</c:LPS></c:ContexteLPS>',
    }
    header = shape.between.join([*(parts[name] for name in shape.order.split()), shape.more])
    return (
        f'<e:Envelope xmlns:e="{shape.soap}"><e:Header>{header}</e:Header><e:Body>{body}</e:Body></e:Envelope>'
    ).encode()


def security(*assertions: Any) -> str:
    """wsse:Security around these elements, byte for byte."""
    inside = "".join(etree.tostring(one, encoding="unicode", with_tail=False) for one in assertions)
    return f'<w:Security xmlns:w="{WSSE}">{inside}</w:Security>'


def read(reply: bytes) -> str:
    """CodeCR, or the code of a fault's siram:Erreur."""
    root = etree.fromstring(reply)
    fault = root.find(".//{urn:siram}Erreur")
    code = root.findtext(".//{*}CR/{*}CodeCR") if fault is None else fault.get("code")
    assert code, reply
    return str(code)


def now() -> datetime:
    return datetime.now(UTC)


class Client:
    """A kept connection to one door."""

    def __init__(
        self, url: str, ca_pem: bytes, own: Issued | None = None, tls: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    ) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = tls
        context.load_verify_locations(cadata=ca_pem.decode())
        if own:
            load_key(context, own.chain_pem, own.key)
        address = url.removeprefix("https://").removesuffix("/lps")
        self.connection = http.client.HTTPSConnection(address, context=context, timeout=10)

    def post(
        self, body: bytes, words: str = "", *, content_type: str = SOAP_TYPE, path: str = "/lps"
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        headers = {"Content-Type": content_type, **({"X-INSi-Simulator": words} if words else {})}
        self.connection.request("POST", path, body, headers)
        reply = self.connection.getresponse()
        return reply.status, reply.headers, reply.read()

    def close(self) -> None:
        self.connection.close()
