"""A site that nobody has allowed yet: the client module waits for the person, and leaves in peace one who said no."""

from playwright.sync_api import Page

from agent.errors import CATALOGUE, Code
from tests.browsers.conftest import SITE
from tests.parts.websites import Websites
from tests.web.doors import RIGHTS, Door


def connect(page: Page, https: Websites, port: int) -> None:
    """Open the site, and have it connect with a new challenge at each hello; its states are kept in `seen`."""
    page.goto(f"{https.origin(SITE)}/bare.html")
    page.evaluate(
        """async (port) => {
            const { connect } = await import('/sdk/insi-agent.js');
            let asked = 0;
            window.agent = connect({client: {name: 'test', version: '1'}, ports: [port],
                                    challenge: async () => `challenge-${++asked}-${'x'.repeat(40)}`});
            window.seen = [];
            agent.on('state', (state) => seen.push([state, agent.error?.reason ?? null]));
        }""",
        port,
    )


def wait_for(page: Page, state: str) -> None:
    page.wait_for_function("(state) => agent.state === state", arg=state)


def error(page: Page) -> list[str]:
    found: list[str] = page.evaluate("[agent.error.reason, agent.error.message, agent.error.action]")
    return found


def test_an_unknown_site_waits_for_the_person_and_then_says_hello_again(page: Page, https: Websites, port: int) -> None:
    """What a site that waits is not told, the identity and its proof, it asks for anew: with another challenge."""
    with Door(port, {}, asks=True) as door:
        connect(page, https, port)
        wait_for(page, "waitingForPerson")
        row = CATALOGUE[Code.ORIGIN_PENDING]
        assert [Code.ORIGIN_PENDING, row.title.fr, row.action.fr] == error(page)
        assert "origin.pending" == page.evaluate("agent.call('cards.watch').catch(({reason}) => reason)")
        assert ["agent.hello"] == door.heard

        door.consents()

        wait_for(page, "connected")
        assert [["waitingForPerson", "origin.pending"], ["connected", None]] == page.evaluate("seen")
        assert ["agent.hello"] * 2 == door.heard
        assert [https.origin(SITE)] * 2 == door.origins
        first, second = door.challenges
        assert first and second and first != second
        assert {"readers": []} == page.evaluate("agent.call('cards.watch')")


def test_a_person_who_refuses_a_site_is_left_in_peace(page: Page, https: Websites, port: int) -> None:
    page.context.grant_permissions(["local-network-access"], origin=https.origin(SITE))
    page.clock.install()
    with Door(port, {}, asks=True) as door:
        connect(page, https, port)
        wait_for(page, "waitingForPerson")
        door.refuses()
        wait_for(page, "refused")
        reason, _message, action = error(page)
        assert "origin.denied" == reason
        assert "« Sites autorisés… »" in action  # how to be asked again

        looks: list[str] = []
        page.on("request", lambda request: looks.append(request.url))
        page.clock.run_for(115_000)
        assert [] == looks
        for _ in range(20):
            page.clock.run_for(500)
        assert [] != looks

        door.asks_again()
        page.wait_for_function(
            "() => document.dispatchEvent(new Event('visibilitychange')) && agent.state === 'waitingForPerson'"
        )
        pending, denied = ["waitingForPerson", "origin.pending"], ["refused", "origin.denied"]
        assert [pending, denied, pending] == page.evaluate("seen")  # the look in between told nothing new


def test_a_site_whose_consent_is_taken_back_is_told_so_at_once(page: Page, https: Websites, port: int) -> None:
    with Door(port, {https.origin(SITE): RIGHTS}, asks=True) as door:
        connect(page, https, port)
        wait_for(page, "connected")
        page.evaluate("window.answer = agent.call('vitale.read').catch(({reason}) => reason); undefined")
        assert door.reading.wait(20)

        door.refuses()

        wait_for(page, "refused")
        assert [["connected", None], ["refused", "origin.denied"]] == page.evaluate("seen")
        assert page.evaluate("answer") in ("operation.cancelled", "agent.lost")
        assert "origin.denied" == page.evaluate("agent.call('cards.watch').catch(({reason}) => reason)")
        door.asks_again()
        page.evaluate("agent.retry()")
        wait_for(page, "waitingForPerson")


def test_a_site_that_may_not_even_ask_is_refused(page: Page, https: Websites, port: int) -> None:
    with Door(port, {}) as door:
        connect(page, https, port)
        wait_for(page, "refused")

        reason, _message, action = error(page)
        assert "agent.refused" == reason
        assert "« Sites autorisés… »" in action and "informatique" in action  # the person may have blocked it
        assert [] == door.heard


def test_a_site_that_waits_for_an_agent_that_goes_away_waits_again_for_the_next(
    page: Page, https: Websites, port: int
) -> None:
    with Door(port, {}, asks=True):
        connect(page, https, port)
        wait_for(page, "waitingForPerson")
    with Door(port, {}, asks=True) as second:
        page.evaluate("agent.retry()")
        assert second.waiting.wait(40)
        second.consents()
        wait_for(page, "connected")
        states = page.evaluate("seen.map(([state]) => state)")

    assert ["waitingForPerson", "searching"] == states[:2]
    assert ["waitingForPerson", "connected"] == [state for state in states if state != "absent"][-2:]
