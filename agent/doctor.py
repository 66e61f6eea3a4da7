"""Probe every edge of this workstation; each probe gives data or a sentence, none raises."""

import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import __version__
from agent.choice import read_choice
from agent.config import Settings, user_file
from agent.desks import card_kinds, library_check
from agent.errors import AgentError, Code
from agent.lane import run_alone
from agent.model import AuthMode, Environment
from agent.options import Options, choice_folder, load_settings, places_of
from agent.places import Places, Running, find_running
from agent.protocol.messages import SwitchResult
from agent.switching import what_counts
from agent.tray.dialogs.words import LOCKED_BY

if TYPE_CHECKING:
    from agent.model import ReaderSeen
    from agent.readers.ports import Readers
    from agent.secrets import Secrets
    from agent.signing.ports import ModuleFacts, TokenProcess

SERVICE_TIMEOUT_S = 5  # it lists readers in milliseconds
_Agent = tuple[Running, dict[str, Any]]  # that runs, and what its agent.status says
_STRUCTURE = "Certificat de la structure"
_CALLS = "Appels à INSi"
_NO_JOURNAL = (Code.JOURNAL_FULL, Code.JOURNAL_UNAVAILABLE)
MODULE_TIMEOUT_S = 15  # a slow reader service at a module's start; more hangs


@dataclass(frozen=True)
class Finding:
    """What one probe found. `says` is for a person; it never holds a patient's or a professional's data."""

    what: str
    well: bool
    says: str
    structures: tuple[str, ...] = ()  # their numbers where `says` tells them, for who passes it on

    def as_json(self) -> dict[str, str | bool]:
        return {"what": self.what, "well": self.well, "says": self.says}


def examine(config_file: Path | None = None) -> list[Finding]:
    """Every probe, in the order in which a person would look."""
    findings = [Finding("Agent", True, f"version {__version__}, Python {sys.version.split()[0]}, {sys.platform}")]
    options = Options(config_file=config_file)
    try:
        loaded = load_settings(options)
        counts = what_counts(loaded, read_choice(choice_folder(options)))
    except AgentError as error:
        return [*findings, _failure("Configuration", error)]
    except Exception as error:  # noqa: BLE001  (as in _probe)
        return [*findings, _unforeseen("Configuration", error)]
    settings = loaded.settings
    findings.append(
        Finding(
            "Configuration",
            True,
            f"environnement {settings.environment}, profil {settings.profile}, {_choice(counts)}"
            f"{len(settings.origins.allowed)} site(s) autorisé(s), {len(settings.software)} logiciel(s), "
            f"fichier de l'utilisateur : {_in_home(config_file or user_file())}",
        )
    )
    agent = cache(partial(_agent, settings))  # three probes want to know what it says; it is asked once
    probes: list[tuple[str, Callable[[Settings], str | Finding]]] = [
        ("Agent en marche", lambda _: _running(agent())),
        ("Lecteurs", _readers),
        ("Autres logiciels de cartes", _rivals),
        ("Lecture de la carte Vitale", _vitale),
        ("Module PKCS#11", _module),
        ("Trousseau", _secrets),
        ("Journal", lambda settings: _journal(settings, agent())),
        (_STRUCTURE, _organisations),
        ("Contrat d'INSi", _contract),
        ("INSi", _insi),
        ("Proxy", _proxy),
        (_CALLS, lambda _: _calls(agent())),
        ("Certificat pour wss", _wss),
        ("Icône", _tray),
        ("Fenêtre du code", _window),
        ("Verrouillage de l'écran", _screen),
        ("Navigateurs", _browsers),
    ]
    return [*findings, *(_probe(what, probe, settings) for what, probe in probes)]


def _choice(counts: SwitchResult) -> str:
    fixed = "".join(f"{name} fixé par {LOCKED_BY[by].fr}, " for name, by in counts.sources.items())
    return fixed + "".join(f"votre choix {value} est sans effet, " for value in counts.ignored.values())


