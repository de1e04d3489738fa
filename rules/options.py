"""What ``CREATE RULE name WITH (...)`` and ``CREATE VIEW name WITH (...)`` may say: every option with what it takes.

What has wrong options is not compiled, so :class:`RuleOptions` holds only what was said well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, get_args

from sqlglot import exp

from rules.analytics import AnalyticLimits
from rules.diagnostics import Problems, suggestion
from rules.functions.base import Refusal
from rules.functions.intervals import interval_text, parse_fixed
from rules.nodes import span_of
from rules.windows.plan import Emit, Limits, WhenFull

OnError = Literal["report", "ignore", "disable"]
MAX_FAILURES: Final = 1_000_000
MAX_ROWS: Final = 100_000_000
_LENGTHS: Final = frozenset({"allowed_lateness", "carry", "idle_keys", "state_ttl", "lead_wait"})


class WindowOptions(NamedTuple):
    """What a query's window may be told beside its SQL. ``allowed_lateness`` is microseconds."""

    emit: Emit = Emit.ON_CLOSE
    allowed_lateness: int = 0
    limits: Limits = Limits()

    @property
    def corrects(self) -> bool:
        """Does the window give results anew?"""
        return self.emit is Emit.ON_CHANGE or self.allowed_lateness > 0


@dataclass(frozen=True, slots=True)
class RuleOptions:
    """The options of a rule; those of a rule without a WITH are these."""

    enabled: bool = True
    """false: the rule is checked, but does not run."""
    description: str = ""
    """For people."""
    tags: tuple[str, ...] = ()
    """For people, and for programs that pick rules from the admin server's list."""
    on_error: OnError = "report"
    """What becomes of a message that the rule fails on. In any case it is counted and gives no row; ``report``: it is
    logged and becomes a dead letter; ``ignore``: nothing else; ``disable``: as ``report``, and after
    ``disable_after`` such messages in a row the rule does not run until the next reload."""
    disable_after: int = 100
    """Used with ``on_error = 'disable'``."""
    emit: str = Emit.ON_CLOSE.value
    """``on_close``: a window gives its rows once, when it is complete; ``on_change``: also each time it has changed."""
    allowed_lateness: int = 0
    """How long after its end a window takes late rows, and gives corrected results; microseconds."""
    max_keys: int = Limits().max_keys
    """Groups of one window, and partitions of analytic functions."""
    when_full: str = WhenFull.DROP_NEW.value
    """At ``max_keys``: ``drop_new`` rejects rows of new groups, ``drop_oldest`` gives up the oldest groups."""
    max_values: int = Limits().max_values
    """Values that one aggregate of one group keeps, such as ``array_agg`` does."""
    max_rows: int = Limits().max_rows
    """Rows that a sliding window keeps for a group, and open sessions of one."""
    carry: int = Limits().carry
    """How old the last sample of a key may be for ``counter_delta`` and the other meters' functions to go on from it in
    the key's next window; microseconds."""
    idle_keys: int = Limits().idle_keys or 0
    """After how long without rows a COUNT or STATE window of a group is given up; microseconds, 0: never."""
    state_ttl: int = AnalyticLimits().state_ttl
    """Analytic functions forget a partition that has had no row for so long; microseconds."""
    lead_wait: int = AnalyticLimits().wait
    """How long a row waits for the one that ``lead`` asks for; microseconds."""

    on_end: Literal["drain", "drop"] = "drain"
    """What open windows do when their query ends, because a reload has changed or removed it or the service stops
    without a ``data_dir``: give what they hold (``drain``) or nothing (``drop``)."""

    @property
    def window(self) -> WindowOptions:
        """Those that are about the query's window."""
        limits = Limits(
            self.max_keys, WhenFull(self.when_full), self.max_values, self.max_rows, self.carry, self.idle_keys or None
        )
        return WindowOptions(Emit(self.emit), self.allowed_lateness, limits)

    @property
    def analytics(self) -> AnalyticLimits:
        """Those that are about the query's analytic functions."""
        return AnalyticLimits(
            self.max_keys, WhenFull(self.when_full), self.state_ttl, self.lead_wait, max_rows=self.max_rows
        )

    def changed(self) -> str:
        """Those that a WITH must have changed, as it would write them; empty where there are none."""
        values = ((field.name, getattr(self, field.name), getattr(DEFAULT, field.name)) for field in fields(self))
        return ", ".join(
            f"{name} = {_written(interval_text(value) if name in _LENGTHS else value)}"
            for name, value, usual in values
            if value != usual
        )


DEFAULT: Final = RuleOptions()


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_written, value))}]"
    return f"'{value}'" if isinstance(value, str) else str(value)


