"""Write the generated parts of PROTOCOL.md and schema.json from the code's own tables.

`python -m agent.protocol.document` brings both up to date; a test fails when they are stale.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from agent.errors import CATALOGUE, Code
from agent.model import Value
from agent.protocol.messages import API_LEVEL
from agent.protocol.methods import METHODS, NOTIFICATIONS

FOLDER = Path(__file__).parent
DOCUMENT = FOLDER / "PROTOCOL.md"
SCHEMA = FOLDER / "schema.json"

_PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def with_tables(text: str) -> str:
    """The document with each generated part as the code says it now."""
    return _PART.sub(lambda part: f"{part[1]}{PARTS[part[2]]()}{part[3]}", text)


def schema() -> str:
    """One JSON Schema (2020-12) with every params, result and notification; `methods` names them."""
    wire: list[type[BaseModel]] = [*_every_model()]
    _, definitions = models_json_schema(
        [(model, "validation") for model in wire], by_alias=True, title="INSi Agent protocol"
    )
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **definitions,
        "apiLevel": API_LEVEL,
        "methods": {
            name: {
                "params": {"$ref": f"#/$defs/{method.params.__name__}"},
                "result": {"$ref": f"#/$defs/{method.result.__name__}"},
                "right": method.right,
            }
            for name, method in METHODS.items()
        },
        "notifications": {
            name: {"params": {"$ref": f"#/$defs/{model.__name__}"}} for name, model in NOTIFICATIONS.items()
        },
        "reasons": [code.value for code in Code],
    }
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _every_model() -> list[type[Value]]:
    models = [model for method in METHODS.values() for model in (method.params, method.result)]
    return list(dict.fromkeys([*models, *NOTIFICATIONS.values()]))


def _methods() -> str:
    rows = [
        (f"`{name}`", f"`{method.right}`" if method.right else "any", _members(method.params), method.does)
        for name, method in METHODS.items()
    ]
    return _table(("method", "right", "params (`?` optional)", "what it does"), rows)


def _notifications() -> str:
    rows = [(f"`{name}`", _members(model)) for name, model in NOTIFICATIONS.items()]
    return _table(("notification", "params"), rows)


def _results() -> str:
    models = {model.__name__: model for model in (*[m.result for m in METHODS.values()], *_nested())}
    rows = [(f"`{name}`", _members(model)) for name, model in models.items()]
    return _table(("value", "members (`?` may be absent)"), rows)


def _nested() -> list[type[BaseModel]]:
    """The values inside results, in the order in which they are met."""
    found: dict[str, type[BaseModel]] = {}

    def visit(annotation: Any) -> None:
        for argument in getattr(annotation, "__args__", ()):
            visit(argument)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation.__name__ not in found:
            found[annotation.__name__] = annotation
            for field in annotation.model_fields.values():
                visit(field.annotation)

    for method in METHODS.values():
        visit(method.params)
        visit(method.result)
    outer = {model for method in METHODS.values() for model in (method.params, method.result)}
    return [model for model in found.values() if model not in outer]


def _errors() -> str:
    rows = [
        (
            f"`{code.value}`",
            CATALOGUE[code].audience.value,
            "yes" if CATALOGUE[code].retryable else "no",
            CATALOGUE[code].title.fr,
            CATALOGUE[code].action.fr,
        )
        for code in Code
    ]
    return _table(("reason", "who can mend it", "try later", "what happened", "what to do"), rows)


def _members(model: type[BaseModel]) -> str:
    names = [
        f"`{field.alias or name}{'' if field.is_required() else '?'}`" for name, field in model.model_fields.items()
    ]
    return " ".join(names) or "none"


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


PARTS = {"methods": _methods, "notifications": _notifications, "values": _results, "errors": _errors}


if __name__ == "__main__":
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    SCHEMA.write_text(schema(), encoding="utf-8")
