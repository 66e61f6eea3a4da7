"""What reads bytes from outside, each as a function that a fuzzer may call: it returns, or a promise is broken.

The promise is the docstring of what is called: a value, or the error that it names. The seeds are made here. Each
target imports what it needs itself: only that is watched by the fuzzer.
"""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random

SITE, TOKEN, PORT = "https://dossier.example", "a-long-secret", 19847
NOW = datetime(2026, 11, 22, tzinfo=UTC)
BETWEEN = b"\x1e"  # parts of one input
LONGEST = 8192  # bytes of an input


@dataclass(frozen=True)
class Target:
    """A promise, inputs to begin with, words to build others from."""

    keeps: Callable[[bytes], None]
    seeds: Sequence[bytes]
    words: Sequence[str]


def text(data: bytes) -> str:
    """As a text frame comes: whole characters only."""
    return data.decode("utf-8", "ignore")


def messages() -> list[bytes]:
    from tests.fuzz.grammar import Grammar

    grammar = Grammar(Random(1))  # noqa: S311  (repeatable)
    made = (grammar.message().encode("utf-8", "surrogatepass") for _ in range(120))
    return [one for one in made if len(one) < 2000]


# ---------------------------------------------------------------- the conversation


def session() -> Target:
    """The session answers as the oracle says, whatever it is told."""
    from tests.fuzz.alike import both, compare

    def keeps(data: bytes) -> None:
        talk = both(pending=data[:1] == b"p")
        for frame in data[1:].split(BETWEEN)[:30]:
            if not compare(*talk, text(frame)):
                return

    some = messages()
    seeds = [b"a" + BETWEEN.join(some[at : at + 6]) for at in range(0, 60, 6)] + [b"p" + one for one in some[:20]]
    words = ('"id":', '"method":', '"params":', "agent.hello", "operation.cancel", "apiLevels", r"\\ud800", r"\x1e")
    return Target(keeps, seeds, words)


def envelope() -> Target:
    """A text is JSON for both readers, and means the same to both, or is none for both."""
    from agent.protocol.session import parse
    from tests.fuzz.oracle import read_json

    def read(reader: Callable[[str], object], frame: str) -> str:
        try:
            return repr(reader(frame))
        except ValueError:
            return "malformed"

    def keeps(data: bytes) -> None:
        frame = text(data)
        assert read(parse, frame) == read(read_json, frame), frame

    return Target(keeps, messages(), ("NaN", "Infinity", "1e999", r"\\u0061", "9007199254740993", "true"))


# ---------------------------------------------------------------- the door


def origins() -> Target:
    """Nobody enters but by an exact origin, or the exact token without any; and only through our own name."""
    from agent.consent import Decided, Decision
    from agent.model import Right
    from agent.protocol.messages import SUBPROTOCOL
    from agent.protocol.origins import NATIVE, Caller, Doorkeeper, Refusal, Request

    turned_away = "https://b.example"
    door = Doorkeeper({SITE: frozenset({Right.VITALE})}, TOKEN, asks=True, turned_away=frozenset({turned_away}))

    def keeps(data: bytes) -> None:
        parts = [part.decode("latin-1") for part in data.split(BETWEEN)]
        path, host, origin, second, token, protocol = (parts + [""] * 6)[:6]
        asked = Request(path, *([one] if one else [] for one in (host, origin, token, protocol)))
        if second:
            asked = Request(path, asked.hosts, [origin, second], asked.authorizations, asked.subprotocols)
        discovered, found = door.discovery(asked, PORT), door.conversation(asked, PORT)
        assert discovered is None or isinstance(discovered, Refusal) or discovered == origin == SITE
        if isinstance(found, Refusal):
            assert found.status.value in (400, 403, 404, 421)
            return
        assert isinstance(found, Caller)
        assert (path, protocol, second) == ("/", SUBPROTOCOL, "")
        assert host.lower() in {f"127.0.0.1:{PORT}", f"localhost:{PORT}", f"[::1]:{PORT}"}
        if found.origin == NATIVE:
            assert (origin, token) == ("", f"Bearer {TOKEN}")
        elif found.pending:
            assert origin == found.origin not in (SITE, turned_away)
            assert not found.rights
            Decision(origin=origin, state=Decided.BLOCKED, since=NOW)  # what was asked can be kept
        else:
            assert origin == found.origin == SITE

    right = ["/", f"127.0.0.1:{PORT}", SITE, "", "", SUBPROTOCOL]
    changes = {
        1: ["localhost:19847", "[::1]:19847", "evil.example:19847"],
        2: ["", "null", "https://a.example:8443", turned_away, f"{SITE}.", "http://a.example"],
        3: [SITE],
        4: [f"Bearer {TOKEN}"],
    }
    made = [right, *([*right[:at], one, *right[at + 1 :]] for at, many in changes.items() for one in many)]
    made.append([*right[:2], "", "", f"Bearer {TOKEN}", right[5]])
    seeds = ["\x1e".join(parts).encode() for parts in made]
    return Target(keeps, seeds, ("https://", SITE, "null", "localhost", r"\x1e", "Bearer "))


