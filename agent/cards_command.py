"""`insi-agent cards`: what the agent sees, and a card looked at, recorded or replayed without the agent.

A diagnosis for IT. Names, dates and numbers are shown on the terminal only, and only when asked for.
"""

import argparse
import glob
import json
import signal
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from agent.errors import AgentError, Code
from agent.lane import run_alone
from agent.model import CardKind, ReaderSeen, VitaleHolder, rfc3339

if TYPE_CHECKING:
    from agent.readers.ports import Readers
    from agent.readers.recording import Recording

T = TypeVar("T")

_READ_S, _RECORD_S = 20, 60
_ENDS = (signal.SIGINT, signal.SIGTERM)

_KINDS = {
    CardKind.VITALE_2: "carte Vitale",
    CardKind.VITALE_1: "carte Vitale d'un ancien modèle",
    CardKind.CPX: "carte de professionnel",
    CardKind.CPX_CONTACTLESS: "carte de professionnel, sans contact",
    CardKind.UNKNOWN: "carte inconnue",
}
_EVENTS = {
    "reader.added": "{reader} : lecteur présent, {card}",
    "reader.removed": "{reader} : lecteur retiré",
    "card.inserted": "{reader} : {card} insérée",
    "card.removed": "{reader} : {card} retirée",
    "cpx.changed": "Carte de professionnel : {present}, session {unlocked}",
    "agent.changed": "L'état de l'agent a changé.",
}
_WAYS = {"short": "chemin court", "d001": "fichier D001", "pointers": "fichier des pointeurs"}
_ODD = {
    "name.missing": "sans nom",
    "nir.key": "clé du NIR fausse",
    "nir.length": "NIR d'une longueur inattendue",
    "nir.provisional": "NIR provisoire",
    "birthDate.lunar": "date de naissance hors du calendrier",
    "birthDate.unreadable": "date de naissance illisible",
}


def add_words(cards: argparse.ArgumentParser) -> None:
    """`watch`, `read`, `record` and `replay`, as words after `cards`."""
    words = cards.add_subparsers(metavar="MOT")

    def word(name: str, run: Callable[[argparse.Namespace], int], says: str) -> argparse.ArgumentParser:
        made = words.add_parser(name, help=says, description=says)
        made.set_defaults(command=run)
        return made

    def of_a_reader(made: argparse.ArgumentParser) -> None:
        made.add_argument("--reader", metavar="MOTIF", default="*", help="nom de lecteur, par exemple '*vitale*'")
        made.add_argument("--config", type=Path, metavar="FICHIER")

    def of_people(made: argparse.ArgumentParser) -> None:
        made.add_argument("--show", action="store_true", help="montrer aussi noms, dates et numéros")

    following = word("watch", watch, "suivre lecteurs et cartes de l'agent en marche, jusqu'à Ctrl-C")
    # not to undo what was said before the word
    following.add_argument("--simulated", action="store_true", default=argparse.SUPPRESS, help="ceux du simulateur")
    following.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="un objet JSON par ligne")

    reading = word("read", read, "lire une carte Vitale par PC/SC, avec ou sans agent en marche")
    of_a_reader(reading)
    of_people(reading)

    recording = word("record", record, "enregistrer une carte de test, ses données personnelles remplacées")
    recording.add_argument("file", type=Path, metavar="FICHIER")
    of_a_reader(recording)
    recording.add_argument("--test-card", action="store_true", help="la carte est une carte de test, je le confirme")
    recording.add_argument("--force", action="store_true", help="remplacer le fichier")

    replaying = word("replay", replay, "lire un enregistrement comme une carte")
    replaying.add_argument("file", type=Path, metavar="FICHIER")
    of_people(replaying)


def show(parsed: argparse.Namespace) -> int:
    """Readers and cards as the running agent sees them."""
    from agent.client import ask, find_agent

    readers = ask(find_agent(simulated=parsed.simulated), ("cards.watch", {}))[0]["readers"]
    if parsed.json:
        print(json.dumps(readers, ensure_ascii=False, indent=2))
        return 0
    _print_readers([ReaderSeen.model_validate(reader) for reader in readers])
    return 0


def watch(parsed: argparse.Namespace) -> int:
    """A line per event of the running agent; Ctrl-C is the usual end, agent.notRunning the other."""
    from agent.client import find_agent, follow

    for name in _ENDS:  # a shell's background program begins with SIGINT ignored
        signal.signal(name, _interrupt)
    try:
        for event, params in follow(find_agent(simulated=parsed.simulated)):
            now = datetime.now(UTC)
            if parsed.json:
                line = json.dumps({"at": rfc3339(now), "event": event, **params}, ensure_ascii=False)
            else:
                line = f"{now.astimezone():%H:%M:%S} {_event(event, params)}"
            print(line, flush=True)
    except KeyboardInterrupt:
        pass
    return 0


