"""The JSON Schema says of the example in the design what the decoder says."""

import json
from typing import Any

import pytest

from headrace import schema
from headrace.cli import main
from headrace.config import SECTIONS


def test_it_has_every_section_and_closes_every_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--schema"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == schema.build()
    assert set(SECTIONS) < set(printed["properties"])

    def tables(node: Any) -> list[dict[str, Any]]:
        if isinstance(node, list):
            return [found for item in node for found in tables(item)]
        if not isinstance(node, dict):
            return []
        inner = [found for item in node.values() for found in tables(item)]
        return [node, *inner] if "properties" in node and isinstance(node["properties"], dict) else inner

    assert [table for table in tables(printed) if table.get("additionalProperties") is not False] == []


def test_values_with_units_and_secrets() -> None:
    built = schema.build()
    assert built["properties"]["shutdown_timeout"]["type"] == "string"
    assert "description" in built["properties"]["shutdown_timeout"]
    connections = built["properties"]["connections"]["additionalProperties"]["anyOf"]
    kinds = {connection["properties"]["type"]["const"]: connection for connection in connections}
    assert kinds["sql"]["required"] == ["type", "url"]
    assert kinds["sql"]["properties"]["health_check"]["type"] == "string"
    inline, connected = [
        sink
        for sink in built["properties"]["sinks"]["additionalProperties"]["anyOf"]
        if sink["properties"]["type"]["const"] == "sql"
    ]
    assert inline["required"] == ["type", "url"]
    assert connected["required"] == ["connection"]
    assert "url" not in connected["properties"]
    assert connected["properties"]["write"]["enum"] == ["insert", "upsert", "ignore"]
    assert built["properties"]["inbox"]["properties"]["max_messages"]["minimum"] == 1