def sockets() -> Target:
    """The kernel's answer, or its table, gives the row of the connection, or nothing."""
    from agent.peers import Link, parse_answer, parse_table

    link = Link(("127.0.0.1", 40000), ("127.0.0.1", PORT))

    def keeps(data: bytes) -> None:
        for row in (parse_answer(data, link), *(parse_table(data, link, mapped=mapped) for mapped in (False, True))):
            assert row is None or (row.uid >= 0 and row.inode > 0)

    row = (
        b"   1: 0100007F:9C40 0100007F:4D87 01 00000000:00000000 00:00000000 00000000  1000        0 123456 1 0 20 4\n"
    )
    mapped = row.replace(b"0100007F:", b"0000000000000000FFFF00000100007F:")
    answer = b"\x58\0\0\0\x14" + bytes(11) + b"\x02\x01\0\0\x9c\x40\x4d\x87" + bytes(56) + b"\xe8\x03\0\0\x40\xe2\1\0"
    return Target(keeps, [row, b"  sl  local_address\n" + row, mapped, answer], ("0100007F:9C40", " 01 "))


def sites() -> Target:
    """A file of decisions is read, or set aside and begun anew; what was read is written and read alike, to 1 ms."""
    from agent.consent import Decided, Decision, Decisions
    from agent.sites import keep_decisions, read_decisions

    folder = Path(tempfile.mkdtemp(prefix="fuzz-sites-"))

    def keeps(data: bytes) -> None:
        (folder / "sites.json").write_bytes(data)
        found = read_decisions(folder)
        if not found.sites:
            return
        keep_decisions(folder, found)
        for one, again in zip(found.sites, read_decisions(folder).sites, strict=True):
            one.holds(NOW)
            assert timedelta() <= one.since - again.since < timedelta(milliseconds=1)
            assert one == again.model_copy(update={"since": one.since})

    each = tuple(Decision(origin=f"https://{state}.example", state=state, since=NOW) for state in Decided)
    seeds = [Decisions(sites=some).model_dump_json(by_alias=True).encode() for some in ((), each[:1], each)]
    elsewhere = seeds[1].replace(b"00.000Z", b"00.000+02:00")
    return Target(keeps, [*seeds, elsewhere], ('"state":', '"putOff":', "allowed", "T00:00:00Z", "9999"))


# ---------------------------------------------------------------- cards


class _Card:
    """Gives its answers one after the other, whatever it is asked."""

    atr = bytes.fromhex("3B751300004409EA9000")

    def __init__(self, answers: list[bytes]) -> None:
        self._answers = iter(answers)

    def transmit(self, _command: bytes) -> tuple[bytes, int]:
        answer = next(self._answers, b"\x6f\x00").rjust(2, b"\x90")[:258]
        return answer[:-2], int.from_bytes(answer[-2:], "big")


def vitale() -> Target:
    """A card that answers anything has holders, or is refused by a code."""
    from agent.errors import AgentError
    from agent.readers.vitale import Files, parse_holders, parse_pointers, read_vitale

    def keeps(data: bytes) -> None:
        answers = data.split(BETWEEN)
        with suppress(AgentError):
            parse_holders(Files(answers[0], answers[-1]))
        with suppress(AgentError):
            parse_pointers(data)
        with suppress(AgentError):
            assert read_vitale(_Card(answers)).holders

    files, ok = _files(), b"\x90\x00"
    whole = [BETWEEN.join([ok, one + ok, b"\x62\x82", ok, other + ok, b"\x62\x82"]) for one in files for other in files]
    return Target(keeps, [*files, *whole[:40]], (r"\x65", r"\x93", r"\xe0", r"\x61", r"\x1e", r"\x90\x00"))


def tlv() -> Target:
    """Data objects, or card.unreadable; of a CPx's objects always something, even if nothing."""
    from agent.errors import AgentError, Code
    from agent.readers.apdu import objects
    from agent.signing.cpx import activities, speciality_of

    def keeps(data: bytes) -> None:
        try:
            assert sum(len(value) for _, value in objects(data)) <= len(data)
        except AgentError as error:
            assert error.code is Code.CARD_UNREADABLE
        assert all(one.sector for one in activities({"CPS_ACTIVITY_01_PS": data}))
        speciality_of({"CPS_INFO_PS": data})

    activity = bytes.fromhex("EE0E8403414243850231328605534130372020")
    return Target(keeps, [*_files(), activity], (r"\xee", r"\x86", r"\x81", r"\x82", r"\x7f\x21"))


