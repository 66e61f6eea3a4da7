"""What a schema allows, as values, and a message written after it. No I/O of its own.

Members are told apart by their local names, by their whole ones where two have the same; they are written in the
schema's order and in the schema's namespaces.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lxml import etree

_STEP = re.compile(r"(?:\{[^{}]*\}|[^/{}])+")


def steps_of(path: str) -> list[str]:
    """The steps of a path; a namespace in one may hold slashes."""
    return _STEP.findall(path)


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
        """Its step in a path, where no other member has its local name."""
        local = self.name.rpartition("}")[2]
        return f"@{local}" if self.attribute else local

    @cached_property
    def steps(self) -> dict[str, "Shape"]:
        """The members, by their steps in a path."""
        often = Counter(member.step for member in self.members)
        whole = ("@" * member.attribute + member.name for member in self.members)
        return {
            member.step if often[member.step] == 1 else name: member
            for member, name in zip(self.members, whole, strict=True)
        }

    def along(self, path: str) -> "list[Shape]":
        """What is at each step of this path below, as far as it goes; `.` is this one."""
        found = [self]
        for step in steps_of(path) if path != "." else []:
            if step not in found[-1].steps:
                break
            found.append(found[-1].steps[step])
        return found[1:] if path != "." else found

    def at(self, path: str) -> "Shape | None":
        """What is at this path below, or None; `.` is this one."""
        found = self.along(path)
        return found[-1] if len(found) == len(steps_of(path)) else None


@dataclass
class Content:
    """What an element is to hold: texts, by the steps of a shape."""

    text: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    elements: dict[str, list["Content"]] = field(default_factory=dict)

    def put(self, path: str, text: str) -> None:
        """A text at this path below; `.` is this one."""
        *above, last = steps_of(path)
        place = self._below(above)
        if last.startswith("@"):
            place.attributes[last] = text
        else:
            (place if last == "." else place._below([last])).text = text

    def repeat(self, path: str, each: list["Content"]) -> None:
        """One element of this path for each of these."""
        *above, last = steps_of(path)
        self._below(above).elements[last] = each

    def _below(self, steps: list[str]) -> "Content":
        """The element at the end of these steps, made if it is not there."""
        place = self
        for step in steps:
            place = place.elements.setdefault(step, [Content()])[0]
        return place


class Unfit(Exception):  # noqa: N818  (a fact for the contract, which makes the error of it)
    """A content and its schema differ at this path."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(path)


def write(shape: Shape, content: Content, into: Any, nsmap: Mapping[str, str] | None = None, above: str = "") -> Any:
    """The element of this content, made the last child of `into`. Raises Unfit."""
    given = {*content.attributes, *content.elements}
    if unknown := given - set(shape.steps):
        raise Unfit(above + min(unknown))
    element = etree.SubElement(into, shape.name, nsmap=nsmap)
    element.text = content.text
    for step, member in shape.steps.items():
        path = above + step
        if member.attribute:
            if step in content.attributes:
                element.set(member.name, content.attributes[step])
            elif member.least:
                raise Unfit(path)
            continue
        # what the schema wants and holds no text of its own is there, empty
        each = content.elements.get(step, [] if member.type else [Content()] * member.least)
        if not member.least <= len(each) <= (len(each) if member.most is None else member.most):
            raise Unfit(path)
        for one in each:
            write(member, one, element, above=f"{path}/")
    return element


def unfilled(shape: Shape, paths: frozenset[str], prefix: str = "") -> Iterator[str]:
    """The paths of what the schema wants and none of these paths fills, once what they fill is there."""
    if shape.type and not prefix and "." not in paths:
        yield "."
    for step, member in shape.steps.items():
        path = prefix + step
        filled = path in paths or any(other.startswith(f"{path}/") for other in paths)
        if not (filled or member.least):
            continue
        if (member.attribute or member.type) and path not in paths:
            yield path
        yield from unfilled(member, paths, f"{path}/")