def _probe(what: str, probe: Callable[[Settings], str | Finding], settings: Settings) -> Finding:
    try:
        found = probe(settings)
        return found if isinstance(found, Finding) else Finding(what, True, found)
    except AgentError as error:
        return _failure(what, error)
    except Exception as error:  # noqa: BLE001  (a doctor never falls ill: an unforeseen failure is a finding)
        return _unforeseen(what, error)


def _in_home(file: Path) -> str:
    """Its path without the name of the account, which is a person's."""
    home = Path.home()
    return str("~" / file.relative_to(home)) if file.is_relative_to(home) else str(file)


def _unforeseen(what: str, error: Exception) -> Finding:
    return Finding(what, False, f"sonde en échec : {type(error).__name__}")


def _failure(what: str, error: AgentError) -> Finding:
    return Finding(what, False, _sentence(error))


def _sentence(error: AgentError) -> str:
    return f"{error.row.title.fr} {error.row.action.fr} [{error}]"


def _running(found: _Agent | None) -> str:
    return f"port {found[0].port}, processus {found[0].pid}" if found else "non"


def _agent(settings: Settings) -> _Agent | None:
    """The running agent, and what its agent.status says; None where none runs."""
    from agent.client import ask

    running = find_running(places_of(settings).runtime)
    try:
        return (running, ask(running, ("agent.status", {}))[0]) if running else None
    except AgentError as error:
        if error.code is not Code.AGENT_NOT_RUNNING:  # what a dead one left behind
            raise
        return None


def _readers(settings: Settings) -> str:
    from agent.readers.pcsc import PcscReaders

    seen = _listed(PcscReaders(card_kinds(lambda: settings)), timeout_s=SERVICE_TIMEOUT_S)
    return ", ".join(f"{one.reader} ({one.card.kind if one.card else 'vide'})" for one in seen) or "aucun lecteur PC/SC"


def _listed(readers: "Readers", *, timeout_s: float) -> "list[ReaderSeen]":
    """What is in the readers. Raises pcsc.unavailable, also where the service is up and never answers."""
    try:
        return run_alone("pcsc", readers.seen, timeout_s=timeout_s)
    except AgentError as error:
        if error.code is Code.DEVICE_TIMEOUT:
            raise AgentError(Code.PCSC_UNAVAILABLE, f"no answer for {timeout_s} s") from None
        raise


def _rivals(_settings: Settings) -> str:
    from agent.readers.rivals import GALSS, galss_is_here, likely_holders

    holders = [name for name in likely_holders() if name != GALSS]
    says = [f"{', '.join(holders)} : peuvent aussi tenir un lecteur"] if holders else []
    if galss_is_here():
        says.append("un composant GALSS est présent, l'agent ne s'en sert pas : il lui faut un lecteur PC/SC")
    return " ; ".join(says) or "aucun de ceux que l'agent connaît"


def _vitale(settings: Settings) -> str:
    wanted = settings.vitale
    if wanted.assertion == "required":
        raise AgentError(Code.VITALE_ASSERTION_UNAVAILABLE)  # no provider is shipped
    if wanted.backend == "pcsc":
        return "PC/SC, sans rang de naissance"
    from agent.readers.apilec import find_apilec

    found = find_apilec(wanted.apilec.library, wanted.apilec.configuration, check=library_check(settings))
    return f"api_lec ({found.library}, {found.configuration}), non essayée avec la bibliothèque réelle"


def _module(settings: Settings) -> str:
    """The module, loaded in a worker. It may look at the cards as it starts; no code is asked for or given."""
    from agent.native import this_process
    from agent.signing.modules import OPENSC, installed, registered
    from agent.signing.worker import TokenWorker

    tokens = TokenWorker(settings.cpx.module, check=library_check(settings), opensc_signs=settings.cpx.opensc_signs)
    module = _loaded(tokens, timeout_s=MODULE_TIMEOUT_S)
    nobody_else = "seul un administrateur peut" if settings.managed else "seul un administrateur ou vous pouvez"
    says = [
        f"{module.name} (bibliothèque {module.version}), {', '.join(this_process())}",
        f"{module.path}, que {nobody_else} remplacer",
        *(f"Cryptolib CPS {version} enregistrée dans {folder}" for folder, version in registered()),
    ]
    if len(several := installed()) > 1:
        says.append(f"plusieurs Cryptolib installées : {', '.join(map(str, several))}")
    if module.name == OPENSC:
        says.append("lit une CPS3 mais ne signe pas avec elle : installer la Cryptolib CPS")
    if not module.signs_cps3:
        raise AgentError(Code.MODULE_CANNOT_SIGN, " ; ".join(says))
    return " ; ".join(says)


