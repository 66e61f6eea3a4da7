"""The verification examples for an application's server, in Python and in Node: one verdict for one receipt."""

import ast
import base64
import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.identity import CONFIRMATION_TYPE, PROOF_TYPE, RECEIPT_TYPE, ROTATION_TYPE, Identity
from agent.identity import verify_receipt as by_joserfc
from tests.parts.agent import Site
from tests.parts.program import Program, port_of

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "web-demo" / "server"
DOCUMENT = (ROOT / "docs" / "receipts.md").read_text("utf-8")
IN_PYTHON, IN_NODE = EXAMPLES / "verify_receipt.py", EXAMPLES / "verify_receipt.mjs"

Verdict = dict[str, Any]  # {"value": …}, {"refused": its reason} or {"error": the name of a programmer's error}


def loaded(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


python = loaded(IN_PYTHON)


class Node:
    """One Node process that says the verdict of the example for each line it is given."""

    DRIVER = """
        import { createInterface } from "node:readline";
        import * as example from %s;
        for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
          const [name, args] = JSON.parse(line);
          let said;
          try {
            said = { value: name === "REASONS" ? example.REASONS : example[name](...args) };
          } catch (error) {
            said = error instanceof example.ReceiptError ? { refused: error.reason } : { error: error.name };
          }
          console.log(JSON.stringify(said));
        }
    """

    def __init__(self, program: str) -> None:
        driver = self.DRIVER % json.dumps(IN_NODE.as_uri())
        self._process = subprocess.Popen(
            [program, "--input-type=module", "-e", driver], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def verdict(self, name: str, *arguments: object) -> Verdict:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([name, arguments]) + "\n")
        self._process.stdin.flush()
        said: Verdict = json.loads(self._process.stdout.readline())
        return said

    def close(self) -> None:
        self._process.communicate(timeout=20)
        assert self._process.returncode == 0


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    running = Node(node_program())
    yield running
    running.close()


def node_program() -> str:
    return shutil.which("node") or pytest.fail("node is missing: packaging/system-packages test")


def in_python(call: Callable[..., Any], *arguments: object, **asked: object) -> Verdict:
    try:
        return {"value": call(*arguments, **asked)}
    except python.ReceiptError as refused:
        return {"refused": refused.reason}
    except TypeError:
        return {"error": "TypeError"}


AS_IN_NODE = {"now_s": "nowS", "max_age_s": "maxAgeS", "skew_s": "skewS"}


def verified(node: Node, receipt: object, **asked: object) -> Verdict:
    """What both say of a receipt."""
    said = in_python(python.verify_receipt, receipt, **asked)
    there = node.verdict("verifyReceipt", receipt, {AS_IN_NODE.get(name, name): asked[name] for name in asked})
    assert said == there
    return said


def followed(node: Node, accepted: object, statement: object) -> Verdict:
    """What both make of a rotation."""
    said = in_python(python.accept_rotation, accepted, statement)
    assert said == node.verdict("acceptRotation", accepted, statement)
    return said


# ---------------------------------------------------------------- a workstation and its server


HOME = Path(".local/state/insi-agent/simulator")
TOUSSAINT = {"birthName": "ADRTROIS", "givenNames": ["TOUSSAINT"], "sex": "M", "birthDate": "1960-01-01"}
CHALLENGE = base64.urlsafe_b64encode(bytes(range(32))).rstrip(b"=").decode()


class Workstation:
    """The demonstration as a program, with a home of its own, and IT's script on it."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def says(self, *words: str) -> str:
        """What `insi-agent` with these words prints."""
        command = [sys.executable, "-m", "agent", *words, "--simulated"]
        environment = {"HOME": str(self._home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    def results(self, *calls: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
        """The origin of the demonstration's page, and what it gets for each of these calls."""
        command = [sys.executable, "-m", "agent", "demo", "--headless", "--json"]
        with Program(command, self._home, PYTHONPATH=str(ROOT)) as program:
            address = program.address()
            site = Site(port_of(address), origin=address["page"].rstrip("/"))
            try:
                return address["page"].rstrip("/"), [site.call("insi.retrieveByTraits", **call) for call in calls]
            finally:
                site.close()


@pytest.fixture
def workstation(tmp_path: Path, simulator_pki: Path) -> Workstation:
    shutil.copytree(simulator_pki, tmp_path / HOME / "data")
    for folder in (tmp_path / HOME, tmp_path / HOME / "data"):
        folder.chmod(0o700)
    return Workstation(tmp_path)


def test_receipts_of_a_workstation_hold_over_a_rotation_for_the_server_that_enrolled_it(
    workstation: Workstation, node: Node
) -> None:
    line = workstation.says("identity", "show", "--line")
    call = {"traits": TOUSSAINT, "challenge": CHALLENGE, "clientRef": "dossier-1"}
    origin, (first, again) = workstation.results(call, call)
    collected = json.loads(workstation.says("identity", "rotate", "--line"))
    its_origin, (second,) = workstation.results({"traits": TOUSSAINT, "challenge": CHALLENGE})

    assert line.count("\n") == 1
    accepted = [json.loads(line)]
    asked = {"challenge": CHALLENGE, "origin": origin, "environment": "simulated"}
    now_s = datetime.now(UTC).timestamp()
    payload = verified(node, first["receipt"], accepted=accepted, now_s=now_s, **asked)["value"]
    assert {name: first[name] for name in first if name != "receipt"}.items() <= payload.items()
    assert payload["instanceId"] == accepted[0]["instanceId"]
    assert set(payload) | set(payload["trace"]) <= set(re.findall(r"`(\w+)`", DOCUMENT.partition("## What a rec")[2]))
    told = json.loads(workstation.says("journal", "show", payload["trace"]["id"], "--json"))
    (place,) = [entry for entry in told["chain"] if entry["kind"] == "result"]
    assert {"seq": payload["trace"]["seq"], "previous": payload["trace"]["previous"]}.items() <= place.items()
    assert workstation.says("journal", "verify")  # or it would have failed
    assert again["replayed"] and again["receipt"] == first["receipt"]
    assert verified(node, again["receipt"], accepted=accepted, **asked | {"challenge": "x" * 43}) == {
        "refused": "challenge"
    }

    asked |= {"origin": its_origin}
    assert verified(node, second["receipt"], accepted=accepted, **asked) == {"refused": "unknown"}
    (former,) = collected["former"]
    after = followed(node, accepted, former["statement"])["value"]
    assert [one["thumbprint"] for one in after] == [accepted[0]["thumbprint"], collected["thumbprint"]]
    later = verified(node, second["receipt"], accepted=after, now_s=now_s, **asked)["value"]
    assert verified(node, first["receipt"], accepted=after, **asked | {"origin": origin}) == {"value": payload}
    assert later["trace"]["seq"] > payload["trace"]["seq"]
    assert followed(node, after, former["statement"]) == {"value": after}


def test_a_stored_answer_has_the_first_challenge_and_the_reply_that_the_receipt_names(site: Site) -> None:
    call = {"traits": TOUSSAINT, "clientRef": "dossier-1"}
    result = site.call("insi.retrieveByTraits", **call, challenge=CHALLENGE)
    stored = site.call("trace.get", traceId=result["trace"]["id"], image=True)

    assert site.refusal("insi.retrieveByTraits", **call, challenge="x" * 43).reason == "clientRef.reused"
    assert stored["result"]["receipt"] == result["receipt"]
    assert hashlib.sha256(base64.b64decode(stored["image"])).hexdigest() == result["trace"]["responseSha256"]


# ---------------------------------------------------------------- what a server refuses


ORIGIN, ENVIRONMENT = "https://dossier.example", "production"
INSTANCE = "00000000-0000-4000-8000-000000000001"
IAT = 1_741_064_767
AT = datetime.fromtimestamp(IAT, UTC)
KEY, OTHER, NEXT = (Identity.from_private_bytes(bytes([number] * 32)) for number in (1, 2, 3))
TRACE = {"id": "t", "origin": ORIGIN, "environment": ENVIRONMENT, "seq": 3, "previous": "ab"}
PAYLOAD = {"outcome": "found", "label": "é", "trace": TRACE, "challenge": CHALLENGE, "instanceId": INSTANCE, "iat": IAT}


def shown(key: Identity, **other: object) -> dict[str, Any]:
    """An installation as IT enrolled it."""
    named = {"thumbprint": key.thumbprint, "publicKey": key.public_jwk(), "former": []}
    return {"instanceId": INSTANCE, "simulated": False, **named, **other}


ACCEPTED = [shown(OTHER, instanceId="another"), shown(KEY)]
ASKED = {"accepted": ACCEPTED, "challenge": CHALLENGE, "origin": ORIGIN, "environment": ENVIRONMENT}
HEADER = {"alg": "EdDSA", "kid": KEY.thumbprint, "typ": RECEIPT_TYPE}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def as_json(value: object) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()


def signed(header: object = HEADER, payload: object = PAYLOAD, key: Identity = KEY) -> str:
    """A JWS of these members, or these bytes, whatever they are."""
    covered = f"{b64(as_json(header))}.{b64(as_json(payload))}"
    return f"{covered}.{b64(key.sign_bytes(covered.encode()))}"


def saying(payload: object) -> str:
    """The right receipt with another payload, as who has no key would write it."""
    return f"{HEAD}.{b64(as_json(payload))}.{SIGNATURE}"


def stretched(text: str) -> str:
    """The same bytes with another last character: base64url's unused bits."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) + 1]


RIGHT = signed()
HEAD, BODY, SIGNATURE = RIGHT.split(".")
WORDY = as_json({**HEADER, "x": "."})  # whose length in base64url leaves unused bits
assert len(WORDY) % 3

MALFORMED = {
    "no text": 7,
    "nothing": None,
    "empty": "",
    "a word": "receipt",
    "two parts": RIGHT.rpartition(".")[0],
    "four parts": f"{RIGHT}.",
    "the parts of a JWE": f"{RIGHT}.AA.AA",
    "truncated": RIGHT[:-1],
    "a signature too long": f"{RIGHT}AA",
    "a newline behind": f"{RIGHT}\n",
    "a space before": f" {RIGHT}",
    "padding": f"{RIGHT}==",
    "the alphabet of plain base64": f"{HEAD}.{BODY}.+/{SIGNATURE[2:]}",
    "a digit of another script": f"{HEAD}.{BODY[:-1]}٣.{SIGNATURE}",
    "a line break inside": f"{HEAD}.{BODY[:40]}\n{BODY[40:]}.{SIGNATURE}",
    "a surrogate": f"{HEAD}.{BODY}\ud800.{SIGNATURE}",
    "a signature with unused bits set": f"{HEAD}.{BODY}.{stretched(SIGNATURE)}",
    "a header with unused bits set": f"{stretched(b64(WORDY))}.{BODY}.{SIGNATURE}",
    "a header of a length that base64 has not": f"{HEAD}{'A' * (5 - len(HEAD) % 4)}.{BODY}.{SIGNATURE}",
    "a header too large": signed({**HEADER, "x": "y" * 1000}),
    "a header in UTF-16": signed(json.dumps(HEADER).encode("utf-16")),
    "a header behind a byte order mark": signed(b"\xef\xbb\xbf" + as_json(HEADER)),
    "a header that is no UTF-8": signed(b'{"alg":"EdDSA","kid":"\xff"}'),
    "a surrogate in UTF-8": signed(b'{"alg":"EdDSA","kid":"\xed\xa0\x80"}'),
    "a header with something behind": signed(as_json(HEADER) + b"{}"),
    "a header that is a list": signed([HEADER]),
    "a header that is null": signed(b"null"),
    "not a number": signed(b'{"alg":"EdDSA","x":NaN}'),
    "an infinity": signed(b'{"alg":"EdDSA","x":-Infinity}'),
    "a number in digits of another script": signed('{"alg":"EdDSA","x":١}'.encode()),
    "a number with a leading zero": signed(b'{"alg":"EdDSA","x":01}'),
    "a comment": signed(b'{"alg":"EdDSA"/**/}'),
    "a comma too many": signed(b'{"alg":"EdDSA",}'),
    "a line break in a string": signed(b'{"alg":"Ed\nDSA"}'),
    "a header nested too deeply": signed(b"[" * 700),
    "a payload that is no object": signed(payload=[PAYLOAD]),
    "a payload that is no JSON": signed(payload=b"found"),
    "a payload that is no UTF-8": signed(payload=b'{"label":"\xe9"}'),
    "a payload nested without end": signed(payload=b"[" * 100_000),
    "no trace": signed(payload={**PAYLOAD, "trace": None}),
    "a trace that is a list": signed(payload={**PAYLOAD, "trace": [TRACE]}),
    "no place in the journal": signed(payload={**PAYLOAD, "trace": {**TRACE, "seq": "3"}}),
    "no date": signed(payload={name: value for name, value in PAYLOAD.items() if name != "iat"}),
    **{
        f"a date that is {iat!r}": signed(payload={**PAYLOAD, "iat": iat})
        for iat in (None, True, "1", -1, 1.5, 2**53, 10**30, [IAT])
    },
    "a date beyond any number": signed(payload=as_json(PAYLOAD).replace(str(IAT).encode(), b"1e999")),
}
FOREIGN_HEADER = {"jwk": OTHER.public_jwk(), "jku": "https://pirate.example/keys", "x5u": "https://pirate.example/x"}
REFUSED = [
    *[(name, receipt, {}, "malformed") for name, receipt in MALFORMED.items()],
    ("crit", signed({**HEADER, "crit": ["exp"], "exp": 1}), {}, "critical"),
    ("crit of nothing", signed({**HEADER, "crit": None}), {}, "critical"),
    ("an unencoded payload", signed({**HEADER, "crit": ["b64"], "b64": False}), {}, "critical"),
    *[
        (f"algorithm {name}", signed({**HEADER, "alg": name}), {}, "algorithm")
        for name in ("none", "None", "HS256", "RS256", "ES256", "Ed25519", "eddsa", "", None, ["EdDSA"], {"EdDSA": 1})
    ],
    ("no algorithm", signed({"kid": KEY.thumbprint, "typ": RECEIPT_TYPE}), {}, "algorithm"),
    ("none at last", signed(as_json(HEADER)[:-1] + b',"alg":"none"}'), {}, "algorithm"),
    *[
        (f"type {kind}", signed({**HEADER, "typ": kind}), {}, "type")
        for kind in (PROOF_TYPE, ROTATION_TYPE, CONFIRMATION_TYPE, "JWT", f"application/{RECEIPT_TYPE}", None)
    ],
    ("a proof", KEY._jws(PROOF_TYPE, PAYLOAD), {}, "type"),
    ("a rotation", KEY.rotation(NEXT, instance_id=INSTANCE, at=AT), {}, "type"),
    ("a key that nobody enrolled", NEXT.receipt(PAYLOAD), {}, "unknown"),
    ("no key", signed({"alg": "EdDSA", "typ": RECEIPT_TYPE}), {}, "unknown"),
    *[(f"key {kid!r}", signed({**HEADER, "kid": kid}), {}, "unknown") for kid in ("", [], 1, [KEY.thumbprint])],
    ("its own key, sent along", signed({**HEADER, **FOREIGN_HEADER}, key=OTHER), {}, "signature"),
    ("a known kid with another's signature", signed(key=OTHER), {}, "signature"),
    ("another's kid with our signature", signed({**HEADER, "kid": OTHER.thumbprint}), {}, "signature"),
    ("no signature", f"{HEAD}.{BODY}.{'A' * 86}", {}, "signature"),
    ("a changed payload", saying({**PAYLOAD, "outcome": "notFound"}), {}, "signature"),
    *[(f"another {name}", saying({**PAYLOAD, name: 1}), {}, "signature") for name in PAYLOAD],
    *[(f"another trace.{name}", saying({**PAYLOAD, "trace": {**TRACE, name: 1}}), {}, "signature") for name in TRACE],
    ("a signature that covers less", saying({}), {}, "signature"),
    ("another challenge", RIGHT, {"challenge": "d" * 43}, "challenge"),
    ("a challenge in other letters", RIGHT, {"challenge": CHALLENGE.swapcase()}, "challenge"),
    ("no challenge", signed(payload={**PAYLOAD, "challenge": None}), {}, "challenge"),
    ("several challenges", signed(payload={**PAYLOAD, "challenge": [CHALLENGE]}), {}, "challenge"),
    ("another origin", RIGHT, {"origin": f"{ORIGIN}/"}, "origin"),
    ("an origin beside the trace", signed(payload={**PAYLOAD, "origin": "x"}), {"origin": "x"}, "origin"),
    ("another environment", RIGHT, {"environment": "test"}, "environment"),
    ("a simulator's key", RIGHT, {"accepted": [shown(KEY, simulated=True)]}, "environment"),
    ("another installation", RIGHT, {"accepted": [shown(KEY, instanceId="another")]}, "installation"),
    ("no installation", signed(payload={**PAYLOAD, "instanceId": None}), {}, "installation"),
    ("a key that had ended", RIGHT, {"accepted": [shown(KEY, notLaterThan=IAT - 1)]}, "ended"),
    ("dated ahead", RIGHT, {"now_s": IAT - 301}, "early"),
    ("dated ahead of a narrow clock", RIGHT, {"now_s": IAT - 1, "skew_s": 0}, "early"),
    ("too old", RIGHT, {"now_s": IAT + 901}, "old"),
    ("too old for one in a hurry", RIGHT, {"now_s": IAT + 2, "max_age_s": 1}, "old"),
    *[
        (f"enrolled with {wrong}", RIGHT, {"accepted": [shown(KEY, **wrong)]}, "enrolment")
        for wrong in (
            {"publicKey": OTHER.public_jwk()},
            {"publicKey": OTHER.public_jwk() | {"kid": KEY.thumbprint}},
            {"publicKey": {**KEY.public_jwk(), "kid": None}},
            {"publicKey": {**KEY.public_jwk(), "crv": "X25519"}},
            {"publicKey": {**KEY.public_jwk(), "kty": "EC"}},
            {"publicKey": {**KEY.public_jwk(), "x": KEY.public_jwk()["x"] + "="}},
            {"publicKey": {**KEY.public_jwk(), "x": stretched(KEY.public_jwk()["x"])}},
            {"publicKey": {**KEY.public_jwk(), "x": 1}},
            {"publicKey": None},
            {"publicKey": KEY.thumbprint},
            {"simulated": None},
            {"simulated": "false"},
            {"instanceId": None},
            {"notLaterThan": "never"},
            {"notLaterThan": True},
        )
    ],
    *[
        (f"enrolled once more with {wrong}", RIGHT, {"accepted": [*ACCEPTED, shown(KEY, **wrong)]}, "enrolment")
        for wrong in ({"instanceId": "another"}, {"simulated": True}, {"publicKey": None}, {"notLaterThan": IAT})
    ],
    ("no key, enrolled without one", signed({"alg": "EdDSA", "typ": RECEIPT_TYPE}), {"accepted": [{}]}, "unknown"),
    ("a key of no name", signed({**HEADER, "kid": None}), {"accepted": [{"thumbprint": None}]}, "unknown"),
    ("enrolled without a name", signed({**HEADER, "kid": ""}), {"accepted": [{"thumbprint": ""}]}, "enrolment"),
    ("enrolled by nobody", RIGHT, {"accepted": []}, "unknown"),
]


@pytest.mark.parametrize(("receipt", "asked", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_receipt_is_refused_with_one_reason_in_both_languages(
    node: Node, receipt: object, asked: dict[str, object], reason: str
) -> None:
    assert verified(node, receipt, **ASKED | asked) == {"refused": reason}


@pytest.mark.parametrize(
    ("receipt", "asked"),
    [
        (RIGHT, {}),
        (KEY.receipt(PAYLOAD), {}),
        (RIGHT, {"now_s": IAT - 300}),
        (RIGHT, {"now_s": IAT + 900.5, "max_age_s": 901}),
        (RIGHT, {"accepted": [shown(KEY, notLaterThan=IAT)]}),
        (RIGHT, {"accepted": [*ACCEPTED, shown(KEY), shown(KEY, former=[{}], notLaterThan=None)]}),  # collected twice
        (RIGHT, {"accepted": [shown(KEY, notLaterThan=None)], "now_s": None}),  # as a database gives what is absent
        (signed({**HEADER, **FOREIGN_HEADER}), {}),
        (signed(as_json(HEADER)[:-1] + b',"alg":"EdDSA"}'), {}),  # the last of two counts, RFC 7515 §4
        (signed(b' { "typ" : "insi-receipt+jws" ,' + as_json(HEADER)[1:]), {}),
        (signed(b'{"__proto__":{"crit":[]},' + as_json(HEADER)[1:]), {}),
        (signed(payload={**PAYLOAD, "history": ["é" * 1000] * 2000}), {}),
        (signed(payload=as_json(PAYLOAD).replace(str(IAT).encode(), f"{IAT}.0".encode())), {}),
        (
            signed(payload={**PAYLOAD, "trace": {**TRACE, "environment": "simulated"}}),
            {"environment": "simulated", "accepted": [shown(KEY, simulated=True)]},
        ),
    ],
)
def test_a_receipt_gives_what_was_signed_in_both_languages(node: Node, receipt: str, asked: dict[str, object]) -> None:
    assert verified(node, receipt, **ASKED | asked)["value"].items() >= {"outcome": "found", "iat": IAT}.items()


@pytest.mark.parametrize("left_out", ["accepted", "challenge", "origin", "environment"])
def test_without_an_argument_that_is_the_servers_own_nothing_is_checked(node: Node, left_out: str) -> None:
    for receipt in (RIGHT, signed(payload={"trace": {"seq": 1}, "iat": IAT})):
        assert verified(node, receipt, **{name: ASKED[name] for name in ASKED if name != left_out}) == {
            "error": "TypeError"
        }
        for nothing in (None, "", 0, {}):
            assert verified(node, receipt, **ASKED | {left_out: nothing}) == {"error": "TypeError"}
    assert node.verdict("verifyReceipt", RIGHT) == {"error": "TypeError"}


def test_an_argument_that_is_misspelt_is_a_programmers_error(node: Node) -> None:
    for wrong in ("now", "maxAge", "audience"):
        assert verified(node, RIGHT, **ASKED, **{wrong: IAT}) == {"error": "TypeError"}
    for others in ("now_s", "max_age_s"):
        assert node.verdict("verifyReceipt", RIGHT, ASKED | {others: IAT}) == {"error": "TypeError"}


# ---------------------------------------------------------------- whatever comes


TEXTS = st.text() | st.from_regex(r"\A[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{85}[AQgw]\Z")
BOTH = 2**53  # up to there both languages hold a number as it is written
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-BOTH, BOTH) | st.floats(-BOTH, BOTH) | st.text(max_size=4),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=4), below, max_size=3),
    max_leaves=5,
)


def taken_by_joserfc(receipt: str) -> bool:
    """Whether the agent's own verification, on another library, takes it too."""
    named = {name: value for name, value in ASKED.items() if name != "accepted"}
    try:
        by_joserfc(receipt, accepted_thumbprints={KEY.thumbprint}, public_jwks=[KEY.public_jwk()], **named)
    except ValueError:
        return False
    return True


@given(TEXTS)
def test_any_text_is_refused_alike_and_never_more_than_that(node: Node, text: str) -> None:
    assert verified(node, text, **ASKED)["refused"] in python.REASONS
    assert followed(node, ACCEPTED, text)["refused"] in python.REASONS


@given(st.binary(max_size=60) | JSON.map(as_json))
def test_any_header_is_refused_alike_and_never_more_than_that(node: Node, header: bytes) -> None:
    assert verified(node, signed(header), **ASKED)["refused"] in python.REASONS


@given(st.sampled_from([*HEADER, "crit", "jwk"]), JSON)
def test_any_member_of_a_header_has_one_verdict(node: Node, name: str, value: object) -> None:
    receipt = signed({**HEADER, name: value})

    taken = "value" in verified(node, receipt, **ASKED)

    assert taken == (name == "jwk" or (name in HEADER and HEADER[name] == value))
    assert not taken or name == "jwk" or taken_by_joserfc(receipt)  # joserfc wants that one to be a key


@given(st.sampled_from([*PAYLOAD, *TRACE]), JSON)
def test_any_member_of_a_payload_has_one_verdict(node: Node, name: str, value: object) -> None:
    """Signed by the key itself: an agent of another day, or one that was tampered with."""
    payload = {**PAYLOAD, "trace": {**TRACE, name: value}} if name in TRACE else {**PAYLOAD, name: value}
    receipt = signed(payload=payload)

    if "value" in verified(node, receipt, **ASKED):
        assert taken_by_joserfc(receipt)


@given(st.integers(0, len(RIGHT) - 1), st.sampled_from("ABab01-_.=+/ é"))
def test_no_character_of_a_receipt_may_be_another(node: Node, at: int, character: str) -> None:
    receipt = RIGHT[:at] + character + RIGHT[at + 1 :]

    assert ("value" in verified(node, receipt, **ASKED)) == (receipt == RIGHT)
    assert taken_by_joserfc(receipt) == (receipt == RIGHT)


# ---------------------------------------------------------------- points that are odd


P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
SMALL_ORDER = [  # RFC 8032 §5.1.3 reads them; the points of order 1, 2, 4 and 8, some written in more than one way
    0,
    1,
    P - 1,
    P,
    P + 1,
    *[
        int.from_bytes(bytes.fromhex(point), "little")
        for point in (
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        )
    ],
]
POINTS = [(y | sign << 255).to_bytes(32, "little") for y in SMALL_ORDER for sign in (0, 1)]


@pytest.mark.parametrize("point", POINTS, ids=bytes.hex)
def test_a_key_of_small_order_has_one_verdict_for_each_signature(node: Node, point: bytes) -> None:
    """Such a key would sign anything. Nobody makes one by chance: who enrolled it was deceived by his own channel."""
    jwk = {"crv": "Ed25519", "kty": "OKP", "x": b64(point)}
    kid = thumbprint_of(jwk)
    accepted = [shown(KEY, thumbprint=kid, publicKey={**jwk, "kid": kid, "alg": "EdDSA"})]
    covered = f"{b64(as_json({**HEADER, 'kid': kid}))}.{b64(as_json(PAYLOAD))}"

    for nonce in POINTS:
        for scalar in (0, L):
            signature = nonce + scalar.to_bytes(32, "little")
            verdict = verified(node, f"{covered}.{b64(signature)}", **ASKED | {"accepted": accepted})
            assert verdict in ({"value": PAYLOAD}, {"refused": "signature"})


def thumbprint_of(jwk: dict[str, str]) -> str:
    from joserfc.jwk import OKPKey

    return OKPKey.import_key(jwk).thumbprint()


def test_a_signature_is_not_written_in_a_second_way(node: Node) -> None:
    """RFC 8032 §5.1.7: S below L, or the same receipt would have another text."""
    head, body, signature = RIGHT.split(".")
    nonce, scalar = (part := base64.urlsafe_b64decode(signature + "=="))[:32], int.from_bytes(part[32:], "little")

    for other in (scalar + L, scalar + 2 * L, scalar | 1 << 255, (L - scalar) % L):
        again = f"{head}.{body}.{b64(nonce + other.to_bytes(32, 'little'))}"
        assert verified(node, again, **ASKED) == {"refused": "signature"}


def test_a_point_that_is_not_on_the_curve_verifies_nothing(node: Node) -> None:
    for y in (2, 7, P - 2):  # no x belongs to them
        jwk = {"crv": "Ed25519", "kty": "OKP", "x": b64(y.to_bytes(32, "little"))}
        accepted = [shown(KEY, thumbprint=(kid := thumbprint_of(jwk)), publicKey={**jwk, "kid": kid})]
        assert verified(node, signed({**HEADER, "kid": kid}), **ASKED | {"accepted": accepted}) == {
            "refused": "signature"
        }


# ---------------------------------------------------------------- rotations


STATEMENT = KEY.rotation(NEXT, instance_id=INSTANCE, at=AT)


def claims_of(statement: str) -> dict[str, Any]:
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(statement.split(".")[1] + "=="))
    return claims


