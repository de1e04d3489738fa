"""Rows -> lines, compiled once per schema.

A point's tags repeat and its fields do not: everything before the fields is looked up by the values of the tags, and
the fields are written by a loop that was generated for their Python types. Rows that the loop does not fit, and all
that is unusual (null, NaN, quotes, huge integers), take the slow way, which says what is wrong. Where integers are
written as floats a loop takes both in all places, and is quickest for those it was generated for.
Generated source has positions and names of ours in it only, never a column's name or a value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from core.errors import ConfigError, PayloadError
from core.message import MISSING, Row, Schema, Type
from sinks.encoding import rfc3339
from sinks.influxdb import lines
from sinks.influxdb.config import Config, Precision
from sinks.influxdb.syntax import Clock, Syntax
from sinks.references import unknown
from sinks.template import Template

Encode = Callable[[Sequence[Row]], list[str]]
_Loop = Callable[[Sequence[Row], Callable[[Row], str]], list[str]]
_Shape = tuple[type, ...]
_MAX_PREFIXES: Final = 50_000
_MAX_SHAPES: Final = 32
_FAST: Final = frozenset({float, int, bool, str})
_FLOAT_OR_NULL: Final = frozenset({float, type(None)})
_MANY: Final = 8
_encode_json: Final = msgspec.json.Encoder().encode


def _texts(rows: Sequence[Row], place: int) -> Sequence[str | None]:
    """What is at a place of each row as text, where it is a finite float; else None.

    A JSON encoder writes a list of floats in half the time that ``repr`` takes for them, but for the first few.
    """
    values = [row[place] for row in rows]
    if len(values) >= _MANY and _FLOAT_OR_NULL.issuperset(map(type, values)):
        encoded = _encode_json(values)
        texts = encoded[1:-1].decode().split(",")
        return [None if text == "null" else text for text in texts] if b"null" in encoded else texts
    return [repr(value) if value.__class__ is float and math.isfinite(value) else None for value in values]


class _Number:
    """In a shape: an int or a float."""


class Encoder:
    """The settings of one sink; ConfigError for those that contradict one another or name no column of the rules.

    ``precision`` is that of the times in the lines. Times that rows do not have are made in nanoseconds: in coarser
    units many rows would run ahead of the clock, as no two may be at one time.
    """

    def __init__(self, config: Config, schemas: Sequence[Schema]) -> None:
        self._config = config
        self._syntax: Syntax | None = None
        self._measurement = Template(config.measurement or "")
        self.precision: Precision = (config.precision or "ns") if config.time else "ns"
        if config.write_syntax is not None:
            by_columns = ("measurement", "tags", "fields", "unsigned", "time")
            if also := next((name for name in by_columns if getattr(config, name)), None):
                raise ConfigError("write_syntax says this already", path=also)
            self._syntax = Syntax(config.write_syntax, config.precision)
            self.precision = self._syntax.precision
        elif not config.measurement:
            raise ConfigError("is missing", path="measurement", hint="or set write_syntax")
        elif self._measurement.constant is not None:
            try:
                lines.measurement(self._measurement.constant)
            except PayloadError as error:
                raise ConfigError(str(error), path="measurement") from None
        self._check_columns(schemas)

    def _check_columns(self, schemas: Sequence[Schema]) -> None:
        config = self._config
        wanted = {"tags": config.tags, "fields": config.fields or [], "unsigned": config.unsigned}
        wanted["time"] = [config.time] if config.time else []
        for setting, columns in wanted.items():
            if len(set(columns)) < len(columns):
                raise ConfigError("names a column twice", path=setting)
            for column in columns:
                if problem := unknown(column, schemas):
                    raise ConfigError(problem[0], path=setting, hint=problem[1])
        if both := set(config.tags) & set(config.fields or ()):
            raise ConfigError(f"{min(both)!r} is a tag, too", path="fields")
        names = {name for schema in schemas for name in schema.names}
        if names and config.fields is None and self._syntax is None and names <= {*config.tags, config.time}:
            raise ConfigError("no column is left for the fields", path="tags", hint="a point needs one")

    def bind(self, schema: Schema) -> Encode:
        """A function that gives the line (or lines) of each row; PayloadError where a row has none."""
        if self._syntax is not None:
            line = self._syntax.bind(schema)
            return lambda rows: [line(row) for row in rows]
        return _Points(self._config, self.precision, self._measurement, schema).encode


class _Points:
    """The points of one schema."""

    def __init__(self, config: Config, precision: Precision, template: Template, schema: Schema) -> None:
        names = schema.names
        self._config = config
        self._names = names
        self._types = schema.types
        self._width = len(names)
        self._unsigned = frozenset(names.index(name) for name in config.unsigned if name in names)
        self._floats = config.integers == "float"
        self._measurement = template.bind(schema)
        self._has_measurement = template.constant is not None
        # Sorted: the server need not do it (InfluxDB, "optimize writes").
        self._tags = [(lines.key(name, "tag key"), names.index(name)) for name in sorted(config.tags) if name in names]
        taken = {*config.tags, config.time}
        wanted = [name for name in names if name not in taken] if config.fields is None else config.fields
        self._fields = [(lines.key(name), names.index(name)) for name in wanted if name in names]
        self._time = names.index(config.time) if config.time in names else None
        self._timed = config.time is not None
        # Rows without a field, or without the time that the settings name, are no points; instants are text, slowly.
        instants = any(self._types[index] is Type.TIMESTAMP for _, index in self._fields)
        self._generates = bool(self._fields) and (self._time is not None or not self._timed) and not instants
        self._unit = lines.PER_UNIT[precision]
        self._prefixes: dict[Any, str] = {}
        self._shapes: dict[_Shape, _Loop] = {}
        self._last: _Loop = lambda rows, other: [other(row) for row in rows]
        self._clock = Clock(self._unit)

    def encode(self, rows: Sequence[Row]) -> list[str]:
        return self._last(rows, self._other)

    def _other(self, row: Row) -> str:
        """The line of a row that the last loop did not fit; the next batch is taken to be like this row."""
        loop = self._fitting(row)
        if loop is None:
            return self._slowly(row)
        self._last = loop
        return loop((row,), self._slowly)[0]

    def _unlike(self, row: Row) -> None:
        """A row that the last loop took, but not in the quickest way: the next batch is taken to be like it."""
        self._last = self._fitting(row) or self._last

    def _fitting(self, row: Row) -> _Loop | None:
        shape = tuple([type(row[index]) for _, index in self._fields])
        loop = self._shapes.get(shape)
        if loop is None and self._generates and _FAST.issuperset(shape):
            wide = self._widened(shape)
            loop = self._shapes.get(wide)
            # Half of the room is for shapes that no loop takes: n fields can be int or float in 2**n ways.
            if len(self._shapes) < (_MAX_SHAPES if loop is None else _MAX_SHAPES // 2):
                loop = self._shapes[shape] = self._generate(shape, wide)
                self._shapes.setdefault(wide, loop)
        return loop

    def _widened(self, shape: _Shape) -> _Shape:
        """All that a loop for this shape takes."""
        if not self._floats:
            return shape
        return tuple([_Number if kind is int or kind is float else kind for kind in shape])

    # -- the slow way -----------------------------------------------------------------------------------------------

    def _slowly(self, row: Row) -> str:
        fields = []
        for name, index in self._fields:
            value = row[index]
            if self._types[index] is Type.TIMESTAMP and type(value) is int:
                value = rfc3339(value)
            try:
                text = lines.field(value, unsigned=index in self._unsigned, floats=self._floats)
            except PayloadError as error:
                raise lines.about(self._names[index], error) from None
            if text is not None:
                fields.append(f"{name}={text}")
        if not fields:
            lines.refuse("no field has a value")
        return f"{self._prefix(row)}{','.join(fields)} {self._moment(row)}"

    def _prefix(self, row: Row) -> str:
        """Everything before the fields, with the space."""
        measurement = self._measurement(row).decode(errors="replace")
        parts = [lines.measurement(measurement)]
        for name, index in self._tags:
            value = row[index]
            if self._types[index] is Type.TIMESTAMP and type(value) is int:
                value = rfc3339(value)
            try:
                text = lines.text_of(value)
                if text:
                    parts.append(f"{name}={lines.tag(text)}")
            except PayloadError as error:
                raise lines.about(self._names[index], error) from None
        return f"{','.join(parts)} "

    def _moment(self, row: Row) -> int:
        if self._time is None:
            if self._timed:
                lines.refuse(f"it has no time: its rule yields no {self._config.time}")
            return self._clock.next()
        name, value = self._names[self._time], row[self._time]
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if value is None or value is MISSING:
            lines.refuse(f"it has no time: {name} is {'null' if value is None else 'missing'}")
        if type(value) is not int:
            lines.refuse(f"{name}: {value!r:.40} is no time")
        moment = value * (1_000 if self._types[self._time] is Type.TIMESTAMP else 1_000_000)
        if not lines.INT_MIN <= moment <= lines.INT_MAX:
            lines.refuse(f"{name}: the time {value} is out of range")
        return moment // self._unit

    # -- the generated way ------------------------------------------------------------------------------------------

    def _cached_prefix(self, key: Any, row: Row) -> str:
        prefix = self._prefix(row)
        if len(self._prefixes) >= _MAX_PREFIXES:
            self._prefixes.clear()
        self._prefixes[key] = prefix
        return prefix

    def _generate(self, shape: _Shape, wide: _Shape) -> _Loop:
        """The loop for fields of these types; it calls ``other`` for a row that it does not take."""
        names = dict.fromkeys(f"v{index}" for index in range(self._width))
        builtins = {"TypeError": TypeError, "int": int, "str": str, "float": float, "bool": bool}
        scope: dict[str, Any] = {"__builtins__": builtins, "booleans": ("False", "True")}
        for position, (name, _) in enumerate(self._fields):
            scope[f"n{position}"] = f"{',' if position else ''}{name}="
        scope |= {"prefixes": self._prefixes.get, "cached": self._cached_prefix, "measurement": self._measurement}
        scope |= {"now": self._clock.next, "unlike": self._unlike, "texts": _texts, "zip": zip}
        floats = [index for (_, index), kind in zip(self._fields, shape, strict=True) if kind is float]
        each = "row"
        together = "rows"
        if floats:
            each = f"row, {', '.join(f't{index}' for index in floats)}"
            together = f"zip(rows, {', '.join(f'texts(rows, {index})' for index in floats)})"
        at_start, elsewhere, at_end = "", "", ""
        if wide != shape:
            at_start = "    odd = None\n"
            elsewhere = f"        elif {self._branch(wide)}            odd = row\n"
            at_end = "    if odd is not None:\n        unlike(odd)\n"
        source = (
            f"def encode(rows, other):\n"
            f"    lines = []\n"
            f"    add = lines.append\n"
            f"{at_start}"
            f"    for {each} in {together}:\n"
            f"        {', '.join(names)}, = row\n"
            f"        if {self._branch(shape)}"
            f"{elsewhere}"
            f"        else:\n"
            f"            add(other(row))\n"
            f"{at_end}"
            f"    return lines\n"
        )
        exec(source, scope)  # noqa: S102 - no text of others is in it
        loop: _Loop = scope["encode"]
        return loop

    def _branch(self, shape: _Shape) -> str:
        """A condition, and what is done with a row that meets it."""
        conditions: list[str] = []
        numbers: list[str] = []
        text: list[str] = []
        for position, ((_, index), kind) in enumerate(zip(self._fields, shape, strict=True)):
            own, written = self._of(kind, index)
            conditions += own
            text.append(f"{{n{position}}}{written}")
            if kind is _Number:
                numbers.append(f"v{index}")
        if numbers:
            # The sum is not finite where one of them is not; where it overflows the slow way does no harm.
            conditions.append(f"({' + '.join(numbers)}) * 0.0 == 0.0")
        in_time, when = self._when()
        return (
            f"{' and '.join([*conditions, *in_time])}:\n"
            f"            key = {self._key()}\n"
            f"            try:\n"
            f"                prefix = prefixes(key)\n"
            f"            except TypeError:\n"  # a tag that has no hash, an object
            f"                add(other(row))\n"
            f"                continue\n"
            f"            if prefix is None:\n"
            f"                prefix = cached(key, row)\n"
            f"            add(f'{{prefix}}{''.join(text)} {{{when}}}')\n"
        )

    def _of(self, kind: type, index: int) -> tuple[list[str], str]:
        """The conditions on a field of this type, and its value in the line."""
        value = f"v{index}"
        is_of = f"{value}.__class__ is {kind.__name__}"
        if kind is float:
            return [f"t{index}"], f"{{t{index}}}"
        if kind is bool:
            return [is_of], f"{{booleans[{value}]}}"  # to format one costs three times as much
        if kind is str:
            return [is_of, f"'\"' not in {value} and '\\\\' not in {value}"], f'"{{{value}}}"'
        exact = f"-{2**53} < {value} < {2**53}"
        if kind is _Number:
            return [f"({value}.__class__ is float or {value}.__class__ is int and {exact})"], f"{{{value} * 1.0!r}}"
        if self._floats:
            return [is_of, exact], f"{{{value}}}.0"
        if index in self._unsigned:
            return [is_of, f"0 <= {value} <= {lines.UINT_MAX}"], f"{{{value}}}u"
        return [is_of, f"{lines.INT_MIN} <= {value} <= {lines.INT_MAX}"], f"{{{value}}}i"

    def _when(self) -> tuple[list[str], str]:
        """The conditions on the time of a row, and the expression of what stands in the line."""
        if self._time is None:
            return [], "now()"
        moment = f"v{self._time}"
        scale, unit = 1_000 if self._types[self._time] is Type.TIMESTAMP else 1_000_000, self._unit
        limit = lines.INT_MAX // scale
        conditions = [f"{moment}.__class__ is int", f"-{limit} < {moment} < {limit}"]
        return conditions, f"{moment} * {scale // unit}" if scale >= unit else f"{moment} // {unit // scale}"

    def _key(self) -> str:
        """What the beginning of a line depends on: 1, 1.0 and True are equal, and are not the same tag."""
        parts = [] if self._has_measurement else ["measurement(row)"]
        parts += [
            f"v{index}" if self._types[index] in (Type.TEXT, Type.BIGINT) else f"v{index}.__class__, v{index}"
            for _, index in self._tags
        ]
        return f"({', '.join(parts)},)" if parts else "()"
