"""The settings of the influxdb sink."""

from __future__ import annotations

from typing import Literal

import msgspec

Precision = Literal["ns", "us", "ms", "s"]


class Config(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """What becomes measurement, tags, fields and time; either by columns or by ``write_syntax``."""

    measurement: str | None = None
    """The measurement's name; takes ``${column}``."""
    tags: list[str] = []
    """Columns that become tags. A null or empty one is left out."""
    fields: list[str] | None = None
    """Columns that become fields; without it all that are neither tags nor time. Null and NaN are left out."""
    unsigned: list[str] = []
    """Fields whose integers are written as unsigned (``u``)."""
    integers: Literal["integer", "float"] = "integer"
    """``float`` writes all numbers as floats: for devices that send now 7400 and now 7400.5 in the same field."""
    time: str | None = None
    """The column with the point's time, a TIMESTAMP or milliseconds since the epoch; else the time of writing."""
    precision: Precision | None = None
    """Of the times on the wire, where rows have a time: the coarsest that will do compresses best. Without it ``ns``,
    and ``ms`` with ``write_syntax``, as EMQX has it."""
    write_syntax: str | None = None
    """Line protocol with ``${column}`` in it, as EMQX has it; one or several lines, instead of the above."""