def test_after_a_rotation_the_new_key_is_accepted_and_the_old_one_to_its_end(node: Node) -> None:
    after = followed(node, ACCEPTED, STATEMENT)["value"]

    assert after[0] == ACCEPTED[0]
    assert after[1] == {**ACCEPTED[1], "notLaterThan": IAT}
    assert (after[2]["thumbprint"], after[2]["instanceId"], after[2]["simulated"]) == (NEXT.thumbprint, INSTANCE, False)
    late = KEY.receipt({**PAYLOAD, "iat": IAT + 1})
    assert verified(node, RIGHT, **ASKED | {"accepted": after}) == {"value": PAYLOAD}
    assert verified(node, NEXT.receipt({**PAYLOAD, "iat": IAT + 1}), **ASKED | {"accepted": after}).keys() == {"value"}
    assert verified(node, late, **ASKED | {"accepted": after}) == {"refused": "ended"}
    assert verified(node, late, **ASKED).keys() == {"value"}  # for who has not followed yet


def test_a_rotation_is_followed_once_and_what_was_removed_since_stays_removed(node: Node) -> None:
    after = followed(node, ACCEPTED, STATEMENT)["value"]

    assert followed(node, after, STATEMENT) == {"value": after}
    assert followed(node, after[:2], STATEMENT) == {"value": after[:2]}
    assert followed(node, [after[2]], STATEMENT) == {"refused": "unknown"}
    assert followed(node, [], STATEMENT) == {"refused": "unknown"}
    other = KEY.rotation(OTHER, instance_id=INSTANCE, at=datetime.fromtimestamp(IAT + 1, UTC))
    assert followed(node, after, other) == {"refused": "ended"}


