"""What `insi-agent journal` says of operations, notes and a chain, in the words of who reads it. No I/O of its own."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.errors import AgentError
from agent.journal.chain import Fault, FaultKind, Kind, Verdict
from agent.journal.ports import CUT_SHORT
from agent.journal_told import OPERATION, WHO, Unread


def line(told: dict[str, Any]) -> str:
    """One line: an operation, or another entry."""
    people = told["people"] if isinstance(told["people"], dict) else {}
    if told["kind"] != OPERATION:
        who = people.get("account")
        doubtful = _DOUBTFUL if told["doubtful"] else ""
        fields = [_local(told["at"]), happened(told), who, f"écriture {told['seq']}", doubtful]
        return _plain("  ".join(str(field) for field in fields if field))
    software = told["software"]
    fields = [
        _local(told["at"]),
        told["operation"],
        " ".join("(sans retour)" if code == CUT_SHORT else code for code in told["codes"]),
        told["environment"],
        f"{software['name']} {software['version']}",
        told["origin"],
        " ".join(people[name] for name in ("professional", "user") if people.get(name)),
        told["traceId"],
        _DOUBTFUL if told["doubtful"] else "",
    ]
    return _plain("  ".join(str(field) for field in fields if field))


_DOUBTFUL = "(!) modifiée : voir « insi-agent journal verify »"


def happened(told: dict[str, Any]) -> str:
    """What an entry says that is of no operation; its kind alone where it is none of ours, or does not say it so."""
    clear = told["clear"]
    try:
        return _HAPPENED[told["kind"]](clear)
    except (LookupError, TypeError, AttributeError):
        return f"écriture « {KINDS.get(told['kind'], told['kind'])} »"


def _switched(clear: dict[str, Any]) -> str:
    parts = []
    for name, same, other in (
        ("environment", "environnement {1}", "de l'environnement {0} à {1}"),
        ("profile", "profil {1}", "du profil {0} à {1}"),
    ):
        left, entered = clear["from"][name], clear["to"][name]
        parts.append((same if left == entered else other).format(left, entered))
    why = f", après un échec ({clear['why']})" if clear.get("why") else ""
    return f"{'retour' if why else 'passage'} {', '.join(parts)}{why}"


def _erased(clear: dict[str, Any]) -> str:
    found = clear.get("found")
    faulty = f" ; l'écriture {found['seq']} était altérée ({found['kind']})" if found else ""
    after = f", au bout de {clear['personalDays']} jours" if clear["personalDays"] else ""
    return f"données personnelles effacées jusqu'à l'écriture {clear['through']}{after}{faulty}"


_HAPPENED: dict[str, Callable[[dict[str, Any]], str]] = {
    Kind.SWITCH: _switched,
    Kind.HEAD_LOST: lambda clear: (
        "à l'ouverture, la dernière écriture n'était pas de ce poste, ou altérée : une fin a pu manquer"
        if clear.get("last")
        else f"aucune tête signée valable à l'ouverture ({clear['heads']} trouvée) : une fin a pu manquer"
    ),
    Kind.ERASURE: _erased,
    Kind.CHECKPOINT: lambda clear: (
        f"écritures sorties par la règle de conservation jusqu'à la {clear['through']} ({clear['entries']} en tout)"
    ),
}
KINDS = {  # of entries, and of what is told
    OPERATION: "opération",
    Kind.INTENT: "intention",
    Kind.OUTCOME: "retour",
    Kind.RESULT: "résultat",
    Kind.SWITCH: "changement",
    Kind.HEAD_LOST: "tête perdue",
    Kind.ERASURE: "effacement",
    Kind.CHECKPOINT: "point de départ",
}


def story(told: dict[str, Any]) -> Iterator[str]:
    """All of one operation, or of another entry, in lines that a person reads."""
    if told["kind"] != OPERATION:
        yield _plain(f"Écriture {told['seq']} : {happened(told)}")
        yield _plain(f"  Date : {_local(told['at'])}")
        if told["people"]:
            yield _plain(f"  Qui : {_people(told['people'])}")
        yield from _chain(told)
        return
    software = told["software"]
    yield _plain(f"Opération {told['traceId']}")
    yield _plain(
        f"  {told['operation']}, {told['environment']}, {told['authMode']}, {software['name']} {software['version']}, "
        f"{told['origin']}"
    )
    yield _plain(f"  Qui : {_people(told['people'])}")
    if told["clientRef"]:
        yield _plain(f"  Référence du logiciel : {told['clientRef']}")
    for attempt in told["attempts"]:
        came = (
            f"code {attempt['code']} « {attempt['label']} », {attempt['durationMs']} ms, HTTP {attempt['httpStatus']}"
        )
        if attempt["code"] == CUT_SHORT:
            came = "sans retour connu : l'agent s'est arrêté, ou le retour ne se lit plus"
        yield _plain(f"  Tentative {attempt['attempt']} : {_local(attempt['at'])}, {came}")
        yield _plain(f"    message {attempt['messageId']}, éléments envoyés : {_listed(attempt['given'])}")
        yield _plain(f"    SHA-256 de la demande {attempt['requestSha256']}, de la réponse {attempt['responseSha256']}")
    yield from _chain(told)
    for name, says in (("params", "Demande de la page"), ("result", "Résultat rendu à la page")):
        if told[name] is not None:
            yield f"  {says} :"
            yield _plain(json.dumps(told[name], ensure_ascii=False, indent=2), keep="\n")
    for attempt in told["attempts"]:
        for name, says in (("request", "Demande envoyée"), ("reply", "Réponse reçue")):
            if attempt[name] is not None:
                yield f"  {says}, tentative {attempt['attempt']} :"
                yield _plain(attempt[name], keep="\n\t")


def _chain(told: dict[str, Any]) -> Iterator[str]:
    yield "  Dans la chaîne :"
    for place in told["chain"]:
        part = (
            "partie personnelle effacée"
            if place["erased"]
            else f"partie personnelle sous la clé {place['personalKey']}"
            if place["personalKey"]
            else "sans partie personnelle"
        )
        kind = KINDS.get(place["kind"], place["kind"])
        yield _plain(f"    écriture {place['seq']} ({kind}), {_SIGNED[place['intact']]}, {part}")
        yield _plain(f"      lien {place['link']}")


WHY = {
    Unread.ERASED: "les données personnelles ont été effacées par la règle de conservation",
    Unread.NO_KEY: "sans les clés de ce poste, il ne se lit pas",
    Unread.DAMAGED: "il est endommagé, ou n'est pas ce qui a été écrit : voir « insi-agent journal verify »",
}
_SIGNED = {True: "signature valable", False: "MODIFIÉE ou non signée", None: "signature non regardée"}


def _people(people: Any) -> str:
    if not isinstance(people, dict):
        return WHY.get(people, "inconnu")
    return ", ".join(f"{WHO[name]} {value}" for name, value in people.items() if value) or "personne n'est nommé"


def _listed(names: Any) -> str:
    return ", ".join(map(str, names)) if isinstance(names, list) else "inconnus"


def _local(at: Any) -> str:
    """A moment of the journal as clocks show it here, with the offset; as it is where it is none."""
    try:
        return datetime.fromisoformat(at).astimezone().isoformat(" ", "seconds")
    except (ValueError, TypeError, OverflowError):
        return str(at)


def in_words(error: AgentError) -> str:
    """The catalogue's sentences."""
    return f"{error.row.title.fr} {error.row.action.fr} [{error}]"