def _loaded(tokens: "TokenProcess", *, timeout_s: float) -> "ModuleFacts":
    """What the module says of itself; a process that hangs is killed: device.timeout."""

    def load() -> "ModuleFacts":
        try:
            return tokens.module()
        finally:
            tokens.close()

    return run_alone("module", load, timeout_s=timeout_s, abandoned=tokens.kill)


def _kept(settings: Settings) -> "Secrets":
    """The secrets of the real agent."""
    from agent.secrets import secrets_of

    return secrets_of(Places.real().data, simulated=False, settings=lambda: settings)


def _secrets(settings: Settings) -> str:
    """Where secrets are kept, and that they can be. Raises keyring.absent, identity.damaged."""
    from agent.machine_secret import secret_file, told
    from agent.secrets import identity_was_used

    where = "disponible"
    if settings.secrets == "machine":
        secret = told(secret_file())
        where = f"secret de la machine, génération {secret.generations[0]}"
        where += f" (d'autres, plus anciennes : {more})" if (more := len(secret.generations) - 1) else ""
    data = Places.real().data
    if _kept(settings).get("identity") is not None:
        return f"{where}, identité enregistrée"
    if identity_was_used(data):
        raise AgentError(Code.IDENTITY_DAMAGED, "the kept identity is gone")
    return f"{where}, identité à créer au premier usage"


def _journal(settings: Settings, agent: _Agent | None) -> Finding:
    """Where the journal is, whether it lasts there, and by which rules it is kept. It is neither opened nor copied."""
    from agent.journal.files import has_left
    from agent.journal.folder import network_kind, passing_kind
    from agent.journal.store import room_for_a_call

    folder = places_of(settings).journal
    says = [f"{_in_home(folder)}, {_megabytes(_size(folder))}"]
    troubles: list[str] = []
    lasts, where = _lasts(network_kind(folder), passing_kind(folder))
    (says if lasts else troubles).append(where)
    if has_left(places_of(settings).noted_head, folder):
        troubles.append(
            "le journal qui y était n'y est plus : monter son disque, ou en accepter la perte (docs/journal.md)"
        )
    here = next(place for place in (folder, *folder.parents) if place.exists())
    needed, free = room_for_a_call(settings.insi.max_reply_bytes), shutil.disk_usage(here).free
    if free < needed:
        troubles.append(f"{_megabytes(free)} libres, un appel peut en demander {_megabytes(needed)}")
    for look in (partial(_journal_keys, settings), partial(_second_copy, settings, agent)):
        try:
            says.append(look())
        except AgentError as error:
            troubles.append(_sentence(error))
    says.append(_retention(settings))
    troubles += _failed(agent)
    return Finding("Journal", not troubles, " ; ".join([*says, *troubles]))


def _lasts(network: str | None, passing: str | None) -> tuple[bool, str]:
    """Whether a journal may be there, and what is there lasts."""
    if network:
        return False, f"sur un réseau ({network}), il est refusé : désigner un dossier local (journal.directory)"
    if passing:
        return False, f"{passing} : il y sera perdu, désigner un dossier qui dure (journal.directory)"
    return True, "sur un disque local"


def _size(folder: Path) -> int:
    """Of its files, in bytes: the agent may take one away meanwhile."""
    size = 0
    for file in folder.glob("*"):
        with suppress(FileNotFoundError):
            size += file.stat().st_size
    return size


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} Mo".replace(".", ",")