def test_a_key_that_was_enrolled_itself_is_not_added_a_second_time(node: Node) -> None:
    both = [shown(KEY), shown(NEXT)]

    assert followed(node, both, STATEMENT) == {"value": [{**both[0], "notLaterThan": IAT}, both[1]]}


def test_a_rotation_ends_every_line_of_its_key(node: Node) -> None:
    after = followed(node, [*ACCEPTED, shown(KEY)], STATEMENT)["value"]

    assert [one.get("notLaterThan") for one in after] == [None, IAT, IAT, None]
    assert verified(node, RIGHT, **ASKED | {"accepted": after}) == {"value": PAYLOAD}


def test_a_simulators_key_leads_to_a_simulators_key(node: Node) -> None:
    after = followed(node, [shown(KEY, simulated=True)], STATEMENT)["value"]

    assert verified(node, NEXT.receipt(PAYLOAD), **ASKED | {"accepted": after}) == {"refused": "environment"}


def rotation(**other: object) -> str:
    return KEY._jws(ROTATION_TYPE, claims_of(STATEMENT) | other)


def confirmation(key: Identity, **claims: object) -> str:
    return key._jws(CONFIRMATION_TYPE, {"from": KEY.thumbprint, "instanceId": INSTANCE, "iat": IAT, **claims})


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        (None, "malformed"),
        ("", "malformed"),
        (RIGHT, "type"),
        (claims_of(STATEMENT)["confirmation"], "type"),
        (NEXT.rotation(KEY, instance_id=INSTANCE, at=AT), "unknown"),
        (signed({**HEADER, "typ": ROTATION_TYPE}, claims_of(STATEMENT), key=OTHER), "signature"),
        (rotation(**{"from": OTHER.public_jwk()}), "malformed"),
        (rotation(**{"from": KEY.public_jwk() | {"kid": NEXT.thumbprint}}), "malformed"),
        (rotation(to=KEY.public_jwk() | {"kid": NEXT.thumbprint}), "malformed"),
        (rotation(to=None), "malformed"),
        (rotation(iat=None), "malformed"),
        (rotation(iat=-1), "malformed"),
        (rotation(instanceId="another"), "installation"),
        (KEY.rotation(NEXT, instance_id="another", at=AT), "installation"),
        (rotation(confirmation=None), "malformed"),
        (rotation(confirmation=RIGHT), "type"),
        (rotation(confirmation=KEY.rotation(NEXT, instance_id=INSTANCE, at=AT)), "type"),
        (rotation(to=OTHER.public_jwk()), "unknown"),
        (rotation(confirmation=confirmation(OTHER)), "unknown"),
        (rotation(iat=IAT + 1), "confirmation"),
        (rotation(confirmation=confirmation(NEXT, iat=IAT + 1)), "confirmation"),
        (rotation(confirmation=confirmation(NEXT, instanceId="another")), "confirmation"),
        (rotation(confirmation=confirmation(NEXT, **{"from": OTHER.thumbprint})), "confirmation"),
        (rotation(confirmation=confirmation(NEXT, more=1)), "confirmation"),
        (rotation(confirmation=f"{confirmation(NEXT)[:-86]}{'A' * 86}"), "signature"),
    ],
)
def test_a_rotation_to_which_both_keys_did_not_agree_is_refused(node: Node, statement: object, reason: str) -> None:
    assert followed(node, ACCEPTED, statement) == {"refused": reason}


