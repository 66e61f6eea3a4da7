"""The command line: what a person or an administrator may ask of the agent."""

import argparse
import contextlib
import io
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent import (
    __version__,
    cards_command,
    contract_command,
    enrol_command,
    identity_command,
    journal_command,
    organisation_command,
    policy_command,
    proxy_command,
    simulator_command,
    sites_command,
    software_command,
    switch_command,
    trust_command,
    wss_command,
)
from agent.errors import AgentError, Code
from agent.model import is_local_site, is_site
from agent.places import Places

log = logging.getLogger(__name__)

_INTERRUPTED = 130  # 128 + SIGINT, as shells say it

# facts that help whoever sits before a terminal
_FACTS = {
    "setting": "Réglage",
    "source": "Fixé par",
    "file": "Fichier",
    "operation": "Opération",
    "path": "Chemin",
    "reason": "Raison",
    "fingerprint": "Empreinte SHA-256",
    "answer": "Réponse du script",
    "rivals": "Peut-être utilisée par",
    "atr": "ATR de la carte",
}


def main(arguments: list[str]) -> int:
    """Run one command; the exit status: 0, 1 with the catalogue's sentence on stderr, 2 for wrong arguments."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that a page chose may have letters that no console here has
            stream.reconfigure(errors="backslashreplace")
    parsed = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = parsed.command
    try:
        with _ended_as_by_ctrl_c(("SIGTERM",) if command in (_run, _demo) else ("SIGTERM", "SIGHUP")):
            status = command(parsed)
            sys.stdout.flush()
        return status
    except BrokenPipeError:  # who read us has read enough; Python would complain of it once more at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return _INTERRUPTED
    except AgentError as error:
        print(f"{error.row.title.fr} {error.row.action.fr}", file=sys.stderr)
        for fact, name in _FACTS.items():
            if told := error.facts.get(fact):
                words = told if isinstance(told, list) else [_who(told) if fact == "source" else str(told)]
                print(f"{name} : {', '.join(words)}", file=sys.stderr)
        print(f"[{error}]", file=sys.stderr)
        return 1


@contextlib.contextmanager
def _ended_as_by_ctrl_c(names: tuple[str, ...]) -> Iterator[None]:
    """`kill`, and a closed terminal, end a command as ctrl-C does: nothing that it made for a while stays behind.

    Not what is ignored already (nohup). A command that hears signals itself goes on to do so.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (getattr(signal, name) for name in names if hasattr(signal, name)):
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _who(source: str) -> str:
    """Who decided a setting, in words."""
    from agent.tray.dialogs.words import LOCKED_BY

    return LOCKED_BY[source].fr if source in LOCKED_BY else source


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="insi-agent",
        description="Passerelle locale entre les dossiers patients web, la carte Vitale, les cartes CPx et INSi.",
    )
    parser.add_argument("--version", action="version", version=f"insi-agent {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMANDE")

    def command(name: str, run: Callable[[argparse.Namespace], int], says: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=says, description=says)
        made.set_defaults(command=run)
        return made

    run = command("run", _run, "démarrer l'agent")
    run.add_argument("--simulate", action="store_true", help="cartes et INSi simulés, rien de réel n'est touché")
    run.add_argument("--card", type=Path, metavar="FICHIER", help="avec --simulate : cette carte enregistrée")
    run.add_argument("--no-tray", action="store_true", help="sans icône")
    run.add_argument("--port", type=_port, help="ce port exactement ; 0 : n'importe lequel")
    run.add_argument("--config", type=Path, metavar="FICHIER", help="à la place du fichier de l'utilisateur")

    demo = command("demo", _demo, "démontrer le parcours complet dans le navigateur, avec des cartes simulées")
    demo.add_argument("--headless", action="store_true", help="sans fenêtre, sans icône, sans navigateur")
    demo.add_argument("--json", action="store_true", help="dire l'adresse sur une ligne JSON")
    demo.add_argument("--port", type=_port, default=0, help="port de l'agent ; 0 : n'importe lequel")
    demo.add_argument(
        "--origin",
        action="append",
        default=[],
        metavar="ORIGINE",
        help="laisser entrer aussi les pages de cette origine, tant que la démonstration dure ; répétable",
    )

    simulator_command.add_words(
        command("simulator", simulator_command.run, "un INSi simulé, seul, pour essayer un autre client")
    )

    status = command("status", _status, "état de l'agent en marche")
    cards = command("cards", cards_command.show, "lecteurs et cartes vus par l'agent en marche")
    for made in (status, cards):
        made.add_argument("--simulated", action="store_true", help="ceux du simulateur")
        made.add_argument("--json", action="store_true")
    cards_command.add_words(cards)

    doctor = command("doctor", _doctor, "vérifier ce poste")
    doctor.add_argument("--json", action="store_true")
    doctor.add_argument("--config", type=Path, metavar="FICHIER")

    organisation = commands.add_parser("organisation", help="les certificats des structures")
    organisation_command.add_words(organisation)

    software_command.add_words(
        command("software", software_command.show, "les logiciels autorisés à interroger INSi, et leurs sites")
    )

    proxy_command.add_words(commands.add_parser("proxy", help="le proxy du réseau : ce qui vaut, et son mot de passe"))

    trust_command.add_words(commands.add_parser("trust", help="les autorités auxquelles croire pour INSi"))

    contract_command.add_words(commands.add_parser("contract", help="le paquet officiel de l'éditeur, pour INSi"))

    support = command("support-bundle", _support_bundle, "réunir en un fichier ce qui aide l'assistance")
    support.add_argument("--output", type=Path, metavar="FICHIER", help="ce fichier ; sinon ici, sous un nom daté")
    support.add_argument("--force", action="store_true", help="remplacer le fichier s'il existe")
    support.add_argument("--simulated", action="store_true", help="pour le simulateur")
    support.add_argument("--config", type=Path, metavar="FICHIER")
    support.add_argument(
        "--trace",
        action="append",
        default=[],
        metavar="TRACE",
        help="avec cette opération, messages masqués ; répétable",
    )
    support.add_argument("--last", type=_count, default=0, metavar="N", help="avec les N dernières opérations")
    support.add_argument(
        "--unmasked",
        action="store_true",
        help="ces messages non masqués : le fichier contient alors des données de patients",
    )
    support.add_argument(
        "--context", default="", metavar="TEXTE", help="ce que l'on faisait, dans ses mots, sans aucun nom de patient"
    )

    policy_command.add_words(
        command("policy", policy_command.run, "règles de navigateur pour que les sites autorisés joignent l'agent")
    )

    enrol_command.add_words(
        command("enrol", enrol_command.run, "enrôler le secret de la machine, pour des comptes sans trousseau")
    )

    identity_command.add_words(command("identity", identity_command.run, "la clé qui signe les reçus de ce poste"))

    journal_command.add_words(commands.add_parser("journal", help="le journal des appels : le lire, le prouver entier"))

    for setting, says in (
        ("environment", "l'environnement : simulation, test ou production ; en changer"),
        ("profile", "le profil : référentiel d'identités ou autre logiciel ; en changer"),
    ):
        switch_command.add_words(command(setting, switch_command.run, says), setting)

    sites = commands.add_parser("sites", help="les sites autorisés, refusés ou remis à plus tard")
    sites_command.add_words(sites)

    wss = commands.add_parser("wss", help="le certificat local pour wss, dont seul Safari a besoin")
    wss_command.add_words(wss)
    return parser


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65535:
        raise ValueError
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _run(parsed: argparse.Namespace) -> int:
    from agent.log import configure
    from agent.options import Options, load_settings, places_of
    from agent.running import RunningAgent, to_system, until_told_to_stop

    if parsed.card and not parsed.simulate:
        raise AgentError(Code.CONFIG_INVALID, "a recorded card belongs to the simulator", setting="--card")
    options = Options(simulate=parsed.simulate, port=parsed.port, config_file=parsed.config, card=parsed.card)
    try:
        loaded = load_settings(options)
    except AgentError as error:  # a wrong policy stops every agent of an establishment: administrators look there
        configure("INFO", stderr=None, folder=None, system=not parsed.simulate)
        log.error("not started: %s", error)  # noqa: TRY400  (no traceback: the code says it all)
        raise
    places = places_of(loaded.settings).create()
    configure("INFO", stderr="INFO", folder=places.log, system=to_system(loaded))
    running = RunningAgent(options, places)
    try:
        until_told_to_stop(running, tray=not parsed.no_tray)
    finally:
        running.stop()
    return 0


