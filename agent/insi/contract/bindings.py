"""How each operation is called and its answer read: one declarative file per operation. No I/O of its own.

WS_INS1 and WS_INS2 have a contract that we know; ours are beside this file. WS_INS3, 4 and 5 have no public
one: whoever holds the official package writes theirs, and no code. ws_ins3.toml to ws_ins5.toml show the form.
A path is the local names below the body's element, separated by slashes; `@name` as its last step is an attribute.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, StringConstraints, TypeAdapter, ValidationError

from agent.errors import AgentError, Code
from agent.insi.contract.shapes import Content
from agent.insi.operations import ITEM_VALUES, VALUES, Operation

_STEP = r"[A-Za-z_][A-Za-z0-9_.-]{0,99}"
ElementPath = Annotated[str, StringConstraints(pattern=rf"^({_STEP}(/{_STEP}){{0,15}}(/@{_STEP})?|@{_STEP})$")]
ElementName = Annotated[str, StringConstraints(pattern=rf"^\{{[^{{}}\s]{{1,300}}\}}{_STEP}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=300)]
ACTION = r"[!#-\[\]-~]{1,300}"  # it stands between quotes in an HTTP header


@dataclass(frozen=True)
class Items:
    """The element that stands once for each person of a batch."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    element: ElementPath
    values: Mapping[ElementPath, str]  # path below it → name of a person's value
    constants: Mapping[ElementPath, Text] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """What the body holds. A value that we do not have leaves its element out."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    element: ElementName
    values: Mapping[ElementPath, str]  # path → name of our value
    constants: Mapping[ElementPath, Text] = field(default_factory=dict)  # path → text that is always the same
    items: Items | None = None

    def content(self, values: Mapping[str, str | None], each: Sequence[Mapping[str, str | None]] = ()) -> Content:
        """What these values make; `each`: those of the persons of a batch."""
        content = _content(self, values)
        if self.items:
            content.repeat(self.items.element, [_content(self.items, one) for one in each])
        return content

    def paths(self) -> frozenset[str]:
        """Every path that is filled."""
        below = [f"{self.items.element}/{path}" for path in _filled(self.items)] if self.items else []
        return frozenset([*_filled(self), *below])


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
    items: ElementPath | None = None  # WS_INS5: the element that stands once for each person
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
    TWICE = "deux fichiers décrivent la même opération"
    ACTION = "aucune opération du contrat n'a cette action"
    ELEMENT = "l'opération du contrat a un autre élément"
    UNKNOWN = "ce chemin n'existe pas dans le contrat"
    UNFILLED = "le contrat exige cet élément, et rien ne le remplit"


PLACEHOLDER = "urn:insi-agent:placeholder:"

_SELF = "."  # the element's own text
_WSA = "{http://www.w3.org/2005/08/addressing}"

# The headers of every operation. wsse:Security is none of these: what it holds is signed already, and stays as it is.
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
    for key in _wrong_keys(binding):
        raise unfit(file, known, key, Reason.KEY)
    return binding


def unfit(file: str, operation: str, path: str, reason: Reason) -> AgentError:
    """contract.binding {file, operation, path, reason}."""
    detail = f"{file}: {operation} {path}: {reason.name}"
    facts = {"file": file, "operation": str(operation), "path": path[:300], "reason": reason.value}
    return AgentError(Code.CONTRACT_BINDING, detail, **facts)


@cache
def _reader() -> TypeAdapter[Binding]:
    return TypeAdapter(Binding)


def _wrong_keys(binding: Binding) -> Iterator[str]:
    """What pydantic cannot see: keys that lack, names that no value has, meanings of another operation."""
    operation, request, answer = binding.operation, binding.request, binding.answer
    for key in _WANTED.get(operation, ()):
        section, _, name = key.partition(".")
        if not getattr(getattr(binding, section), name):
            yield key
    if request.items and operation is not Operation.DEPOSIT:
        yield "request.items"
    tables = [("request.values", request.values, VALUES[operation])]
    if request.items:
        tables.append(("request.items.values", request.items.values, ITEM_VALUES))
    for where, values, names in tables:
        yield from (f"{where}.{path} = {name}" for path, name in values.items() if name not in names)
    for code, meaning in answer.outcomes.items():
        if meaning not in _MEANINGS.get(operation, set()):
            yield f"answer.outcomes.{code} = {meaning}"


def _filled(part: Request | Items) -> list[str]:
    return [*part.values, *part.constants]


def _content(part: Request | Items, values: Mapping[str, str | None]) -> Content:
    content = Content()
    texts = {path: values.get(name) for path, name in part.values.items()}
    for path, text in texts.items():
        if text is not None:
            content.put(path, text)
    for path, text in part.constants.items():
        beside = [given for other, given in texts.items() if other.startswith(path.rpartition("/")[0] + "/")]
        if "/" not in path or not beside or any(given is not None for given in beside):
            content.put(path, text)  # never alone in an element that no value opens
    return content
