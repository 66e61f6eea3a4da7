"""The whole journey against the simulator, over a real socket: what a web application gets."""

import base64
import hashlib
import json
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import OKPKey

from agent.identity import verify_receipt
from agent.insi.fake_insi import Misbehaviour
from agent.insi.fake_style import Style
from agent.model import AuthMode
from tests.parts.agent import HELLO, SITE, RefusedError, Simulation, Site

CHALLENGE = base64.urlsafe_b64encode(os.urandom(32)).rstrip(b"=").decode()
CATARINA = {"birthName": "TCHITCHI", "givenNames": ["OLA", "CATARINA", "BELLA"], "sex": "F", "birthDate": "1936-06-21"}
NOBODY = {"birthName": "HOUILLES", "givenNames": ["PIERRE", "PAUL", "JACQUES"], "sex": "M", "birthDate": "1993-01-27"}
LEONARDO = {"birthName": "DE VINCI", "givenNames": ["LEONARDO"], "sex": "M", "birthDate": "2014-02-01"}
TOUSSAINT = {"birthName": "ADRTROIS", "givenNames": ["TOUSSAINT"], "sex": "M", "birthDate": "1960-01-01"}


def decoded(compact: str, jwk: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a JWS that verifies."""
    verified = jws.deserialize_compact(
        compact, OKPKey.import_key({name: jwk[name] for name in ("kty", "crv", "x")}), algorithms=["EdDSA"]
    )
    return verified.headers(), json.loads(verified.payload)


def codes(result: dict[str, Any]) -> list[str]:
    return [attempt["code"] for attempt in result["trace"]["attempts"]]


# ---------------------------------------------------------------- hello


def test_hello_proves_the_agents_key_over_the_challenge_and_the_origin(agent: Simulation) -> None:
    hello = agent.site(hello=False).call("agent.hello", **HELLO, challenge=CHALLENGE)

    header, claims = decoded(hello["proof"], hello["receiptKey"])

    assert header["alg"] == "EdDSA"
    assert header["kid"] == OKPKey.import_key({n: hello["receiptKey"][n] for n in ("kty", "crv", "x")}).thumbprint()
    assert claims["challenge"] == CHALLENGE
    assert claims["origin"] == SITE
    assert claims["instanceId"] == hello["agent"]["instanceId"]
    assert claims["environment"] == hello["environment"] == "simulated"
    assert isinstance(claims["iat"], int)


def test_hello_says_what_this_origin_may_call(site: Site) -> None:
    assert site.hello["originState"] == "allowed"
    assert site.hello["authModes"] == ["cpx", "organisation"]
    assert {"vitale.read", "insi.retrieveByTraits", "insi.retrieveByTraits:continues"} <= set(
        site.hello["capabilities"]
    )


# ---------------------------------------------------------------- the main job


def test_a_vitale_a_code_and_a_signature_give_a_traced_result_with_a_receipt(site: Site) -> None:
    read = site.call("vitale.read")
    result = site.call("insi.retrieveWithVitale", readId=read["readId"], holder=0, challenge=CHALLENGE, clientRef="v1")

    assert (result["outcome"], result["code"]) == ("found", "00")
    assert result["identity"]["ins"]["matricule"] == "2751263220749"
    assert result["integrable"] is True
    assert "environment.simulated" in result["warnings"]
    assert result["trace"]["operation"] == "WS_INS1"
    assert result["trace"]["professional"] == {"nationalId": "899900000017"}
    payload = verify_receipt(
        result["receipt"],
        accepted_thumbprints=[site.hello["receiptKey"]["kid"]],
        public_jwks=[site.hello["receiptKey"]],
        challenge=CHALLENGE,
        origin=SITE,
        environment="simulated",
    )
    assert payload["clientRef"] == "v1"
    assert {name: payload[name] for name in result if name not in ("receipt", "comparison")} == {
        name: value for name, value in result.items() if name not in ("receipt", "comparison")
    }


def test_the_organisations_certificate_asks_for_no_code(site: Site) -> None:
    read = site.call("vitale.read")
    result = site.call("insi.retrieveWithVitale", readId=read["readId"], holder=0, authMode="organisation")

    assert result["code"] == "00"
    assert result["trace"]["authMode"] == "organisation"
    assert "professional" not in result["trace"]
    assert not any(message["params"].get("needs") == "pin" for message in site.notifications)


def test_the_page_hears_each_step_and_what_it_needs(site: Site) -> None:
    read = site.call("vitale.read")
    number = site.send("insi.retrieveWithVitale", readId=read["readId"], holder=0)
    site.reply(number)

    steps = [message["params"] for message in site.notifications if message["method"] == "operation.progress"]
    assert {step["id"] for step in steps} == {number}
    assert [step["needs"] for step in steps if step["needs"]] == ["pin", "network"]


def test_a_second_call_of_the_same_origin_asks_for_no_second_code(site: Site) -> None:
    site.call("cpx.unlock")
    site.notifications.clear()
    site.call("insi.retrieveByTraits", traits=TOUSSAINT)

    assert not any(message["params"].get("needs") == "pin" for message in site.notifications)


def test_lock_ends_the_session_and_the_next_call_asks_again(site: Site) -> None:
    assert site.call("cpx.unlock")["unlocked"] is True
    assert site.call("cpx.lock")["unlocked"] is False
    site.notifications.clear()
    site.call("insi.retrieveByTraits", traits=TOUSSAINT)

    assert any(message["params"].get("needs") == "pin" for message in site.notifications)


OTHER = "https://autre.example"
TWO_SITES = f"""
[[origins.allowed]]
origin = "{OTHER}"
[[software]]
name = "Autre logiciel"
version = "2"
origins = ["{OTHER}"]
[software.authorisation]
simulated = "SIMULATEUR-0001"
"""


def test_another_origin_gets_no_signature_from_a_session_it_did_not_open(
    simulation: Callable[..., Simulation],
) -> None:
    agent = simulation(TWO_SITES)
    first, second = agent.site(), agent.site(origin=OTHER)
    first.call("cpx.unlock")

    assert second.call("cpx.status")["unlocked"] is False
    second.call("insi.retrieveByTraits", traits=TOUSSAINT)

    assert any(message["params"].get("needs") == "pin" for message in second.notifications)


def test_a_reading_and_a_trace_of_another_origin_are_unknown(simulation: Callable[..., Simulation]) -> None:
    agent = simulation(TWO_SITES)
    first, second = agent.site(), agent.site(origin=OTHER)
    read = first.call("vitale.read")
    result = first.call("insi.retrieveWithVitale", readId=read["readId"], holder=0)

    stolen = second.refusal("insi.retrieveWithVitale", readId=read["readId"], holder=0)
    invented = second.refusal("insi.retrieveWithVitale", readId="invented", holder=0)
    assert stolen.error == invented.error
    assert second.refusal("trace.get", traceId=result["trace"]["id"]).reason == "trace.unknown"


# ---------------------------------------------------------------- the ladder


def test_each_given_name_is_tried_alone_and_the_first_found_ends_the_search(site: Site) -> None:
    """CNDA test 2.07-1."""
    result = site.call("insi.retrieveByTraits", traits=CATARINA)

    assert codes(result) == ["01", "00"]
    assert result["trace"]["attempts"][1]["given"] == ["birthName", "givenNames[1]", "sex", "birthDate"]


def test_nobody_is_said_after_each_name_and_all_together(site: Site) -> None:
    """CNDA test 2.07-2."""
    result = site.call("insi.retrieveByTraits", traits=NOBODY)

    assert codes(result) == ["01"] * 4
    assert (result["outcome"], result["integrable"]) == ("notFound", False)
    assert "identity" not in result


def test_several_are_told_apart_by_the_birth_place_at_the_next_step_only(agent: Simulation, site: Site) -> None:
    """CNDA tests 2.06-1 and 2.06-2: the birth place never travels in a first attempt."""
    several = site.call("insi.retrieveByTraits", traits=LEONARDO)
    found = site.call(
        "insi.retrieveByTraits", traits={**LEONARDO, "birthPlaceCode": "63220"}, continues=several["trace"]["id"]
    )

    assert (several["outcome"], codes(several)) == ("several", ["02"])
    assert (found["outcome"], codes(found)) == ("found", ["00"])
    assert "birthPlaceCode" in found["trace"]["attempts"][0]["given"]


def test_the_birth_place_given_at_once_still_waits_for_the_second_attempt(site: Site) -> None:
    result = site.call("insi.retrieveByTraits", traits={**LEONARDO, "birthPlaceCode": "63220"})

    assert codes(result) == ["02", "00"]
    assert "birthPlaceCode" not in result["trace"]["attempts"][0]["given"]


def test_a_search_is_continued_only_with_the_same_other_traits(site: Site) -> None:
    several = site.call("insi.retrieveByTraits", traits=LEONARDO)
    changed = {**LEONARDO, "birthDate": "2014-02-02", "birthPlaceCode": "63220"}

    for continues in (several["trace"]["id"], "invented"):
        refused = site.refusal("insi.retrieveByTraits", traits=changed, continues=continues)
        assert refused.reason == "continues.refused"


def test_a_name_that_insi_cannot_write_is_refused_by_its_member(site: Site) -> None:
    refused = site.refusal("insi.retrieveByTraits", traits={**TOUSSAINT, "givenNames": ["TOUSSAINT", "R2D2"]})

    assert refused.reason == "traits.refused"
    assert refused.facts["member"] == "givenNames[1]"
    assert "R2D2" not in json.dumps(refused.error)


def test_local_traits_are_compared_one_by_one(site: Site) -> None:
    local = {"birthName": "adrtrois", "givenNames": ["Toussaint"], "sex": "F", "birthPlaceCode": "2B020"}
    comparison = site.call("insi.retrieveByTraits", traits=TOUSSAINT, local=local)["comparison"]

    assert comparison["birthName"]["same"] is False
    assert comparison["birthName"]["sameAfterNormalisation"] is True
    assert comparison["sex"]["sameAfterNormalisation"] is False
    assert comparison["birthPlaceCode"]["same"] is True
    assert "birthDate" not in comparison


# ---------------------------------------------------------------- verification

TOUSSAINTS_INS = {"matricule": "160012B020777", "key": "13", "oid": "1.2.250.1.213.1.4.8"}


def test_an_ins_is_verified_with_its_traits_and_the_receipt_says_so(site: Site) -> None:
    """S116, S118, by the simulator's placeholder of WS_INS3."""
    result = site.call(
        "insi.verify", ins=TOUSSAINTS_INS, traits={**TOUSSAINT, "birthPlaceCode": "2B020"}, challenge=CHALLENGE
    )

    assert (result["outcome"], result["integrable"]) == ("verified", True)
    assert (result["trace"]["operation"], codes(result)) == ("WS_INS3", [result["code"]])
    _, claims = decoded(result["receipt"], site.hello["receiptKey"])
    assert (claims["outcome"], claims["challenge"]) == ("verified", CHALLENGE)
    assert site.call("trace.get", traceId=result["trace"]["id"])["result"] == result


def test_an_ins_that_is_not_of_these_traits_is_not_verified_in_either_mode(site: Site) -> None:
    """S120."""
    for mode in site.hello["authModes"]:
        result = site.call("insi.verify", ins=TOUSSAINTS_INS, traits=LEONARDO, authMode=mode)
        assert (result["outcome"], result["integrable"]) == ("notVerified", False)
        assert result["trace"]["authMode"] == mode


def test_a_number_without_the_shape_of_a_matricule_is_no_param(site: Site) -> None:
    refused = site.refusal("insi.verify", ins={**TOUSSAINTS_INS, "matricule": "160012B02077713"}, traits=TOUSSAINT)

    assert refused.error["code"] == -32602
    assert "160012B020777" not in json.dumps(refused.error)


def test_a_consumer_installation_verifies_and_says_that_it_may(simulation: Callable[..., Simulation]) -> None:
    """S003."""
    site = simulation('profile = "consumer"\n').site()

    assert "insi.verify" in site.hello["capabilities"]
    assert "insi.retrieveByTraits" not in site.hello["capabilities"]
    assert site.call("insi.verify", ins=TOUSSAINTS_INS, traits=TOUSSAINT)["trace"]["operation"] == "WS_INS3"


def test_pro_sante_connect_is_refused_by_its_name_and_what_nobody_knows_with_those_that_are_known(site: Site) -> None:
    assert site.refusal("insi.retrieveByTraits", traits=TOUSSAINT, authMode="psc").reason == "authMode.psc"
    unknown = site.refusal("insi.retrieveByTraits", traits=TOUSSAINT, authMode="telepathy")
    assert (unknown.reason, unknown.facts) == ("authMode.unavailable", {"available": ["cpx", "organisation"]})


# ---------------------------------------------------------------- the trace


def test_the_trace_gives_back_the_result_and_the_exact_reply(site: Site) -> None:
    result = site.call("insi.retrieveByTraits", traits=CATARINA)
    stored = site.call("trace.get", traceId=result["trace"]["id"], image=True)

    assert stored["result"] == result
    image = base64.b64decode(stored["image"])
    assert hashlib.sha256(image).hexdigest() == result["trace"]["responseSha256"]
    assert b"CATARINA BELLA" in image


def test_a_failed_call_leaves_its_trace_too(agent: Simulation, site: Site) -> None:
    agent.insi.always(Misbehaviour.UNAVAILABLE)
    refused = site.refusal("insi.retrieveByTraits", traits=TOUSSAINT)

    stored = site.call("trace.get", traceId=refused.facts["traceId"])
    assert [attempt["code"] for attempt in stored["attempts"]] == ["desir_1020", "desir_1020"]
    assert "result" not in stored


def test_one_client_ref_makes_one_call(agent: Simulation, site: Site) -> None:
    first = site.call("insi.retrieveByTraits", traits=TOUSSAINT, clientRef="venue-1")
    again = site.call("insi.retrieveByTraits", traits=TOUSSAINT, clientRef="venue-1")

    assert again == {**first, "replayed": True}
    assert site.call("agent.status")["operations"]["WS_INS2"]["calls"] == 1
    assert site.refusal("insi.retrieveByTraits", traits=LEONARDO, clientRef="venue-1").reason == "clientRef.reused"


def test_a_client_ref_outlives_the_agent(simulation: Callable[..., Simulation]) -> None:
    before = simulation()
    first = before.site().call("insi.retrieveByTraits", traits=TOUSSAINT, clientRef="venue-3")
    before.restart()
    site = before.site()

    assert site.call("insi.retrieveByTraits", traits=TOUSSAINT, clientRef="venue-3") == {**first, "replayed": True}
    assert site.refusal("insi.retrieveByTraits", traits=LEONARDO, clientRef="venue-3").reason == "clientRef.reused"
    assert site.call("agent.status")["operations"] == {}


def test_a_call_that_failed_may_be_made_again_with_its_ref(agent: Simulation, site: Site) -> None:
    agent.insi.misbehave(Misbehaviour.HTML_503, Misbehaviour.HTML_503)
    site.refusal("insi.retrieveByTraits", traits=TOUSSAINT, clientRef="venue-2")

    assert site.call("insi.retrieveByTraits", traits=TOUSSAINT, clientRef="venue-2")["code"] == "00"


# ---------------------------------------------------------------- what INSi does on a bad day


@pytest.mark.parametrize(
    ("misbehaviour", "reason"),
    [
        (Misbehaviour.UNAVAILABLE, "insi.fault.unavailable"),
        (Misbehaviour.HTML_503, "insi.http"),
        (Misbehaviour.TRUNCATED, "insi.unreadable"),
        (Misbehaviour.RESET, "insi.unreachable"),
        (Misbehaviour.SLOW, "insi.timeout"),
    ],
)
def test_each_bad_day_has_its_code_is_traced_and_the_next_call_works(
    simulation: Callable[..., Simulation], misbehaviour: Misbehaviour, reason: str
) -> None:
    agent = simulation("[insi]\ntotal_timeout_s = 1\nretries = 0\n")
    site = agent.site()
    agent.insi.misbehave(misbehaviour)

    refused = site.refusal("insi.retrieveByTraits", traits=TOUSSAINT)

    assert refused.reason == reason
    assert refused.facts["traceId"]
    assert len(refused.facts["attempts"]) == 1
    assert site.call("insi.retrieveByTraits", traits=TOUSSAINT)["code"] == "00"


def test_unavailability_is_repeated_once_with_a_new_message_id(agent: Simulation, site: Site) -> None:
    agent.insi.misbehave(Misbehaviour.UNAVAILABLE)
    result = site.call("insi.retrieveByTraits", traits=TOUSSAINT)

    assert codes(result) == ["desir_1020", "00"]
    assert len({attempt["messageId"] for attempt in result["trace"]["attempts"]}) == 2


def test_insi_down_is_unreachable(agent: Simulation, site: Site) -> None:
    agent.insi.stop()

    assert site.refusal("insi.retrieveByTraits", traits=TOUSSAINT).reason == "insi.unreachable"
    assert site.call("agent.status")["reachability"] | {"at": ""} == {
        "at": "",
        "reached": False,
        "reason": "insi.unreachable",
    }


def test_an_unknown_authorisation_number_is_desir_550_with_insis_own_words(
    simulation: Callable[..., Simulation],
) -> None:
    agent = simulation(TWO_SITES.replace("SIMULATEUR-0001", "INCONNU"))
    refused = agent.site(origin=OTHER).refusal("insi.retrieveByTraits", traits=TOUSSAINT)

    assert refused.reason == "insi.fault.access"
    assert refused.facts["insi"]["code"] == "desir_550"
    assert refused.facts["insi"]["subcode"] == "siram_100"
    assert "progiciel" in refused.facts["insi"]["reason"]


def test_not_found_as_a_fault_is_not_taken_for_not_found(agent: Simulation, site: Site) -> None:
    agent.insi.service.style = Style(not_found="insi_102")

    assert site.refusal("insi.retrieveByTraits", traits=NOBODY).facts["insi"]["code"] == "insi_102"


# ---------------------------------------------------------------- cards and codes


def test_no_reader_and_no_card_are_told_apart(agent: Simulation, site: Site) -> None:
    agent.readers.insert("Simulateur Vitale 0", None)
    agent.readers.insert("Simulateur CPS 0", None)

    assert site.refusal("vitale.read").reason == "vitale.absent"
    assert site.refusal("insi.retrieveByTraits", traits=TOUSSAINT).reason == "cpx.absent"


def test_a_cps_in_the_vitales_place_is_said(agent: Simulation, site: Site) -> None:
    agent.readers.insert("Simulateur Vitale 0", "cpx")

    assert site.refusal("vitale.read").reason == "vitale.cpxInstead"


def test_two_holders_of_one_birth_date_need_a_rank(agent: Simulation, site: Site) -> None:
    agent.readers.insert("Simulateur Vitale 0", "twins")
    read = site.call("vitale.read")
    twin = next(
        holder
        for holder in read["holders"]
        if [other["birthDate"] for other in read["holders"]].count(holder["birthDate"]) == 2
    )

    refused = site.refusal("insi.retrieveWithVitale", readId=read["readId"], holder=twin["index"])
    assert refused.reason == "vitale.rankNeeded"
    assert twin["index"] in refused.facts["candidates"]
    answered = site.call("insi.retrieveWithVitale", readId=read["readId"], holder=twin["index"], rank=2)
    assert "rank.assumed" not in [*answered["reasons"], *answered["warnings"]]


def test_a_swapped_vitale_is_noticed_and_nothing_is_sent(agent: Simulation, site: Site) -> None:
    """CNDA test 1.03."""
    read = site.call("vitale.read")
    agent.readers.insert("Simulateur Vitale 0", "corsican")

    assert site.refusal("insi.retrieveWithVitale", readId=read["readId"], holder=0).reason == "vitale.changed"
    assert site.call("agent.status")["operations"] == {}


def test_a_holder_that_is_not_on_the_card_is_refused(site: Site) -> None:
    read = site.call("vitale.read")

    assert site.refusal("insi.retrieveWithVitale", readId=read["readId"], holder=9).reason == "vitale.holderUnknown"


@pytest.mark.parametrize(("card", "reason"), [("vitale1", "vitale.tooOld"), ("empty", "vitale.empty")])
def test_a_card_that_names_nobody_says_why(agent: Simulation, site: Site, card: str, reason: str) -> None:
    agent.readers.insert("Simulateur Vitale 0", card)

    assert site.refusal("vitale.read").reason == reason


def test_reading_waits_for_the_card_when_asked(agent: Simulation, site: Site) -> None:
    agent.readers.insert("Simulateur Vitale 0", None)
    number = site.send("vitale.read", wait=60)
    assert site.notified("operation.progress")["needs"] == "card.vitale"
    agent.readers.insert("Simulateur Vitale 0", "adrdeux")

    assert site.reply(number)["holders"][0]["name"] == "ADRDEUX"


def test_a_wrong_code_is_said_and_the_card_is_not_asked_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSI_AGENT_SIMULATED_PIN", "0000")
    states = []
    for _ in range(3):
        refused = site.refusal("insi.retrieveByTraits", traits=TOUSSAINT)
        states.append((refused.reason, refused.facts.get("pinState")))

    assert states == [("pin.wrong", "low"), ("pin.wrong", "final"), ("pin.locked", None)]
    assert site.refusal("cpx.unlock").reason == "pin.locked"
    assert site.call("agent.status")["operations"] == {}


def test_a_code_of_a_wrong_form_costs_no_try(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSI_AGENT_SIMULATED_PIN", "12")

    assert site.refusal("cpx.unlock").reason == "pin.format"
    assert site.call("cpx.status")["pin"]["state"] == "ok"


def test_a_cancelled_code_ends_the_operation_and_the_agent_serves_on(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSI_AGENT_SIMULATED_PIN", "cancel")
    assert site.refusal("insi.retrieveByTraits", traits=TOUSSAINT).reason == "pin.cancelled"
    monkeypatch.delenv("INSI_AGENT_SIMULATED_PIN")

    assert site.call("insi.retrieveByTraits", traits=TOUSSAINT)["code"] == "00"


def test_an_operation_that_waits_for_a_person_is_cancelled_with_its_window(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSI_AGENT_SIMULATED_PIN", "wait")
    number = site.send("insi.retrieveByTraits", traits=TOUSSAINT)
    while site.notified("operation.progress")["needs"] != "pin":
        pass

    assert site.call("operation.cancel", id=number) == {"cancelled": True}
    with pytest.raises(RefusedError) as refused:
        site.reply(number)
    assert refused.value.reason == "operation.cancelled"
    assert site.call("operation.cancel", id=number) == {"cancelled": False}
    monkeypatch.delenv("INSI_AGENT_SIMULATED_PIN")
    assert site.call("cpx.unlock")["unlocked"] is True


def test_a_closed_socket_withdraws_its_question(agent: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSI_AGENT_SIMULATED_PIN", "wait")
    leaving = agent.site()
    leaving.send("cpx.unlock")
    while leaving.notified("operation.progress")["needs"] != "pin":
        pass
    leaving.socket.close()
    monkeypatch.delenv("INSI_AGENT_SIMULATED_PIN")

    assert agent.site().call("cpx.unlock")["unlocked"] is True


def test_a_pulled_professional_card_ends_the_session_and_tells_who_watches(agent: Simulation, site: Site) -> None:
    site.call("cards.watch")
    site.call("cpx.unlock")
    assert site.notified("cpx.changed") == {"present": True, "unlocked": True}
    agent.readers.insert("Simulateur CPS 0", None)

    assert site.notified("card.removed")["reader"] == "Simulateur CPS 0"
    assert site.notified("cpx.changed")["unlocked"] is False
    assert site.call("cpx.status") == {"present": False, "unlocked": False}


def test_cards_are_told_while_watched_and_no_longer(agent: Simulation, site: Site) -> None:
    assert len(site.call("cards.watch")["readers"]) == 2
    agent.readers.insert("Simulateur Vitale 0", None)
    assert site.notified("card.removed") == {
        "reader": "Simulateur Vitale 0",
        "card": {"kind": "vitale2", "atr": "3B751300004409EA9000"},
    }
    agent.readers.insert("Simulateur Vitale 0", "corsican")
    assert site.notified("card.inserted")["card"]["kind"] == "vitale2"
    site.call("cards.unwatch")
    site.notifications.clear()
    agent.readers.insert("Simulateur Vitale 0", None)
    site.call("agent.status")

    assert site.notifications == []


# ---------------------------------------------------------------- who may ask for what


def test_an_origin_without_software_row_is_refused_before_any_card_or_code(
    simulation: Callable[..., Simulation], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSI_AGENT_SIMULATED_PIN", "wait")
    agent = simulation(f'[[origins.allowed]]\norigin = "{OTHER}"\n')
    refused = agent.site(origin=OTHER).refusal("insi.retrieveByTraits", traits=TOUSSAINT)

    assert refused.reason == "software.notAuthorised"


def test_a_consumer_installation_may_not_retrieve(simulation: Callable[..., Simulation]) -> None:
    site = simulation('profile = "consumer"\n').site()

    assert site.refusal("insi.retrieveByTraits", traits=TOUSSAINT).reason == "insi.notPermitted"


@pytest.mark.parametrize("attribute", ["DOUT", "FICT"])
def test_a_doubtful_or_fictitious_identity_is_never_sent(site: Site, attribute: str) -> None:
    identity = {"status": "PROV", "attributes": [attribute]}

    assert site.refusal("insi.retrieveByTraits", traits=TOUSSAINT, identity=identity).reason == "identity.doubtful"


def test_a_setting_forbids_provisional_identities(simulation: Callable[..., Simulation]) -> None:
    site = simulation('[insi]\nprovisional = "forbid"\n').site()
    refused = site.refusal("insi.retrieveByTraits", traits=TOUSSAINT, identity={"status": "PROV"})

    assert refused.reason == "identity.provisional"


def test_a_right_that_the_origin_lacks_is_named(simulation: Callable[..., Simulation]) -> None:
    agent = simulation(f'[[origins.allowed]]\norigin = "{OTHER}"\nrights = ["vitale"]\n')
    site = agent.site(origin=OTHER)

    assert site.refusal("cpx.unlock").facts == {"right": "cpx"}
    assert "cpx.unlock" not in site.hello["capabilities"]
    assert site.call("vitale.read")["holders"]


def test_calls_of_all_tabs_run_one_at_a_time_in_their_order(agent: Simulation) -> None:
    sites = [agent.site() for _ in range(4)]
    sites[0].call("cpx.unlock")
    order: list[int] = []

    def ask(index: int, number: int) -> None:
        sites[index].reply(number)
        order.append(sites[index].call("agent.status")["operations"]["WS_INS2"]["calls"])

    threads = []
    for index, one in enumerate(sites):
        number = one.send("insi.retrieveByTraits", traits=TOUSSAINT)
        one.notified("operation.progress")  # it stands in the queue before the next one asks
        threads.append(threading.Thread(target=ask, args=(index, number)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(order) == 4
    assert agent.insi.service is not None
    assert sites[0].call("agent.status")["operations"]["WS_INS2"]["byCode"] == {"00": 4}


def test_the_modes_offered_are_the_only_ones(site: Site) -> None:
    assert site.hello["authModes"] == [mode.value for mode in AuthMode]
    assert "error" not in site.call("agent.status")