def certificate() -> Target:
    """What a certificate says of a professional, or a code."""
    from agent.errors import AgentError
    from agent.signing.cpx import card_facts

    def keeps(data: bytes) -> None:
        with suppress(AgentError):
            card_facts(data, {"CPS_INFO_PS": data[-40:]})

    deep = b""
    while len(deep) < 3 * LONGEST // 4:  # a SEQUENCE in a SEQUENCE in …
        deep = b"\x30\x82" + len(deep).to_bytes(2, "big") + deep
    seeds = [_certificate(b"\x30\x06\x0c\x04SM26"), _certificate(deep)]
    return Target(keeps, seeds, (r"\x30\x82", r"\x06\x08", r"\x0c"))


def transcript() -> Target:
    """A recorded card, or config.invalid with the line."""
    from agent.errors import AgentError, Code
    from agent.readers.transcript import format_transcript, parse_transcript, shipped_cards

    def keeps(data: bytes) -> None:
        try:
            assert parse_transcript(text(data)).atr
        except AgentError as error:
            assert error.code is Code.CONFIG_INVALID

    seeds = [format_transcript("x", card.atr, {}).encode() + b"=> 00A4\n<= 9000\n" for card in shipped_cards().values()]
    return Target(keeps, seeds, ("=> ", "<= ", "ATR ", "9000", "*", "# "))


def _files() -> list[bytes]:
    """What the simulator's cards answer."""
    from agent.readers.transcript import shipped_cards

    found = [answer[:-2] for card in shipped_cards().values() for answer in card.answers.values() if len(answer) > 4]
    return list(dict.fromkeys(found))


def _certificate(speciality: bytes) -> bytes:
    """With the extensions of a CPx, by nobody."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import NameOID

    key = ec.derive_private_key(7, ec.SECP256R1())
    names = {NameOID.COMMON_NAME: "899900000001", NameOID.SURNAME: "INVENTE", NameOID.GIVEN_NAME: "PAUL"}
    name = x509.Name([x509.NameAttribute(oid, value) for oid, value in names.items()])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 9, NOW, NOW.replace(year=2027))
    extensions = {
        "1.2.250.1.71.1.2.2": b"\x02\x01\x00",
        "1.2.250.1.71.1.2.3": b"\x13\x0a8025000001",
        "1.2.250.1.71.1.2.5": b"\x04\x01\x80",
        "1.2.250.1.71.1.2.7": b"\x02\x01\x0a",
        "1.2.250.1.71.4.2.5": speciality,
    }
    for oid, value in extensions.items():
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
        builder = builder.add_extension(unknown, critical=False)
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


# ---------------------------------------------------------------- replies and files


def soap() -> Target:
    """An answer of INSi, or a code of ours."""
    from agent.errors import AgentError
    from agent.insi.answers import read_answer
    from agent.insi.ports import HttpReply

    def keeps(data: bytes) -> None:
        with suppress(AgentError):
            found = read_answer(HttpReply(200 if data[:1] == b"<" else 500, data, 1))
            assert found.identity is None or len(found.identity.ins.matricule) == 13

    def envelope_of(body: str) -> str:
        return f'<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body>{body}</s:Body></s:Envelope>'

    found = envelope_of(
        '<RESULTAT xmlns="http://www.cnamts.fr/INSiResultat"><CR><CodeCR>00</CodeCR><LibelleCR>OK</LibelleCR></CR>'
        "<INDIVIDU><INSACTIF><IdIndividu><NumIdentifiant>1109999352001</NumIdentifiant><Cle>12</Cle></IdIndividu>"
        "<OID>1.2.250.1.213.1.4.8</OID></INSACTIF><TIQ><NomNaissance>INVENTE</NomNaissance></TIQ></INDIVIDU></RESULTAT>"
    )
    fault = envelope_of(
        "<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>s:siram_40</s:Value></s:Subcode></s:Code>"
        '<s:Reason><s:Text>x</s:Text></s:Reason><s:Detail><e:Erreur xmlns:e="urn:siram" code="a">b</e:Erreur>'
        "</s:Detail></s:Fault>"
    )
    bomb = '<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d SYSTEM "file:///etc/passwd">]><a>&b;&d;</a>'
    seeds = [one.encode() for one in (found, found.replace(">00<", ">01<"), fault, bomb)]
    return Target(keeps, seeds, ("<![CDATA[", "&#0;", "<!DOCTYPE", "CodeCR", "INDIVIDU", "xmlns="))


def apilec() -> Target:
    """Holders in the library's answer, or a code."""
    from agent.errors import AgentError
    from agent.readers.apilec_xml import parse_content

    def keeps(data: bytes) -> None:
        with suppress(AgentError):
            assert parse_content(data, date(2026, 11, 22)).holders

    person = (
        "<T_AsnBeneficiaire><ident><nomUsuel>INVENTE</nomUsuel><prenomUsuel>PAUL</prenomUsuel><naissance>"
        "<dateNaissance>01011950</dateNaissance></naissance><nir>1500199999001 12</nir><rangDeNaissance>1"
        "</rangDeNaissance></ident><amo><nir>150019999900112</nir></amo></T_AsnBeneficiaire>"
    )
    seeds = [f"<T_AsnVitale><listeBenef>{person * count}</listeBenef></T_AsnVitale>".encode() for count in range(3)]
    return Target(keeps, seeds, ("<?xml", 'encoding="', "<!DOCTYPE", "T_Asn", "rangDeNaissance"))


