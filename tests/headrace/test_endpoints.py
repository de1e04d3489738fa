"""Sections of far sides: which keys belong to whom, and what is said about the others."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import pytest

from headrace.config import parse
from headrace.endpoints import connection_types, sink_types
from headrace.settings import ConnectionChoice, SinkChoice
from sinks.settings import DeliverySettings
from tests.headrace.far_sides import HEAD, World

DB = '[connections.db]\ntype = "fake"\naddress = "here"\n'


def names(struct: type[msgspec.Struct]) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(struct)]


@pytest.mark.parametrize("name", sink_types().names())
def test_no_two_structs_of_a_sinks_section_share_a_key(name: str) -> None:
    sink = sink_types().load(name)
    keys = Counter([*names(SinkChoice), *names(DeliverySettings), *names(sink.Config)])
    if sink.connection_type is not None:
        keys.update(names(connection_types().load(sink.connection_type).Config))
    assert [key for key, count in keys.items() if count > 1] == []


@pytest.mark.parametrize("name", connection_types().names())
def test_a_connection_is_registered_under_its_type_and_keeps_off_our_keys(name: str) -> None:
    connection = connection_types().load(name)
    assert connection.type == name
    assert not set(names(ConnectionChoice)) & set(names(connection.Config))
    assert connection.Config.__struct_config__.forbid_unknown_fields


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '[sinks.s]\ntype = "fake"\n',
            '5: sinks.s: `address` is missing (or `connection`, the name of a [connections.<name>] of type "fake")',
        ),
        ('[sinks.s]\ntype = "fake"\npassword = "x"\n', "5: sinks.s: `address` is missing"),
        ('[sinks.s]\ntype = "either"\npassword = "x"\n', "5: sinks.s: `address` is missing"),
        ('[sinks.s]\ntype = "fake"\nadress = "x"\n', "7: sinks.s.adress: unknown key (did you mean 'address'?)"),
        (
            DB + '[sinks.s]\nconnection = "db"\naddress = "x"\n',
            "10: sinks.s.address: belongs to [connections.db], which this sink uses",
        ),
        (DB + '[sinks.s]\nconnection = "db"\nbux = "x"\n', "10: sinks.s.bux: unknown key (did you mean 'box'?)"),
        (
            DB + '[sinks.s]\nconnection = "dbs"\n',
            "9: sinks.s.connection: there is no [connections.dbs] (did you mean 'db'?)",
        ),
        (
            DB + '[sinks.s]\nconnection = "db"\ntype = "sql"\ntable = "t"\n',
            "9: sinks.s.connection: a sink of type 'sql' needs one of type 'sql', 'db' is of type 'fake'",
        ),
        (
            DB + "health_check = 30\n",
            "8: connections.db.health_check: expected a text like '200ms' (units: ns, us, ms, s, m, h, d), got 30",
        ),
        ('[sinks.s]\nbox = "x"\n', "5: sinks.s: needs a `type` or a `connection`"),
        (DB.replace("address", "adress"), "7: connections.db.adress: unknown key (did you mean 'address'?)"),
    ],
)
def test_what_is_wrong_is_said_with_the_way_out(world: World, tmp_path: Path, text: str, expected: str) -> None:
    survey = parse(HEAD + text, file="x", base_dir=tmp_path)
    assert f"x:{expected}" in [str(error) for error in survey.errors]


def test_a_connection_that_is_wrong_is_reported_once(world: World, tmp_path: Path) -> None:
    survey = parse(HEAD + DB + "extra = 1\n" + '[sinks.s]\nconnection = "db"\n', file="x", base_dir=tmp_path)
    assert [str(error) for error in survey.errors] == [
        "x:8: connections.db.extra: unknown key (known are address, health_check, password, type)"
    ]


def test_a_type_of_its_own_over_a_connection(world: World, tmp_path: Path) -> None:
    text = DB + '[sinks.s]\ntype = "either"\nconnection = "db"\n[sinks.t]\nconnection = "db"\n'
    config = parse(HEAD + text, file="x", base_dir=tmp_path).config
    assert config is not None
    s, t = config.sinks["s"], config.sinks["t"]
    assert (s.kind, t.kind) == ("either", "fake")
    assert s.connection is t.connection is config.connections["db"]
    assert s.same(s)
    assert not s.same(t)
