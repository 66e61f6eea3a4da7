"""The support bundle: one private zip that a person can read before they send it, and that holds nobody's data. ★

It is made on machines where things are broken: a part that fails becomes a line of the bundle, never its end.
Of the journal it tells how much and which codes, and of the operations chosen for it their messages, masked unless
whoever makes it says otherwise; of the settings everything but the numbers of professionals, structures and
authorisations, each replaced by the same short name throughout (S033).
"""

import io
import json
import os
import platform
import re
import sys
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import cached_property, partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import __version__
from agent.client import ask, find_agent
from agent.config import Loaded
from agent.doctor import Finding, examine
from agent.errors import AgentError, Code
from agent.journal_export import new_file
from agent.log import redact
from agent.masking import Pseudonyms
from agent.options import Options, load_settings
from agent.places import Places
from agent.support_traces import members

if TYPE_CHECKING:
    from agent.journal.chain import Entry
    from agent.journal_told import Opener

README = "LISEZ-MOI.txt"

_MASKED_VALUES = {  # the path of a setting, a star for any member or any row → what its value is called instead
    "software.*.authorisation.*": "autorisation",
    "software.*.structure": "structure",
    "cpx.billing_ids.*.professional": "professionnel",
    "cpx.billing_ids.*.structure": "structure",
    "cpx.billing_ids.*.value": "facturation",
    "proxy.user": "compte",
}
_MASKED_NAMES = {"cpx.activities": "professionnel", "cpx.specialities": "professionnel"}  # whose members' names are


@dataclass(frozen=True)
class Subject:
    """The agent, or the simulator, that the bundle is about."""

    simulated: bool
    config_file: Path | None

    def settings(self) -> Loaded:
        return load_settings(Options(simulate=self.simulated, config_file=self.config_file))

    def places(self) -> Places:
        if self.simulated:
            return Places.simulated()
        try:
            return Places.real(self.settings().settings.journal.directory)
        except (AgentError, OSError):
            return Places.real()  # wrong settings are said by their own part

    @cached_property
    def names(self) -> Pseudonyms:
        """One for the whole bundle: who is in a setting and in a trace has one name."""
        return Pseudonyms()

    @cached_property
    def opener(self) -> "Opener":
        """What opens the journal's personal parts. A keyring is asked once for the whole bundle."""
        from agent.journal_keys import opener_of
        from agent.secrets import secrets_of

        folder = self.places().data
        return opener_of(
            secrets_of(folder, simulated=self.simulated, settings=lambda: self.settings().settings), folder
        )


@dataclass(frozen=True)
class Wanted:
    """What a bundle tells beside what every bundle does."""

    traces: tuple[str, ...] = ()  # these operations
    last: int = 0  # and so many of the latest
    unmasked: bool = False  # their messages with the people in them
    context: str = ""  # what the person was doing, in their words


@dataclass(frozen=True)
class Bundle:
    """What was written, and which parts could not be made."""

    file: Path
    failed: tuple[str, ...]
    operations: int  # how many were added


def write_bundle(
    output: Path | None,
    *,
    now: datetime,
    simulated: bool,
    config_file: Path | None = None,
    wanted: Wanted | None = None,
    force: bool = False,
) -> Bundle:
    """Write the bundle to `output`, or here under a name with the date. `force`: also over a file that is there.

    Raises config.invalid when it cannot be; trace.unknown, before anything is written.
    """
    file = output or Path(f"insi-agent-support-{now:%Y%m%d-%H%M%S}.zip")
    subject, wanted = Subject(simulated, config_file), wanted or Wanted()
    parts: dict[str, Callable[[], Any]] = {name: partial(make, subject) for name, (_, make) in _PARTS.items()}
    operations = 0
    try:
        for operations, entries in enumerate(_operations(subject, wanted), start=1):
            parts |= members(operations, entries, subject.opener, subject.names, whole=wanted.unmasked)
    except AgentError as error:
        if error.code is Code.TRACE_UNKNOWN:
            raise
        parts["traces"] = partial(_raise, error)
    if wanted.context:
        parts["context.txt"] = partial(_context, wanted.context)
    parts |= {f"logs/{log.name}": partial(_log, log) for log in _logs(subject.places().log)}
    if not simulated:  # an agent that was switched to simulation goes on there
        parts |= {f"logs/simulated/{log.name}": partial(_log, log) for log in _logs(Places.simulated().log)}
    with new_file(file, "--output", replace=force) as write:
        made_of, failed = _made(parts)
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in {README: readme(failed, wanted, operations), **made_of}.items():
                archive.writestr(name, data)
        write(content.getvalue())
    return Bundle(file, tuple(failed), operations)