def _demo(parsed: argparse.Namespace) -> int:
    from agent.demo import PageServer
    from agent.log import configure
    from agent.options import Options
    from agent.running import RunningAgent, until_told_to_stop

    own = tuple(_page_origin(origin) for origin in parsed.origin)
    places = Places.simulated().create()
    configure("INFO", stderr="WARNING", folder=places.log)
    headless = parsed.headless or not _has_desktop()
    if headless and not parsed.headless:
        print("Pas de bureau ici : ni fenêtre ni icône, le code simulé est donné sans être demandé.", file=sys.stderr)
    page = PageServer()
    options = Options(simulate=True, port=parsed.port, demo_origins=(page.origin, *own), answers_itself=headless)
    with contextlib.ExitStack() as parts:
        parts.callback(page.stop)
        running = RunningAgent(options, places)
        parts.callback(running.stop)
        page.start(agent_ports=[running.agent.port])
        address = {
            "ws": f"ws://127.0.0.1:{running.agent.port}",
            "page": f"{page.origin}/",
            "origin": page.origin,
        }

        def open_page() -> None:
            import webbrowser

            # $BROWSER may name a program that returns only when it is closed: nobody else waits for that
            threading.Thread(target=webbrowser.open, args=(address["page"],), name="browser", daemon=True).start()

        def ready() -> None:
            print(json.dumps(address) if parsed.json else f"Page de démonstration : {address['page']}", flush=True)
            if not headless:
                open_page()

        until_told_to_stop(running, tray=not headless, open_demo=None if headless else open_page, ready=ready)
    return 0


