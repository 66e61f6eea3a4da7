"""The client module, in a real Chromium, against the agent's real door."""

import base64
import json
from collections.abc import Mapping

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from playwright.sync_api import Page

from agent.errors import CATALOGUE, AgentError, Code
from tests.parts.chromium import Chromiums, opened
from tests.parts.desktop import Desktop
from tests.web.doors import ABOUT, RIGHTS, Door, free_port, page_for

# A blank page of the demonstration's origin would load the demo too: the module alone is tried from a file it serves.
BARE = "/demo.css"


def module(call: str) -> str:
    """A script that imports the module as `sdk` and returns what `call` gives."""
    return f"async (given) => {{ const sdk = await import('/sdk/insi-agent.js'); {call} }}"


def connecting(port: int) -> str:
    """A script that connects, keeps every state in `seen`, and leaves the agent in `agent`."""
    return module(
        f"window.agent = sdk.connect({{client: {{name: 'test', version: '1'}}, ports: [{port}]}});"
        "window.seen = []; agent.on('state', (state) => seen.push([state, agent.error?.reason]));"
    )


_CONNECT = (
    "window.agent = sdk.connect({client: {name: 'test', version: '1'}, ports: [given], challenge: window.server});"
)
_LEAVE = "agent.close(); setTimeout(() => { window.left = true; }, 200);"
LEAVING = {  # at which step of its way in a page leaves → how
    "at once": _CONNECT + _LEAVE,
    "while it looks for the agent": f"""
        const answer = fetch;
        window.fetch = (...asked) => {{
            setTimeout(() => {{ {_LEAVE} }});
            window.fetch = answer;
            return answer(...asked);
        }};
        {_CONNECT}""",
    "when the agent was found": f"""
        const read = Response.prototype.json;
        Response.prototype.json = function () {{
            return read.call(this).then((about) => {{ {_LEAVE} return about; }});
        }};
        {_CONNECT}""",
    "while the door opens": f"""
        const Socket = WebSocket;
        window.WebSocket = class extends Socket {{
            constructor(...to) {{ super(...to); queueMicrotask(() => {{ {_LEAVE} }}); }}
        }};
        {_CONNECT}""",
    "when the door is open": f"""
        const Socket = WebSocket;
        window.WebSocket = class extends Socket {{
            constructor(...to) {{ super(...to); this.addEventListener("open", () => {{ {_LEAVE} }}); }}
        }};
        {_CONNECT}""",
    "while its own server thinks": f"""
        window.server = async () => {{ {_LEAVE} return "x".repeat(43); }};
        {_CONNECT}""",
    "once connected": _CONNECT + f"agent.on('state', () => {{ {_LEAVE} }});",
}


def wait_for_state(page: Page, state: str) -> None:
    page.wait_for_function("(state) => window.agent?.state === state", arg=state)


@pytest.fixture
def port() -> int:
    return free_port()


# ---------------------------------------------------------------- discovery


def test_an_agent_that_allows_the_site_is_found_among_dead_ports(tab: Page, port: int) -> None:
    with page_for(port) as site, Door(port, {site.origin: RIGHTS}):
        tab.goto(site.origin + BARE)

        found = tab.evaluate(module("return sdk.discover({ports: given})"), [free_port(), port])

    assert {"state": "found", "port": port, **ABOUT} == found


def test_an_agent_that_refuses_the_site_is_told_from_no_agent(tab: Page, port: int) -> None:
    with page_for(port) as site, Door(port, {"https://another.example": RIGHTS}):
        tab.goto(site.origin + BARE)

        there = tab.evaluate(module("return sdk.discover({ports: given})"), [free_port(), port])
        nobody = tab.evaluate(module("return sdk.discover({ports: given})"), [free_port()])

    assert {"state": "refused", "ports": [port]} == there
    assert {"state": "absent"} == nobody


def test_no_common_level_is_said_as_such(tab: Page, port: int) -> None:
    with page_for(port) as site, Door(port, {site.origin: RIGHTS}, about={**ABOUT, "api": [2]}):
        tab.goto(site.origin + BARE)
        tab.evaluate(connecting(port))

        wait_for_state(tab, "refused")

        assert "agent.version" == tab.evaluate("agent.error.reason")


# ---------------------------------------------------------------- conversation