@given(st.sampled_from(["from", "to", "instanceId", "iat", "confirmation"]), JSON)
def test_any_claim_of_a_rotation_is_refused_alike_and_never_more_than_that(
    node: Node, name: str, value: object
) -> None:
    assert followed(node, ACCEPTED, rotation(**{name: value}))["refused"] in python.REASONS


# ---------------------------------------------------------------- the examples and their document


def test_an_example_is_one_short_file_that_needs_nothing_of_the_agent() -> None:
    modules = {
        name.partition(".")[0]
        for tree in ast.walk(ast.parse(IN_PYTHON.read_text("utf-8")))
        for name in (
            [one.name for one in tree.names]
            if isinstance(tree, ast.Import)
            else [tree.module or ""]
            if isinstance(tree, ast.ImportFrom)
            else []
        )
    }

    assert modules - sys.stdlib_module_names == {"cryptography"}
    assert re.findall(r'from "(.+)"|import\(|require\(', IN_NODE.read_text("utf-8")) == ["node:crypto"]
    for file in (IN_PYTHON, IN_NODE):
        assert len(file.read_text("utf-8").splitlines()) < 125


def test_every_reason_is_in_the_document_and_refuses_something_here(node: Node) -> None:
    assert node.verdict("REASONS") == {"value": python.REASONS}
    table = DOCUMENT.partition("## Reasons")[2].partition("\n\n")[2]
    assert re.findall(r"`(\w+)`", "".join(row.split("|")[1] for row in table.splitlines()[2:])) == python.REASONS
    assert {row[3] for row in REFUSED} == {*python.REASONS} - {"confirmation"}


