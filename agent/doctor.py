"""Probe every edge of this workstation; each probe gives data or a sentence, none raises."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent import __version__
from agent.app import Options, load_settings
from agent.config import Settings
from agent.errors import AgentError, Code
from agent.places import Places, find_running


@dataclass(frozen=True)
class Finding:
    """What one probe found. `says` is for a person; it never holds a patient's or a professional's data."""

    what: str
    well: bool
    says: str

    def as_json(self) -> dict[str, str | bool]:
        return {"what": self.what, "well": self.well, "says": self.says}


def examine(config_file: Path | None = None) -> list[Finding]:
    """Every probe, in the order in which a person would look."""
    findings = [Finding("Agent", True, f"version {__version__}, Python {sys.version.split()[0]}, {sys.platform}")]
    try:
        settings = load_settings(Options(config_file=config_file)).settings
    except AgentError as error:
        return [*findings, _failure("Configuration", error)]
    except Exception as error:  # noqa: BLE001  (as in _probe)
        return [*findings, _unforeseen("Configuration", error)]
    findings.append(
        Finding(
            "Configuration",
            True,
            f"environnement {settings.environment}, profil {settings.profile}, "
            f"{len(settings.origins.allowed)} site(s) autorisé(s), {len(settings.software)} logiciel(s)",
        )
    )
    probes: list[tuple[str, Callable[[Settings], str]]] = [
        ("Agent en marche", _running),
        ("Lecteurs", _readers),
        ("Module PKCS#11", _module),
        ("Trousseau", _keyring),
        ("Certificat de la structure", _organisation),
        ("Icône", _tray),
        ("Fenêtre du code", _window),
    ]
    return [*findings, *(_probe(what, probe, settings) for what, probe in probes)]


def _probe(what: str, probe: Callable[[Settings], str], settings: Settings) -> Finding:
    try:
        return Finding(what, True, probe(settings))
    except AgentError as error:
        return _failure(what, error)
    except Exception as error:  # noqa: BLE001  (a doctor never falls ill: an unforeseen failure is a finding)
        return _unforeseen(what, error)


def _unforeseen(what: str, error: Exception) -> Finding:
    return Finding(what, False, f"sonde en échec : {type(error).__name__}")


def _failure(what: str, error: AgentError) -> Finding:
    return Finding(what, False, f"{error.row.title.fr} {error.row.action.fr} [{error}]")


def _running(_settings: Settings) -> str:
    from agent.client import ask

    running = find_running(Places.real().runtime)
    try:
        if running is not None and ask(running) == []:
            return f"port {running.port}, processus {running.pid}"
    except AgentError as error:
        if error.code is not Code.AGENT_NOT_RUNNING:  # what a dead one left behind
            raise
    return "non"


def _readers(_settings: Settings) -> str:
    from agent.readers.pcsc import PcscReaders

    seen = PcscReaders().seen()
    return ", ".join(f"{one.reader} ({one.card.kind if one.card else 'vide'})" for one in seen) or "aucun lecteur"


def _module(settings: Settings) -> str:
    from agent.signing.modules import find_module

    return str(find_module(settings.cpx.module))


def _keyring(_settings: Settings) -> str:
    from agent.secrets import KeyringSecrets

    known = KeyringSecrets().get("identity") is not None
    return "disponible, identité enregistrée" if known else "disponible, identité à créer au premier usage"


def _organisation(settings: Settings) -> str:
    from agent.app import P12_SECRET_NAME
    from agent.secrets import KeyringSecrets
    from agent.signing.organisation import open_p12

    if settings.organisation.certificate is None:
        return "non configuré"
    opened = open_p12(settings.organisation.certificate, KeyringSecrets().get(P12_SECRET_NAME) or b"")
    return f"{opened.common_name}, structure {opened.structure}, jusqu'au {opened.not_after:%Y-%m-%d}"


def _tray(_settings: Settings) -> str:
    from agent.tray.icon import open_tray
    from agent.tray.state import TrayState, view_of

    handle = open_tray(view_of(TrayState(environment=_settings.environment)), {})
    return "possible" if handle else "pas de bureau ici : l'agent marche sans icône"


def _window(_settings: Settings) -> str:
    import tkinter as tk

    return f"Tk {tk.TkVersion}"