def _made(parts: Mapping[str, Callable[[], Any]]) -> tuple[dict[str, str | bytes], list[str]]:
    """What each part holds, and which could not be made."""
    made_of: dict[str, str | bytes] = {}
    failed = []
    for name, make in parts.items():
        try:
            made = make()
        except Exception as error:  # noqa: BLE001  (as the doctor: whatever is broken here is what support must learn)
            made = {"failed": _why(error)}
            failed.append(name)
        made_of[name] = made if isinstance(made, str | bytes) else _as_json(made)
    return made_of, failed


def readme(failed: Sequence[str], wanted: Wanted, operations: int) -> str:
    """What the bundle holds, in the words of who is asked to send it."""
    personal = warning(operations) if wanted.unmasked and operations else ""
    told = []
    if wanted.context:
        told.append("- context.txt : ce que la personne faisait, dans ses mots ; relire qu'aucun patient n'y est nommé")
    if wanted.traces or wanted.last:
        how = "messages NON MASQUÉS" if personal else "messages masqués : leur structure, leurs codes, leurs longueurs"
        told.append(f"- traces/ : opérations choisies, {operations} en tout ; ce qui s'est passé, et leurs {how}")
    nobody = "" if personal else "aucune donnée de patient, "
    but = [*(["dans ces messages"] if personal else []), *(["dans context.txt"] if wanted.context else [])]
    replaced = f"remplacés, sauf {' et '.join(but)}" if but else "remplacés"
    lines = [
        f"Dossier d'assistance d'INSi Agent {__version__}.",
        "",
        *([personal, ""] if personal else []),
        *told,
        *(f"- {name} : {says}" for name, (says, _) in _PARTS.items()),
        "- logs/ : les journaux techniques, filtrés une seconde fois",
        "",
        f"Il ne contient {nobody}aucun code de carte, aucune clé, aucun secret{UNREAD if wanted.context else ''}.",
        f"Les numéros des professionnels, des structures et d'autorisation y sont {replaced}.",
        "Les chemins de fichiers et les adresses des sites autorisés y figurent.",
        "Il se lit avec tout logiciel : le relire avant de l'envoyer.",
        *(["", f"N'a pas pu être relevé : {', '.join(failed)} (la raison y est écrite)."] if failed else []),
    ]
    return "\n".join(lines) + "\n"


UNREAD = ", hors context.txt, que personne n'a relu"  # no net knows a name


def warning(operations: int) -> str:
    """What whoever makes, holds and sends a bundle with whole messages must know."""
    whose = "de l'opération choisie" if operations == 1 else f"des {operations} opérations choisies"
    return (
        "ATTENTION : ce fichier contient des données personnelles, celles des patients "
        f"{whose} (identité, matricule INS) et de qui a fait l'appel.\n"
        "À transmettre par un canal sécurisé (messagerie sécurisée de santé, dépôt chiffré), jamais par courriel "
        "ordinaire, et à détruire ensuite."
    )


# ---------------------------------------------------------------- the parts


def _versions(_subject: Subject) -> dict[str, Any]:
    return {
        "agent": __version__,
        "python": sys.version,
        "platform": platform.platform(),
        "system": _system(),
        "frozen": bool(getattr(sys, "frozen", False)),
        "desktop": {name: os.environ.get(name) for name in ("XDG_SESSION_TYPE", "XDG_CURRENT_DESKTOP")},
        "packages": dict(_packages()),
    }


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _packages() -> Iterator[tuple[str, str]]:
    """The outside packages that the agent asks for, as they are installed here; the frozen program does not know."""
    known: list[str] = []
    with suppress(metadata.PackageNotFoundError):
        known = metadata.requires("insi-agent") or []
    for asked in known:
        if "extra ==" not in asked:
            name = re.split(r"[^A-Za-z0-9._-]", asked)[0]
            with suppress(metadata.PackageNotFoundError):  # of another system
                yield name, metadata.version(name)


def _settings(subject: Subject) -> dict[str, Any]:
    loaded = subject.settings()
    mask = _Mask(subject.names)
    values = mask.masked(loaded.settings.model_dump(), ())
    return {"values": values, "sources": {mask.path(path): source for path, source in loaded.sources.items()}}


def _doctor(subject: Subject) -> list[dict[str, Any]]:
    return [_without_structures(finding).as_json() for finding in examine(subject.config_file)]


def _without_structures(finding: Finding) -> Finding:
    says = finding.says
    for number in finding.structures:
        says = says.replace(number, "[structure]")
    return replace(finding, says=says)


