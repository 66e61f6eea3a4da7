"""`insi-agent journal`: who asked INSi for what and when, shown, taken out, and proved whole; the agent may run.

Nothing is written where the journal is: all is read from a private copy of it, gone at the end.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.errors import AgentError, Code
from agent.places import Places, instance_id

if TYPE_CHECKING:
    from agent.config import Settings
    from agent.journal.apart import Copy
    from agent.journal.chain import Entry
    from agent.journal.shipped import ShippedVerdict
    from agent.journal_told import Note, Opener, Operation, Teller

BROKEN = 3  # exit status of `verify`, beside 0, 1 and 2

_EXAMPLES = """exemples :
  insi-agent journal list --since 2025-03-01 --until 2025-03-31 --code 00
  insi-agent journal show 0b6f7c1e-… --reveal users
  insi-agent journal export --since 2025-03-01 --format json --output mars.json
  insi-agent journal verify

Ce que le journal sait des personnes est chiffré : seul le compte qui a fait tourner l'agent le lit, et les personnes
y sont remplacées par [professionnel 1], [utilisateur 1]… sauf avec --reveal. « verify » rend 0 pour un journal
entier, 3 pour un journal rompu, 1 quand il n'a pas pu être regardé jusqu'au bout."""


def add_words(journal: argparse.ArgumentParser) -> None:
    """`list`, `show`, `verify` and `export`, as words after `journal`."""
    journal.epilog, journal.formatter_class = _EXAMPLES, argparse.RawDescriptionHelpFormatter
    words = journal.add_subparsers(required=True, metavar="MOT")

    def word(name: str, run: Callable[[argparse.Namespace], int], says: str) -> argparse.ArgumentParser:
        made = words.add_parser(name, help=says, description=says)
        made.set_defaults(command=lambda parsed: _to_the_end(run, parsed))
        made.add_argument("--simulated", action="store_true", help="celui du simulateur")
        made.add_argument("--config", type=Path, metavar="FICHIER", help="à la place du fichier de l'utilisateur")
        return made

    listed = word(
        "list", _list, "les opérations, changements d'environnement et effacements, un par ligne, dans leur ordre"
    )
    listed.add_argument("--json", action="store_true", help="un objet JSON par ligne, sa nature dans « kind »")
    shown = word("show", _show, "tout ce qui est conservé d'une opération, ou d'une autre écriture")
    shown.add_argument(
        "trace", metavar="TRACE", help="son identifiant, à la fin de chaque ligne de « list », ou un numéro d'écriture"
    )
    shown.add_argument("--json", action="store_true")
    shown.add_argument("--attempt", type=int, metavar="N", help="pour --image et --request ; sinon la dernière")
    shown.add_argument("--image", type=Path, metavar="FICHIER", help="écrire la réponse exacte d'INSi")
    shown.add_argument("--request", type=Path, metavar="FICHIER", help="écrire la demande envoyée, comme conservée")
    export = word("export", _export, "ce qui s'est passé dans une période, dans un fichier")
    export.add_argument(
        "--format",
        choices=["csv", "json"],
        default="csv",
        help="csv : une tentative par ligne ; json pour les messages entiers, que des tableurs coupent",
    )
    export.add_argument("--output", type=Path, metavar="FICHIER", help="ce fichier ; sinon ici, sous un nom daté")
    export.add_argument("--force", action="store_true", help="remplacer le fichier s'il existe")
    for made in (listed, export):
        _add_filters(made)
    for made in (listed, shown, export):
        made.add_argument(
            "--reveal",
            action="append",
            choices=["users", "patients"],
            default=[],
            help="users : montrer qui a appelé ; patients : aussi ce qui a été demandé et répondu",
        )
    verified = word("verify", _verify, "prouver que rien n'a été changé, retiré ou ajouté")
    verified.add_argument("--json", action="store_true")
    verified.add_argument(
        "--shipped", type=Path, metavar="DOSSIER", help="aussi contre sa seconde copie (journal.ship.folder)"
    )
    word(
        "rotate-key",
        _rotate_key,
        "une nouvelle clé pour ce que le journal sait des personnes ; les autres ouvrent encore",
    )


def _add_filters(parser: argparse.ArgumentParser) -> None:
    moments = "AAAA-MM-JJ, heure de ce poste, ou instant RFC 3339"
    parser.add_argument("--since", type=_since, metavar="DATE", help=f"commencées ce jour ou après ({moments})")
    parser.add_argument("--until", type=_until, metavar="DATE", help="jusqu'à ce jour compris, ou avant cet instant")
    parser.add_argument("--professional", metavar="NUMÉRO", help="identifiant national du professionnel")
    parser.add_argument("--user", metavar="ID", help="identifiant d'utilisateur déclaré par le logiciel")
    parser.add_argument("--software", metavar="NOM", help="logiciel")
    parser.add_argument("--operation", metavar="NOM", help="WS_INS1, WS_INS2…")
    parser.add_argument("--code", metavar="CODE", help="d'une des tentatives : 00, desir_550… ; unknown : sans retour")
    parser.add_argument("--origin", metavar="ORIGINE", help="site : https://dossier.example")
    parser.add_argument("--environment", metavar="NOM", help="simulated, test ou production")


def _since(text: str) -> datetime:
    return _moment(text, days=0)


def _until(text: str) -> datetime:
    """The first moment that is not meant."""
    return _moment(text, days=1)


def _moment(text: str, *, days: int) -> datetime:
    """An instant, or the local midnight at which a day begins, so many days later; in UTC."""
    try:
        if len(text) == len("2025-03-01"):
            midnight = datetime.combine(date.fromisoformat(text) + timedelta(days=days), time())
            return midnight.astimezone().astimezone(UTC)  # a day that changes to summer time has 23 hours
        instant = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        instant = None
    if instant is None or instant.tzinfo is None:
        raise argparse.ArgumentTypeError(f"ni un jour AAAA-MM-JJ, ni un instant RFC 3339 : {text}")
    return instant.astimezone(UTC)


# ---------------------------------------------------------------- where, and with which keys


@dataclass(frozen=True)
class _Subject:
    """The journal that is asked about, and what opens it."""

    folder: Path
    noted: Path  # what is remembered of it elsewhere
    opener: "Opener"  # without `authentic` no signature can be looked at, and its `missing` says why
    installation: Callable[[], str]  # as its second copy is named; "" where none was ever


def _subject(parsed: argparse.Namespace) -> _Subject:
    """Raises config.invalid. No key is made where there is none: that is for the agent."""
    from agent.journal_keys import opener_of
    from agent.secrets import identity_was_used, secrets_of

    def settings() -> "Settings":
        from agent.options import Options, load_settings

        return load_settings(Options(config_file=parsed.config)).settings

    places = Places.simulated() if parsed.simulated else Places.real(settings().journal.directory)
    secrets = secrets_of(places.data, simulated=parsed.simulated, settings=settings)
    used = identity_was_used(places.data)
    opener = opener_of(secrets, places.data)
    if opener.missing and opener.missing.code not in (Code.KEYRING_ABSENT, Code.IDENTITY_DAMAGED):
        raise opener.missing
    return _Subject(places.journal, places.noted_head, opener, lambda: instance_id(places.data) if used else "")


def _to_the_end(run: Callable[[argparse.Namespace], int], parsed: argparse.Namespace) -> int:
    """Run a word; say in its own words why a journal cannot be read."""
    try:
        return run(parsed)
    except AgentError as error:
        if error.code not in _OUR_WORDS:
            raise
        reason = error.facts.get("reason")
        print(f"{_OUR_WORDS[error.code]}{f' : {reason}' if reason else ''}. [{error}]", file=sys.stderr)
        return 1


_OUR_WORDS = {  # the catalogue's sentences speak of a call that was not sent, and to a page
    Code.TRACE_UNKNOWN: "Identifiant inconnu : voir « insi-agent journal list »",
    Code.JOURNAL_FULL: "Pas assez de place sur le disque pour lire le journal",
    Code.JOURNAL_UNAVAILABLE: "Le journal n'a pas pu être lu",
}


# ---------------------------------------------------------------- list, show


def _list(parsed: argparse.Namespace) -> int:
    """Raises keyring.absent and identity.damaged where people are asked for; journal.full, journal.unavailable."""
    from agent.journal.apart import opened
    from agent.journal_words import line

    subject = _subject(parsed)
    teller = _teller(parsed, subject)
    with opened(subject.folder) as copy:
        chosen = _Chosen(parsed, subject, copy, teller)
        for event in chosen:
            told = teller.summary(event)
            print(json.dumps(told, ensure_ascii=False) if parsed.json else line(told))
        return chosen.said()


def _show(parsed: argparse.Namespace) -> int:
    """Raises trace.unknown, config.invalid for a file that cannot be written; journal.full, journal.unavailable."""
    from agent.journal.apart import opened
    from agent.journal_told import Note, Operation
    from agent.journal_words import story

    if (parsed.image or parsed.request) and not (parsed.simulated or "patients" in parsed.reveal):
        reason = "un message exact contient des données de patient : le demander avec --reveal patients"
        raise AgentError(Code.CONFIG_INVALID, "an exact message is personal data", setting="--reveal", reason=reason)
    subject = _subject(parsed)
    teller = _teller(parsed, subject)
    with opened(subject.folder) as copy:
        number = int(parsed.trace) if re.fullmatch("[0-9]{1,18}", parsed.trace) else None
        entries = copy.entries_of(parsed.trace) if number is None else copy.entries_with(number)
    if not entries:
        raise AgentError(Code.TRACE_UNKNOWN)
    event = Operation(entries) if entries[0].trace_id else Note(entries[0])
    attempts = event.attempts if isinstance(event, Operation) else []
    told = teller.whole(event)
    if parsed.json:
        print(json.dumps(told, ensure_ascii=False, indent=2))
    else:
        print("\n".join(story(told)))
    messages = [
        (parsed.image, "--image", [(number, teller.reply(outcome)) for number, _, outcome in attempts]),
        (parsed.request, "--request", [(number, teller.request(intent)) for number, intent, _ in attempts]),
    ]
    for file, option, found in messages:
        if file:
            _write_message(file, option, found, parsed.attempt)
    _say_what_is_missing(subject)
    return 0


def _write_message(file: Path, option: str, found: list[tuple[int, Any]], attempt: int | None) -> None:
    """The exact bytes of the attempt asked for, else of the last one that has any. Raises config.invalid."""
    from agent.journal_export import new_file
    from agent.journal_words import WHY

    kept = [part for number, part in found if isinstance(part, bytes) and attempt in (None, number)]
    if not kept:
        why = {part for number, part in found if attempt in (None, number)}
        reason = next((WHY[name] for name in WHY if name in why), "aucun n'est conservé pour cette tentative")
        raise AgentError(Code.CONFIG_INVALID, "no message", setting=option, reason=reason)
    with new_file(file, option) as write:
        write(kept[-1])


def _teller(parsed: argparse.Namespace, subject: _Subject) -> "Teller":
    """The first line on stderr says whose data is shown."""
    from agent.journal_told import Teller

    users, patients = bool(parsed.reveal), "patients" in parsed.reveal
    if users:
        whose = (
            "de patients, de professionnels et d'utilisateurs" if patients else "de professionnels et d'utilisateurs"
        )
        where = "ce fichier contient" if "output" in parsed else "ce qui suit contient"
        print(f"Attention : {where} des données personnelles {whose}.", file=sys.stderr)
    return Teller(subject.opener, users=users, patients=patients)


class _Chosen:
    """The operations and notes that the filters let through, one at a time."""

    def __init__(self, parsed: argparse.Namespace, subject: _Subject, copy: "Copy", teller: "Teller") -> None:
        """Raises keyring.absent, identity.damaged where people are asked for and cannot be read."""
        self._parsed, self._subject, self._copy, self._teller = parsed, subject, copy, teller
        self._asks_for_people = parsed.professional is not None or parsed.user is not None
        self._hidden = 0  # operations of which nobody knows who called
        self._check_keys()

    def __iter__(self) -> "Iterator[Operation | Note]":
        from agent.journal_told import Note, Operation
        from agent.model import rfc3339

        since, until = (rfc3339(at) if at else None for at in (self._parsed.since, self._parsed.until))
        for entries in self._copy.events(since, until):
            if not entries[0].trace_id:
                if self._notes(note := Note(entries[0])):
                    yield note
                continue
            operation = Operation(entries)
            if self._fits(operation) and (not self._asks_for_people or self._is_by(operation)):
                yield operation

    def _notes(self, note: "Note") -> bool:
        """It has nothing of an operation, which the other filters name."""
        asked = self._parsed
        others = (asked.software, asked.operation, asked.code, asked.origin, asked.professional, asked.user)
        return others == (None,) * len(others) and asked.environment in (None, *note.environments)

    def _fits(self, operation: "Operation") -> bool:
        asked = self._parsed
        return all(
            wanted is None or wanted in found
            for wanted, found in (
                (asked.software, [operation.software["name"]]),
                (asked.operation, [operation.clear.get("operation")]),
                (asked.code, operation.codes),
                (asked.origin, [operation.origin]),
                (asked.environment, [operation.clear.get("environment")]),
            )
        )

    def _is_by(self, operation: "Operation") -> bool:
        people = self._teller.called_by(operation)
        self._check_keys()
        if not isinstance(people, dict):
            self._hidden += 1
            return False
        number = str(people["professional"] or "")
        # the certificate puts a digit before the national number (RPPS, ADELI): either is meant
        return self._parsed.professional in (None, number, number[1:]) and self._parsed.user in (None, people["user"])

    def _check_keys(self) -> None:
        if self._asks_for_people and self._subject.opener.missing:
            raise self._subject.opener.missing

    def said(self) -> int:
        """Say what could not be read; the exit status that goes with it."""
        if self._hidden:
            says = f"Opérations dont l'appelant ne se lit pas (effacé, ou endommagé), non comprises : {self._hidden}"
            print(says, file=sys.stderr)
        for first, last in self._copy.unread:
            which = f"L'écriture {first} ne se lit" if first == last else f"Les écritures {first} à {last} ne se lisent"
            print(f"{which} pas : voir « insi-agent journal verify ».", file=sys.stderr)
        _say_what_is_missing(self._subject)
        return 1 if self._copy.unread else 0


def _say_what_is_missing(subject: _Subject) -> None:
    from agent.journal_words import in_words

    if missing := subject.opener.missing:
        says = "Les personnes et les messages ne se lisent pas ici"
        print(f"{says} : {in_words(missing)}", file=sys.stderr)


def _rotate_key(parsed: argparse.Namespace) -> int:
    from agent.journal_keys import rotate_key

    return rotate_key(parsed)


# ---------------------------------------------------------------- export


def _export(parsed: argparse.Namespace) -> int:
    """Raises as `_list`, and config.invalid for a file that is there already, or that cannot be written."""
    from agent.journal.apart import opened
    from agent.journal_export import Csv, Form, Json, new_file
    from agent.journal_told import Operation

    subject = _subject(parsed)
    teller = _teller(parsed, subject)
    with opened(subject.folder) as copy:
        chosen = _Chosen(parsed, subject, copy, teller)
        file = parsed.output or Path(_dated_name(parsed, copy.period()))
        operations, attempts, others = 0, 0, 0
        first: Entry | None = None
        last: Entry | None = None
        with new_file(file, "--output", replace=parsed.force) as write:
            form: Form = Csv(write, messages="patients" in parsed.reveal) if parsed.format == "csv" else Json(write)
            for event in chosen:
                told = teller.whole(event)
                form.add(told)
                if isinstance(event, Operation):
                    operations, attempts = operations + 1, attempts + len(event.attempts)
                else:
                    others += 1
                first = first or event.entries[0]
                last = max(last or first, event.entries[-1], key=lambda entry: entry.seq)
            form.end()
    beside = f", autres écritures {others}" if others else ""
    print(f"{file} : opérations {operations}, tentatives {attempts}{beside}")
    print(f"SHA-256 du fichier : {write.sha256}")
    if first and last:  # ties the file to the journal
        print(f"Dans la chaîne : écritures {first.seq} à {last.seq}, dernier lien {last.link}")
    return chosen.said()


def _dated_name(parsed: argparse.Namespace, period: tuple[str | None, str | None]) -> str:
    """A file's name made of two days and nothing else: nothing that stands in a journal names a file."""
    until = parsed.until - timedelta(milliseconds=1) if parsed.until else None
    days = []
    for wanted, there in zip((parsed.since, until), period, strict=True):
        moment = wanted or datetime.now(UTC)
        with suppress(ValueError):
            moment = wanted or datetime.fromisoformat(there or "")
        days.append(f"{moment.astimezone():%Y%m%d}")
    return f"insi-agent-journal-{'-'.join(days)}.{parsed.format}"


