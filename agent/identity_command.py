"""`insi-agent identity`: show this installation's key, replace it, or make another one where it is lost."""

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import AgentError, Code
from agent.places import Places, claim, instance_id, set_aside

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
    from agent.secrets import load_identity, secrets_of

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
                identity = _renewed(parsed, places, secrets)
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


def _renewed(parsed: argparse.Namespace, places: Places, secrets: "Secrets") -> "Identity":
    """The identity in the place of a lost one, whose journal is set aside before: a new key cannot vouch for it.

    It stays where a key is kept after all that has signed in it.
    """
    from agent.journal.apart import newest
    from agent.journal.chain import signed_at
    from agent.journal.files import FILE, GONE, has_left, head_file
    from agent.secrets import renew_lost

    at, journal = datetime.now(UTC), _journal(parsed, places)

    def signed_by(kept: "Identity") -> bool:
        try:
            return newest(journal, lambda data, by: kept.verify_dated(data, by, signed_at)) is not None
        except AgentError as error:
            if error.code is not Code.JOURNAL_UNAVAILABLE:
                raise
            return False  # so damaged that nothing in it can be read

    def leave(kept: "Identity | None") -> None:
        if kept and signed_by(kept):
            return
        if has_left(places.noted_head, journal):
            reason = "le disque du journal n'est pas monté ; s'il est perdu, retirer journal-head.json"
            raise AgentError(Code.JOURNAL_UNAVAILABLE, GONE, reason=reason)
        set_aside(places.noted_head, at)  # first: without its folder it would say that a disk has left
        if not any(file.exists() for file in (journal / FILE, head_file(journal, 0), head_file(journal, 1))):
            return
        try:
            aside = set_aside(journal, at)
        except AgentError as error:
            reason = "ce dossier ne peut pas être renommé : mettre ailleurs ce qu'il contient, puis recommencer"
            raise AgentError(Code.CONFIG_INVALID, error.detail, setting=str(journal), reason=reason) from None
        print(_ASIDE.format(aside), file=sys.stderr)

    return renew_lost(secrets, places.data, at=at, leave=leave)


_ASIDE = """L'ancien journal est mis de côté : {}
Ses signatures sont de la clé perdue, que « insi-agent journal verify » ne reconnaît plus. Là où journal.directory le
désigne, « journal list » et « export » en lisent les parties en clair (quand, quel site, quel code) ; les personnes
ne s'y lisent plus, sauf si l'ancienne clé et celle du journal reviennent. À conserver par l'informatique aussi
longtemps que la règle le demande : l'agent n'y efface plus rien."""


def _journal(parsed: argparse.Namespace, places: Places) -> Path:
    if parsed.simulated:
        return places.journal
    return _settings(parsed).journal.directory or places.journal


def _settings(parsed: argparse.Namespace) -> "Settings":
    from agent.options import Options, load_settings

    return load_settings(Options(config_file=parsed.config)).settings