def block(language: str, number: int = 0) -> str:
    """A block of code as it stands in the document."""
    return DOCUMENT.split(f"```{language}\n")[number + 1].partition("```")[0]


PRINTS = {
    "python": """
import sys
lines, receipts, challenge = json.loads(sys.stdin.read())
for line in lines:
    try:
        accepted = enrolled(accepted, line)
        print([(one["thumbprint"], one.get("notLaterThan", 0)) for one in accepted])
    except ReceiptError as refused:
        print(refused.reason)
for receipt in receipts:
    try:
        print(result_of(receipt, challenge)["outcome"])
    except ReceiptError as refused:
        print(refused.reason)
""",
    "js": """
const [collected, receipts, challenge] = JSON.parse(readFileSync(0, "utf8"));
let now = accepted;
for (const line of collected) {
  try {
    now = enrolled(now, line);
    const told = now.map((one) => `('${one.thumbprint}', ${one.notLaterThan ?? 0})`);
    console.log(`[${told.join(", ")}]`);
  } catch (refused) {
    console.log(refused.reason);
  }
}
for (const receipt of receipts) {
  try {
    console.log(resultOf(receipt, challenge).outcome);
  } catch (refused) {
    console.log(refused.reason);
  }
}
""",
}


class Server:
    """A server's folder: the examples that were copied, the document's own code, and the lines that it took."""

    def __init__(self, folder: Path, language: str) -> None:
        self._folder, self._language = folder, language
        for file in (IN_PYTHON, IN_NODE):
            shutil.copy(file, folder)
        self.keeps([shown(KEY)])

    def keeps(self, lines: list[dict[str, Any]]) -> None:
        """These are its installations.jsonl."""
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (self._folder / "installations.jsonl").write_text(text, encoding="utf-8")

    def says(self, lines: list[dict[str, Any]], receipts: list[str], **other: str) -> list[str]:
        """What is enrolled after each of these lines, or why it is refused; then the same of receipts."""
        python, code = self._language == "python", block(self._language)
        for name, value in other.items():
            assert name in code
            code = code.replace(name, value)
        file = self._folder / ("result.py" if python else "result.mjs")
        file.write_text(code + PRINTS[self._language], encoding="utf-8")
        command = [sys.executable if python else node_program(), file.name]
        given_in = json.dumps([lines, receipts, CHALLENGE])
        said = subprocess.run(command, cwd=self._folder, input=given_in, capture_output=True, text=True, check=True)
        return said.stdout.splitlines()