# ---------------------------------------------------------------- verify


def _verify(parsed: argparse.Namespace) -> int:
    """0 whole, 3 broken, 1 where it could not be looked at, or its signatures. Raises journal.full, .unavailable."""
    from agent.journal.apart import opened
    from agent.journal.chain import unlooked
    from agent.journal.files import noted_head
    from agent.journal.shipped import in_words
    from agent.journal_words import Found

    subject = _subject(parsed)
    authentic = subject.opener.authentic
    # its copy knows what was in it
    if parsed.shipped and not subject.folder.exists() and not noted_head(subject.noted, subject.folder):
        gone = _against_copy(parsed.shipped, subject, [])
        print(json.dumps({"shipped": asdict(gone)}, indent=2) if parsed.json else in_words(gone))
        return BROKEN if gone.fault else 1
    with opened(subject.folder, subject.noted) as copy:
        verdict = copy.verify(authentic or unlooked)
        fault = verdict.fault
        found = Found(
            folder=subject.folder,
            verdict=verdict,
            faulty_at=copy.moment_of(fault.seq) if fault else None,
            period=copy.period(),
            erased=copy.erased(),
            missing=None if authentic else subject.opener.missing,
        )
        shipped = _against_copy(parsed.shipped, subject, copy.entries()) if parsed.shipped else None
    if parsed.json:
        told = found.as_json() | ({"shipped": asdict(shipped)} if shipped else {})
        print(json.dumps(told, ensure_ascii=False, indent=2))
    else:
        print("\n".join([*found.sentences(), *([in_words(shipped)] if shipped else [])]))
    return BROKEN if fault or (shipped and shipped.fault) else 1 if found.missing else 0


def _against_copy(folder: Path, subject: _Subject, local: Iterable["Entry"]) -> "ShippedVerdict":
    """What the second copy in this folder shows. Raises journal.unavailable where it cannot be read."""
    from agent.journal.chain import unlooked
    from agent.journal.shipped import folder_of, verify_shipped

    return verify_shipped(folder_of(folder, subject.installation()), subject.opener.authentic or unlooked, local)
