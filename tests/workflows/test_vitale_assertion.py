"""The optional second assertion of WS_INS1: refused by name without a provider, embedded with one."""

from datetime import timedelta

import pytest
from lxml import etree

from agent.errors import AgentError, Code
from agent.protocol.messages import Client, HelloParams
from agent.signing.vitale_assertion import LIFE, VitaleAssertion
from agent.workflows import greeting
from tests.workflows.making import Bench

HELLO = HelloParams(api_levels=[1], client=Client(name="essai", version="1"))
INVENTED = (
    b'<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_vitale"><saml:Subject>'
    b'<saml:NameID NameQualifier="VITALE">000000000000</saml:NameID></saml:Subject></saml:Assertion>'
)
ORGANISATION = {"authMode": "organisation", "user": {"id": "u1"}}


class Provider:
    """Makes invented assertions, `age` old; remembers for whom. Fails as told, once."""

    def __init__(self, bench: Bench, age: timedelta = timedelta()) -> None:
        self._bench, self._age = bench, age
        self.fails: list[AgentError] = []
        self.asked: list[tuple[str | None, str]] = []

    def provide(self, *, serial: str | None, emitter: str) -> VitaleAssertion:
        self.asked.append((serial, emitter))
        if self.fails:
            raise self.fails.pop()
        return VitaleAssertion(INVENTED, self._bench.clock() - self._age)


def required(bench: Bench, age: timedelta = timedelta()) -> Provider:
    bench.configure(vitale={"assertion": "required"})
    provider = Provider(bench, age)
    bench.desk.vitale_assertions = provider
    return provider


def security(message: bytes) -> list[str | None]:
    """The IDs of the assertions in a message, in order."""
    return [assertion.get("ID") for assertion in etree.fromstring(message).iterfind(".//{*}Security/{*}Assertion")]


def test_while_it_is_required_and_nobody_makes_it_nothing_begins(bench: Bench) -> None:
    read = bench.do(bench.read())
    bench.configure(vitale={"assertion": "required"})

    refused = bench.refused(bench.with_vitale(read.read_id))

    assert refused.code is Code.VITALE_ASSERTION_UNAVAILABLE
    assert bench.refused(bench.with_vitale("inconnue")).code is Code.VITALE_ASSERTION_UNAVAILABLE
    assert (bench.slot.calls, bench.person.questions, bench.insi.received) == ([], [], [])
    assert bench.do(bench.by_traits()).code == "00"  # a search by traits takes none


def test_it_follows_the_professionals_and_is_made_for_each_call(bench: Bench) -> None:
    provider = required(bench)
    read = bench.do(bench.read())

    for _ in range(2):
        assert bench.do(bench.with_vitale(read.read_id)).code == "00"

    ids = [security(message) for message in bench.insi.received]
    assert [one[1:] for one in ids] == [["_vitale"], ["_vitale"]]
    assert all(one[0] and one[0] != "_vitale" for one in ids)
    assert [emitter for _, emitter in provider.asked] == ["899900000017"] * 2


def test_without_a_professionals_card_it_stands_alone(bench: Bench) -> None:
    required(bench)
    read = bench.do(bench.read())

    answered = bench.do(bench.with_vitale(read.read_id, **ORGANISATION))

    assert answered.code == "00"
    assert security(bench.insi.received[0]) == ["_vitale"]


def test_one_that_is_too_old_is_not_sent(bench: Bench) -> None:
    """CNDA 1.02, second hand."""
    required(bench, LIFE)
    read = bench.do(bench.read())

    assert bench.refused(bench.with_vitale(read.read_id, **ORGANISATION)).code is Code.VITALE_STALE
    assert bench.insi.received == []


def test_a_provider_that_fails_sends_nothing_and_the_next_call_works(bench: Bench) -> None:
    provider = required(bench)
    provider.fails = [AgentError(Code.CARD_REMOVED)]
    read = bench.do(bench.read())

    assert bench.refused(bench.with_vitale(read.read_id, **ORGANISATION)).code is Code.CARD_REMOVED
    assert bench.insi.received == []
    assert bench.do(bench.with_vitale(read.read_id, **ORGANISATION)).code == "00"


def test_a_provider_is_asked_for_nothing_while_none_is_required(bench: Bench) -> None:
    provider = required(bench)
    bench.configure()
    read = bench.do(bench.read())

    assert bench.do(bench.with_vitale(read.read_id)).code == "00"
    assert provider.asked == []
    assert len(security(bench.insi.received[0])) == 1


@pytest.mark.parametrize(("profile", "announced"), [("repository", True), ("consumer", False)])
def test_it_is_announced_with_a_provider_to_who_may_search(bench: Bench, profile: str, announced: bool) -> None:
    def capabilities() -> list[str]:
        return bench.do(greeting.hello(bench.desk, bench.asker(), HELLO)).capabilities

    bench.configure(profile=profile)
    before = capabilities()
    bench.desk.vitale_assertions = Provider(bench)

    assert "vitale.assertion" not in before
    assert ("vitale.assertion" in capabilities()) is announced
