"""CREATE TABLE -> the columns of a lookup table's rows, and where they come from and how they are kept.

What a join does with such a table is ``rules.joins``' business, how its rows are fetched that of ``headrace.lookups``:
here no database is asked and no file is read.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from sqlglot import exp

from rules.columns import Columns
from rules.declared import rows_of, take_columns
from rules.declared_options import OF_FILES, TABLE, read_written
from rules.diagnostics import Problems, suggestion
from rules.joins.options import KEYS_PARAMETER, LookupOptions, OnFailure
from rules.nodes import CreateTable, span_of
from rules.options import Written
from rules.windows.plan import PlanError

FILES: Final = (".csv", ".json")
_PLACES: Final[tuple[str, ...]] = ("file", "table", "query")
"""Where rows come from: a table has one of these."""
_FOR_PEOPLE: Final = ("type", "description")
_COLUMNS_HINT: Final = "CREATE TABLE stations (id TEXT, name TEXT) WITH (...)"


@dataclass(frozen=True, slots=True)
class DeclaredTable:
    """A lookup table with rows of ``columns``."""

    name: str
    columns: Columns
    options: LookupOptions


def declare_table(tree: CreateTable, problems: Problems) -> DeclaredTable | None:
    """The lookup table that a statement declares; None where ``problems`` has found something in it."""
    before = len(problems.found)
    name = tree.this
    columns = take_columns(tree.args.get("columns") or (), problems)
    if not columns:
        message = "a lookup table has columns, and this one declares none"
        problems.add("missing-option", message, span_of(name), hint=_COLUMNS_HINT)
    for column in columns.values():
        _check_column(column, problems)
    written = read_written(tree, TABLE, problems)
    _check_place(name, written, problems)
    key = _key(name, written, columns, problems)
    if len(problems.found) > before:
        return None
    values = {option: value for option, value in written.values.items() if option not in _FOR_PEOPLE}
    if "on_error" in values:
        values["on_error"] = OnFailure(values["on_error"])
    try:
        options = LookupOptions(**{**values, "key": key})
    except PlanError as error:
        problems.add("unknown-option", str(error), span_of(name))
        return None
    return DeclaredTable(name.name, rows_of(columns), options)


def _check_column(column: exp.Expr, problems: Problems) -> None:
    """A lookup table takes what there is: it neither refuses rows nor rounds numbers."""
    if column.args.get("not_null"):
        hint = "leave it out; WHERE leaves out rows that lack the value"
        problems.add("unsupported", "NOT NULL is not supported in a lookup table", span_of(column), hint=hint)
    kind = column.args["kind"]
    if kind.args.get("precision"):
        message = "digits of a DECIMAL are not supported in a lookup table"
        problems.add("unsupported", message, span_of(kind), hint="write DECIMAL; CAST in the query rounds")


def _check_place(name: exp.Expr, written: Written, problems: Problems) -> None:
    """Whether the options say in one way where rows come from."""
    places = written.places
    given = [option for option in _PLACES if option in places]
    if not given:
        message = "nothing says where the rows of this table come from"
        hint = "WITH (connection = 'warehouse', table = 'stations', ...), or file = 'stations.csv'"
        problems.add("missing-option", message, span_of(name), hint=hint)
        return
    first, *others = given
    for option in others:
        message = f"a table has one of file, table and query, and there is {first!r} already"
        problems.add("unknown-option", message, span_of(places[option]), hint="take one of them out")
    if others:
        return
    if first == "file":
        file = written.values.get("file")
        if file is not None and not file.lower().endswith(FILES):
            message = "a lookup table is a file that ends in .csv or .json"
            problems.add("unknown-option", message, span_of(places["file"].args["value"]))
        for option, place in places.items():
            if option not in OF_FILES:
                hint = "a file is read whole, and again when it has changed"
                message = f"the option {option!r} is about a database, and the rows come from a file"
                problems.add("unknown-option", message, span_of(place), hint=hint)
    elif "connection" not in places:
        message = f"the option {first!r} needs a connection"
        hint = "add connection = '<name>', of [connections.<name>] in headrace.toml"
        problems.add("missing-option", message, span_of(places[first]), hint=hint)


def _key(name: exp.Expr, written: Written, columns: Collection[str], problems: Problems) -> tuple[str, ...]:
    """The columns of the key."""
    if "key" not in written.places:
        hint = "WITH (key = 'id', ...), or key = ['site', 'id']: the columns that joins compare"
        problems.add("missing-option", "a lookup table has a key, and this one names none", span_of(name), hint=hint)
    items = written.values.get("key", ())
    names: list[str] = []
    for item in items:
        if item.name in names:
            message = f"{item.name!r} is in the key already"
            problems.add("unknown-option", message, span_of(item), hint="take one of them out")
        elif columns and item.name not in columns:
            hint = suggestion(item.name, columns) or f"add it to the columns: {item.name} TEXT"
            problems.add("unknown-column", f"there is no column {item.name!r}", span_of(item), hint=hint)
        names.append(item.name)
    query = written.values.get("query")
    if query is not None and names:
        place = span_of(written.places["query"].args["value"])
        if f":{KEYS_PARAMETER}" not in query:
            hint = f"write WHERE {names[0]} IN (:{KEYS_PARAMETER})"
            problems.add("unknown-option", "the query asks for no keys", place, hint=hint)
        elif len(names) > 1:
            message = "a query has a key of one column"
            hint = "name the table instead: table = '...', or a view of the database"
            problems.add("unknown-option", message, place, hint=hint)
    return tuple(names)
