"""The pages of CREATE SOURCE and CREATE TABLE, made from their options and from what columns make of values.

``python -m headrace.reference --write`` writes them; a test holds them fresh. The files that they show are compiled
while the pages are made, so an example that is wrong raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from core.instants import rfc3339
from core.message import Type
from formats.json import decode_document
from rules.casts import ANY_SHAPE, Shape, column_caster
from rules.compiler import RuleSource, compile_rules
from rules.declared_options import SOURCE, TABLE, UNITS, Option
from rules.functions.intervals import interval_text
from rules.functions.values import json_text
from rules.operators import EvaluationError

_SOURCE_EXAMPLE: Final = """\
CREATE SOURCE meter (
  station TEXT,
  connector BIGINT,
  power DOUBLE NOT NULL,
  energy DOUBLE,
  clientid TEXT,
  ts TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '10 seconds'
) WITH (topic = 'cp/{station}/{connector}/meter', metadata = 'clientid', idle_timeout = '30 seconds');

INSERT INTO meter_readings SELECT station, connector, power / 1000 AS kw, ts FROM meter WHERE power > 0;
"""
_SOURCE_INTRO: Final = """\
A source gives the messages of a topic as rows with columns of known types. Queries name it in FROM, with their
columns as they are (`power`, not `payload.power`); what is certain to go wrong with the types is found before a rule
starts, and windows know what time it is. It is computed once, however many queries read it, and not at all where none
does."""
_WHERE_FROM: Final = """\
## Where columns come from

| column | its value |
|---|---|
| its name stands in the `topic`: `{station}` | that level of the topic |
| its name is listed in `metadata` | the message's own column of that name, as a query over a topic has it |
| any other | the field of that name in the payload |

So a field of the payload that is called `timestamp` or `clientid` is a column like any other; the message's own is
meant only where `metadata` says so. The message's `timestamp` is when it came, and may be the column of the
watermark: declare it `timestamp TIMESTAMP NOT NULL`.

What lies deeper in the payload is read in the query: declare the field above it as `OBJECT` and write `data.power`; a
view gives it a name and a type: `CREATE VIEW v AS SELECT *, CAST(data.power AS DOUBLE) AS power FROM meter`.

The payload must be a JSON object where a column is a field of it. With `unnest = 'samples'` the field `samples` is an
array of objects, each of which becomes a row; fields that an element lacks are taken from the payload around it. With
`unnest = true` the payload itself is the array. One element that does not fit makes its whole message fail.

With several topics (`topic = ['cp/{station}/meter', 'old/{station}/meter']`) a column stands at the same level in
each. Where levels differ, declare a source for each."""
_TYPES_INTRO: Final = """\
## What becomes of a value

A value of another type is converted as by CAST ([expressions](expressions.md)), where that loses nothing: numbers are
rounded only to the digits of a `DECIMAL(p, s)`. A message with a value that does not fit gives no row. It is counted
as `headrace_rule_failed_total{rule="<source>", reason="exception"}` and becomes a dead letter with the column and the
value, which `FROM system.errors` reads too (`rule_failed`). Null and missing stay what they are ([missing and
null](../concepts/missing-and-null.md)), and fail in a `NOT NULL` column."""
_WATERMARK: Final = """\
## Event time

`WATERMARK FOR ts AS ts - INTERVAL '10 seconds'` says that `ts` tells when a row happened, and that rows come at most
ten seconds late; `AS ts` means in order. The column is a `TIMESTAMP NOT NULL`, the interval a constant without
months. Windows by `ts` need it ([windows and time](../concepts/windows.md)), joins of two streams too
([joins](../concepts/joins.md))."""
_TABLE_EXAMPLE: Final = """\
CREATE SOURCE meter (station TEXT, power DOUBLE) WITH (topic = 'cp/{station}/meter');

CREATE TABLE stations (id TEXT, name TEXT, site TEXT) WITH (connection = 'warehouse', table = 'stations', key = 'id');

CREATE TABLE tariffs (site TEXT, price DECIMAL) WITH (file = 'tariffs.csv', key = 'site');

