"""PROTOCOL.md and schema.json say what the code says."""

import json
import re

import pytest

from agent.protocol.document import DOCUMENT, PARTS, SCHEMA, schema, with_tables
from agent.protocol.methods import METHODS, NOTIFICATIONS


def test_the_tables_of_the_document_are_fresh() -> None:
    """If this fails: make documents."""
    text = DOCUMENT.read_text(encoding="utf-8")

    assert with_tables(text) == text
    assert set(re.findall(r"<!-- generated: (\w+) -->", text)) == set(PARTS)


def test_the_schema_is_fresh_and_names_every_message() -> None:
    """If this fails: make documents."""
    assert SCHEMA.read_text(encoding="utf-8") == schema()
    document = json.loads(schema())
    assert set(document["methods"]) == set(METHODS)
    assert set(document["notifications"]) == set(NOTIFICATIONS)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_params_refuse_unknown_members_in_the_schema_too(method: str) -> None:
    definitions = json.loads(schema())["$defs"]

    assert definitions[METHODS[method].params.__name__]["additionalProperties"] is False


def test_the_examples_of_the_document_are_json() -> None:
    blocks = re.findall(r"```json\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)

    assert blocks
    for block in blocks:
        json.loads(block)
