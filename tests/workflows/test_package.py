"""A whole operation with an official package and its binding: bound, signed, sent over TLS, answered, traced."""

import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from agent.errors import Code
from agent.insi.contract import open_contract
from agent.insi.http import Endpoint, HttpTeleservice
from agent.model import AuthMode, Environment, Outcome, TracedResult
from agent.simulator.pki import issue_server, make_ca
from agent.tls_key import load_key
from tests.insi import official
from tests.insi.official import BINDINGS, FILES, V, element, package
from tests.workflows.making import SITE, TOUSSAINT, TOUSSAINTS_INS, Bench

SOAP = "{http://www.w3.org/2003/05/soap-envelope}"
KNOWN = {
    "Ins": "160012B020777",
    "domaine": "1.2.250.1.213.1.4.8",
    "Nom": "ADRTROIS",
    "Prenoms": "TOUSSAINT",
    "Genre": "M",
    "Le": "1960-01-01",
}


class Verifier(HTTPServer):
    """An INSi that speaks the package and nothing else: judges each body by its schema, knows one person."""

    timeout = 20

    def __init__(self, schema: Path) -> None:
        super().__init__(("127.0.0.1", 0), Asked)
        self.schema = etree.XMLSchema(etree.parse(schema))
        self.asked: list[tuple[str, Any]] = []  # content type, body's element
        self.reply: Callable[[str], str] = lambda verdict: verdict
        self.ca = make_ca()
        server, context = issue_server(self.ca), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        load_key(context, server.pem, server.key)
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def answer(self, message: bytes) -> str:
        root = etree.fromstring(message)
        assert root.find(f"{SOAP}Header/{{*}}Security/{{*}}Assertion") is not None
        (asked,) = root.find(f"{SOAP}Body")
        self.asked.append((root.findtext(f"{SOAP}Header/{{*}}Action"), asked))
        self.schema.assertValid(asked)
        said = {name: text for one in asked.iter() for name, text in [(one.tag, one.text), *one.items()]}
        right = all(said.get(name) == text for name, text in KNOWN.items())
        return "<Code>1</Code>" if right else "<Code>2</Code><Motif>Nom</Motif><Motif>Date</Motif>"


class Asked(BaseHTTPRequestHandler):
    server: Verifier
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        message = self.rfile.read(int(self.headers["Content-Length"]))
        verdict = self.server.reply(f'<t:Verdict xmlns:t="{V}">{self.server.answer(message)}</t:Verdict>')
        body = f'<s:Envelope xmlns:s="{SOAP[1:-1]}"><s:Body>{verdict}</s:Body></s:Envelope>'.encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/soap+xml; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


def several_reasons(schema: str) -> str:
    """A verdict that may have two."""
    one = element("Motif", least=0)
    assert one in schema
    return schema.replace(one, element("Motif", least=0, most=2))


FILED = {**FILES, official.VERIFY: several_reasons(FILES[official.VERIFY])}


class Configured(HttpTeleservice):
    """The real client, whose addresses are known."""

    def check(self, mode: AuthMode) -> None:
        """Refuses none."""


@pytest.fixture
def insi(bench: Bench, tmp_path: Path) -> Iterator[Verifier]:
    """The test environment's, with the package on this desk."""
    folder = package(tmp_path / "paquet", FILED)
    schema = folder / "schemas" / "ici.xsd"
    schema.write_text(official.ASKED, encoding="utf-8")
    server = Verifier(schema)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    teleservice = Configured(lambda _: Endpoint(f"https://localhost:{server.server_port}/", server.ca.pem))
    configure(bench, folder)
    bench.desk.teleservice = teleservice
    yield server
    bench.do(bench.desk.lanes.network.run(teleservice.close, timeout_s=10))
    server.shutdown()
    thread.join()
    server.server_close()


def configure(bench: Bench, folder: Path) -> None:
    """Outside the simulator, where the placeholder does not serve."""
    row = {"name": "D", "version": "1", "origins": [SITE], "authorisation": {"test": "SIMULATEUR-0001"}}
    bench.desk.environment = Environment.TEST
    bench.configure(software=[row], insi={"contract": folder})
    contract = open_contract(folder, None)
    bench.contract = lambda: contract


def stored(bench: Bench, result: TracedResult) -> Any:
    return bench.stored(result.trace.id).attempts[0]


