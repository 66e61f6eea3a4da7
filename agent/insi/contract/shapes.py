"""What a schema allows, as values, and a message written after it. No I/O of its own.

Elements are told apart by their local names, written in the schema's order and in the schema's namespaces.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lxml import etree


@dataclass(frozen=True)
class Shape:
    """An element, or an attribute."""

    name: str  # `{namespace}local`
    type: str  # of its text, by the schema's own name (`string`, `date`); "" where it has none
    least: int = 1
    most: int | None = 1  # None: any number
    attribute: bool = False
    members: tuple["Shape", ...] = ()  # elements in order, then attributes

    @property
    def step(self) -> str:
        """Its step in a path."""
        local = self.name.rpartition("}")[2]
        return f"@{local}" if self.attribute else local

    def member(self, step: str) -> "Shape | None":
        return next((member for member in self.members if member.step == step), None)

    def at(self, path: str) -> "Shape | None":
        """What is at this path below, or None; `.` is this one."""
        if path == ".":
            return self
        found: Shape | None = self
        for step in path.split("/"):
            found = found.member(step) if found else None
        return found


@dataclass
class Content:
    """What an element is to hold: texts, by the steps of a shape."""

    text: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    elements: dict[str, list["Content"]] = field(default_factory=dict)

    def put(self, path: str, text: str) -> None:
        """A text at this path below; `.` is this one."""
        if path == ".":
            self.text = text
            return
        step, _, rest = path.partition("/")
        if step.startswith("@"):
            self.attributes[step] = text
        elif rest:
            self.below(step).put(rest, text)
        else:
            self.below(step).text = text

    def below(self, step: str) -> "Content":
        """The element of this step, made if it is not there."""
        return self.elements.setdefault(step, [Content()])[0]

    def repeat(self, path: str, each: list["Content"]) -> None:
        """One element of this path for each of these."""
        step, _, rest = path.partition("/")
        if rest:
            self.below(step).repeat(rest, each)
        else:
            self.elements[step] = each


class Unfit(Exception):  # noqa: N818  (a fact for the contract, which makes the error of it)
    """A content and its schema differ at this path."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(path)


def write(shape: Shape, content: Content, into: Any, nsmap: Mapping[str, str] | None = None, above: str = "") -> Any:
    """The element of this content, made the last child of `into`. Raises Unfit."""
    given = {*content.attributes, *content.elements}
    if unknown := given - {member.step for member in shape.members}:
        raise Unfit(above + min(unknown))
    element = etree.SubElement(into, shape.name, nsmap=nsmap)
    element.text = content.text
    for member in shape.members:
        path = above + member.step
        if member.attribute:
            if member.step in content.attributes:
                element.set(member.name, content.attributes[member.step])
            elif member.least:
                raise Unfit(path)
            continue
        # what the schema wants and holds no text of its own is there, empty
        each = content.elements.get(member.step, [] if member.type else [Content()] * member.least)
        if not member.least <= len(each) <= (len(each) if member.most is None else member.most):
            raise Unfit(path)
        for one in each:
            write(member, one, element, above=f"{path}/")
    return element


def unfilled(shape: Shape, paths: frozenset[str], prefix: str = "") -> Iterator[str]:
    """The paths of what the schema wants and none of these paths fills, once what they fill is there."""
    for member in shape.members:
        path = prefix + member.step
        filled = path in paths or any(other.startswith(f"{path}/") for other in paths)
        if not (filled or member.least):
            continue
        if (member.attribute or member.type) and path not in paths:
            yield path
        yield from unfilled(member, paths, f"{path}/")