@pytest.fixture(params=["python", "js"])
def server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Server:
    return Server(tmp_path_factory.mktemp("server"), request.param)


def test_the_documents_line_run_at_each_logon_is_what_its_code_enrols_and_its_receipts_hold(
    workstation: Workstation, server: Server
) -> None:
    """The same line with the simulator's word: this account has no keyring to open."""
    (line,) = [line for line in block("sh").splitlines() if line]
    program, *words = line.split()
    first, again = (json.loads(workstation.says(*words)) for _logon in range(2))
    origin, (result,) = workstation.results({"traits": TOUSSAINT, "challenge": CHALLENGE})

    assert program == "insi-agent"
    assert first == again and first.keys() == shown(KEY).keys()
    here = {"https://dossier.example": origin, "production": "simulated"}
    taken = f"[('{KEY.thumbprint}', 0), ('{first['thumbprint']}', 0)]"
    assert server.says([first, again], [], **here) == [taken, taken]
    server.keeps([first, again])
    assert server.says([], [result["receipt"]], **here) == ["found"]


def test_the_documents_code_runs_as_it_stands(server: Server) -> None:
    now = int(datetime.now(UTC).timestamp())

    said = server.says([], [KEY.receipt({**PAYLOAD, "iat": now}), KEY.receipt({**PAYLOAD, "iat": IAT})])

    assert said == ["found", "old"]