class WrongOption(Exception):
    """A value does not fit its option; ``hint`` is a way out."""

    def __init__(self, message: str, hint: str = "", place: exp.Expr | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        self.place = place


def _boolean(value: exp.Expr) -> bool:
    if not isinstance(value, exp.Boolean):
        raise WrongOption("is true or false")
    return bool(value.this)


def read_text(value: exp.Expr) -> str:
    if not (isinstance(value, exp.Literal) and value.is_string):
        raise WrongOption("is a text")
    return value.name


def _texts(value: exp.Expr) -> tuple[str, ...]:
    """``'a, b'`` or ``['a', 'b']``, each once."""
    if isinstance(value, exp.Array):
        for item in value.expressions:
            if not (isinstance(item, exp.Literal) and item.is_string):
                raise WrongOption("is a list of texts", place=item)
        found = [item.name.strip() for item in value.expressions]
    elif isinstance(value, exp.Literal) and value.is_string:
        found = [part.strip() for part in value.name.split(",")]
    else:
        raise WrongOption("is a text, such as 'a, b', or a list of texts")
    return tuple(dict.fromkeys(tag for tag in found if tag))


def read_one_of(choices: Sequence[str]) -> Callable[[exp.Expr], str]:
    def read(value: exp.Expr) -> str:
        if isinstance(value, exp.Literal) and value.is_string and value.name in choices:
            return value.name
        raise WrongOption(f"is one of {', '.join(map(repr, choices))}", suggestion(value.name, choices) or "")

    return read


def read_count(most: int) -> Callable[[exp.Expr], int]:
    def read(value: exp.Expr) -> int:
        number = value.name if isinstance(value, exp.Literal) and not value.is_string else ""
        if not (number.isdigit() and 1 <= int(number[:10]) <= most):
            raise WrongOption(f"is a whole number from 1 to {most}")
        return int(number)

    return read


def read_length(value: exp.Expr) -> int:
    """Microseconds of a text such as ``'1 minute'``."""
    if isinstance(value, exp.Literal) and value.is_string:
        with suppress(Refusal):
            length = parse_fixed(value.name)
            if length >= 0:
                return length
    raise WrongOption("is a length of time, such as '30 seconds'")


def _positive_length(value: exp.Expr) -> int:
    length = read_length(value)
    if not length:
        raise WrongOption("is a length of time, and longer than nothing")
    return length


_READERS: Final[MappingProxyType[str, Callable[[exp.Expr], Any]]] = MappingProxyType(
    {
        "enabled": _boolean,
        "description": read_text,
        "tags": _texts,
        "on_error": read_one_of(get_args(OnError)),
        "disable_after": read_count(MAX_FAILURES),
        "emit": read_one_of([emit.value for emit in Emit]),
        "allowed_lateness": read_length,
        "max_keys": read_count(MAX_ROWS),
        "when_full": read_one_of([choice.value for choice in WhenFull]),
        "max_values": read_count(MAX_ROWS),
        "max_rows": read_count(MAX_ROWS),
        "state_ttl": _positive_length,
        "lead_wait": _positive_length,
        "carry": read_length,
        "idle_keys": read_length,
        "on_end": read_one_of(["drain", "drop"]),
    }
)
OPTIONS: Final = tuple(field.name for field in fields(RuleOptions))
VIEW_OPTIONS: Final = tuple(name for name in OPTIONS if name not in ("enabled", "tags", "disable_after"))
"""A view runs while a rule reads it."""


class Written(NamedTuple):
    """What a WITH says: values by option, of those that were right, and where each option stands."""

    values: dict[str, Any]
    places: dict[str, exp.Expr]


def read_with(
    options: Iterable[exp.Expr], readers: Mapping[str, Callable[[exp.Expr], Any]], problems: Problems
) -> Written:
    """The options of a WITH; what is wrong with one goes to ``problems``, and it counts as not said."""
    found = Written({}, {})
    known = tuple(readers)
    for option in options:
        name, value = option.this.name, option.args["value"]
        if name not in readers:
            hint = suggestion(name, known) or f"options are {', '.join(known[:-1])} and {known[-1]}"
            problems.add("unknown-option", f"there is no option {name!r}", span_of(option.this), hint=hint)
            continue
        if name in found.places:
            problems.add("unknown-option", f"the option {name!r} is there twice", span_of(option.this))
            continue
        found.places[name] = option
        try:
            found.values[name] = readers[name](value)
        except WrongOption as wrong:
            place = span_of(wrong.place or value)
            problems.add("unknown-option", f"the option {name!r} {wrong}", place, hint=wrong.hint)
    return found


def read_options(options: Sequence[exp.Expr], problems: Problems, known: Sequence[str] = OPTIONS) -> RuleOptions:
    """The options of a WITH, which may be those ``known``; what is wrong with them goes to ``problems``."""
    found, written = read_with(options, {name: _READERS[name] for name in known}, problems)
    read = RuleOptions(**found)
    undecided = "on_error" in written and "on_error" not in found
    if "disable_after" in found and read.on_error != "disable" and not undecided:
        hint = "add on_error = 'disable'"
        place = span_of(written["disable_after"])
        problems.add("unknown-option", "'disable_after' counts only with on_error = 'disable'", place, hint=hint)
    return read
