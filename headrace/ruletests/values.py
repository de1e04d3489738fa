"""What stands in test files beside plain TOML: payloads, moments and rows; each is made by its ``parse``.

``ValueError`` says what was expected; the place is added by the decoder. An expected value is a plain value, or one of
those that TOML lacks: :data:`~core.message.MISSING`, None (null), bytes, a datetime, :data:`ANYTHING`.
"""

from __future__ import annotations

import binascii
import enum
import math
from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, ClassVar, Final

import msgspec

from core import instants
from core.clock import MICROSECOND
from core.errors import PayloadError
from core.message import MISSING
from core.settings import Duration
from formats.json import decode_document


class Anything(enum.Enum):
    """The expectation that there is a value, whichever."""

    ANYTHING = "anything"


ANYTHING: Final = Anything.ANYTHING

_WORDS: Final[Mapping[str, Any]] = {"missing": MISSING, "null": None, "anything": ANYTHING}


def nanoseconds(moment: datetime) -> int:
    """Nanoseconds since the epoch of an aware datetime."""
    return (moment - instants.EPOCH) // timedelta(microseconds=1) * MICROSECOND


def instant(text: str) -> datetime | None:
    """The datetime of an RFC 3339 text, None where it is none or has no offset."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if found.tzinfo is None else found.astimezone(UTC)


def moment_of(microseconds: int) -> Any:
    """The datetime of a TIMESTAMP; outside of the years 1 to 9999 the number itself."""
    try:
        return instants.instant(microseconds)
    except PayloadError:
        return microseconds


class Moment:
    """A point in time: RFC 3339, as a text or TOML's date-time, or a duration since the test's start."""

    TOML: ClassVar[str] = "date-time or duration"
    __slots__ = ("nanoseconds", "relative")

    def __init__(self, nanoseconds: int, *, relative: bool) -> None:
        self.nanoseconds = nanoseconds
        self.relative = relative

    def __str__(self) -> str:
        if self.relative:
            return str(Duration(self.nanoseconds))
        return str(moment_of(self.nanoseconds // MICROSECOND)).replace(" ", "T").replace("+00:00", "Z")

    @classmethod
    def parse(cls, value: Any) -> Moment:
        moment = instant(value) if isinstance(value, str) else value
        if isinstance(moment, datetime) and moment.tzinfo is not None:
            return cls(nanoseconds(moment), relative=False)
        if isinstance(value, str):
            try:
                return cls(Duration.parse(value), relative=True)
            except ValueError:
                pass
        shown = value.isoformat() if isinstance(value, date | time) else repr(value)
        raise ValueError(f"expected a time like '2025-01-31T12:00:00Z' or a duration like '1.5s', got {shown}")


class Payload:
    """A message's payload: a text as it is, ``{ hex = "..." }``, ``{ base64 = "..." }``; any other value as JSON."""

    TOML: ClassVar[str] = "anything"
    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __str__(self) -> str:
        return self.data.decode(errors="backslashreplace")

    @classmethod
    def parse(cls, value: Any) -> Payload:
        if isinstance(value, str):
            return cls(value.encode())
        data = _binary(value)
        return cls(msgspec.json.encode(_finite(value)) if data is None else data)


class ExpectedRow:
    """The columns of a row: a table, or a text with a JSON object, which has nulls and no special forms."""

    TOML: ClassVar[str] = "table"
    __slots__ = ("columns",)

    def __init__(self, columns: Mapping[str, Any]) -> None:
        self.columns = columns

    @classmethod
    def parse(cls, value: Any) -> ExpectedRow:
        if isinstance(value, dict):
            return cls({name: _expected(item) for name, item in value.items()})
        if isinstance(value, str):
            try:
                found = decode_document(value)
            except msgspec.DecodeError as error:
                raise ValueError(f"a row as text is a JSON object: {error}") from None
            if isinstance(found, dict):
                return cls(found)
        raise ValueError("expected a table of columns or a text with a JSON object")


_VALUES: Final[Mapping[type[Any], Callable[[Any], Any]]] = {
    Moment: Moment.parse,
    Payload: Payload.parse,
    ExpectedRow: ExpectedRow.parse,
}


def decode_value(kind: type[Any], value: Any) -> Any:
    """The ``dec_hook`` of test files."""
    if kind in _VALUES:
        return _VALUES[kind](value)
    raise NotImplementedError(f"no value of a test is of type {kind.__name__}")


def _expected(value: Any) -> Any:
    data = _binary(value)
    if data is not None:
        return data
    if isinstance(value, dict):
        if set(value) == {"is"}:
            word = value["is"]
            if not isinstance(word, str) or word not in _WORDS:
                raise ValueError(f"`is` takes {', '.join(map(repr, _WORDS))}, got {word!r}")
            return _WORDS[word]
        return {name: _expected(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_expected(item) for item in value]
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC)
    if isinstance(value, date | time):
        raise ValueError(f"a time in a row needs an offset, such as {value.isoformat()}Z")  # noqa: TRY004
    return value


def _binary(value: Any) -> bytes | None:
    """The bytes of ``{ hex = "..." }`` and ``{ base64 = "..." }``, None for anything else."""
    if not isinstance(value, dict) or len(value) != 1:
        return None
    [(form, text)] = value.items()
    if form not in ("hex", "base64") or not isinstance(text, str):
        return None
    try:
        return bytes.fromhex(text) if form == "hex" else b64decode("".join(text.split()), validate=True)
    except (ValueError, binascii.Error) as error:
        raise ValueError(f"{text[:40]!r} is not {form}: {error}") from None


def _finite(value: Any) -> Any:
    """``value``; ValueError where JSON has no such thing."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, float) and not math.isfinite(item):
            raise ValueError(f"JSON has no {item}; write the payload as a text")
        stack += item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
    return value