def test_what_keeps_the_agent_from_saying_hello_is_said_in_its_own_words(tab: Page, port: int) -> None:
    with page_for(port) as site, Door(port, {site.origin: RIGHTS}) as door:
        door.trouble = AgentError(Code.KEYRING_ABSENT)
        tab.goto(site.origin + BARE)
        tab.evaluate(connecting(port))
        wait_for_state(tab, "refused")
        message = tab.evaluate("agent.error.message")
        door.trouble = None
        wait_for_state(tab, "connected")

    assert CATALOGUE[Code.KEYRING_ABSENT].title.fr == message


def test_a_started_agent_is_found_and_a_restarted_one_is_greeted_again(tab: Page, port: int) -> None:
    with page_for(port) as site:
        tab.goto(site.origin + BARE)
        tab.evaluate(connecting(port))
        wait_for_state(tab, "absent")
        with Door(port, {site.origin: RIGHTS}):
            tab.evaluate("agent.retry()")
            wait_for_state(tab, "connected")
        wait_for_state(tab, "absent")
        with Door(port, {site.origin: RIGHTS}) as second:
            tab.evaluate("agent.retry()")
            wait_for_state(tab, "connected")
            seen = tab.evaluate("seen")

    assert [
        ["absent", "agent.absent"],
        ["connected", None],
        ["searching", None],
        ["absent", "agent.absent"],
        ["connected", None],
    ] == seen
    assert ["agent.hello"] == second.heard


def test_an_error_of_the_agent_is_its_sentence_its_next_step_and_its_facts(tab: Page, port: int) -> None:
    with page_for(port) as site, Door(port, {site.origin: RIGHTS}):
        tab.goto(site.origin + BARE)
        tab.evaluate(connecting(port))
        wait_for_state(tab, "connected")

        error = tab.evaluate(
            "agent.call('cards.unwatch').catch(({name, reason, message, action, audience, retryable, facts}) =>"
            "({name, reason, message, action, audience, retryable, facts}))"
        )

    row = CATALOGUE[Code.PIN_WRONG]
    assert {
        "name": "AgentError",
        "reason": "pin.wrong",
        "message": row.title.fr,
        "action": row.action.fr,
        "audience": "person",
        "retryable": True,
        "facts": {"pinState": "low"},
    } == error


def test_a_request_that_the_agent_does_not_understand_keeps_the_agents_words(tab: Page, port: int) -> None:
    with page_for(port) as site, Door(port, {site.origin: RIGHTS}):
        tab.goto(site.origin + BARE)
        tab.evaluate(connecting(port))
        wait_for_state(tab, "connected")

        reason, facts = tab.evaluate("agent.call('no.such').catch(({reason, facts}) => [reason, facts])")

    assert ("request.invalid", -32601) == (reason, facts["rpcCode"])


def test_aborting_cancels_the_operation_in_the_agent(tab: Page, port: int) -> None:
    with page_for(port) as site, Door(port, {site.origin: RIGHTS}) as door:
        tab.goto(site.origin + BARE)
        tab.evaluate(connecting(port))
        wait_for_state(tab, "connected")

        tab.evaluate(
            "window.stop = new AbortController(); window.steps = [];"
            "window.answer = agent.call('vitale.read', {},"
            "{signal: stop.signal, onProgress: (at) => steps.push(at.needs)})"
            ".catch((error) => error.reason); undefined"
        )
        assert door.reading.wait(20)
        reason = tab.evaluate("stop.abort(), answer")

        assert "operation.cancelled" == reason
        assert ["card.vitale"] == tab.evaluate("steps")
        assert ["agent.hello", "vitale.read"] == door.heard
        assert "operation.cancelled" == tab.evaluate(
            "agent.call('cards.watch', {}, {signal: stop.signal}).catch((error) => error.reason)"
        )
        assert "cards.watch" not in door.heard


def test_a_call_under_way_when_the_agent_goes_may_have_happened(tab: Page, port: int) -> None:
    with page_for(port) as site:
        with Door(port, {site.origin: RIGHTS}) as door:
            tab.goto(site.origin + BARE)
            tab.evaluate(connecting(port))
            wait_for_state(tab, "connected")
            tab.evaluate("window.answer = agent.call('vitale.read').catch((error) => error.reason); undefined")
            assert door.reading.wait(20)

        assert "agent.lost" == tab.evaluate("answer")
        assert "agent.absent" == tab.evaluate("agent.call('cards.watch').catch((error) => error.reason)")


