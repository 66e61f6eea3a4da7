"""`insi-agent identity`: show this installation's key, replace it, or make another one where it is lost."""

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import AgentError, Code
from agent.places import Places, claim, instance_id

if TYPE_CHECKING:
    from agent.config import Settings
    from agent.identity import Identity
    from agent.secrets import Secrets


def add_words(identity: argparse.ArgumentParser) -> None:
    """The words of `insi-agent identity`."""
    says = "la montrer ; la remplacer (agent arrêté) ; perdue, en faire une autre (agent arrêté)"
    identity.add_argument("action", choices=["show", "rotate", "renew"], help=says)
    identity.add_argument("--lost", action="store_true", help="avec renew : dire que la clé est perdue")
    identity.add_argument("--simulated", action="store_true", help="celle du simulateur, qu'aucun serveur n'enrôle")
    identity.add_argument("--line", action="store_true", help="en une ligne, pour la collecte de plusieurs postes")
    identity.add_argument("--config", type=Path, metavar="FICHIER")


def run(parsed: argparse.Namespace) -> int:
    """Raises keyring.absent, identity.damaged, agent.running, journal.unavailable, config.invalid."""
    from agent.secrets import load_identity, renew_lost, secrets_of

    if (parsed.action == "renew") != parsed.lost:
        raise AgentError(Code.CONFIG_INVALID, "a key is renewed when it is lost, and only then", setting="--lost")
    places = (Places.simulated() if parsed.simulated else Places.real()).create()
    secrets = secrets_of(places.data, simulated=parsed.simulated, settings=lambda: _settings(parsed))
    if parsed.action == "show":
        identity = load_identity(secrets, places.data)
    else:
        release = claim(places.data)
        try:
            if parsed.action == "rotate":
                identity = _rotated(parsed, places, secrets)
            else:
                identity = renew_lost(secrets, places.data, at=datetime.now(UTC))
        finally:
            release()
    shown = _enrolment(identity, instance_id(places.data), simulated=parsed.simulated)
    print(json.dumps(shown, ensure_ascii=False, indent=None if parsed.line else 2))
    return 0


def _enrolment(identity: "Identity", instance: str, *, simulated: bool) -> dict[str, object]:
    """What a server needs to know of this installation to accept its receipts: nothing of it is secret."""
    former = [
        {"thumbprint": key.public_jwk["kid"], "publicKey": key.public_jwk, "statement": key.statement}
        for key in identity.former
    ]
    return {
        "instanceId": instance,
        "simulated": simulated,
        "thumbprint": identity.thumbprint,
        "publicKey": identity.public_jwk(),
        "former": former,
    }


def _rotated(parsed: argparse.Namespace, places: Places, secrets: "Secrets") -> "Identity":
    """The identity after a rotation.

    It is not dated before what the present key signed when a clock was ahead: the chain would be forged for good.
    """
    from agent.journal.apart import newest
    from agent.journal.chain import signed_at
    from agent.secrets import load_identity, rotate_identity

    present = load_identity(secrets, places.data)
    signed = newest(_journal(parsed, places), lambda data, by: present.verify_dated(data, by, signed_at))
    at = datetime.now(UTC)
    if signed and signed > at:
        at = signed
        says = f"Le journal a une écriture du {at:%Y-%m-%d à %H:%M} UTC : l'horloge était en avance."
        print(f"{says} L'ancienne clé compte jusque-là.", file=sys.stderr)
    return rotate_identity(secrets, places.data, instance_id=instance_id(places.data), at=at)


def _journal(parsed: argparse.Namespace, places: Places) -> Path:
    if parsed.simulated:
        return places.journal
    return _settings(parsed).journal.directory or places.journal


def _settings(parsed: argparse.Namespace) -> "Settings":
    from agent.options import Options, load_settings

    return load_settings(Options(config_file=parsed.config)).settings
