"""What ``CREATE RULE name WITH (...)`` may say: every option with what it takes, in one table.

A rule with options that are wrong is not compiled, so :class:`RuleOptions` holds only what was said well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

from sqlglot import exp

from rules.diagnostics import Problems, suggestion
from rules.nodes import span_of

OnError = Literal["report", "ignore", "disable"]
MAX_FAILURES: Final = 1_000_000


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

    def changed(self) -> str:
        """Those that a WITH must have changed, as it would write them; empty where there are none."""
        usual = RuleOptions()
        values = ((field.name, getattr(self, field.name), getattr(usual, field.name)) for field in fields(self))
        return ", ".join(f"{name} = {_written(value)}" for name, value, default in values if value != default)


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_written, value))}]"
    return f"'{value}'" if isinstance(value, str) else str(value)


class _WrongError(Exception):
    """A value does not fit its option; ``hint`` is a way out."""

    def __init__(self, message: str, hint: str = "", place: exp.Expr | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        self.place = place


def _boolean(value: exp.Expr) -> bool:
    if not isinstance(value, exp.Boolean):
        raise _WrongError("is true or false")
    return bool(value.this)


def _text(value: exp.Expr) -> str:
    if not (isinstance(value, exp.Literal) and value.is_string):
        raise _WrongError("is a text")
    return value.name


def _texts(value: exp.Expr) -> tuple[str, ...]:
    """``'a, b'`` or ``['a', 'b']``, each once."""
    if isinstance(value, exp.Array):
        for item in value.expressions:
            if not (isinstance(item, exp.Literal) and item.is_string):
                raise _WrongError("is a list of texts", place=item)
        found = [item.name.strip() for item in value.expressions]
    elif isinstance(value, exp.Literal) and value.is_string:
        found = [part.strip() for part in value.name.split(",")]
    else:
        raise _WrongError("is a text, such as 'a, b', or a list of texts")
    return tuple(dict.fromkeys(tag for tag in found if tag))


def _on_error(value: exp.Expr) -> OnError:
    choices: tuple[OnError, ...] = get_args(OnError)
    if isinstance(value, exp.Literal) and value.is_string:
        for choice in choices:
            if choice == value.name:
                return choice
    raise _WrongError(f"is one of {', '.join(map(repr, choices))}", suggestion(value.name, choices) or "")


def _count(value: exp.Expr) -> int:
    number = value.name if isinstance(value, exp.Literal) and not value.is_string else ""
    if not (number.isdigit() and 1 <= int(number[:10]) <= MAX_FAILURES):
        raise _WrongError(f"is a whole number from 1 to {MAX_FAILURES}")
    return int(number)


_READERS: Final[MappingProxyType[str, Callable[[exp.Expr], Any]]] = MappingProxyType(
    {
        "enabled": _boolean,
        "description": _text,
        "tags": _texts,
        "on_error": _on_error,
        "disable_after": _count,
    }
)
OPTIONS: Final = tuple(field.name for field in fields(RuleOptions))


def read_options(tree: exp.Create, problems: Problems) -> RuleOptions:
    """The options of a CREATE RULE; what is wrong with them goes to ``problems``."""
    properties = tree.args.get("properties")
    found: dict[str, Any] = {}
    written: dict[str, exp.Expr] = {}
    for option in properties.expressions if properties is not None else ():
        name, value = option.this.name, option.args["value"]
        reader = _READERS.get(name)
        if reader is None:
            hint = suggestion(name, OPTIONS) or f"options are {', '.join(OPTIONS[:-1])} and {OPTIONS[-1]}"
            problems.add("unknown-option", f"there is no option {name!r}", span_of(option.this), hint=hint)
            continue
        if name in written:
            problems.add("unknown-option", f"the option {name!r} is there twice", span_of(option.this))
            continue
        written[name] = option
        try:
            found[name] = reader(value)
        except _WrongError as wrong:
            problems.add(
                "unknown-option", f"the option {name!r} {wrong}", span_of(wrong.place or value), hint=wrong.hint
            )
    options = RuleOptions(**found)
    undecided = "on_error" in written and "on_error" not in found
    if "disable_after" in found and options.on_error != "disable" and not undecided:
        hint = "add on_error = 'disable'"
        place = span_of(written["disable_after"])
        problems.add("unknown-option", "'disable_after' counts only with on_error = 'disable'", place, hint=hint)
    return options
