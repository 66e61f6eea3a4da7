"""Read WSDL and XSD documents into values, by zeep. Blocks; loads zeep.

zeep is given our files for its transport, and forgotten once it has read: what it says of a schema is kept as
shapes. A sequence or a choice that may repeat is taken as elements that may.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from agent.insi.contract.files import Files, Trouble, unreadable
from agent.insi.contract.shapes import Shape

_SOAP = "http://www.w3.org/2003/05/soap-envelope"
_MAX_LOADS = 1_000  # documents may import one another under ever longer names


@dataclass(frozen=True)
class Declared:
    """An operation as a WSDL declares it."""

    name: str
    action: str
    file: str
    request: Shape | None  # the body's element; None where it is not one element
    answer: Shape | None
    request_schema: str | None  # address of the document that declares the request's element
    answer_schema: str | None  # of that of the answer's
    wants: frozenset[str]  # the headers that the WSDL lists
    headers: dict[str, Shape]  # of those that we were asked for, the ones that its schemas know


def declared(files: Files, headers: frozenset[str]) -> tuple[Declared, ...]:
    """Every SOAP 1.2 operation of these documents. Raises contract.unreadable."""
    from zeep.exceptions import Error
    from zeep.settings import Settings
    from zeep.wsdl import Document

    logging.getLogger("zeep").setLevel(logging.WARNING)  # it prints whole messages at DEBUG
    found: list[Declared] = []
    for address in files.wsdls:
        transport: Any = _Transport(files)
        try:
            document = Document(address, transport, settings=Settings(forbid_dtd=True))
            found += _operations(document, files.name(address), headers)
        except RecursionError:
            unreadable(files.name(address), Trouble.LOOP)
        # what zeep lets through when a document makes no sense: its own errors, and Python's
        except (Error, AttributeError, LookupError, TypeError, ValueError, RuntimeError, AssertionError) as error:
            unreadable(files.name(address), Trouble.NOT_A_CONTRACT, f"{type(error).__name__} {error}")
    if not found:
        unreadable(files.name(files.wsdls[0]), Trouble.NO_OPERATION)
    return tuple(found)


class _Transport:
    """What zeep takes for its transport: serves our files, to an end."""

    def __init__(self, files: Files) -> None:
        self._files, self._loads = files, 0

    def load(self, address: str) -> bytes:
        self._loads += 1
        if self._loads > _MAX_LOADS:
            unreadable(Files.name(address), Trouble.LOOP)
        return self._files.load(address)


def _operations(document: Any, file: str, headers: frozenset[str]) -> Iterator[Declared]:
    from zeep.exceptions import LookupError as Unknown
    from zeep.exceptions import NamespaceError
    from zeep.wsdl.bindings import Soap12Binding

    known: dict[str, Shape] = {}
    for name in sorted(headers):
        try:
            known[name] = _shape(document.types.get_element(name))
        except (Unknown, NamespaceError):
            continue
    for binding in document.bindings.values():
        if not isinstance(binding, Soap12Binding):
            continue
        operations: dict[str, Any] = binding._operations
        for operation in operations.values():
            request, answer = _body(operation.input), _body(operation.output)
            yield Declared(
                name=operation.name,
                action=operation.soapaction or "",
                file=file,
                request=request,
                answer=answer,
                request_schema=_place(document, request.name) if request else None,
                answer_schema=_place(document, answer.name) if answer else None,
                wants=frozenset(element.qname.text for _, element in operation.input.header.type.elements),
                headers=known,
            )


def _body(message: Any) -> Shape | None:
    element = getattr(message, "body", None)
    if element is None or not element.qname.namespace or element.qname.namespace == _SOAP:
        return None
    return _shape(element)


def _place(document: Any, name: str) -> str | None:
    namespace = name[1:].partition("}")[0]
    for schema in document.types.documents.get_by_namespace(namespace, True):
        if any(element.qname.text == name for element in schema._elements.values()):
            return str(schema._location)
    return None


def _shape(element: Any, above: tuple[Any, ...] = ()) -> Shape:
    least, most = element.min_occurs, element.max_occurs
    about = Shape(element.qname.text, "", least, None if most == "unbounded" else most)
    kind = element.type
    if not hasattr(kind, "elements_nested"):
        return replace(about, type=_base(kind))
    if any(kind is one for one in above):
        return about  # a type that holds itself: once is enough, nothing of ours goes that deep
    members: list[Shape] = []
    for name, part in kind.elements_nested:
        if name == "_value_1" and not isinstance(part, list) and hasattr(part, "type"):
            about = replace(about, type=_base(part.type))  # text beside attributes
        else:
            members += _members(part, (*above, kind), optional=False, repeated=False)
    for _, attribute in kind.attributes:
        if hasattr(attribute, "required"):  # not xs:anyAttribute
            required = int(attribute.required)
            members.append(Shape(attribute.qname.text, _base(attribute.type), required, attribute=True))
    # an element of several branches of a choice is one: where the first branch has it
    once = {(member.name, member.attribute): member for member in reversed(members)}
    return replace(about, members=tuple(reversed(once.values())))


def _members(part: Any, above: tuple[Any, ...], *, optional: bool, repeated: bool) -> Iterator[Shape]:
    """The elements of a sequence, a choice, a group; those of xs:any are not told."""
    from zeep.xsd.elements import Any as AnyElement
    from zeep.xsd.elements import Choice, Element
    from zeep.xsd.elements.indicators import Indicator

    if isinstance(part, AnyElement):
        return
    if isinstance(part, Indicator):
        optional = optional or isinstance(part, Choice) or part.min_occurs == 0
        repeated = repeated or part.max_occurs != 1
        inner_parts: Any = part
        for inner in inner_parts:
            yield from _members(inner, above, optional=optional, repeated=repeated)
    elif isinstance(part, Element):
        shape = _shape(part, above)
        yield replace(shape, least=0 if optional else shape.least, most=None if repeated else shape.most)


def _base(kind: Any) -> str:
    """The schema's own type below all restrictions."""
    from zeep.xsd.types import builtins

    known = {one: str(one._default_qname.localname) for one in builtins._types}
    return next((known[one] for one in type(kind).__mro__ if one in known), "anySimpleType")
