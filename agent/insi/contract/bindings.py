"""How each operation is called and its answer read: one declarative file per operation. No I/O of its own.

WS_INS1 and WS_INS2 have a contract that we know; ours are beside this file. WS_INS3, 4 and 5 have no public
one: whoever holds the official package writes theirs, and no code. ws_ins3.toml to ws_ins5.toml show the form.
A path is the local names below the body's element, separated by slashes; `@name` as its last step is an attribute,
and `.` alone is the element itself. `{namespace}name` is a step too: the one to write where two members have the
same local name. A value goes as envelope.py makes it: a contract that wants a date or a sex in another form needs code.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, StringConstraints, TypeAdapter, ValidationError

from agent.errors import AgentError, Code
from agent.insi.contract.shapes import Content, steps_of
from agent.insi.operations import ITEM_VALUES, VALUES, Operation, Use

_NAMESPACE = r"\{[^{}\s]+\}"
_NAME = r"[A-Za-z_][A-Za-z0-9_.-]*"
_STEP = f"({_NAMESPACE})?{_NAME}"
_STEPS = rf"{_STEP}(/{_STEP}){{0,15}}"
_MAX = 1_000
ElementPath = Annotated[str, StringConstraints(pattern=rf"^(\.|{_STEPS}(/@{_STEP})?|@{_STEP})$", max_length=_MAX)]
RepeatedPath = Annotated[str, StringConstraints(pattern=f"^{_STEPS}$", max_length=_MAX)]  # it stands once for each
ElementName = Annotated[str, StringConstraints(pattern=f"^{_NAMESPACE}{_NAME}$", max_length=_MAX)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=300)]
Constant = Annotated[str, StringConstraints(max_length=300)]  # empty: an element that is there, and no more
ACTION = r"[!#-\[\]-~]{1,300}"  # it stands between quotes in an HTTP header


@dataclass(frozen=True)
class Items:
    """The element that stands once for each person of a batch."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    element: RepeatedPath
    values: Mapping[ElementPath, str]  # path below it → name of a person's value
    constants: Mapping[ElementPath, Constant] = field(default_factory=dict)
    omits: tuple[str, ...] = ()

    def seen_from_above(self, texts: Mapping[str, str]) -> dict[str, str]:
        """These by their paths below the body's element."""
        return {self.element if path == _SELF else f"{self.element}/{path}": text for path, text in texts.items()}


@dataclass(frozen=True)
class Request:
    """What the body holds. A value that we do not have leaves its element out."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    element: ElementName
    values: Mapping[ElementPath, str]  # path → name of our value
    constants: Mapping[ElementPath, Constant] = field(default_factory=dict)  # path → text that is always the same
    omits: tuple[str, ...] = ()  # the values that it leaves out on purpose
    items: Items | None = None

    def content(self, values: Mapping[str, str | None], each: Sequence[Mapping[str, str | None]] = ()) -> Content:
        """What these values make; `each`: those of the persons of a batch."""
        content = _content(self, values)
        if self.items:
            content.repeat(self.items.element, [_content(self.items, one) for one in each])
        return content

    def paths(self) -> frozenset[str]:
        """Every path that is filled."""
        below = self.items.seen_from_above(self.items.constants) if self.items else {}
        return frozenset([*self.named, *self.constants, *below])

    @property
    def named(self) -> dict[str, str]:
        """Every path that a value fills, with its name."""
        return {**self.values, **(self.items.seen_from_above(self.items.values) if self.items else {})}


@dataclass(frozen=True)
class AnswerShape:
    """Where things are in the answer."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    element: ElementName  # the body's
    code: ElementPath
    label: ElementPath | None = None
    outcomes: Mapping[Text, Literal["verified", "notVerified", "accepted", "ready", "pending"]] = field(
        default_factory=dict
    )  # INSi's code → what it means
    batch: ElementPath | None = None  # WS_INS4: INSi's name of the batch
    items: RepeatedPath | None = None  # WS_INS5: the element that stands once for each person
    item_reference: ElementPath | None = None  # below `items`: ours, as it was deposited
    item_code: ElementPath | None = None
    item_label: ElementPath | None = None
    item_outcomes: Mapping[Text, Literal["verified", "notVerified"]] = field(default_factory=dict)


