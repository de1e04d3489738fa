"""Every code that a diagnostic may have: what it means, the way out, and an example that provokes it.

The codes are stable, messages are not. The page ``docs/reference/diagnostics.md`` is made from this table
(``codes_page``); what is an error is decided by the passes.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

PAGE: Final = "docs/reference/diagnostics.md"
"""Where the codes are explained, from the root of the project."""
FUNCTIONS_PAGE: Final = "docs/reference/functions.md"
AGGREGATES_PAGE: Final = "docs/reference/aggregate-functions.md"
ANALYTICS_PAGE: Final = "docs/reference/analytic-functions.md"


class Code(NamedTuple):
    """``example`` is a whole rule file whose first error has this code."""

    meaning: str
    way_out: str
    example: str


_TWO_STREAMS: Final = """\
CREATE SOURCE meter (id TEXT, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts) WITH (topic = 'cp/{id}/meter');
CREATE SOURCE alarm (id TEXT, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts) WITH (topic = 'cp/{id}/alarm');
"""

CODES: Final[Mapping[str, Code]] = MappingProxyType(
    {
        "syntax": Code(
            "the text does not follow the grammar",
            "The caret stands under the first word that does not fit, the message says what was expected there. Often "
            "the mistake is just before it: a comma, a quote or a parenthesis. Texts stand in single quotes, names "
            "with other characters than letters, digits and `_` in double ones. Each statement is read on its own "
            "(they end at semicolons), so one mistake hides none in the others.",
            'INSERT INTO meter_readings SELECT clientid, FROM "cp/+/meter"',
        ),
        "too-complex": Code(
            "a statement is nested too deeply or too long",
            "Split the rule, or compute a part of it first: a field may use the names of fields before it "
            "(`SELECT payload.a + payload.b AS sum, sum * 2 AS twice`). `x IN (...)` takes lists.",
            "INSERT INTO meter_readings SELECT " + "(" * 33 + "qos" + ")" * 33 + ' AS q FROM "t"',
        ),
        "unsupported": Code(
            "the grammar knows this construct, but rules do not have it",
            "The help line names the form that rules have.",
            'INSERT INTO meter_readings SELECT DISTINCT clientid FROM "cp/+/meter"',
        ),
        "unknown-option": Code(
            "WITH (...) has an option that does not exist or a value of the wrong kind",
            "The options are listed: [rules](rules.md), [sources](create-source.md), [tables](create-table.md).",
            "CREATE RULE meter WITH (enabled = 'yes') AS INSERT INTO meter_readings SELECT * FROM \"cp/+/meter\"",
        ),
        "missing-option": Code(
            "a source does not say what it reads, or a lookup table not where its rows come from",
            "The help line shows what is missing; all options: [sources](create-source.md), [tables](create-table.md).",
            "CREATE SOURCE meter (power DOUBLE) WITH (codec = 'json');\n"
            "INSERT INTO meter_readings SELECT power FROM meter",
        ),
        "no-target": Code(
            "a SELECT in a rule file has no INSERT INTO",
            "Write `INSERT INTO <sink>` before it. `headrace eval` runs a query on its own.",
            'SELECT payload.power AS power FROM "cp/+/meter"',
        ),
        "unknown-target": Code(
            "INSERT INTO names a sink that is not configured",
            'Add `[sinks.<name>]` to `headrace.toml`, or correct the name; `type = "console"` does for a try.',
            'INSERT INTO meter_reading SELECT payload.power AS power FROM "cp/+/meter"',
        ),
        "duplicate-target": Code(
            "INSERT INTO names a sink twice",
            "Take one out: every sink gets each row once.",
            'INSERT INTO meter_readings, meter_readings SELECT * FROM "cp/+/meter"',
        ),
        "unknown-function": Code(
            "no function has this name",
            "The [functions](functions.md) are those of EMQX, and some of PostgreSQL and DuckDB; in queries with a "
            "window there are [aggregates](aggregate-functions.md). A package may bring further functions (entry point "
            "`headrace.functions`); it must be installed where the service runs.",
            'INSERT INTO meter_readings SELECT uper(clientid) AS station FROM "cp/+/meter"',
        ),
        "wrong-arity": Code(
            "a function is called with too few or too many arguments",
            "The help line says what the function does; its arguments are listed in [functions](functions.md).",
            'INSERT INTO meter_readings SELECT substr(topic) AS station FROM "cp/+/meter"',
        ),
        "unknown-column": Code(
            "the source has no column of this name",
            "Fields of the payload are written `payload.power`; only the message's own columns (`topic`, `clientid`, "
            "`timestamp`, ...) and the names of fields before it stand alone. A text stands in single quotes: "
            "`'Charging'`. Names are case-sensitive.",
            'INSERT INTO meter_readings SELECT power AS power FROM "cp/+/meter"',
        ),
        "mixed-sources": Code(
            "FROM has a source of the system beside others",
            "Write two rules: the sources have different columns.",
            'INSERT INTO meter_readings SELECT reason FROM system.errors, "cp/+/meter"',
        ),
        "unknown-source": Code(
            "FROM names an event, or a source of the system, that there is not",
            "Correct the name; the [events](events.md) are listed. A topic that begins with `system.` stands in double "
            'quotes: `FROM "system.x"`.',
            'INSERT INTO meter_readings SELECT reason FROM "$events/client/disconected"',
        ),
        "no-window": Code(
            "an aggregate, or a clause about several rows, stands in a query without a window",
            "A stream has no end, so its rows are counted by windows: `FROM TUMBLE(meter, ts, INTERVAL '1 minute')`, "
            "or `GROUP BY station, TUMBLINGWINDOW(ss, 60)` ([windows](../concepts/windows.md)).",
            'INSERT INTO meter_readings SELECT avg(payload.power) AS power FROM "cp/+/meter"',
        ),
        "bad-window": Code(
            "a window does not exist or cannot be like this",
            "The help line shows how it is written; lengths are constants ([windows](../concepts/windows.md)).",
            'INSERT INTO meter_readings SELECT count(*) AS n FROM "cp/+/meter" GROUP BY TUMBLINGWINDOW(parsec, 1)',
        ),
        "missing-watermark": Code(
            "a window is asked for by event time, and its source does not say how late rows may come",
            "Add a WATERMARK to CREATE SOURCE, or leave the column out: then rows count when they arrive.",
            "CREATE SOURCE meter (power DOUBLE, ts TIMESTAMP NOT NULL) WITH (topic = 'cp/+/meter');\n"
            "INSERT INTO meter_readings SELECT avg(power) AS power FROM TUMBLE(meter, ts, INTERVAL '1 minute')",
        ),
        "bad-watermark": Code(
            "a WATERMARK is for something that cannot tell the time, or is no column less an interval",
            "The column is declared TIMESTAMP NOT NULL, the delay is a constant: how late rows may come.",
            "CREATE SOURCE meter (power DOUBLE, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '10 seconds')\n"
            "WITH (topic = 'cp/+/meter');\n"
            "INSERT INTO meter_readings SELECT power FROM meter",
        ),
        "duplicate-column": Code(
            "two columns of a source have the same name",
            "Take one out, or give it the name of another field of the payload.",
            "CREATE SOURCE meter (power DOUBLE, power BIGINT) WITH (topic = 'cp/+/meter');\n"
            "INSERT INTO meter_readings SELECT power FROM meter",
        ),
        "not-grouped": Code(
            "a field of a query with a window is neither in GROUP BY nor in an aggregate",
            "Such a column has a value for each row of the group: say which one is meant, or group by it.",
            'INSERT INTO meter_readings SELECT clientid, count(*) AS n FROM "cp/+/meter" '
            "GROUP BY TUMBLINGWINDOW(ss, 60)",
        ),
        "nested-aggregate": Code(
            "an aggregate stands in the arguments of another",
            "Compute the inner one in a view, and the outer one over that view.",
            'INSERT INTO meter_readings SELECT max(avg(payload.power)) AS power FROM "cp/+/meter" '
            "GROUP BY TUMBLINGWINDOW(ss, 60)",
        ),
        "misplaced-analytic": Code(
            "an analytic function, or QUALIFY, stands where there is none",
            "Analytic functions stand in the list of a SELECT, in WHERE and in QUALIFY "
            "([analytic functions](analytic-functions.md)). For everything else compute them in a view, and read that.",
            'INSERT INTO meter_readings SELECT max(lag(payload.power)) AS power FROM "cp/+/meter" '
            "GROUP BY TUMBLINGWINDOW(ss, 60)",
        ),
        "circular-view": Code(
            "a view reads itself, by way of others or directly",
            "Take one of the references out: a view is computed from what comes before it.",
            "CREATE VIEW a AS SELECT * FROM b;\nCREATE VIEW b AS SELECT * FROM a;\n"
            "INSERT INTO meter_readings SELECT * FROM a",
        ),
        "bad-join": Code(
            "two relations cannot be joined like this",
            "A lookup table is joined by all columns of its key, two streams by equal columns and by how near their "
            "times are; the help line shows what is missing ([joins](../concepts/joins.md)).",
            f"{_TWO_STREAMS}INSERT INTO meter_readings SELECT m.id FROM meter AS m JOIN alarm AS a ON a.id = m.id",  # noqa: S608
        ),
        "ambiguous-column": Code(
            "both sides of a join have a column of this name",
            "Name the side: `m.id`.",
            f"{_TWO_STREAMS}INSERT INTO meter_readings SELECT id FROM meter AS m JOIN alarm AS a ON a.id = m.id\n"  # noqa: S608
            "AND a.ts BETWEEN m.ts - INTERVAL '5 seconds' AND m.ts + INTERVAL '5 seconds'",
        ),
        "unused-view": Code(
            "no rule reads a view, so it would be computed for nothing",
            "Read it with `INSERT INTO <sink> SELECT * FROM <view>`, or remove it.",
            'CREATE VIEW a AS SELECT payload.power AS power FROM "cp/+/meter"',
        ),
        "duplicate-relation": Code(
            "two sources, views or tables have the same name",
            "Give one of them another name; the names of all files are one space.",
            'CREATE VIEW a AS SELECT qos FROM "t";\nCREATE VIEW a AS SELECT topic FROM "t";\n'
            "INSERT INTO meter_readings SELECT * FROM a",
        ),
        "bad-topic-filter": Code(
            "FROM has something that is no valid topic filter",
            '`+` stands for one whole level, `#` for all the remaining ones: `"cp/+/meter"`, `"cp/#"`. Parts of a '
            "level are compared in WHERE: `topic LIKE 'cp/A%'`.",
            'INSERT INTO meter_readings SELECT * FROM "cp/A+/meter"',
        ),
        "bad-path": Code(
            "an index or a name cannot be used like this",
            "An index is a whole number from 1 on, or a negative one from the end; a field with such a name is written "
            '`payload."name"`. The element of a FOREACH gets a plain name.',
            'INSERT INTO meter_readings FOREACH payload.sensors AS a.b DO a.b AS sensor FROM "cp/+/sensors"',
        ),
        "duplicate-rule": Code(
            "two rules have the same name",
            "Give one of them another name in CREATE RULE; counters, logs and dead letters go by it.",
            'CREATE RULE meter AS INSERT INTO meter_readings SELECT * FROM "cp/+/meter";\n'
            'CREATE RULE meter AS INSERT INTO meter_readings SELECT * FROM "cp/+/energy"',
        ),
        "not-boolean": Code(
            "a condition is certain not to be true or false",
            "Compare the value with something: `payload.power > 0`, `username IS NOT NULL`.",
            'INSERT INTO meter_readings SELECT * FROM "cp/+/meter" WHERE qos',
        ),
        "wrong-type": Code(
            "an operator or function gets a value that it is certain to refuse",
            "The caret stands under the value, its label says of what type it is. CAST converts; TRY_CAST gives null "
            "where that fails ([expressions](expressions.md)). Only declared types are judged: what a payload holds "
            "is decided message by message.",
            'INSERT INTO meter_readings SELECT clientid * 2 AS x FROM "cp/+/meter"',
        ),
        "bad-literal": Code(
            "a literal's text is none of what it must be: a time, interval, zone, field, pattern, program",
            "Times are RFC 3339 (`TIMESTAMP '2026-01-01T08:00:00+08:00'`), intervals read `INTERVAL '1 hour'`, time "
            "zones are those of the IANA (`'Europe/Berlin'`).",
            "INSERT INTO meter_readings SELECT now() - INTERVAL '5 parsecs' AS since FROM \"cp/+/meter\"",
        ),
    }
)