INSERT INTO meter_readings
SELECT station, s.name AS name, power, price
FROM meter JOIN stations AS s ON s.id = meter.station
LEFT JOIN tariffs AS t ON t.site = s.site;
"""
_TABLE_INTRO: Final = """\
A lookup table is what a database or a file knows about keys; streams are joined with it. How rows wait for it, and
what they see of changes, is said in [joins](../concepts/joins.md).

The columns are declared, because rules are checked without a database. A value of another type is converted as by
CAST; a number in a `TIMESTAMP` column is milliseconds. A row that does not fit is an error of the question, or of the
file. Any column may be null."""

_EXAMPLES: Final[tuple[tuple[Type, Shape, tuple[str, ...]], ...]] = (
    (Type.BOOLEAN, ANY_SHAPE, ("true", "0", '"yes"', "0.5")),
    (Type.BIGINT, ANY_SHAPE, ("7", "7.0", '"7"', "true", "7.5")),
    (Type.DOUBLE, ANY_SHAPE, ("7", '"7.5"', "true")),
    (Type.DECIMAL, ANY_SHAPE, ("0.1", '"12.50"')),
    (Type.DECIMAL, Shape(6, 2), ("12.345", "123456")),
    (Type.TEXT, ANY_SHAPE, ('"7"', "7", "true", '{"a": 1}')),
    (Type.BYTES, ANY_SHAPE, ('"abc"', "7")),
    (Type.TIMESTAMP, ANY_SHAPE, ("1767225600000", '"2026-01-01T08:00:00+08:00"', '"1767225600000"', "true")),
    (Type.INTERVAL, ANY_SHAPE, ('"90 seconds"', "90")),
    (Type.ARRAY, ANY_SHAPE, ("[1]", '"[1]"', '{"a": 1}')),
    (Type.OBJECT, ANY_SHAPE, ('{"a": 1}', '"{}"', "[1]")),
)


def source_page(made: str) -> str:
    """``create-source.md``; ``made`` is the comment that says where it comes from."""
    parts = ["# CREATE SOURCE", made, _SOURCE_INTRO, _file(_SOURCE_EXAMPLE), _WHERE_FROM, _TYPES_INTRO, _conversions()]
    return "\n\n".join([*parts, _WATERMARK, _options(SOURCE)]) + "\n"


def table_page(made: str) -> str:
    """``create-table.md``."""
    return "\n\n".join(["# CREATE TABLE", made, _TABLE_INTRO, _file(_TABLE_EXAMPLE), _options(TABLE)]) + "\n"


def _file(text: str) -> str:
    compile_rules([RuleSource("rules/meter.sql", text)])
    return f"```sql\n{text}```"


def _options(options: Mapping[str, Option]) -> str:
    rows = [f"| `{name}` | {option.takes} | {option.usual} | {option.text} |" for name, option in options.items()]
    head = "A length of time is a text such as `'30 seconds'` or `'90s'`."
    return "\n".join(["## Options", "", head, "", "| option | takes | default | |", "|---|---|---|---|", *rows])


def _conversions() -> str:
    lines = ["| column | in the payload | row |", "|---|---|---|"]
    for kind, shape, examples in _EXAMPLES:
        title = f"`{kind.value}({shape.precision}, {shape.scale})`" if shape.precision else f"`{kind.value}`"
        for example in examples:
            lines.append(f"| {title} | `{example}` | {_outcome(kind, shape, example)} |")
            title = ""
    return "\n".join(lines)


def _outcome(kind: Type, shape: Shape, example: str) -> str:
    try:
        value = column_caster("x", kind, shape, UNITS["ms"], not_null=False)(decode_document(example))
    except EvaluationError as error:
        return f"error: {error}"
    if kind is Type.TIMESTAMP:
        return f"`{rfc3339(value)}`"
    if kind is Type.INTERVAL:
        return f"`{interval_text(value)}`"
    return f"`{value!r}`" if kind is Type.BYTES else f"`{json_text(value)}`"
