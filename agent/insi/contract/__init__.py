"""The contract of INSi: how each operation looks, from our own description or from the editor's official package.

Blocks, and loads zeep: the network lane's. Ours, in this folder, knows WS_INS1 and WS_INS2. WS_INS3, 4 and 5 have no
public contract: a placeholder of ours stands for each until the package and a binding file describe it.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from lxml import etree

from agent.errors import AgentError, Code
from agent.insi import envelope
from agent.insi.contract import check
from agent.insi.contract.bindings import HEADERS, AnswerShape, Binding, Reason, Request, read_binding, unfit
from agent.insi.contract.documents import Declared, declared
from agent.insi.contract.files import Files, Trouble, read_small, unreadable
from agent.insi.contract.schema import BodySchema
from agent.insi.contract.shapes import Content, Shape, Unfit, write
from agent.insi.contract.trial import NAME, TRIALS
from agent.insi.operations import PAGE_MAY_ADD, Operation, Query

__all__ = ["AnswerShape", "Binding", "Contract", "Package", "Request", "open_contract"]

log = logging.getLogger(__name__)

_OURS = Path(__file__).parent
_MAX_BINDINGS = 50


@dataclass(frozen=True)
class Package:
    """The documents of a contract, and what they declare."""

    files: Files
    operations: tuple[Declared, ...]

    @classmethod
    def read(cls, folder: Path, ours: "Package | None" = None) -> "Package":
        """`ours` has the headers and documents that the folder lacks. Raises contract.unreadable {file, reason}."""
        files = Files(folder, ours.files if ours else None)
        operations = declared(files, frozenset(header.element for header in HEADERS))
        headers: dict[str, Shape] = {}
        for operation in ours.operations if ours else operations:
            headers |= operation.headers
        return cls(files, tuple(replace(one, headers=headers | one.headers) for one in operations))

    def called(self, known: Binding) -> Declared | None:
        """The operation that ours is here: by its action, else by its name."""
        for same in (lambda one: one.action == known.action, lambda one: one.name == known.name):
            if found := next(filter(same, self.operations), None):
                return found
        return None


@dataclass(frozen=True)
class Bound:
    """An operation, its binding, and where it is declared."""

    binding: Binding
    declared: Declared | None
    files: Files

    @cached_property
    def faults(self) -> list[check.Fault]:
        """Where the binding does not hold, first of its paths, then of what it writes; with one nothing is called."""
        found = list(check.faults(self.binding, self.declared))
        trials = () if found else TRIALS[self.binding.operation]
        return found or list(dict.fromkeys(fault for query in trials for fault in self._try(query)))

    def shape(self, element: str) -> Shape:
        """Of the body or of a header, once the binding holds."""
        assert self.declared and self.declared.request, "the binding holds"
        body = self.declared.request
        return body if body.name == element else self.declared.headers[element]

    @cached_property
    def request_schema(self) -> BodySchema | None:
        """None where the request's schema is of no use to libxml2, which is logged."""
        one = self.declared
        return self._schema("requests", one.request_schema, one.request) if one else None

    @cached_property
    def answer_schema(self) -> BodySchema | None:
        """The same of the answer's."""
        one = self.declared
        return self._schema("answers", one.answer_schema, one.answer) if one else None

    def _schema(self, what: str, address: str | None, body: Shape | None) -> BodySchema | None:
        if address is None or body is None:
            return None
        try:
            return BodySchema(self.files, address, body)
        except etree.XMLSchemaParseError as error:
            log.warning("%s of %s are not checked: %s", what, self.binding.operation, error)
            return None

    def _try(self, query: Query) -> Iterator[check.Fault]:
        """What is wrong with the body that this query makes."""
        request = self.binding.request
        try:
            body = write(self.shape(request.element), request.content(*envelope.values(query)), etree.Element("essai"))
        except Unfit as error:
            if request.items and error.path == request.items.element:
                yield check.Fault(error.path, Reason.SCHEMA)  # it may not stand once for each
            # a page, or a card, may have what this query lacks; the first step of a search never does
            elif query.operation is Operation.BY_TRAITS or error.path not in request.named:
                yield check.Fault(error.path, Reason.UNFILLED)
            return
        for path in self.request_schema.faults(body, invented=NAME) if self.request_schema else []:
            yield check.Fault(path.partition("/")[2] or path, Reason.SCHEMA)


