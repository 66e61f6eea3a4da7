"""`insi-agent sites`: which sites may talk to the agent by whose decision; take one back.

Through the running agent, whose open conversations then end at once; where none runs, on its file.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.errors import AgentError, Code
from agent.places import Places, claim


def add_words(sites: argparse.ArgumentParser) -> None:
    """`list`, `revoke` and `unblock`, as words after `sites`; alone it lists."""
    _add_options(sites)
    sites.set_defaults(command=_run, word="list", origin="")
    words = sites.add_subparsers(metavar="MOT")
    for name, says in (
        ("list", "chaque site autorisé, refusé ou remis à plus tard"),
        ("revoke", "retirer l'accès donné à un site ; ses pages ouvertes le perdent aussitôt"),
        ("unblock", "laisser un site refusé ou remis à plus tard demander à nouveau"),
    ):
        # an option that is not said after the word does not undo the one that was said before it
        word = words.add_parser(name, help=says, description=says, argument_default=argparse.SUPPRESS)
        word.set_defaults(word=name)
        if name != "list":
            word.add_argument("origin", metavar="ORIGINE", help="exacte, par exemple https://dossier.example")
        _add_options(word)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--simulated", action="store_true", help="ceux du simulateur")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--config", type=Path, metavar="FICHIER", help="à la place du fichier de l'utilisateur")


def _run(parsed: argparse.Namespace) -> int:
    params = {"origin": parsed.origin} if parsed.origin else {}
    try:
        sites = _through_the_agent(parsed, f"sites.{parsed.word}", params)
    except AgentError as error:
        if error.code is not Code.AGENT_NOT_RUNNING:
            raise
        sites = _on_the_file(parsed)
    if parsed.json:
        print(json.dumps(sites, ensure_ascii=False, indent=2))
    else:
        _print(sites)
    return 0


def _through_the_agent(parsed: argparse.Namespace, method: str, params: dict[str, Any]) -> list[dict[str, Any]]:
    from agent.client import ask, find_agent

    answered: list[dict[str, Any]] = ask(find_agent(simulated=parsed.simulated, switched=False), (method, params))[0][
        "sites"
    ]
    return answered


def _on_the_file(parsed: argparse.Namespace) -> list[dict[str, Any]]:
    """Raises site.unknown, site.locked, config.invalid; agent.running for one that has just started or hangs."""
    from agent.options import Options, load_settings
    from agent.sites import keep_decisions, read_decisions
    from agent.workflows.sites import Rules, listed, revoked, unblocked

    rules = Rules.of(load_settings(Options(simulate=parsed.simulated, config_file=parsed.config)))
    places = (Places.simulated() if parsed.simulated else Places.real()).create()
    now = datetime.now(UTC)
    release = claim(places.data)
    try:
        decisions = read_decisions(places.data)
        if parsed.word != "list":
            undo: Callable[..., Any] = revoked if parsed.word == "revoke" else unblocked
            decisions = undo(rules, decisions, parsed.origin, now)
            keep_decisions(places.data, decisions)
    finally:
        release()
    sites: list[dict[str, Any]] = listed(rules, decisions, now).model_dump(
        mode="json", by_alias=True, exclude_none=True
    )["sites"]
    return sites


def _print(sites: Sequence[dict[str, Any]]) -> None:
    from agent.tray.dialogs.words import site_state

    if not sites:
        print("Aucun site n'a été autorisé ni refusé.")
    for site in sites:
        known = {
            "state": site["state"],
            "by": site["by"],
            "inEffect": site["state"] != "allowed" or bool(site["rights"]),
            "since": site.get("since"),
            "until": site.get("until"),
        }
        rights = f" ({', '.join(site['rights'])})" if site["rights"] else ""
        print(f"{site['origin']} : {site_state(known)}{rights}")
