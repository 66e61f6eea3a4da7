"""Look at a message beside its schema, by libxml2: where they differ, never what is written there."""

from collections.abc import Iterable, Iterator
from typing import Any

from lxml import etree

from agent.errors import AgentError
from agent.insi.contract.files import Files, parsed
from agent.insi.contract.shapes import Shape

_XS = "{http://www.w3.org/2001/XMLSchema}"
_MAX_FAULTS = 20


class BodySchema:
    """The schema of one request or answer."""

    def __init__(self, files: Files, address: str, body: Shape) -> None:
        """`address`: the document that declares it. Raises lxml's XMLSchemaParseError where libxml2 cannot use it."""
        self._body = body
        self._validator = etree.XMLSchema(_declaring(files, address, body.name))

    def faults(self, element: Any, *, invented: str | None = None) -> list[str]:
        """The paths where this element differs, each once; `?` is a name that the schema does not have.

        `invented`: a text of which no form is asked, as long as it is in its place.
        """
        if self._validator.validate(element):
            return []
        known = set(_steps(self._body))
        errors = [error for error in self._validator.error_log if not invented or f"'{invented}'" not in error.message]
        return list({"/".join(_path(element, error.path or "", known)): None for error in errors})[:_MAX_FAULTS]


def _declaring(files: Files, address: str, name: str) -> Any:
    """The schema that declares this element: the document itself, or one of those that a WSDL holds."""
    inner = _Inner(files)
    root = parsed(files.load(address), address, inner)
    if root.tag == f"{_XS}schema":
        return root
    namespace, local = name[1:].split("}")
    schemas = root.findall(f"{{*}}types/{_XS}schema")
    for number, schema in enumerate(schemas):
        inner.schemas[f"{address}.{number}.xsd"] = schema
    places = {schema.get("targetNamespace"): place for place, schema in inner.schemas.items()}
    for schema in schemas:  # those of one WSDL know one another without saying where they are
        for imported in schema.iterfind(f"{_XS}import"):
            if imported.get("schemaLocation") is None and imported.get("namespace") in places:
                imported.set("schemaLocation", places[imported.get("namespace")])
    for schema in schemas:
        if schema.get("targetNamespace") == namespace and schema.find(f"{_XS}element[@name='{local}']") is not None:
            return parsed(etree.tostring(schema), address, inner)  # with the prefixes that the WSDL declares
    raise etree.XMLSchemaParseError(f"no {local} in {files.name(address)}")


class _Inner(etree.Resolver):  # type: ignore[misc]  # lxml has no types
    """Serves what a schema imports: from the contract's files, and from nowhere else."""

    def __init__(self, files: Files) -> None:
        super().__init__()
        self._files = files
        self.schemas: dict[str, Any] = {}  # those inside a WSDL, under addresses of ours

    def resolve(self, address: str, _public: str | None, context: Any) -> Any:
        if address in self.schemas:
            return self.resolve_string(etree.tostring(self.schemas[address]), context, base_url=address)
        try:
            return self.resolve_string(self._files.load(address), context, base_url=address)
        except AgentError:
            return self.resolve_empty(context)  # never lxml's own way to a file or a server


def _steps(shape: Shape) -> Iterator[str]:
    yield shape.step
    for member in shape.members:
        yield from _steps(member)


def _path(element: Any, place: str, known: Iterable[str]) -> Iterator[str]:
    """The local names on libxml2's way to a node: `/*/p:Name[2]/*[3]`, where a bare `*` counts all."""
    at: Any | None = None
    for step in place.strip("/").split("/"):
        name, _, number = step.rstrip("]").partition("[")
        children = [element] if at is None else list(at)
        if name != "*":
            prefix, _, local = name.rpartition(":")
            children = [one for one in children if etree.QName(one).localname == local and (one.prefix or "") == prefix]
        position = int(number or 1) - 1
        if position >= len(children):  # an attribute
            return
        at = children[position]
        local = etree.QName(at).localname
        yield local if local in known else "?"