def _plain(text: str, keep: str = "") -> str:
    """A text that moves no cursor: a journal that somebody wrote into may hold anything."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in keep else "?" for letter in text)


# ---------------------------------------------------------------- verify


@dataclass(frozen=True)
class Found:
    """What a verification found."""

    folder: Path
    verdict: Verdict
    faulty_at: str | None  # when the entry of the fault says it was written
    period: tuple[str | None, str | None]
    erased: int
    missing: AgentError | None  # why no signature was looked at

    def as_json(self) -> dict[str, Any]:
        verdict, fault = self.verdict, self.verdict.fault
        return {
            "whole": fault is None,
            "signatures": self.missing is None,
            "fault": {"kind": fault.kind, "entry": fault.seq, "at": self.faulty_at} if fault else None,
            "entries": verdict.entries,
            "left": verdict.left,
            "erased": self.erased,
            "first": self.period[0],
            "last": self.period[1],
            "clockBack": verdict.clock_back,
            "folder": str(self.folder),
        }

    def sentences(self) -> Iterator[str]:
        verdict = self.verdict
        if verdict.fault:
            yield from self._broken(verdict.fault)
        else:
            yield f"Journal entier : {verdict.entries} écritures{self._dates()}."
        if verdict.left:
            yield f"Parties avant elles par la règle de conservation, derrière un point signé : {verdict.left}."
        if self.erased:
            yield f"Données personnelles effacées : dans {self.erased} écritures."
        if verdict.clock_back:
            where = ", ".join(map(str, verdict.clock_back))
            yield f"Remarque : l'horloge du poste a reculé avant l'écriture {where} ; ce n'est pas une rupture."
        if self.missing:
            yield (
                "Les signatures n'ont pas été regardées, seulement les empreintes et les liens : qui les aurait tous "
                f"recalculés ne se verrait pas. {in_words(self.missing)}"
            )
        yield _CANNOT_SHOW

    def _broken(self, fault: Fault) -> Iterator[str]:
        at = f", datée du {_plain(_local(self.faulty_at))}" if self.faulty_at else ""
        yield f"Journal ROMPU à l'écriture {fault.seq}{at} : {FAULTS[fault.kind]} [{fault.kind}]"
        yield f"Écritures vérifiées avant : {self.verdict.entries}."
        yield (
            "Que faire : l'informatique arrête l'agent, garde ce dossier tel quel, sans rien y effacer ni réparer, en "
            f"fait une copie et appelle l'assistance : {self.folder}"
        )

    def _dates(self) -> str:
        first, last = self.period
        return f", du {_plain(_local(first))} au {_plain(_local(last))}" if first and last else ""


FAULTS = {
    FaultKind.CHANGED: "elle n'est plus celle qui a été enregistrée ; quelqu'un, ou le disque, l'a modifiée.",
    FaultKind.PART_CHANGED: "ce qu'elle contient a été modifié, échangé contre autre chose ou retiré.",
    FaultKind.ERASED: "ses données personnelles ont été effacées, et pas par la règle de conservation de l'agent.",
    FaultKind.MISSING: "elle n'est plus là ; elle a été retirée du fichier.",
    FaultKind.REORDERED: "une écriture authentique n'est pas à sa place ; l'ordre a été changé.",
    FaultKind.FORGED: "la clé de ce poste ne l'a pas signée : ajoutée, réécrite, ou venue d'un autre poste.",
    FaultKind.UNREADABLE: "le fichier y est endommagé, par le disque ou par quelqu'un ; la suite n'est pas vérifiée.",
    FaultKind.SHORTENED: "elle et les suivantes manquent ; une tête signée les connaît : la fin du fichier a été "
    "coupée, ou le journal supprimé, ou remis à un état plus ancien.",
    FaultKind.HEAD_MISSING: "les têtes signées (head-*.json) ont disparu ; une fin coupée ne se verrait pas.",
    FaultKind.HEAD_FORGED: "la clé de ce poste n'a pas signé la tête : remplacée, ou venue d'un autre poste.",
    FaultKind.HEAD_LOST: "l'agent a trouvé là un journal sans tête valable ; une fin a pu être coupée juste avant.",
    FaultKind.TWICE: "la même tentative en a déjà une de ce genre ; quelqu'un a caché la première à l'agent, le temps "
    "qu'il signe celle-ci, puis l'a remise. La première fait foi.",
    FaultKind.INDEX: "elle est entière, et la chaîne tient ; mais un index du fichier passe à côté d'elle, ou le "
    "fichier est endommagé entre les écritures : ce que l'agent rend aux logiciels peut l'omettre.",
    FaultKind.SCHEMA: "c'est la dernière, et la chaîne tient ; mais quelqu'un a mis dans le fichier, ou en a ôté, un "
    "déclencheur, une vue, une table ou un index : l'agent n'y écrit plus.",
}

_CANNOT_SHOW = (
    "Ce que la chaîne seule ne montre pas : un journal remis tout entier à un état plus ancien avec ce que le poste en "
    "retient ailleurs (journal-head.json), et ce qui serait fait avec la clé du poste. Une seconde copie "
    "(journal.ship), ou les reçus, le montrent."
)