def _interrupt(*_signal: object) -> None:
    for name in _ENDS:  # once is enough: a second one would fall into the farewell
        signal.signal(name, signal.SIG_IGN)
    raise KeyboardInterrupt


def read(parsed: argparse.Namespace) -> int:
    """The first carte Vitale of these readers. Raises what `read_first_vitale` says, device.timeout."""
    return run_alone("pcsc", lambda: _print_reading(*_readers(parsed), people=parsed.show), timeout_s=_READ_S)


def replay(parsed: argparse.Namespace) -> int:
    """A recording read by the same code. Raises config.invalid, and what `read_first_vitale` says."""
    from agent.readers.transcript import SimulatedReaders, load_transcript

    readers = SimulatedReaders({parsed.file.name: "card"}, {"card": load_transcript(parsed.file)})
    return _print_reading(readers, (), people=parsed.show)


def record(parsed: argparse.Namespace) -> int:
    """A transcript of a test card in a file of this user alone, whole or not at all.

    Raises recording.refused, card.absent, what `recording.record` raises, device.timeout.
    """
    from agent.places import write_private

    if parsed.file.exists() and not parsed.force:
        raise AgentError(Code.RECORDING_REFUSED, "the file exists", reason="ce fichier existe ; --force le remplace.")
    recording = run_alone("pcsc", lambda: _recorded(*_readers(parsed), test_card=parsed.test_card), timeout_s=_RECORD_S)
    try:
        write_private(parsed.file, recording.text.encode())
    except AgentError as error:
        raise AgentError(
            Code.RECORDING_REFUSED, error.detail, reason="le fichier ne peut pas être écrit à cet endroit."
        ) from None
    ways = ", ".join(_WAYS.get(way, way) for way in recording.ways) or "aucune"
    print(f"{parsed.file} : enregistré, les personnes y sont inventées.")
    print(f"Voies de lecture : {ways}. Bénéficiaires : {recording.holders}.")
    return 0


def _readers(parsed: argparse.Namespace) -> "tuple[Readers, list[str]]":
    """The readers of this machine, and those not to use."""
    from agent.desks import card_kinds
    from agent.options import Options, load_settings
    from agent.readers.desk import fits
    from agent.readers.pcsc import PcscReaders

    settings = load_settings(Options(config_file=parsed.config)).settings
    readers = PcscReaders(card_kinds(lambda: settings))
    names = [one.reader for one in readers.seen()]
    others = [name for name in names if not fits(name, parsed.reader)]
    return readers, [*settings.readers.exclude, *map(glob.escape, others)]


def _recorded(readers: "Readers", exclude: Sequence[str], *, test_card: bool) -> "Recording":
    """The first carte Vitale, else the first card."""
    from agent.readers.desk import fits
    from agent.readers.recording import record

    seen = [one for one in readers.seen() if not any(fits(one.reader, pattern) for pattern in exclude)]
    cards = {one.reader: one.card.kind for one in seen if one.card}
    if not cards:
        raise AgentError(Code.CARD_ABSENT)
    reader = min(cards, key=lambda name: cards[name] is not CardKind.VITALE_2)
    with readers.transaction(reader) as card:
        return record(card, cards[reader], test_card=test_card)


def _print_reading(readers: "Readers", exclude: Sequence[str], *, people: bool) -> int:
    from agent.readers.desk import read_first_vitale

    _print_readers(readers.seen())
    reading = read_first_vitale(readers, reader=None, prefer=(), exclude=exclude)
    way = _WAYS.get(reading.content.way, reading.content.way)
    print(f"Carte Vitale lue dans {reading.reader}, voie : {way}.")
    print(f"Bénéficiaires : {len(reading.content.holders)}.")
    for holder in reading.content.holders:
        print(f"  {holder.index + 1} : {_remarks(holder)}")
        if people:
            print(f"      {holder.name} {holder.given_names or ''}, {holder.birth_date_raw}")
            print(f"      {holder.nir} {holder.nir_key}")
    return 0


def _remarks(holder: VitaleHolder) -> str:
    odd = [_ODD.get(warning, warning) for warning in holder.warnings]
    if not {"nir.key", "nir.length"} & set(holder.warnings):
        odd.insert(0, "clé du NIR juste")
    return ", ".join(odd)


def _print_readers(readers: Sequence[ReaderSeen]) -> None:
    for one in readers:
        print(f"{one.reader} : {_KINDS[one.card.kind] if one.card else 'vide'}")
    if not readers:
        print("Aucun lecteur.")


def _event(event: str, params: dict[str, Any]) -> str:
    card = params.get("card")
    words = {
        "reader": params.get("reader"),
        "card": _KINDS[CardKind(card["kind"])] if card else "vide",
        "present": "présente" if params.get("present") else "absente",
        "unlocked": "ouverte" if params.get("unlocked") else "fermée",
    }
    return _EVENTS.get(event, event).format(**words)
