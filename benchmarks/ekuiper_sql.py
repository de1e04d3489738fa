"""eKuiper's SQL -> ours, mechanically: what the golden cases of eKuiper are asked in.

Owns the rewriting of names, texts, paths, indexes and calls, for one row (:class:`Translator`: names are fields of the
payload) and for declared sources (:class:`StreamTranslator`: names are columns, and clauses are ours too). A construct
without a counterpart raises Untranslatable with its name. Meanings are not adapted: where the two languages differ, the
case shows it.
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
        last = int(_place(parts[1] or "0", 0))
        end = last if last > 0 else last - 1
        return f"[{_place(parts[0] or '0', 1)}..{end}]"


def _place(text: str, first: int) -> str:
    try:
        number = int(text)
    except ValueError:
        raise Untranslatable("a computed index") from None
    return str(number + first if number >= 0 else number)


_CLAUSES: Final = frozenset(
    "GROUP BY HAVING ORDER ASC DESC OVER FILTER WHEN PARTITION INNER LEFT JOIN ON LIMIT".split()  # noqa: SIM905
)
_COLUMN: Final = re.compile(r"`?(\w+)`?\s+(\w+)(\s*\([^()]*(?:\([^()]*\)[^()]*)*\))?\s*(?:,|$)")
_STREAM: Final = re.compile(r"CREATE (STREAM|TABLE) (\w+)\s*\((.*)\)\s*WITH\s*\((.*)\)\s*;?\s*$", re.DOTALL)
_OPTION: Final = re.compile(r'(\w+)\s*=\s*"([^"]*)"')
_UNITS: Final = frozenset({"dd", "hh", "mi", "ss", "ms"})
_BOUNDARIES: Final = frozenset({"window_start", "window_end"})
_KINDS: Final = {str: "string", int: "bigint", float: "float", bool: "boolean", list: "array", dict: "struct"}
_COLUMN_TYPES: Final = {**_TYPES, "array": "ARRAY", "struct": "OBJECT"}


class StreamTranslator(Translator):
    """A query over declared sources, or where ``topics`` over messages whose fields are not declared."""

    def __init__(self, text: str, functions: Mapping[str, str], *, topics: bool = False) -> None:
        super().__init__(text, functions)
        self._topics = topics

    def _piece(self, token: Token, after: str) -> str:
        if token.text == "*" and not (self._topics and after == "SELECT"):
            return "*"
        return super()._piece(token, after)

    def _named(self, name: str, after: str) -> str:
        return super()._named(name, after) if self._topics else f'"{name}"'

    def _word(self, word: str, after: str) -> str:
        if word.upper() in _CLAUSES:
            return word.upper()
        if after in ("FROM", "JOIN"):
            return f'"{word}"' if self._topics else word
        return super()._word(word, after)

    def _column(self, name: str, after: str) -> str:
        if name.lower() in _UNITS and not after:  # the first argument of a window
            return name
        return super()._column(name, after) if self._topics else name

    def _call(self, name: str) -> str:
        """A field that is one call is named after its function; one that gives several columns names them itself."""
        alone = self._depth == 0 and name.lower() != "changed_cols" and self._before_call() in ("SELECT", ",")
        text = name.lower() if name.lower() in _BOUNDARIES else ""
        called = super()._call(name)
        text = text or called
        following = self._tokens[self._place].text.upper() if self._place < len(self._tokens) else ""
        return f'{text} AS "{name.lower()}"' if alone and following in (",", "FROM") else text

    def _before_call(self) -> str:
        return self._tokens[self._place - 2].text.upper() if self._place > 1 else ""


def create_source(ddl: str, rows: Sequence[Mapping[str, object]], delay_ms: int) -> str:
    """``CREATE STREAM`` -> ``CREATE SOURCE``; with a TIMESTAMP option that column is its event time. A stream without
    columns has those of its ``rows``, but without an event time no declaration at all (an empty text)."""
    found = _STREAM.match(ddl.strip())
    if found is None:
        raise Untranslatable(f"the statement {ddl[:40]!r}")
    options = {key.upper(): value for key, value in _OPTION.findall(found[4])}
    if options.get("TYPE") != "mock" or found[1] != "STREAM":
        raise Untranslatable("a table")
    time = options.get("TIMESTAMP")
    kinds = {name: kind.lower() for name, kind, _ in _COLUMN.findall(found[3])}
    if not kinds and time:
        kinds = {name: _KINDS[type(value)] for row in rows for name, value in row.items()}
    if not kinds:
        return ""
    if unknown := kinds.values() - _COLUMN_TYPES.keys():
        raise Untranslatable(f"a column of type {min(unknown)}")
    columns = [
        f'"{name}" {"TIMESTAMP NOT NULL" if name == time else _COLUMN_TYPES[kind]}' for name, kind in kinds.items()
    ]
    if time:
        columns.append(f"WATERMARK FOR {time} AS {time} - INTERVAL '{delay_ms} milliseconds'")
    return f"CREATE SOURCE {found[2]} ({', '.join(columns)}) WITH (topic = '{found[2]}');"