def test_an_ins_is_verified_as_the_package_says(bench: Bench, insi: Verifier) -> None:
    """S116: our placeholder has no part in it."""
    result = bench.do(bench.verify())

    assert (result.outcome, result.code, result.integrable) == (Outcome.VERIFIED, "1", True)
    assert "answer.schema" not in result.warnings
    ((action, asked),) = insi.asked
    assert (action, asked.tag) == ("urn:exemple:verifier", f"{{{V}}}Verifier")
    assert (asked.find("Identite").get("cle"), asked.findtext("Service")) == ("13", "INSI")
    assert result.trace.attempts[0].given == [
        "matricule",
        "key",
        "oid",
        "birthName",
        "givenNames[0]",
        "sex",
        "birthDate",
    ]
    assert stored(bench, result).clear["given"] == result.trace.attempts[0].given
    assert len(bench.person.questions) == 1


def test_another_name_is_not_verified_with_all_that_insi_says_of_it(bench: Bench, insi: Verifier) -> None:
    """S120."""
    result = bench.do(bench.verify(traits=TOUSSAINT | {"birthName": "ADRQUATRE"}))

    assert (result.outcome, result.code, result.label) == (Outcome.NOT_VERIFIED, "2", "Nom ; Date")
    assert (result.integrable, result.reasons) == (False, ["ins.notVerified"])
    assert stored(bench, result).outcome["code"] == "2"
    assert len(insi.asked) == 1


def test_an_answer_beside_the_packages_schema_is_told_and_stays_an_answer(bench: Bench, insi: Verifier) -> None:
    insi.reply = lambda verdict: verdict.replace("<Code>1</Code>", "<Code>1</Code><Autre/>")

    result = bench.do(bench.verify())

    assert result.outcome is Outcome.VERIFIED
    assert "answer.schema" in result.warnings


def test_a_key_that_the_binding_leaves_out_is_not_told_as_given(bench: Bench, insi: Verifier, tmp_path: Path) -> None:
    without = BINDINGS["verification.toml"].replace('"Identite/@cle" = "key"\n', "")
    without = without.replace("[request.values]", 'omits = ["key"]\n\n[request.values]')
    configure(bench, package(tmp_path / "sans", FILED, {"verification.toml": without}))

    result = bench.do(bench.verify())

    assert (result.outcome, insi.asked[0][1].find("Identite").get("cle")) == (Outcome.VERIFIED, None)
    assert result.trace.attempts[0].given == ["matricule", "oid", "birthName", "givenNames[0]", "sex", "birthDate"]


@pytest.mark.parametrize(
    ("there", "instead", "ins", "member"),
    [
        ('name="A" type="x:string" minOccurs="0"', 'name="A" type="x:string"', TOUSSAINTS_INS, "birthPlaceCode"),
        ('name="cle" type="x:string"', 'name="cle" type="x:string" use="required"', {"key": None}, "key"),
    ],
)
def test_what_the_package_wants_and_the_page_did_not_give_is_said_before_any_code(
    bench: Bench, insi: Verifier, tmp_path: Path, there: str, instead: str, ins: dict[str, Any], member: str
) -> None:
    person = FILES["schemas/personne.xsd"]
    assert there in person
    configure(bench, package(tmp_path / "exigeant", {**FILED, "schemas/personne.xsd": person.replace(there, instead)}))

    refused = bench.refused(bench.verify(ins=TOUSSAINTS_INS | ins))

    assert (refused.code, refused.facts) == (Code.TRAITS_REFUSED, {"member": member, "rule": "required"})
    assert (bench.slot.calls, bench.person.questions, insi.asked) == ([], [], [])
    given = TOUSSAINT | {"birthPlaceCode": "2B020"}
    assert bench.do(bench.verify(traits=given)).outcome is Outcome.VERIFIED


def test_a_binding_that_asks_less_than_it_seems_asks_nothing(bench: Bench, insi: Verifier, tmp_path: Path) -> None:
    """INSi would verify the number alone, and the result say that the traits are right."""
    careless = BINDINGS["verification.toml"].replace('"Personne/Nom" = "birthName"\n', "")
    configure(bench, package(tmp_path / "sans", FILED, {"verification.toml": careless}))

    refused = bench.refused(bench.verify())

    assert (refused.code, refused.facts["path"]) == (Code.CONTRACT_BINDING, "request.values = birthName")
    assert (bench.slot.calls, bench.person.questions, insi.asked) == ([], [], [])
