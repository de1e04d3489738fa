"""eKuiper's SQL -> ours, mechanically and for one row: what the golden cases of eKuiper are asked in.

Owns the rewriting of names, texts, paths, indexes and calls; a construct without a counterpart raises Untranslatable
with its name. Meanings are not adapted: where the two languages differ, the case shows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

_TOKEN: Final = re.compile(
    r"""(?P<text>"(?:[^"\\]|\\.)*")|(?P<name>`[^`]*`)|(?P<number>\d+(?:\.\d+)?)|(?P<word>\w+)|(?P<sign>->|[<>!]=|\S)"""
)
_KEYWORDS: Final = frozenset(
    "SELECT FROM WHERE AS AND OR NOT IN BETWEEN LIKE CASE WHEN THEN ELSE END TRUE FALSE NULL".split()  # noqa: SIM905
)
_TYPES: Final = {
    "bigint": "BIGINT",
    "float": "DOUBLE",
    "string": "TEXT",
    "boolean": "BOOLEAN",
    "bytea": "BYTES",
    "datetime": "TIMESTAMP",
}


class Untranslatable(Exception):
    """What we have no form for; the text names it."""


class Token(NamedTuple):
    kind: str
    text: str


def _literal(text: str) -> str:
    value = text[1:-1].replace('\\"', '"')
    if "'" in value:
        raise Untranslatable("a text with a single quote")
    return f"'{value}'"


def call(name: str, arguments: Sequence[str], functions: Mapping[str, str]) -> str:
    """The call of a function by eKuiper's name: ours by the same or another name, or a template such as {0} IS NULL."""
    lower = name.lower()
    if lower == "cast":
        kind = _TYPES.get(arguments[1].strip("'"))
        if kind is None:
            raise Untranslatable(f"a cast to {arguments[1]}")
        return f"CAST({arguments[0]} AS {kind})"
    form = functions.get(lower, lower)
    if "{" in form:
        try:
            return f"({form.format(*arguments)})"
        except IndexError:
            raise Untranslatable(f"{lower} with {len(arguments)} arguments") from None
    return f"{form}({', '.join(arguments)})"


class Translator:
    """One statement or expression; ``aliases`` are names that stand for earlier fields."""

    def __init__(self, text: str, functions: Mapping[str, str]) -> None:
        self._tokens = [Token(str(found.lastgroup), found.group()) for found in _TOKEN.finditer(text)]
        self._place = 0
        self._depth = 0
        self._functions = functions

    def translate(self) -> str:
        """The whole text."""
        return " ".join(self._until(""))

    def _until(self, *ends: str) -> Iterator[str]:
        """The pieces up to one of the signs, which is not taken."""
        after = ""
        while self._place < len(self._tokens):
            token = self._tokens[self._place]
            if token.text in ends:
                return
            self._place += 1
            piece = self._piece(token, after)
            after = token.text.upper()
            if piece:
                yield piece

    def _piece(self, token: Token, after: str) -> str:
        if token.kind == "text":
            return _literal(token.text)
        if token.kind == "name":
            return self._named(token.text[1:-1], after)
        if token.kind == "word":
            return self._word(token.text, after)
        if token.text == "[":
            return self._index()
        if token.text == "*" and after in ("SELECT", ",", "("):
            raise Untranslatable("* for the fields of the payload")
        return {"->": ".", "%": "mod"}.get(token.text, token.text)

    def _named(self, name: str, after: str) -> str:
        return f'"{name}"' if after in ("AS", "->") else self._column(name, after)

    def _word(self, word: str, after: str) -> str:
        upper = word.upper()
        if upper in ("GROUP", "JOIN", "ORDER", "HAVING", "OVER", "INVISIBLE", "EXCEPT", "REPLACE"):
            raise Untranslatable(upper)
        if after == "FROM":
            return '"t"'
        if after == "AS":
            return f'"{word}"'
        if upper in _KEYWORDS:
            return word
        if self._place < len(self._tokens) and self._tokens[self._place].text == "(":
            return self._call(word)
        return word if after == "->" else self._column(word, after)

    def _column(self, name: str, after: str) -> str:
        """A field of the payload; a field of the SELECT keeps its name."""
        whole = after in ("SELECT", ",") and self._depth == 0
        following = self._tokens[self._place].text.upper() if self._place < len(self._tokens) else ""
        alone = whole and following in (",", "FROM")
        return f'payload."{name}" AS "{name}"' if alone else f'payload."{name}"'

    def _call(self, name: str) -> str:
        self._place += 1
        self._depth += 1
        arguments: list[str] = []
        while self._tokens[self._place].text != ")":
            arguments.append(" ".join(self._until(",", ")")))
            if self._tokens[self._place].text == ",":
                self._place += 1
        self._place += 1
        self._depth -= 1
        return call(name, arguments, self._functions)

    def _index(self) -> str:
        """``[i]`` counts from 0 and ``[i:j]`` leaves j out; ours count from 1 and take both."""
        parts = [""]
        while (token := self._tokens[self._place]).text != "]":
            self._place += 1
            if token.text == ":":
                parts.append("")
            else:
                parts[-1] += token.text
        self._place += 1
        if len(parts) == 1:
            return f"[{_place(parts[0], 1)}]"
        last = parts[1] or "0"
        end = int(last) if int(last) > 0 else int(last) - 1
        return f"[{_place(parts[0] or '0', 1)}..{end}]"


def _place(text: str, first: int) -> str:
    try:
        number = int(text)
    except ValueError:
        raise Untranslatable("a computed index") from None
    return str(number + first if number >= 0 else number)
