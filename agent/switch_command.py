"""`insi-agent environment` and `insi-agent profile`: what counts on this workstation, who decided it; change it.

Through the running agent, be it real or simulated; where none runs, on the file of the choice, for its next start.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from agent.errors import AgentError, Code
from agent.model import Environment, Profile
from agent.places import Places, claim

PATIENCE_S = 1800  # what is under way ends first: questions on screen too, one after the other


def add_words(parser: argparse.ArgumentParser, setting: str) -> None:
    """The value wanted, of `environment` or of `profile`; without it what counts is said."""
    values = [one.value for one in (Environment if setting == "environment" else Profile)]
    parser.add_argument("value", nargs="?", choices=values, help="celui qu'il faut ; sinon : dire celui qui compte")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--config", type=Path, metavar="FICHIER", help="à la place du fichier de l'utilisateur")
    parser.set_defaults(setting=setting)


def run(parsed: argparse.Namespace) -> int:
    """Raises setting.locked, simulator.forbidden, agent.switching, agent.running, config.invalid, journal.*."""
    params = {parsed.setting: parsed.value} if parsed.value else {}
    now = _through_the_agent(params)
    if now is None:
        now = _on_the_file(parsed.config, params)
    elif parsed.config is not None:
        print("L'agent en marche a ses propres réglages : --config est sans effet.", file=sys.stderr)
    if parsed.json:
        print(json.dumps(now, ensure_ascii=False, indent=2))
    else:
        _print(now, parsed.setting)
    return 0


def _through_the_agent(params: dict[str, Any]) -> dict[str, Any] | None:
    """None where no agent of this user runs."""
    from agent.client import ask, find_agent

    try:
        return ask(find_agent(simulated=False), ("agent.switch", params), patience_s=PATIENCE_S)[0]
    except AgentError as error:
        if error.code is not Code.AGENT_NOT_RUNNING:
            raise
        return None


def _on_the_file(config: Path | None, params: dict[str, Any]) -> dict[str, Any]:
    """Raises agent.running too, for one that has just started or hangs."""
    from agent.choice import keep_choice, read_choice
    from agent.options import Options, load_settings
    from agent.switching import Choice, chosen, what_counts

    options = Options(config_file=config)
    places = Places.real()
    choice = read_choice(places.data)
    if params:
        choice = chosen(choice, Choice.model_validate(params), load_settings(options))
        release = claim(places.create().data)
        try:
            keep_choice(places.data, choice)
        finally:
            release()
    return what_counts(load_settings(options), choice).model_dump(mode="json", by_alias=True)


def _print(now: dict[str, Any], setting: str) -> None:
    from agent.tray.dialogs.words import ENVIRONMENTS, LOCKED_BY, PROFILES

    label, words = ("Environnement", ENVIRONMENTS) if setting == "environment" else ("Profil", PROFILES)
    print(f"{label} : {now[setting]} ({words[now[setting]].fr})")
    if later := now["nextStart"].get(setting):
        print(f"Au prochain démarrage : {later} ({words[later].fr})")
    if by := now["sources"].get(setting):
        print(f"Fixé par {LOCKED_BY[by].fr}.")
    if ignored := now["ignored"].get(setting):
        print(f"Votre choix, {ignored}, est sans effet.")