def _journal_keys(settings: Settings) -> str:
    """Raises keyring.absent, identity.damaged, config.invalid. None is made."""
    from agent.secrets import journal_key_was_made, load_journal_keys, secrets_of

    data = places_of(settings).data
    secrets = secrets_of(data, simulated=settings.environment is Environment.SIMULATED, settings=lambda: settings)
    if not journal_key_was_made(data):
        return "clé à créer au premier usage"
    return f"{len(load_journal_keys(secrets, data).ids)} clé(s) à portée"


def _failed(found: _Agent | None) -> list[str]:
    """Why the running agent could not write into it last."""
    reasons = [Code(one["reason"]) for one in found[1]["warnings"] if one["reason"] in _NO_JOURNAL] if found else []
    return [_sentence(AgentError(reason)) for reason in reasons]


def _second_copy(settings: Settings, found: _Agent | None) -> str:
    """Raises journal.notShipped where the running agent says so."""
    to = settings.journal.ship.to
    if to == "none":
        return "sans seconde copie"
    if found is None:
        return f"seconde copie ({to}) : l'agent arrêté ne dit pas où elle en est"
    late = next((one for one in found[1]["warnings"] if one["reason"] == Code.JOURNAL_NOT_SHIPPED), None)
    if late is not None:
        raise AgentError(
            Code.JOURNAL_NOT_SHIPPED, ", ".join(f"{name} {value}" for name, value in late["facts"].items())
        )
    return f"seconde copie ({to}) à jour"


def _retention(settings: Settings) -> str:
    personal, entries = settings.journal.personal_days, settings.journal.entry_days
    return (
        f"données personnelles {'jamais effacées' if personal is None else f'effacées après {personal} jours'}, "
        f"écritures {'toujours gardées' if entries is None else f'gardées {entries} jours'}"
    )


def _organisations(settings: Settings) -> str | Finding:
    """Each certificate, and the software whose calls have none here."""
    from agent.desks import organisation_files
    from agent.signing.structures import Purpose, check_dates, choose, in_words

    if not settings.organisation.certificates:
        return "non configuré"
    opened, now = organisation_files(lambda: settings, _kept(settings)).open(), datetime.now(UTC)
    says, troubles = [], []
    for one in opened:
        try:
            if isinstance(one.found, AgentError):
                raise one.found
            says.append(in_words(one.found))
            check_dates(one.found, now)
        except AgentError as error:
            troubles.append(_sentence(error))
    for row in settings.software:
        try:
            if row.authorisation.get(settings.environment):
                choose(
                    opened,
                    structure=row.structure,
                    purpose=Purpose.PERSON,
                    environment=settings.environment,
                    now=now,
                )
        except AgentError as error:
            if error.code in (Code.CERTIFICATE_STRUCTURE, Code.CERTIFICATE_ENVIRONMENT):
                troubles.append(f"{row.name} : {_sentence(error)}")
    structures = {one.found.structure or "" for one in opened if not isinstance(one.found, AgentError)} - {""}
    return Finding(_STRUCTURE, not troubles, " ; ".join([*says, *troubles]), tuple(structures))


def _contract(settings: Settings) -> str:
    """Whose contract is used, and the operations it knows.

    Raises contract.unreadable, contract.binding, config.invalid.
    """
    from agent.desks import configured_contract
    from agent.insi.operations import Operation

    contract = configured_contract(settings)
    known = []
    for operation in Operation:
        try:
            contract.check(operation, simulated=False)
        except AgentError as error:
            if error.code is not Code.CONTRACT_MISSING:
                raise
        else:
            known.append(operation.value)
    whose = "celui de l'agent" if settings.insi.contract is None else "le paquet officiel désigné"
    return f"{whose}, qui connaît {', '.join(known) or 'aucune opération'}"


_REVOCATION = {
    "off": "révocation du serveur non vérifiée",
    "soft": "serveur révoqué refusé, révocation inconnue signalée",
    "hard": "serveur révoqué ou de révocation inconnue refusé",
}
_NAMES = {"san": "SAN", "sanOrCn": "SAN, sinon CN"}


