"""Hold bindings and contracts against one another. No I/O of its own."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from agent.insi.contract.bindings import ACTION, HEADERS, SECURITY, AnswerShape, Binding, Reason, Request
from agent.insi.contract.documents import Declared
from agent.insi.contract.shapes import Shape, steps_of, unfilled

_SENT = frozenset([SECURITY, *(header.element for header in HEADERS)])


@dataclass(frozen=True)
class Fault:
    """Where a binding does not hold."""

    path: str
    reason: Reason


def declaration(binding: Binding, operations: tuple[Declared, ...]) -> Declared | None:
    """The operation that this binding calls: of its action, and among several of its element."""
    found = [operation for operation in operations if operation.action == binding.action]
    same = [one for one in found if one.request and one.request.name == binding.request.element]
    return [*same, *found, None][0]


def faults(binding: Binding, operation: Declared | None) -> Iterator[Fault]:
    """What this binding names that the contract does not have, and what the contract wants and nothing fills."""
    if operation is None or not re.fullmatch(ACTION, binding.action):
        yield Fault(f"action = {binding.action}", Reason.ACTION)
        return
    request, answer = operation.request, operation.answer
    if request is None or request.name != binding.request.element:
        yield Fault(f"request.element = {binding.request.element}", Reason.ELEMENT)
    else:
        yield from _faults_of_request(binding.request, request)
    if answer is None or answer.name != binding.answer.element:
        yield Fault(f"answer.element = {binding.answer.element}", Reason.ELEMENT)
    else:
        yield from _faults_of_answer(binding.answer, answer)
    for header in HEADERS:
        shape = operation.headers[header.element]
        yield from (Fault(f"{shape.step}/{fault.path}", fault.reason) for fault in _faults_of_request(header, shape))
    yield from (Fault(name, Reason.HEADER) for name in sorted(operation.wants - _SENT))


def _faults_of_request(request: Request, shape: Shape) -> Iterator[Fault]:
    paths = request.paths()
    for path in sorted(paths):
        found = shape.at(path)
        if found is None or not found.type:
            yield Fault(path, _why_not(shape, path))
    yield from (Fault(path, Reason.UNFILLED) for path in unfilled(shape, paths))


def _faults_of_answer(answer: AnswerShape, shape: Shape) -> Iterator[Fault]:
    yield from _faults_of_reading(shape, "", (answer.code, answer.batch), (answer.label, answer.items))
    items = shape.at(answer.items) if answer.items else None
    if items is not None:
        once = (answer.item_reference, answer.item_code)
        yield from _faults_of_reading(items, f"{answer.items}/", once, (answer.item_label,))


def _faults_of_reading(
    shape: Shape, above: str, once: tuple[str | None, ...], often: tuple[str | None, ...]
) -> Iterator[Fault]:
    """`once`: what decides, so that two of it would be a question; `often`: the paths that may lead to several."""
    for path in filter(None, (*once, *often)):
        if shape.at(path) is None:
            yield Fault(above + path, _why_not(shape, path))
        elif path in once and path != "." and any(step.most != 1 for step in shape.along(path)):
            yield Fault(above + path, Reason.REPEATED)


def _why_not(shape: Shape, path: str) -> Reason:
    """Of a path that leads nowhere."""
    found = shape.along(path)
    if len(found) == len(steps_of(path)):
        return Reason.UNKNOWN  # an element that holds no text
    step = steps_of(path)[len(found)]
    last = found[-1] if found else shape
    return Reason.AMBIGUOUS if any(member.step == step for member in last.members) else Reason.UNKNOWN


# ---------------------------------------------------------------- a contract beside another


class Kind(StrEnum):
    """How two contracts differ at a place. `{ours}` and `{theirs}` are what each of them says."""

    MISSING = "manque dans ce contrat"
    ADDED = "est ajouté, facultatif"
    WANTED = "est ajouté, et obligatoire"
    TYPE = "est de type {theirs} au lieu de {ours}"
    NUMBER = "peut être présent {theirs} fois au lieu de {ours}"
    ORDER = "n'est pas au même rang"
    ACTION = "a l'action {theirs} au lieu de {ours}"
    ELEMENT = "a l'élément {theirs} au lieu de {ours}"


_NOT_READ = {"TypeMatricule", "Prenom"}  # of an answer: answers.py has no use for them


@dataclass(frozen=True)
class Difference:
    """One, at a path that begins with the body's element or a header."""

    path: str
    kind: Kind
    matters: bool  # a message would lack something, or an answer be misread
    ours: str = ""
    theirs: str = ""


def differences(binding: Binding, ours: Declared, theirs: Declared) -> Iterator[Difference]:
    """How another contract's operation differs from ours, which `binding` fits: call, body, answer, headers.

    Its own action and the name of its request are used, its order is kept: they do not matter.
    """
    if ours.action != theirs.action:
        yield Difference("action", Kind.ACTION, False, ours.action, theirs.action)
    for mine, other, sent in (
        (ours.request, theirs.request, binding.request.paths()),
        (ours.answer, theirs.answer, None),
    ):
        if mine is None or other is None or mine.name != other.name:
            what = "request" if sent else "answer"
            yield Difference(
                what, Kind.ELEMENT, not (sent and other), mine.name if mine else "-", other.name if other else "-"
            )
        else:
            yield from _between(mine, other, sent)
    for header in HEADERS:
        yield from _between(ours.headers[header.element], theirs.headers[header.element], header.paths())


def _between(ours: Shape, theirs: Shape, sent: frozenset[str] | None, above: str = "") -> Iterator[Difference]:
    """`sent`: the paths that we fill; None for what is read. Members are told apart by their whole name."""
    head = above or ours.step

    def at(step: str) -> str:
        return f"{head}/{step}"

    def used(step: str) -> bool:
        below = at(step).partition("/")[2]
        if sent is None:
            return step not in _NOT_READ
        return any(path == below or path.startswith(f"{below}/") for path in sent)

    mine, others = ({member.name: member for member in shape.members} for shape in (ours, theirs))
    for name, member in mine.items():
        other, step = others.get(name), member.step
        if other is None:
            yield Difference(at(step), Kind.MISSING, used(step))
            continue
        if member.type != other.type:
            yield Difference(at(step), Kind.TYPE, used(step), member.type or "-", other.type or "-")
        if _number(member) != _number(other):
            yield Difference(at(step), Kind.NUMBER, False, _number(member), _number(other))
        yield from _between(member, other, sent, at(step))
    for name, other in others.items():
        if name not in mine:
            wanted = bool(other.least)
            yield Difference(at(other.step), Kind.WANTED if wanted else Kind.ADDED, wanted and sent is not None)
    in_ours, in_theirs = [name for name in mine if name in others], [name for name in others if name in mine]
    moved = [name for name, there in zip(in_ours, in_theirs, strict=True) if name != there]
    yield from (Difference(at(mine[name].step), Kind.ORDER, False) for name in moved[:1])


def _number(shape: Shape) -> str:
    return f"{shape.least}..{'n' if shape.most is None else shape.most}"