def _page_origin(text: str) -> str:
    """The origin of a developer's page, http only on this machine. Raises config.invalid."""
    if is_site(text) or is_local_site(text):
        return text
    reason = "une origine s'écrit sans / à la fin : https://nom:port, ou sur ce poste http://localhost:8000"
    raise AgentError(Code.CONFIG_INVALID, "not an origin", setting="--origin", reason=reason)


def _has_desktop() -> bool:
    """Whether there is a screen for windows at all."""
    return not sys.platform.startswith("linux") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _status(parsed: argparse.Namespace) -> int:
    from agent.workflows.counts import in_words

    status = _ask(parsed, "agent.status")
    if parsed.json:
        return _print_json(status)
    print(f"Environnement : {status['environment']}, profil {status['profile']}")
    print(f"Service de cartes : {'en marche' if status['cardService'] else 'arrêté'}")
    print(f"Session de carte : {'ouverte' if status['cpxSession']['open'] else 'fermée'}")
    for name, counts in status["operations"].items():
        print(in_words(name, counts))
    for warning in status["warnings"]:
        print(f"Attention : {warning['message']['fr']}")
    return 0


def _doctor(parsed: argparse.Namespace) -> int:
    from agent.doctor import examine

    findings = examine(parsed.config)
    if parsed.json:
        _print_json([finding.as_json() for finding in findings])
    else:
        for finding in findings:
            print(f"[{'ok' if finding.well else '!!'}] {finding.what} : {finding.says}")
    return 0 if all(finding.well for finding in findings) else 1


def _support_bundle(parsed: argparse.Namespace) -> int:
    from agent.support import UNREAD, Wanted, warning, write_bundle

    wanted = Wanted(tuple(parsed.trace), parsed.last, parsed.unmasked, parsed.context)
    if wanted.unmasked and not (wanted.traces or wanted.last):
        reason = "seuls les messages d'opérations choisies par --trace ou --last peuvent l'être"
        raise AgentError(Code.CONFIG_INVALID, "nothing to unmask", setting="--unmasked", reason=reason)
    now = datetime.now(UTC)
    made = write_bundle(
        parsed.output,
        now=now,
        simulated=parsed.simulated,
        config_file=parsed.config,
        wanted=wanted,
        force=parsed.force,
    )
    parts = ["versions", "réglages", "diagnostic", "état", "journaux techniques"]
    if wanted.traces or wanted.last:
        parts.append(f"opérations choisies ({made.operations})")
    print(f"{made.file} : {', '.join(parts)}.")
    if wanted.unmasked and made.operations:
        print(warning(made.operations), file=sys.stderr)
        nothing = "Aucun code, aucun secret"
    else:
        nothing = "Aucune donnée de patient, aucun code, aucun secret"
    print(f"{nothing}{UNREAD if wanted.context else ''} ; le relire avant de l'envoyer.")
    if wanted.context:
        print(
            "Le texte de --context est joint : un filtre ne connaît aucun nom, n'y nommer aucun patient.",
            file=sys.stderr,
        )
    for name in made.failed:
        print(f"N'a pas pu être relevé : {name}", file=sys.stderr)
    return 0


def _ask(parsed: argparse.Namespace, method: str) -> Any:
    from agent.client import ask, find_agent

    return ask(find_agent(simulated=parsed.simulated), (method, {}))[0]


def _print_json(value: Any) -> int:
    print(json.dumps(value, ensure_ascii=False, indent=2))
    return 0