@dataclass(frozen=True)
class Binding:
    """One operation on the wire."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    operation: Operation
    action: Annotated[str, StringConstraints(pattern=f"^{ACTION}$")]  # wsa:Action and the content type's action
    request: Request
    answer: AnswerShape
    name: Text | None = None  # of the WSDL's operation, where its action may be another
    file: str = ""  # where it is written, for whoever mends it

    @property
    def placeholder(self) -> bool:
        """Invented by us, for the simulator: never for a real INSi."""
        return self.action.startswith(PLACEHOLDER)


class Reason(StrEnum):
    """What is wrong at the path named, for whoever writes bindings."""

    TOML = "le fichier n'est pas un TOML lisible"
    KEY = "cette clé manque, est inconnue, ou sa valeur n'est pas permise"
    NEEDED = "aucun chemin n'envoie cette valeur, sans laquelle la demande serait une autre"
    LEFT_OUT = "aucun chemin n'envoie cette valeur : la nommer dans omits si c'est voulu"
    TWICE = "deux fichiers décrivent la même opération"
    ACTION = "aucune opération du contrat n'a cette action"
    ELEMENT = "l'opération du contrat a un autre élément"
    UNKNOWN = "ce chemin n'existe pas dans le contrat"
    AMBIGUOUS = "plusieurs éléments du contrat portent ce nom : l'écrire avec son espace de noms, {espace}nom"
    REPEATED = "le contrat permet plusieurs fois cet élément, et un seul se lit"
    UNFILLED = "le contrat exige cet élément, et rien ne le remplit"
    SCHEMA = "un message d'essai écrit d'après cette description ne suit pas le schéma, à cet endroit"
    HEADER = "en-tête que l'agent n'envoie pas"


PLACEHOLDER = "urn:insi-agent:placeholder:"

_SELF = "."  # the element's own text
_RESULT = "{http://www.cnamts.fr/INSiResultat}RESULTAT"  # what answers.py reads of a search
_WSA = "{http://www.w3.org/2005/08/addressing}"

# What it holds is signed already, and stays as it is.
SECURITY = "{http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd}Security"

# The other headers of every operation.
ADDRESSING = (
    Request(f"{_WSA}MessageID", {_SELF: "messageId"}),
    Request(f"{_WSA}Action", {_SELF: "action"}),
)
CONTEXTS = (
    Request(
        "{urn:siram:bam:ctxbam}ContexteBAM",
        {
            "@Version": "bamVersion",
            "Id": "bamId",
            "Temps": "at",
            "Emetteur": "emitter",
            # COUVERTURE itself is always there: the schema wants it, be it empty
            "COUVERTURE/ASSURE/Id/Num": "coverNirOfInsured",
            "COUVERTURE/BENEFICIAIRE/Nir/Num": "coverCertifiedNir",
            "COUVERTURE/BENEFICIAIRE/DateNai": "coverBirthDate",
            "COUVERTURE/BENEFICIAIRE/Rang": "coverRank",
        },
        {"@Nature": "CTXBAM"},
    ),
    Request(
        "{urn:siram:lps:ctxlps}ContexteLPS",
        {
            "@Version": "lpsVersion",
            "Id": "lpsId",
            "Temps": "at",
            "Emetteur": "emitter",
            "LPS/IDAM": "authorisation",
            "LPS/Version": "softwareVersion",
            "LPS/Instance": "instance",
            "LPS/Nom": "nom",
        },
        {"@Nature": "CTXLPS", "LPS/IDAM/@R": "4"},
    ),
)
HEADERS = (*ADDRESSING, *CONTEXTS)

# What an operation's binding cannot do without, and what its codes may mean.
_WANTED = {
    Operation.VERIFY: ("answer.outcomes",),
    Operation.DEPOSIT: ("request.items", "answer.outcomes", "answer.batch"),
    Operation.FETCH: (
        *("answer.outcomes", "answer.items", "answer.item_reference", "answer.item_code", "answer.item_outcomes"),
    ),
}
_MEANINGS = {
    Operation.VERIFY: {"verified", "notVerified"},
    Operation.DEPOSIT: {"accepted"},
    Operation.FETCH: {"ready", "pending"},
}


def read_binding(content: bytes, file: str) -> Binding:
    """The binding in this TOML file. Raises contract.binding; `operation` is empty where the file does not tell it."""
    try:
        table = tomllib.loads(content.decode("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise unfit(file, "", str(error), Reason.TOML) from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise unfit(file, "", type(error).__name__, Reason.TOML) from None
    operation = table.get("operation")
    known = operation if operation in list(Operation) else ""
    try:
        binding = _reader().validate_python({**table, "file": file})
    except ValidationError as error:
        steps = error.errors(include_input=False, include_url=False)[0]["loc"]
        key = ".".join(str(step) for step in steps if step != "[key]")
        raise unfit(file, known, key, Reason.KEY) from None
    for key, reason in _wrong_keys(binding):
        raise unfit(file, known, key, reason)
    return binding


def unfit(file: str, operation: str, path: str, reason: Reason) -> AgentError:
    """contract.binding {file, operation, path, reason}."""
    detail = f"{file}: {operation} {path}: {reason.name}"
    facts = {"file": file, "operation": str(operation), "path": path[:300], "reason": reason.value}
    return AgentError(Code.CONTRACT_BINDING, detail, **facts)


@cache
def _reader() -> TypeAdapter[Binding]:
    return TypeAdapter(Binding)


def _wrong_keys(binding: Binding) -> Iterator[tuple[str, Reason]]:
    """What pydantic cannot see: keys that lack, names that no value has, values unsent, meanings of another."""
    operation, request, answer = binding.operation, binding.request, binding.answer
    for key in _WANTED.get(operation, ()):
        section, _, name = key.partition(".")
        if not getattr(getattr(binding, section), name):
            yield key, Reason.KEY
    if request.items and operation is not Operation.DEPOSIT:
        yield "request.items", Reason.KEY
    yield from _wrong_values("request", request, VALUES[operation])
    if request.items:
        yield from _wrong_values("request.items", request.items, ITEM_VALUES)
    if operation not in _MEANINGS and answer.element != _RESULT:
        yield f"answer.element = {answer.element}", Reason.KEY
    for code, meaning in answer.outcomes.items():
        if meaning not in _MEANINGS.get(operation, set()):
            yield f"answer.outcomes.{code} = {meaning}", Reason.KEY


def _wrong_values(where: str, part: Request | Items, uses: Mapping[str, Use]) -> Iterator[tuple[str, Reason]]:
    sent = set(part.values.values())
    yield from (
        (f"{where}.values.{path} = {name}", Reason.KEY) for path, name in part.values.items() if name not in uses
    )
    for name in part.omits:
        if name in sent or uses.get(name) is not Use.OMITTED:
            yield f"{where}.omits = {name}", Reason.KEY
    for name, use in sorted(uses.items(), key=lambda one: one[1] is Use.OMITTED):  # what is worse first
        if use is not Use.FREE and name not in sent.union(part.omits):
            yield f"{where}.values = {name}", Reason.NEEDED if use is Use.SENT else Reason.LEFT_OUT


def _content(part: Request | Items, values: Mapping[str, str | None]) -> Content:
    content = Content()
    texts = {path: values.get(name) for path, name in part.values.items()}
    for path, text in texts.items():
        if text is not None:
            content.put(path, text)
    for path, text in part.constants.items():
        above = steps_of(path)[:-1]
        beside = [given for other, given in texts.items() if steps_of(other)[: len(above)] == above]
        if not above or not beside or any(given is not None for given in beside):
            content.put(path, text)  # never alone in an element that no value opens
    return content
