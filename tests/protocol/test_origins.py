"""Who may enter. Each refusal is an incident of a comparable product."""

from http import HTTPStatus
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import Right
from agent.protocol.origins import NATIVE, Caller, Doorkeeper, Refusal, Request

SITE = "https://ehr.example"
DOOR = Doorkeeper(allowed={SITE: frozenset({Right.VITALE})}, token="a-long-secret")
PORT = 19847


def asking(**changed: object) -> Request:
    values: dict[str, object] = {
        "path": "/",
        "hosts": [f"127.0.0.1:{PORT}"],
        "origins": [SITE],
        "authorizations": [],
        "subprotocols": ["insi-agent.v1"],
    }
    return Request(**{**values, **changed})  # type: ignore[arg-type]


def status(**changed: object) -> HTTPStatus:
    answer = DOOR.conversation(asking(**changed), PORT)
    assert isinstance(answer, Refusal)
    return answer.status


def test_an_allowed_origin_enters_with_its_rights() -> None:
    assert DOOR.conversation(asking(), PORT) == Caller(SITE, frozenset({Right.VITALE}))


@pytest.mark.parametrize("host", [f"127.0.0.1:{PORT}", f"localhost:{PORT}", f"[::1]:{PORT}", f"LOCALHOST:{PORT}"])
def test_our_own_names_with_our_port_are_a_good_host(host: str) -> None:
    assert isinstance(DOOR.conversation(asking(hosts=[host]), PORT), Caller)


@pytest.mark.parametrize("host", ["evil.example:19847", "127.0.0.1", "127.0.0.1:19848", "localhost.:19847", ""])
def test_another_host_is_421_so_that_a_rebound_name_finds_no_way_in(host: str) -> None:
    assert status(hosts=[host]) == HTTPStatus.MISDIRECTED_REQUEST


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "file://",
        "http://ehr.example",
        "https://ehr.example:8443",
        "https://ehr.example.",
        "https://ehr.example/",
        "https://EHR.example",
        "https://ehr.example.evil.com",
        "https://evil-ehr.example",
        "https://user@ehr.example",
        "https://ehrxexample",
        "https://еhr.example",  # Cyrillic е
        "https://xn--hr-8ja.example",
        "moz-extension://a-b-c",
    ],
)
def test_an_origin_that_only_resembles_is_403(origin: str) -> None:
    assert status(origins=[origin]) == HTTPStatus.FORBIDDEN


def test_without_origin_and_without_token_nobody_enters() -> None:
    assert status(origins=[]) == HTTPStatus.FORBIDDEN
    assert status(origins=[], authorizations=["Bearer wrong"]) == HTTPStatus.FORBIDDEN


def test_a_native_program_enters_with_the_token_and_is_known_as_such() -> None:
    caller = DOOR.conversation(asking(origins=[], authorizations=["Bearer a-long-secret"]), PORT)

    assert isinstance(caller, Caller)
    assert caller.origin == NATIVE
    assert Right.ADMIN in caller.rights


def test_a_token_beside_an_origin_is_ignored() -> None:
    asked = {"authorizations": ["Bearer a-long-secret"]}

    assert status(origins=["https://other.example"], **asked) == HTTPStatus.FORBIDDEN
    assert DOOR.conversation(asking(**asked), PORT) == Caller(SITE, frozenset({Right.VITALE}))


def test_a_duplicated_header_that_decides_is_malformed() -> None:
    assert status(origins=[SITE, SITE]) == HTTPStatus.BAD_REQUEST
    assert status(hosts=[f"127.0.0.1:{PORT}"] * 2) == HTTPStatus.BAD_REQUEST
    assert status(hosts=[]) == HTTPStatus.BAD_REQUEST


def test_another_path_is_404_and_no_subprotocol_400() -> None:
    assert status(path="/other") == HTTPStatus.NOT_FOUND
    assert status(subprotocols=[]) == HTTPStatus.BAD_REQUEST
    assert status(subprotocols=["other"]) == HTTPStatus.BAD_REQUEST


def test_disabled_by_policy_is_503_for_everybody() -> None:
    closed = Doorkeeper(DOOR.allowed, DOOR.token, disabled=True)

    assert closed.conversation(asking(), PORT) == Refusal(HTTPStatus.SERVICE_UNAVAILABLE)
    assert closed.discovery(asking(), PORT) == Refusal(HTTPStatus.SERVICE_UNAVAILABLE)


ASKING = Doorkeeper(DOOR.allowed, DOOR.token, asks=True, turned_away=frozenset({"https://blocked.example"}))


def test_another_https_site_may_wait_for_the_person_without_any_right() -> None:
    other = "https://other.example:8443"

    assert ASKING.conversation(asking(origins=[other]), PORT) == Caller(other, frozenset(), pending=True)
    assert ASKING.conversation(asking(), PORT) == Caller(SITE, frozenset({Right.VITALE}))
    assert DOOR.conversation(asking(origins=[other]), PORT) == Refusal(HTTPStatus.FORBIDDEN)


@pytest.mark.parametrize(
    "origin",
    [
        "https://blocked.example",
        "http://other.example",
        "http://127.0.0.1:8000",
        "https://other.example:443",
        "https://other.example:65536",
        "https://other.example:٤٤",
        "https://other.example\n",
        "https://other.example.",
        "https://Other.example",
        "https://other.example/",
        "https://-other.example",
        "https://other..example",
        "https://[::1]:8443",
        "https://" + "a" * 64 + ".example",
        "https://" + ".".join(["a" * 60] * 5),
        "null",
        "native",
    ],
)
def test_nobody_is_asked_for_a_site_that_was_turned_away_or_is_not_written_as_a_browser_writes_it(origin: str) -> None:
    assert ASKING.conversation(asking(origins=[origin]), PORT) == Refusal(HTTPStatus.FORBIDDEN)


def test_discovery_does_not_name_itself_to_a_site_that_waits() -> None:
    """What it says would tell the same workstation again on every site."""
    assert ASKING.discovery(asking(origins=["https://other.example"]), PORT) is None


@given(st.one_of(st.text(), st.from_regex(r"https://[a-zA-Z0-9._:/@\-]{0,300}", fullmatch=True)))
def test_whoever_may_wait_is_a_short_lower_case_https_origin(origin: str) -> None:
    if ASKING.may_wait(origin):
        address = urlsplit(origin)
        assert address.geturl() == origin == origin.lower() == f"https://{address.netloc}"
        assert origin.isascii() and len(origin) < 300
        assert address.port is None or 0 < address.port != 443  # urlsplit refuses what is above 65535
        assert address.username is None and not str(address.hostname).endswith(".")


def test_discovery_names_an_allowed_origin_only() -> None:
    assert DOOR.discovery(asking(), PORT) == SITE
    assert DOOR.discovery(asking(origins=["https://other.example"]), PORT) is None
    assert DOOR.discovery(asking(origins=[]), PORT) is None


@given(st.text())
def test_no_other_text_is_an_allowed_origin(origin: str) -> None:
    assert origin == SITE or DOOR.rights_of(origin) is None
