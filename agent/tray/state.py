"""What the tray shows for a state of the agent: icon, title, menu lines. No I/O of its own.

The words of a trouble are those of its row in the catalogue, as on the web page.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Self

from agent.errors import CATALOGUE, Code
from agent.model import Environment

MAX_TITLE = 127  # characters a Windows tooltip takes (NOTIFYICONDATAW.szTip)


class Icon(StrEnum):
    """The pictures. The shape tells them apart, the colour only helps."""

    WAITING = "waiting"  # a card, empty
    CARD = "card"  # a card with its chip: a professional's card is there
    ORGANISATION = "organisation"  # an arrow that leaves: a call with the organisation's certificate is under way
    QUESTION = "question"  # somebody is expected in front of a window
    TROUBLE = "trouble"  # something has to be mended


class Action(StrEnum):
    """What a menu line does."""

    OPEN_DEMO = "openDemo"
    SITES = "sites"
    SWITCH = "switch"
    STAY = "stay"  # where it is, while a switch waits
    QUIT = "quit"


@dataclass(frozen=True)
class OrganisationCalls:
    """Calls with the organisation's certificate since the agent started. Nobody types a code for them."""

    calls: int = 0
    site: str = ""  # of the last one, which is under way or has ended
    at: datetime | None = None  # its beginning, by the clock on the wall
    under_way: bool = False

    def began(self, site: str, at: datetime) -> Self:
        return replace(self, calls=self.calls + 1, site=site, at=at, under_way=True)

    def ended(self) -> Self:
        return replace(self, under_way=False)


@dataclass(frozen=True)
class TrayState:
    """What the agent knows of itself."""

    environment: Environment
    troubles: tuple[Code, ...] = ()  # what does not work now, most serious first
    question_open: bool = False
    professional_card: bool = False
    unlocked: bool = False  # its code was accepted and the session is still open
    demo: bool = False  # the demonstration page is being served
    organisation: OrganisationCalls = OrganisationCalls()
    warnings: tuple[str, ...] = ()  # what will soon not work: certificates that end (S015)
    switching: bool = False  # to another environment or profile, as soon as what is under way has ended


@dataclass(frozen=True)
class MenuLine:
    """A line of the menu; without an action it only informs."""

    text: str
    action: Action | None = None


@dataclass(frozen=True)
class TrayView:
    """What to draw."""

    icon: Icon
    colour: str
    title: str
    menu: tuple[MenuLine, ...]


def view_of(state: TrayState) -> TrayView:
    """The picture of a state."""
    organisation = _organisation(state.organisation)
    icon, colour, sentence = next(
        (icon, colour, sentence)
        for applies, icon, colour, sentence in (
            (bool(state.troubles), Icon.TROUBLE, "#b3430e", ""),
            (state.question_open, Icon.QUESTION, "#8a6d00", "Une fenêtre attend votre réponse."),
            (state.organisation.under_way, Icon.ORGANISATION, "#6a3a8c", organisation),
            (state.unlocked, Icon.CARD, "#1d7a46", "Carte de professionnel présente, code accepté."),
            (state.professional_card, Icon.CARD, "#1f4e8c", "Carte de professionnel présente."),
            (True, Icon.WAITING, "#1f4e8c", "En attente."),
        )
        if applies
    )
    rows = [CATALOGUE[trouble] for trouble in state.troubles]
    lines = [sentence] if not rows else [words for row in rows for words in (row.title.fr, row.action.fr)]
    menu = [MenuLine(f"INSi Agent – {_ENVIRONMENTS[state.environment]}"), *map(MenuLine, lines)]
    menu += [MenuLine(warning) for warning in state.warnings if warning not in lines]
    if organisation and organisation not in lines:
        menu.append(MenuLine(organisation))
    if state.switching:
        menu.append(MenuLine("Changement demandé : les demandes en cours se terminent d'abord."))
    if state.demo:
        menu.append(MenuLine("Ouvrir la page de démonstration", Action.OPEN_DEMO))
    menu.append(MenuLine("Sites autorisés…", Action.SITES))
    menu.append(
        MenuLine("Ne plus changer d'environnement ni de profil", Action.STAY)
        if state.switching
        else MenuLine("Environnement et profil…", Action.SWITCH)
    )
    menu.append(MenuLine("Quitter", Action.QUIT))
    title = f"INSi Agent ({_ENVIRONMENTS[state.environment]}) – {lines[0]}"
    return TrayView(icon, colour, title if len(title) <= MAX_TITLE else title[: MAX_TITLE - 1] + "…", tuple(menu))


def _organisation(seen: OrganisationCalls) -> str:
    """One line; nothing before the first call."""
    site = _LOCAL_PROGRAMS.get(seen.site, seen.site)
    if seen.under_way:
        return f"Certificat de la structure : appel en cours pour {site}"
    if seen.at is None:
        return ""
    calls = f"{seen.calls} appel{'s' if seen.calls > 1 else ''} depuis le démarrage"
    return f"Certificat de la structure : {calls}, le dernier pour {site} à {seen.at:%H:%M}"


_LOCAL_PROGRAMS = {"native": "un programme de ce poste"}  # it has no origin; protocol/origins.py gives it this name
_ENVIRONMENTS = {
    Environment.SIMULATED: "simulation",
    Environment.TEST: "environnement de test",
    Environment.PRODUCTION: "production",
}