def test_a_link_lost_while_the_applications_server_thinks_is_made_again(tab: Page, port: int) -> None:
    with page_for(port) as site:
        tab.goto(site.origin + BARE)
        with Door(port, {site.origin: RIGHTS}) as first:
            tab.evaluate(
                module(
                    "window.asked = 0;"
                    "const answer = new Promise((done) => { window.serverAnswers = () => done('x'.repeat(43)); });"
                    "window.agent = sdk.connect({client: {name: 'test', version: '1'}, ports: [given],"
                    "  challenge: () => (++asked, answer)});"
                ),
                port,
            )
            tab.wait_for_function("() => asked === 1")
        with Door(port, {site.origin: RIGHTS}) as second:
            tab.evaluate("serverAnswers()")
            wait_for_state(tab, "connected")

    assert [] == first.heard
    assert ["agent.hello"] == second.heard
    assert 2 == tab.evaluate("asked")


def test_a_challenge_that_cannot_be_had_is_said_and_asked_for_again(tab: Page, port: int) -> None:
    with page_for(port) as site, Door(port, {site.origin: RIGHTS}) as door:
        tab.goto(site.origin + BARE)
        tab.evaluate(
            module(
                "window.down = true;"
                "window.agent = sdk.connect({client: {name: 'test', version: '1'}, ports: [given],"
                "  challenge: () => { if (down) throw new TypeError('server down'); return 'x'.repeat(43); }});"
            ),
            port,
        )
        wait_for_state(tab, "refused")
        error = tab.evaluate(
            "[agent.error.reason, agent.error.audience, agent.error.retryable, agent.error.cause.message]"
        )
        assert [] == door.heard

        tab.evaluate("window.down = false; agent.retry()")
        wait_for_state(tab, "connected")

    assert ["page.challenge", "developer", True, "server down"] == error


@pytest.mark.parametrize("when", LEAVING)
def test_a_page_that_leaves_at_any_moment_has_left_for_good(tab: Page, port: int, when: str) -> None:
    """At each step of its way in: nothing of it reaches the agent any more, nothing in the page calls it back."""
    with page_for(port) as site, Door(port, {site.origin: RIGHTS}) as door:
        tab.goto(site.origin + BARE)
        tab.evaluate(module(LEAVING[when]), port)
        tab.wait_for_function("() => window.left")
        heard = list(door.heard)
        looks: list[str] = []
        tab.on("request", lambda request: looks.append(request.url))
        tab.on("websocket", lambda socket: looks.append(socket.url))

        tab.evaluate("agent.retry(); window.dispatchEvent(new Event('online'))")
        tab.wait_for_timeout(300)
        tab.evaluate("agent.retry(); document.dispatchEvent(new Event('visibilitychange'))")
        tab.wait_for_timeout(300)

        assert [] == looks
        assert heard == door.heard
        assert 0 == door.conversations()
        assert "connected" != tab.evaluate("agent.state")


def test_the_modules_words_for_a_code_of_the_catalogue_are_the_catalogues(tab: Page, port: int) -> None:
    with page_for(port) as site:
        tab.goto(site.origin + BARE)

        rows = tab.evaluate(module("return sdk.LOCAL_REASONS"))

    shared = [code for code in Code if code.value in rows]
    assert [Code.ORIGIN_PENDING, Code.OPERATION_CANCELLED] == shared
    for code in shared:
        row = CATALOGUE[code]
        assert {"fr": row.title.fr, "en": row.title.en} == rows[code.value]["message"]
        assert {"fr": row.action.fr, "en": row.action.en} == rows[code.value]["action"]


# ---------------------------------------------------------------- what the browser forbids


def test_a_content_security_policy_in_the_way_is_named(tab: Page, port: int) -> None:
    with page_for(port) as site, Door(port, {site.origin: RIGHTS}):
        tab.goto(site.origin + BARE)
        tab.evaluate(
            "() => { const meta = document.createElement('meta'); meta.httpEquiv = 'Content-Security-Policy';"
            "meta.content = \"connect-src 'self'\"; document.head.append(meta); }"
        )
        tab.evaluate(connecting(port))

        wait_for_state(tab, "refused")

        assert "browser.csp" == tab.evaluate("agent.error.reason")


def test_a_content_security_policy_that_lacks_wss_is_named_where_wss_is_wanted(tab: Page, port: int) -> None:
    with page_for(port) as site:  # the demonstration's pages have a policy for plain addresses alone
        tab.goto(site.origin + BARE)
        tab.evaluate(
            module("window.agent = sdk.connect({client: {name: 'test', version: '1'}, ports: [given], secure: true});"),
            port,
        )

        wait_for_state(tab, "refused")

        assert "browser.csp" == tab.evaluate("agent.error.reason")
        assert "https://localhost:*" in tab.evaluate("agent.error.action")