def _insi(settings: Settings) -> Finding:
    """Where INSi is and whom we believe there, as configured: it is not called."""
    from agent.desks import insi_endpoint
    from agent.insi.anchors import missing_issuer, read_anchors, unissued

    says, served, now = [], set(), datetime.now(UTC)
    for mode in AuthMode:
        try:
            endpoint = insi_endpoint(settings, settings.environment, mode)
        except AgentError as error:
            says.append(f"{mode} : {_sentence(error)}")
            continue
        anchors = read_anchors(endpoint.anchors_pem)
        current = [anchor for anchor in anchors if anchor.not_before <= now <= anchor.not_after]
        lacking = unissued(current)
        served |= {mode} if current and not lacking else set()
        until = min(anchor.not_after for anchor in current or anchors)
        others = f", {len(anchors) - len(current)} hors dates" if len(current) < len(anchors) else ""
        says.append(
            f"{mode} : {endpoint.url}, {len(current)} autorité(s) jusqu'au {until:%Y-%m-%d}{others}, "
            f"nom dans {_NAMES[endpoint.names]}"
        )
        says += [f"{anchor.subject} : {missing_issuer(anchor)}" for anchor in lacking]
    wanted = AuthMode.ORGANISATION if settings.organisation.certificates else AuthMode.CPX
    return Finding("INSi", wanted in served, " ; ".join([*says, _REVOCATION[settings.insi.revocation]]))


def _proxy(settings: Settings) -> str:
    """What is set; a script is asked by `insi-agent proxy show`. Raises proxy.authentication without a password."""
    from agent.insi.proxy import PASSWORD
    from agent.proxy_command import in_words

    wanted = settings.proxy
    if wanted.use != "none" and wanted.user and _kept(settings).get(PASSWORD) is None:
        raise AgentError(Code.PROXY_AUTHENTICATION, "no password was enrolled")
    return in_words(wanted)


def _calls(found: _Agent | None) -> Finding:
    """What the running agent has counted, and whether INSi could be reached last."""
    from agent.workflows.counts import in_words

    if found is None:
        return Finding(_CALLS, True, "l'agent arrêté n'en compte pas")
    status = found[1]
    says, last = [in_words(name, counts) for name, counts in status["operations"].items()], status.get("reachability")
    if last is None:
        return Finding(_CALLS, True, "aucun depuis le démarrage de l'agent")
    why = "" if last["reached"] else f", sans réponse [{last['reason']}]"
    return Finding(_CALLS, last["reached"], " ; ".join([*says, f"dernier échange : {last['at']}{why}"]))


def _wss(settings: Settings) -> str:
    from agent.local_tls import LocalTls, served_on

    if not settings.wss.enabled:
        return "non activé, Safari seul en a besoin"
    pair, _ = LocalTls(Places.real().data, _kept(settings)).load(datetime.now(UTC))
    port = served_on(pair, settings.wss.ports)
    return f"jusqu'au {pair.not_after:%Y-%m-%d}, {f'servi sur le port {port}' if port else 'pas servi'}"


def _tray(_settings: Settings) -> str:
    from agent.tray.icon import open_tray
    from agent.tray.state import TrayState, view_of

    handle = open_tray(view_of(TrayState(environment=_settings.environment)), {})
    return "possible" if handle else "pas de bureau ici : l'agent marche sans icône"


def _window(_settings: Settings) -> str:
    import tkinter as tk

    return f"Tk {tk.TkVersion}"


def _screen(_settings: Settings) -> str:
    from agent.screen import watch_screen

    watch = watch_screen(lambda: None)
    if watch is None:
        return "personne ne le signale ici : il ne ferme pas la session de la carte"
    watch.close()
    return f"signalé par : {watch.sees}"


def _browsers(settings: Settings) -> Finding:
    """Whether each site is let in by the browsers' policies; on a personal machine the person may be asked instead."""
    from agent.browser_coverage import State, notes
    from agent.browser_policies import installed

    found = sorted(
        (note for one in installed() for note in notes(one.browser, one.title, one.sources, settings.page_origins)),
        key=lambda note: note.state,
    )
    wanted = State.COVERED if settings.managed else State.ASKED
    says = " ; ".join(note.says for note in found) or "aucun navigateur connu, ou aucun site autorisé"
    return Finding("Navigateurs", all(note.state >= wanted for note in found), says)