def settings() -> Target:
    """Settings, or config.invalid, of any file."""
    from agent.config import Source, load, system_layers
    from agent.errors import AgentError, Code

    file = Path(tempfile.mkdtemp(prefix="fuzz-settings-")) / "config.toml"

    def keeps(data: bytes) -> None:
        file.write_bytes(data)
        try:
            *_, (_, layer) = system_layers(file)
            load([(Source.USER, layer)])
            load([(Source.MACHINE_POLICY, layer), (Source.USER, layer)])
        except AgentError as error:
            assert error.code is Code.CONFIG_INVALID

    some = b"""environment = "simulated"\nports = [19847]\n[origins]\nunknown = "ask"\n[[origins.allowed]]
origin = "https://dossier.example"\nrights = ["vitale"]\n[door]\nsilent = 40
local_proxies = [{account = "root", program = "/usr/bin/x"}]\n[insi]\nendpoints = {}\n"""
    return Target(
        keeps, [some, b"", b"a = " + b"[" * 2000], ("[[", "]]", " = ", r"\"\"\"", "1979-05-27T07:32:00Z", "inf")
    )


def receipt() -> Target:
    """Only our own receipt is one, and nothing of it can be changed."""
    from agent.identity import Identity, verify_receipt

    ours = Identity.from_private_bytes(bytes(range(32)))
    trace = {"origin": SITE, "environment": "simulated"}
    right = ours.receipt({"outcome": "found", "trace": trace, "challenge": "c" * 43})

    def keeps(data: bytes) -> None:
        given = data.decode("latin-1")
        with suppress(ValueError):
            verify_receipt(
                given,
                accepted_thumbprints={ours.thumbprint},
                public_jwks=[ours.public_jwk()],
                challenge="c" * 43,
                origin=SITE,
                environment="simulated",
            )
            assert given.rpartition(".")[0] == right.rpartition(".")[0]

    return Target(keeps, [right.encode()], ("eyJ", ".", "="))


def words() -> Target:
    """A site's words stay on one line, within its length, between their quotation marks."""
    from unicodedata import category

    from agent.tray.dialogs.words import tame

    def keeps(data: bytes) -> None:
        most = data[0] % 60 + 1 if data else 1
        said = tame(text(data[1:]), most)
        assert len(said) <= most
        assert not set(said) & set('«»“”„"\n\r\t')
        assert all(character == " " or category(character)[0] not in "CMZ" for character in said)

    return Target(keeps, ["4Message du site «x»".encode(), "\x05é\u202e\u0301😀".encode()], (r"\xe2\x80\xae",))


# ---------------------------------------------------------------- the harness's own proof


def planted() -> Target:
    """A fault that only somebody who looks at what is executed finds: four bytes, one after the other."""

    def keeps(data: bytes) -> None:
        if data[:1] == b"I" and data[1:2] == b"N" and data[2:3] == b"S" and data[3:4] == b"i":
            raise KeyError("found")

    return Target(keeps, [b"xxxx"], ())


# Each, and how many runs take some two minutes.
REAL: dict[Callable[[], Target], int] = {
    session: 160_000,
    envelope: 2_000_000,
    origins: 10_000_000,
    sockets: 5_000_000,
    sites: 200_000,
    vitale: 1_400_000,
    tlv: 1_900_000,
    certificate: 500_000,
    transcript: 1_300_000,
    soap: 4_000_000,
    apilec: 3_000_000,
    settings: 300_000,
    receipt: 3_000_000,
    words: 2_000_000,
}
TARGETS = {made.__name__: (made, runs) for made, runs in {**REAL, planted: 200_000}.items()}
