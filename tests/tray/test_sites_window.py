"""The real window of sites, on a real screen, under the hands of xdotool."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from agent.errors import AgentError, Code
from agent.tray.bridge import KnownSite, Person, SitesQuestion
from tests.parts.desktop import Desktop, until
from tests.tray.asking import answer_of, answer_once_armed, left_by_a_withdrawn_question, return_until_gone

TITLE = "^INSi Agent .+ sites autoris"
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
OURS = KnownSite("https://notre.exemple", "allowed", by="configuration")
ALLOWED = KnownSite("https://a.exemple", "allowed", by="person", since=NOON)
BLOCKED = KnownSite("https://b.exemple", "blocked", by="person", since=NOON)
QUIET = KnownSite("https://c.exemple", "quiet", by="person", since=NOON, until=NOON + timedelta(hours=2))


def chosen(desktop: Desktop, hands: Callable[[], None], *sites: KnownSite) -> str | None:
    return answer_of(desktop, hands, lambda person: person.show_sites(SitesQuestion(sites=sites)), TITLE)


@pytest.mark.parametrize(
    ("keys", "origin"),
    [
        (["space"], "https://a.exemple"),
        (["Down", "space"], "https://b.exemple"),
        (["Tab", "Tab", "space"], "https://c.exemple"),
    ],
)
def test_the_site_chosen_comes_back(desktop: Desktop, keys: list[str], origin: str):
    def hands() -> None:
        desktop.key(*keys)
        return_until_gone(desktop, TITLE)

    assert origin == chosen(desktop, hands, OURS, ALLOWED, BLOCKED, QUIET)


def test_nothing_is_undone_by_looking(desktop: Desktop):
    def hands() -> None:
        desktop.key("Return", "Down", "Return")
        assert desktop.windows(TITLE)
        desktop.key("Escape")

    asked = SitesQuestion(sites=(OURS, ALLOWED, BLOCKED)).frame(simulated=False)
    assert "cancelled" == answer_once_armed(desktop, hands, "sites_page", asked, TITLE)


@pytest.mark.parametrize("sites", [(), (OURS,)])
def test_with_nothing_to_undo_the_window_is_closed(desktop: Desktop, sites: tuple[KnownSite, ...]):
    assert chosen(desktop, lambda: return_until_gone(desktop, TITLE), *sites) is None


def test_thirty_sites_fit_on_a_small_screen_and_the_last_can_be_chosen(desktop: Desktop):
    long = "https://" + "tres-long." * 19 + "exemple.fr"
    many = [KnownSite(f"https://site-{n}.exemple.fr", "allowed", by="person", since=NOON) for n in range(29)]
    last = KnownSite(long, "blocked", by="person", since=NOON)
    bottoms: list[int] = []

    def hands() -> None:
        bottoms.append(desktop.bottom_of(desktop.focused(TITLE)))
        desktop.key(*["Down"] * 29, "space")
        return_until_gone(desktop, TITLE)

    assert long == chosen(desktop, hands, *[OURS] * 3, *many, last)
    assert bottoms[0] <= 768


def test_a_window_left_on_screen_closes_by_itself_and_undoes_nothing(desktop: Desktop):
    question = SitesQuestion(sites=(ALLOWED,), expires_s=0.3)

    assert asyncio.run(Person(environment=desktop.environment).show_sites(question)) is None


def test_a_withdrawn_window_leaves_no_process(desktop: Desktop):
    question = SitesQuestion(sites=(ALLOWED,))

    assert [] == left_by_a_withdrawn_question(desktop, lambda person: person.show_sites(question), TITLE)
    until(lambda: not desktop.windows(TITLE), "the window is gone")


def test_without_a_display_the_caller_is_told():
    with pytest.raises(AgentError) as refused:
        asyncio.run(Person(environment={"DISPLAY": ""}).show_sites(SitesQuestion(sites=())))

    assert (Code.PROMPT_UNAVAILABLE, "no display") == (refused.value.code, refused.value.detail)


def test_the_simulated_person_only_looks():
    assert asyncio.run(Person(simulated=True).show_sites(SitesQuestion(sites=(ALLOWED,)))) is None
