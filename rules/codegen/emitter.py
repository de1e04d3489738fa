"""Lines of Python in the making: indentation, local names, constants, and which values are at hand where.

Nothing that a rule's author wrote becomes source text: texts, names and functions are reached through constants
``k0``, ``k1`` ... of the function's namespace, locals are numbered. A value that was computed inside a block is known
only there.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any

from core.message import MISSING


class Emitter:
    """Collects the body of one function. ``constants`` are the namespace's own values by name, ``labels`` say what
    they are, in one line of ASCII."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.constants: dict[str, Any] = {}
        self.labels: dict[str, str] = {}
        self._names: dict[Hashable, str] = {}
        self._depth = 0
        self._locals = 0
        self._known: list[dict[Hashable, str]] = [{}]

    def line(self, text: str) -> None:
        self.lines.append("    " * self._depth + text)

    @contextmanager
    def block(self, header: str) -> Iterator[None]:
        """Lines below ``header``; what becomes known inside is forgotten behind it."""
        self.line(header)
        self._depth += 1
        self._known.append({})
        yield
        self._known.pop()
        self._depth -= 1

    @contextmanager
    def trial(self) -> Iterator[list[str]]:
        """Collect lines for a block without writing them: the caller may do without the block if there are none."""
        lines, self.lines = self.lines, []
        self._known.append({})
        self._depth += 1
        collected = self.lines
        yield collected
        self._depth -= 1
        self._known.pop()
        self.lines = lines

    def local(self, expression: str, prefix: str = "v") -> str:
        """A new local name with the value of ``expression``."""
        name = self.fresh(prefix)
        self.line(f"{name} = {expression}")
        return name

    def fresh(self, prefix: str = "v") -> str:
        self._locals += 1
        return f"{prefix}{self._locals}"

    def recall(self, value: Hashable) -> str | None:
        """The text that gives ``value`` at this place, None where it is not at hand."""
        for known in reversed(self._known):
            text = known.get(value)
            if text is not None:
                return text
        return None

    def remember(self, value: Hashable, text: str) -> None:
        self._known[-1][value] = text

    def constant(self, value: Any, label: str = "") -> str:
        """Source text for a constant: the literal of a number or boolean, else a name of the namespace.

        ``label`` describes the constant in the source's header; without one its ``ascii`` does.
        """
        if value is MISSING:
            return "MISSING"
        if value is None or isinstance(value, bool):
            return repr(value)
        if type(value) in (int, float):
            return repr(value) if value >= 0 else f"({value!r})"
        key: Hashable = (type(value), value) if isinstance(value, str | bytes) else ("object", id(value))
        return self.shared_constant(key, value, label or ascii(value))

    def shared_constant(self, key: Hashable, value: Any, label: str) -> str:
        """The name of an object in the namespace; one object for one ``key``."""
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = f"k{len(self.constants)}"
            self.constants[name] = value
            self.labels[name] = label
        return name