class Contract:
    """What may be asked of INSi here, and how."""

    def __init__(self, operations: Mapping[Operation, Bound | AgentError]) -> None:
        self._operations = operations

    def check(self, operation: Operation, *, simulated: bool) -> None:
        """Whether this operation may be called, of a simulated INSi or a real one.

        Raises contract.missing {operation} for one without binding, or with our placeholder's where INSi is real;
        contract.binding {file, operation, path, reason} for one whose binding does not hold.
        """
        if self.binding(operation).placeholder and not simulated:
            raise AgentError(Code.CONTRACT_MISSING, operation.value, operation=operation.value)

    def binding(self, operation: Operation) -> Binding:
        """How to call it. Raises contract.missing, contract.binding."""
        return self._bound(operation).binding

    def write(self, operation: Operation, request: Request, content: Content, into: Any) -> None:
        """Put the body of this operation, or one of its headers, into a message as its schema says.

        Raises traits.refused {member, rule: required} for what the schema wants and the page may add; contract.binding
        {path} for what it wants else and this content does not have.
        """
        bound = self._bound(operation)
        shape = bound.shape(request.element)
        namespace = shape.name[1:].partition("}")[0]
        try:
            write(shape, content, into, None if namespace in into.nsmap.values() else {"insi": namespace})
        except Unfit as error:
            member = request.named.get(error.path)
            if member in PAGE_MAY_ADD:
                detail = f"{operation} wants {member}"
                raise AgentError(Code.TRAITS_REFUSED, detail, member=member, rule="required") from None
            path = f"{shape.step}/{error.path}"
            raise unfit(bound.binding.file, operation, path, Reason.UNFILLED) from None

    def faults_of_answer(self, operation: Operation, body: Any) -> list[str]:
        """The paths where this answer (the lxml element in the body) differs from its schema; never what it says.

        Nothing where libxml2 cannot use the schema, which is logged once. Raises contract.missing, contract.binding.
        """
        schema = self._bound(operation).answer_schema
        return schema.faults(body) if schema else []

    def _bound(self, operation: Operation) -> Bound:
        found = self._operations[operation]
        if isinstance(found, AgentError):
            raise AgentError(found.code, found.detail, **found.facts)  # each raise its own: callers add facts
        for fault in found.faults:
            raise unfit(found.binding.file, operation, fault.path, fault.reason)
        return found


def open_contract(folder: Path | None, bindings: Path | None) -> Contract:
    """The contract of `insi.contract` and `insi.bindings`. None: our own, and the package's folder `bindings`.

    Raises contract.unreadable {file, reason}. A binding that does not hold is an error of its own operation alone.
    """
    package = own_package() if folder is None else Package.read(folder, own_package())
    return Contract(bind_all(package, read_bindings(folder, bindings)))


def bind_all(
    package: Package, bindings: Mapping[Operation | None, Binding | AgentError]
) -> dict[Operation, Bound | AgentError]:
    """Each operation by the integrator's binding, else by ours: on this package, or on our placeholder."""
    return {operation: _bind(operation, package, bindings) for operation in Operation}


def _bind(
    operation: Operation, package: Package, bindings: Mapping[Operation | None, Binding | AgentError]
) -> Bound | AgentError:
    ours = own_bindings()[operation]
    # a file that does not tell its operation may be meant for any that has no public contract
    theirs = bindings.get(operation) or (bindings.get(None) if ours.placeholder else None)
    if isinstance(theirs, AgentError):
        return theirs
    if theirs is None and not ours.placeholder:
        found = package.called(ours)
        theirs = _as_declared(ours, found) if found else None
        if theirs is None:
            return AgentError(Code.CONTRACT_MISSING, operation.value, operation=operation.value)
    binding, package = (theirs, package) if theirs else (ours, own_package())
    return Bound(binding, check.declaration(binding, package.operations), package.files)


def _as_declared(ours: Binding, found: Declared) -> Binding:
    """Our binding, with the action and the request's element that the package gives. The answer's answers.py reads."""
    request = replace(ours.request, element=found.request.name) if found.request else ours.request
    return replace(ours, action=found.action, request=request, file=found.file)


def read_bindings(folder: Path | None, bindings: Path | None) -> dict[Operation | None, Binding | AgentError]:
    """The integrator's, by operation; under None the error of a file that does not tell its operation.

    Raises contract.unreadable for a folder that cannot be read.
    """
    if bindings is None and (folder is None or not (folder / "bindings").is_dir()):
        return {}
    place = bindings or Path(folder or "", "bindings")
    found: dict[Operation | None, Binding | AgentError] = {}
    for file in _toml_files(place):
        operation, read = _read_binding(file)
        if operation is not None and operation in found:
            read = unfit(file.name, operation, "operation", Reason.TWICE)
        found[operation] = read
    return found


def _toml_files(place: Path) -> list[Path]:
    try:
        files = sorted(file for file in place.iterdir() if file.suffix.lower() == ".toml")
    except OSError as error:
        unreadable(place.name, Trouble.FOLDER, error.strerror or "")
    if len(files) > _MAX_BINDINGS:
        unreadable(place.name, Trouble.TOO_MANY)
    return files


def _read_binding(file: Path) -> tuple[Operation | None, Binding | AgentError]:
    try:
        binding = read_binding(read_small(file, file.name), file.name)
    except AgentError as error:
        named = error.facts.get("operation")
        return Operation(named) if named else None, error
    return binding.operation, binding


@cache
def own_package() -> Package:
    """Our own contract and our placeholder."""
    return Package.read(_OURS)


@cache
def own_bindings() -> dict[Operation, Binding]:
    """Ours, of every operation."""
    read = (read_binding(file.read_bytes(), file.name) for file in sorted(_OURS.glob("*.toml")))
    return {binding.operation: binding for binding in read}