def test_a_collected_line_enrols_whom_nobody_knows_and_follows_rotations_alone(server: Server) -> None:
    """Whoever sits at another workstation claims nobody's name, and spoils nobody's line."""
    older = Identity.create()
    statements = [
        {"statement": older.rotation(KEY, instance_id=INSTANCE, at=AT)},  # from before the enrolment
        {"statement": STATEMENT},
    ]
    lines = [
        shown(KEY),
        shown(OTHER),
        shown(KEY, instanceId="another"),
        shown(NEXT),
        shown(OTHER, instanceId="another"),
        shown(NEXT, former=statements),
        shown(KEY),
        shown(NEXT, simulated=True),
        shown(OTHER, former=statements),
    ]
    before, other, after = f"('{KEY.thumbprint}', 0)", f"('{OTHER.thumbprint}', 0)", f"('{KEY.thumbprint}', {IAT})"
    both, rotated = f"[{before}, {other}]", f"[{after}, {other}, ('{NEXT.thumbprint}', 0)]"

    said = server.says(lines, [])

    assert said == [f"[{before}]", *["enrolment"] * 3, both, rotated, rotated, rotated, "enrolment"]


@pytest.mark.parametrize(
    ("seq", "iat", "other", "place"),
    [
        (3, IAT, {}, "same"),
        (3, IAT, {"id": "another"}, "conflict"),
        (3, IAT, {"previous": "cd"}, "conflict"),
        (6, IAT - 9, {}, "newer"),
        (2, IAT, {}, "older"),
        (2, IAT + 1, {}, "conflict"),
    ],
)
def test_a_server_sees_that_a_journal_was_put_back(seq: int, iat: int, other: dict[str, str], place: str) -> None:
    names: dict[str, Any] = {}
    exec(block("python", 1), names)  # noqa: S102  (the document's own example)

    payload = {"trace": {**TRACE, "seq": seq, **other}, "iat": iat}

    assert names["journal_place"](payload, PAYLOAD) == place