def _status(subject: Subject) -> dict[str, Any] | None:
    try:
        return ask(find_agent(simulated=subject.simulated), ("agent.status", {}))[0]
    except AgentError as error:
        if error.code is not Code.AGENT_NOT_RUNNING:
            raise
        return None


def _journal(subject: Subject) -> dict[str, Any] | None:
    from agent.journal.apart import survey

    places = subject.places()
    found = survey(places.journal, places.noted_head)
    return asdict(found) if found else None


def _lines(subject: Subject) -> str:
    """What log files no longer hold: the first lines since the start."""
    try:
        told = ask(find_agent(simulated=subject.simulated), ("agent.lines", {}))[0]["lines"]
    except AgentError as error:
        if error.code is not Code.AGENT_NOT_RUNNING:
            raise
        told = ["L'agent n'est pas en marche."]
    return "".join(f"{redact(line)}\n" for line in told)


def _operations(subject: Subject, wanted: Wanted) -> list[list["Entry"]]:
    """The entries of each operation that is wanted. Raises trace.unknown, journal.full, journal.unavailable."""
    from agent.journal.apart import opened
    from agent.journal.files import FILE

    folder = subject.places().journal
    found: dict[str, list[Entry]] = {}
    if (wanted.traces or wanted.last) and (folder / FILE).exists():
        with opened(folder) as copy:
            found |= {trace: copy.entries_of(trace) for trace in wanted.traces if trace}
            if wanted.last:
                found |= {one[0].trace_id: one for one in deque(copy.operations(), wanted.last)}
    if not all(found.get(trace) for trace in wanted.traces):
        raise AgentError(Code.TRACE_UNKNOWN)
    return sorted(found.values(), key=lambda one: one[0].seq)


def _context(said: str) -> str:
    return f"{redact(said[:_CONTEXT_CHARACTERS])}\n"


def _raise(error: AgentError) -> None:
    raise error


_CONTEXT_CHARACTERS = 10_000
_PARTS: dict[str, tuple[str, Callable[[Subject], Any]]] = {
    "versions.json": ("versions de l'agent, du système et des composants", _versions),
    "settings.json": ("les réglages et d'où vient chacun, numéros masqués", _settings),
    "doctor.json": ("ce que dit « insi-agent doctor » de ce poste", _doctor),
    "status.json": ("l'état de l'agent en marche", _status),
    "journal.json": ("combien d'appels et avec quels codes ; aucune donnée personnelle", _journal),
    "lines.txt": ("les premières et les dernières lignes du journal technique de l'agent en marche", _lines),
}


def _logs(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.glob("agent.log*")) if re.fullmatch(r"agent\.log(\.\d{1,2})?", file.name)]


def _log(file: Path) -> str:
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return "".join(f"{redact(line)}\n" for line in lines)


# ---------------------------------------------------------------- what is left out


class _Mask:
    """The same number under the same short name, so that support sees which rows belong together."""

    def __init__(self, names: Pseudonyms) -> None:
        self._called = names.called

    def masked(self, value: Any, path: tuple[str, ...]) -> Any:
        """The settings without numbers of people; `path` is where `value` stands."""
        if isinstance(value, Mapping):
            kind = _MASKED_NAMES.get(".".join(path))
            return {
                self._called(kind, name) if kind else name: self.masked(member, (*path, name))
                for name, member in value.items()
            }
        if isinstance(value, list):
            return [self.masked(row, (*path, "*")) for row in value]
        kind = next((kind for row, kind in _MASKED_VALUES.items() if _fits(path, row)), None)
        return self._called(kind, value) if kind and value is not None else value

    def path(self, path: str) -> str:
        """The path of a setting, as its value is shown."""
        for above, kind in _MASKED_NAMES.items():
            if path.startswith(f"{above}."):
                return f"{above}.{self._called(kind, path.removeprefix(f'{above}.'))}"
        return path


def _fits(path: tuple[str, ...], row: str) -> bool:
    wanted = row.split(".")
    return len(path) == len(wanted) and all(star in ("*", name) for name, star in zip(path, wanted, strict=True))


def _as_json(value: Any) -> str:
    return json.dumps(_redacted(value), ensure_ascii=False, indent=2) + "\n"


def _redacted(value: Any) -> Any:
    """Every text once more through the net of the log; a path is kept, however long."""
    if isinstance(value, Mapping):
        return {redact(str(name)): _redacted(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(member) for member in value]
    if isinstance(value, str):
        return redact(value)
    return str(value) if isinstance(value, Path) else value


def _why(error: Exception) -> str:
    """What happened, without what an outside library says of it."""
    return str(error) if isinstance(error, AgentError) else type(error).__name__