def test_a_forbidden_site_is_told_so_and_connects_as_soon_as_it_is_allowed(chromiums: Chromiums, port: int) -> None:
    """Local Network Access: a page of the internet may not reach this machine without the person's consent."""
    with page_for(port) as site, Door(port, {site.origin: RIGHTS}) as door:
        host = site.origin.removeprefix("http://")
        with chromiums.launched(f"--ip-address-space-overrides={host}=public") as browser, opened(browser) as page:
            page.goto(site.origin + BARE)
            page.evaluate(connecting(port))
            page.wait_for_function("() => ['refused', 'waitingForBrowser'].includes(agent.state)")
            before = page.evaluate("[agent.state, agent.error?.reason, isSecureContext]")
            heard_before = list(door.heard)

            page.context.grant_permissions(["local-network-access"], origin=site.origin)
            wait_for_state(page, "connected")

    assert ["refused", "browser.denied", True] == before
    assert [] == heard_before


def test_a_page_of_the_local_network_is_not_asked_for(chromiums: Chromiums, port: int) -> None:
    """Measured, not promised: the specification wants the question there too."""
    with page_for(port) as site, Door(port, {site.origin: RIGHTS}):
        host = site.origin.removeprefix("http://")
        with chromiums.launched(f"--ip-address-space-overrides={host}=local") as browser, opened(browser) as page:
            page.goto(site.origin + BARE)
            page.evaluate(connecting(port))
            page.wait_for_function("() => agent.state !== 'searching'")

            assert [["connected", None]] == page.evaluate("seen")


def test_while_the_browser_asks_the_person_the_agent_is_not_said_to_be_absent(
    chromiums: Chromiums, desktop: Desktop, port: int
) -> None:
    """With a window the question is on screen, and the request neither succeeds nor fails until it is answered."""
    with page_for(port) as site, Door(port, {site.origin: RIGHTS}) as door:
        public = f"--ip-address-space-overrides={site.origin.removeprefix('http://')}=public"
        with chromiums.launched(public, screen=desktop.environment) as browser, opened(browser) as page:
            page.goto(site.origin + BARE)
            page.evaluate(connecting(port))
            wait_for_state(page, "waitingForBrowser")
            heard_before = list(door.heard)

            page.context.grant_permissions(["local-network-access"], origin=site.origin)
            wait_for_state(page, "connected")

            seen = page.evaluate("seen")

    assert [] == heard_before
    assert [["waitingForBrowser", "browser.pending"], ["connected", None]] == seen


# ---------------------------------------------------------------- receipts


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def receipt_of(key: Ed25519PrivateKey, kid: str, payload: Mapping[str, object], *, alg: str = "EdDSA") -> str:
    head, body = (b64(json.dumps(part).encode()) for part in ({"alg": alg, "kid": kid}, payload))
    return f"{head}.{body}.{b64(key.sign(f'{head}.{body}'.encode()))}"


def test_the_thumbprint_of_a_key_is_that_of_the_rfc(tab: Page, port: int) -> None:
    """RFC 8037, appendix A.3."""
    with page_for(port) as site:
        tab.goto(site.origin + BARE)
        key = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}

        kid = tab.evaluate(module("return sdk.thumbprint(given)"), key)

    assert "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" == kid


def test_a_receipt_is_valid_for_its_key_only_and_only_unchanged(tab: Page, port: int) -> None:
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    jwk, other_jwk = (
        {"kty": "OKP", "crv": "Ed25519", "x": b64(one.public_key().public_bytes_raw())} for one in (key, other)
    )
    payload = {"outcome": "found", "label": "accentué : é"}
    verify = module("return (async ([receipt, jwk]) => sdk.verifyReceipt(receipt, jwk))(given)")
    with page_for(port) as site:
        tab.goto(site.origin + BARE)
        kid = tab.evaluate(module("return sdk.thumbprint(given)"), jwk)
        receipt = receipt_of(key, kid, payload)
        head, _body, signature = receipt.split(".")
        forged = ".".join([head, b64(json.dumps({**payload, "outcome": "notFound"}).encode()), signature])

        assert {"state": "valid", "kid": kid, "payload": payload} == tab.evaluate(verify, [receipt, jwk])
        for wrong in [
            [forged, jwk],
            [receipt, other_jwk],
            [receipt_of(other, kid, payload), jwk],
            [receipt_of(key, "another", payload), jwk],
            [receipt_of(key, kid, payload, alg="none"), jwk],
            [receipt + ".", jwk],
            ["no receipt", jwk],
            ["", {}],
        ]:
            assert "invalid" == tab.evaluate(verify, wrong)["state"]
