r"""PostgreSQL's ways for many rows at once: COPY for plain inserts, INSERT from arrays (UNNEST) for all others.

Both send every value as text, in the form that the server's own input functions read, so what a column takes is
decided by the server and not by a driver's guess at a type. Texts are made column by column: a column whose values
are all of one type costs one call in C per value.

COPY: a line per row, ``\N`` for NULL, so that an empty text stays one. UNNEST: an array per column, cast to arrays of
the columns' types without their lengths (an explicit cast to ``varchar(3)`` would cut in silence; the assignment that
follows refuses). Columns that are arrays themselves travel as texts and are cast one by one, because UNNEST would
flatten them. A key that comes twice in a batch: the last row wins, as it would one by one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from core.errors import PayloadError, Unavailable
from core.message import Missing, Row, Type
from formats.json import encode_document
from sinks.encoding import instant, rfc3339
from sinks.sql.config import TableSettings
from sinks.sql.encode import (
    UNBINDABLE,
    Kind,
    convert_column,
    from_milliseconds,
    from_text,
    in_column,
    local,
    text_of_bytes,
    text_of_float,
    whole,
)
from sinks.sql.planning import plan
from sinks.sql.writer import Writer

Text = Callable[[Any], str | None]

_NUL: Final = "text with a NUL character (\\u0000), which PostgreSQL cannot store"
_FIRST_NUMBER: Final = re.compile(r"\D*(\d+)").match
_COPY_COLUMN: Final = re.compile(r"\D*\d+, \S+ (.+)", re.DOTALL).match
_PARAMETER: Final = re.compile(r'[^"$]*\$(\d+)').match


class Column(NamedTuple):
    """A column of the table: ``type`` is its SQL name without a length, ```texts`` how its values are written."""

    name: str
    sql_type: str
    is_array: bool
    texts: dict[type, Text]


def quoted(name: str) -> str:
    """An identifier."""
    return '"' + name.replace('"', '""') + '"'


def title(settings: TableSettings) -> str:
    """The table, as SQL has it."""
    return f"{quoted(settings.schema)}.{quoted(settings.name)}" if settings.schema else quoted(settings.name)


# -- values as text ------------------------------------------------------------------------------------------------


def _null(_value: Any) -> None:
    return None


def _json(value: Any) -> str:
    return encode_document(value).decode()


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _number(value: bool) -> str:
    return "1" if value else "0"


def _hex(value: bytes) -> str:
    return "\\x" + value.hex()


@lru_cache(4_096)
def _second(seconds: int) -> str:
    return instant(seconds * 1_000_000).replace(tzinfo=None).isoformat(" ")


def _instant(microseconds: int) -> str:
    """The rows of a batch share few seconds."""
    seconds, fraction = divmod(microseconds, 1_000_000)
    return f"{_second(seconds)}.{fraction:06d}+00"


def _array(value: list[Any]) -> str:
    """An array in PostgreSQL's own notation; what is no list, number or text in it is JSON."""
    return "{" + ",".join(map(_element, value)) + "}"


def _element(value: Any) -> str:
    if value is None or isinstance(value, Missing):
        return "NULL"
    if isinstance(value, list):
        return _array(value)
    text = _PLAIN.get(type(value), _json)(value)
    return '"' + _escaped_element(text) + '"'


def _escaped_element(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _escaped_cell(text: str) -> str:
    text = text.replace("\\", "\\\\").replace("\t", "\\t")
    return text.replace("\n", "\\n").replace("\r", "\\r")


_PLAIN: Final[dict[type, Callable[[Any], str]]] = {
    str: str,
    int: repr,
    float: repr,
    bool: _boolean,
    Decimal: str,
    bytes: _hex,
}
_ANYWHERE: Final[dict[type, Text]] = {
    **{kind: convert for kind, convert in _PLAIN.items() if kind is not str},
    type(None): _null,
    Missing: _null,
    dict: _json,
    list: _json,
}
_TABLES: Final[dict[Kind, dict[type, Text]]] = {
    Kind.TEXT: {float: text_of_float, bytes: text_of_bytes},
    Kind.INTEGER: {bool: _number, float: lambda value: repr(whole(value))},
    Kind.NUMBER: {bool: _number},
    Kind.DOUBLE: {bool: _number},
    Kind.BYTES: {
        str: lambda value: _hex(value.encode()),
        dict: lambda value: _hex(encode_document(value)),
        list: lambda value: _hex(encode_document(value)),
    },
    Kind.JSON: dict.fromkeys((bool, int, float, str, bytes, Decimal), _json),
    Kind.ARRAY: {list: _array},
}


def texts(kind: Kind, declared: Type) -> dict[type, Text]:
    """How values of each Python type are written for a column of ``kind`` that the rule declares as ``declared``."""
    table = _ANYWHERE | _TABLES.get(kind, {})
    if kind in (Kind.INSTANT, Kind.LOCAL_INSTANT):  # a column without a zone does not read the +00
        table |= dict.fromkeys((int, float, Decimal), partial(from_milliseconds, _instant))
    if declared is Type.TIMESTAMP:
        if kind in (Kind.INSTANT, Kind.LOCAL_INSTANT):
            table[int] = _instant
        elif kind is Kind.TEXT:
            table[int] = rfc3339
        elif kind is Kind.JSON:
            table[int] = lambda value: _json(rfc3339(value))
    if declared is Type.INTERVAL and kind is Kind.INTERVAL:
        table[int] = lambda value: f"{value} microseconds"
    if kind is Kind.LOCAL_INSTANT:  # PostgreSQL would drop the zone of a text
        table[str] = partial(from_text, lambda moment: local(moment).isoformat(" "))
    return table


def _joined(column: Sequence[str | None]) -> tuple[str, bool]:
    """All texts of a column in one, and whether there is a NULL; one of UNBINDABLE for what it cannot store."""
    nulls = False
    try:
        joined = "".join(column)  # type: ignore[arg-type]
    except TypeError:
        nulls = True
        strange = next((value for value in column if type(value) not in (str, type(None))), None)
        if strange is not None:
            raise PayloadError(f"a {type(strange).__name__} cannot be sent to PostgreSQL", "sql") from None
        joined = "".join(filter(None, column))
    if "\0" in joined:
        raise PayloadError(_NUL, "sql")
    if not joined.isascii():
        joined.encode()  # lone surrogates
    return joined, nulls


def _cells(column: Sequence[str | None]) -> Sequence[str]:
    """Texts as COPY reads them."""
    joined, nulls = _joined(column)
    if "\\" in joined or "\t" in joined or "\n" in joined or "\r" in joined:
        column = [None if text is None else _escaped_cell(text) for text in column]
    return ["\\N" if text is None else text for text in column] if nulls else column  # type: ignore[return-value]


def _literal(column: Sequence[str | None]) -> str:
    """Texts as an array."""
    joined, nulls = _joined(column)
    if "\\" in joined or '"' in joined:
        column = [None if text is None else _escaped_element(text) for text in column]
    if nulls:
        return "{" + ",".join(["NULL" if text is None else f'"{text}"' for text in column]) + "}"
    return '{"' + '","'.join(column) + '"}'  # type: ignore[arg-type]


def _each(columns: Sequence[Column], function: Callable[[Column, Any], Any], values: Iterable[Any]) -> list[Any]:
    """``function`` of each column and its values; what it cannot do is said with the column's name."""
    found = []
    for column, its in zip(columns, values, strict=True):
        try:
            found.append(function(column, its))
        except UNBINDABLE as error:
            raise in_column(column.name, error) from error
    return found


def _context(error: BaseException) -> str:
    """Where the server was when it met the error, in its own language."""
    return getattr(getattr(error, "diag", None), "context", None) or ""


# -- writers -------------------------------------------------------------------------------------------------------


class Copy(Writer):
    """``COPY ... FROM STDIN`` in its text format."""

    def __init__(self, settings: TableSettings, columns: Sequence[Column]) -> None:
        self._columns = tuple(columns)
        self._prefix = f"COPY {settings.name}, "
        self._title = title(settings)
        self.statement = f"COPY {self._title} ({', '.join(quoted(column.name) for column in columns)}) FROM STDIN"

    def ask(self, connection: Connection) -> None:
        """COPY cannot be planned; the INSERT of the same columns needs the same of the table and the user."""
        listed = ", ".join(quoted(column.name) for column in self._columns)
        places = ", ".join("NULL" for _ in self._columns)
        plan(connection, f"INSERT INTO {self._title} ({listed}) VALUES ({places})".replace("%", "%%"), 0)  # noqa: S608 - names are quoted

    def encode(self, rows: Sequence[Row]) -> bytes:
        cells = _each(self._columns, self._column_cells, zip(*rows, strict=True))
        return ("\n".join(map("\t".join, zip(*cells, strict=True))) + "\n").encode()

    @staticmethod
    def _column_cells(column: Column, values: Sequence[Any]) -> Sequence[str]:
        return _cells(convert_column(values, column.texts))

    def send(self, cursor: Any, encoded: bytes) -> None:
        with cursor.copy(self.statement) as copy:
            copy.write(encoded)

    def refused(self, error: BaseException, encoded: bytes) -> int | None:
        """The server says ``COPY meter, line 3, column kw: "x"``."""
        context = _context(error)
        found = _FIRST_NUMBER(context, len(self._prefix)) if context.startswith(self._prefix) else None
        position = int(found[1]) - 1 if found else -1
        return position if 0 <= position < encoded.count(b"\n") else None

    def column(self, error: BaseException) -> str | None:
        context = _context(error)
        found = _COPY_COLUMN(context, len(self._prefix)) if context.startswith(self._prefix) else None
        names = [column.name for column in self._columns if found and found[1].startswith(f"{column.name}:")]
        return max(names, key=len, default=None)


class Unnest(Writer):
    """``INSERT ... SELECT ... FROM UNNEST(...)``, with what upsert or ignore means."""

    def __init__(self, settings: TableSettings, columns: Sequence[Column]) -> None:
        self._columns = tuple(columns)
        names = [quoted(column.name) for column in columns]
        self._key = [index for index, column in enumerate(columns) if column.name in settings.key]
        self._last_wins = settings.write == "upsert"
        arrays = ", ".join(f"\0::{'text' if column.is_array else column.sql_type}[]" for column in columns)
        selected = ", ".join(
            f"{name}::{column.sql_type}" if column.is_array else name
            for name, column in zip(names, columns, strict=True)
        )
        conflict = ""
        if settings.write != "insert":
            rest = [name for name, column in zip(names, columns, strict=True) if column.name not in settings.key]
            target = f" ({', '.join(quoted(name) for name in settings.key)})" if settings.key else ""
            action = "NOTHING"
            if self._last_wins and rest:
                action = "UPDATE SET " + ", ".join(f"{name} = EXCLUDED.{name}" for name in rest)
            conflict = f" ON CONFLICT{target} DO {action}"
        listed = ", ".join(names)
        statement = (
            f"INSERT INTO {title(settings)} ({listed}) SELECT {selected} "  # noqa: S608 - names are quoted
            f"FROM UNNEST({arrays}) AS new_rows ({listed}){conflict}"
        )
        self.statement = statement.replace("%", "%%").replace("\0", "%s")

    def ask(self, connection: Connection) -> None:
        plan(connection, self.statement, len(self._columns))

    def encode(self, rows: Sequence[Row]) -> tuple[str, ...]:
        texts = _each(
            self._columns, lambda column, values: convert_column(values, column.texts), zip(*rows, strict=True)
        )
        if self._last_wins:
            texts = self._without_repeated_keys(texts)
        return tuple(_each(self._columns, lambda _, values: _literal(values), texts))

    def _without_repeated_keys(self, texts: list[Sequence[Any]]) -> list[Sequence[Any]]:
        """ON CONFLICT cannot touch a row twice. Keys with a NULL are never equal."""
        keys = list(zip(*[texts[index] for index in self._key], strict=True))
        last = {key: position for position, key in enumerate(keys)}
        if len(last) == len(keys):
            return texts
        kept = [position for position, key in enumerate(keys) if last[key] == position or None in key]
        return [[column[position] for position in kept] for column in texts]

    def send(self, cursor: Any, encoded: tuple[str, ...]) -> None:
        cursor.execute(self.statement, encoded)

    def column(self, error: BaseException) -> str | None:
        """The server says ``unnamed portal parameter $2 = '...'``."""
        found = _PARAMETER(_context(error))
        number = int(found[1]) if found else 0
        return self._columns[number - 1].name if 0 < number <= len(self._columns) else None


# -- the table -----------------------------------------------------------------------------------------------------


class Facts(NamedTuple):
    """What SQLAlchemy does not tell: the types' names by column, which are arrays, whether COPY is possible, what the
    user may not do, and the names of unique indexes that hold only at the end of a transaction."""

    types: dict[str, tuple[str, bool]]
    copy: bool
    denied: tuple[str, ...]
    deferrable: frozenset[str]


_TYPES: Final = sa.text(
    "SELECT a.attname, format_type(a.atttypid, -1), t.typcategory = 'A'"
    " FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid"
    " WHERE a.attrelid = CAST(:table AS regclass) AND a.attnum > 0 AND NOT a.attisdropped"
)
# No COPY into views, nor where policies decide row by row; foreign and partitioned tables are fine.
_RELATION: Final = sa.text(
    "SELECT relkind IN ('r', 'p', 'f') AND NOT row_security_active(oid),"
    " has_any_column_privilege(oid, 'INSERT'),"
    " has_any_column_privilege(oid, 'UPDATE'),"
    " has_any_column_privilege(oid, 'SELECT')"
    " FROM pg_class WHERE oid = CAST(:table AS regclass)"
)
_DEFERRABLE: Final = sa.text(
    "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
    " WHERE i.indrelid = CAST(:table AS regclass) AND NOT i.indimmediate"
)
_MAY_CREATE: Final = sa.text(
    "SELECT nspname, has_schema_privilege(oid, 'CREATE') FROM pg_namespace"
    " WHERE nspname = coalesce(:schema, current_schema())"
)


def look(connection: Connection, settings: TableSettings) -> Facts:
    """The facts about an existing table or view."""
    table = {"table": title(settings)}
    types = {name: (kind, is_array) for name, kind, is_array in connection.execute(_TYPES, table)}
    copy, *allowed = connection.execute(_RELATION, table).one()
    # ON CONFLICT (key) reads the key.
    upsert = settings.write == "upsert"
    needed = {"INSERT": True, "UPDATE": upsert, "SELECT": settings.write != "insert" and bool(settings.key)}
    denied = [name for (name, must), may in zip(needed.items(), allowed, strict=True) if must and not may]
    return Facts(types, copy, tuple(denied), frozenset(connection.execute(_DEFERRABLE, table).scalars()))


def require_create(connection: Connection, settings: TableSettings) -> None:
    """Unavailable where the user may not make the table."""
    found = connection.execute(_MAY_CREATE, {"schema": settings.schema}).first()
    if found is not None and not found[1]:
        schema = connection.dialect.identifier_preparer.quote(found[0])
        raise Unavailable(
            f"table {settings.title} does not exist and the user may not make it: "
            f"GRANT CREATE ON SCHEMA {schema} TO the user of the connection"
        )


def writer(settings: TableSettings, facts: Facts, columns: Sequence[str], kinds: Sequence[tuple[Kind, Type]]) -> Writer:
    """COPY for plain inserts where it can be, UNNEST otherwise; ``kinds`` are what the columns take and get."""
    described = [
        Column(name, *facts.types[name], texts(kind, declared))
        for name, (kind, declared) in zip(columns, kinds, strict=True)
    ]
    if settings.write == "insert" and facts.copy:
        return Copy(settings, described)
    return Unnest(settings, described)
