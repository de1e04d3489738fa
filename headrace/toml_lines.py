"""Where in a TOML file a setting stands: dotted path -> line, which ``tomllib`` does not tell.

Reads only text that ``tomllib`` has accepted, so the grammar's errors need no handling here. A path is a tuple of
keys; an item of an array is an int (``("acl", 0, "topics")``).
"""

from __future__ import annotations

import re
import tomllib
from typing import Final

Path = tuple[str | int, ...]

_TOKEN: Final = re.compile(
    r"""
    (?P<space>[ \t\r]+|\#[^\n]*)
  | (?P<newline>\n)
  | (?P<string>\"\"\"(?:[^\\]|\\.)*?\"{3,5}|'''.*?'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')
  | (?P<mark>[\[\]{}=,.])
  | (?P<bare>[^\s\[\]{}=,.\#"']+)
    """,
    re.VERBOSE | re.DOTALL,
)


class _Scanner:
    """Walks the tokens once and notes the line of every key and array item."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._tokens: list[tuple[str, str, int]] = []
        line = 1
        for found in _TOKEN.finditer(text):
            kind, token = found.lastgroup or "", found.group()
            if kind != "space":
                self._tokens.append((kind, token, line))
            line += token.count("\n")
        self._tokens.append(("end", "", line))
        self._at = 0
        self._arrays: dict[Path, int] = {}

    def _peek(self) -> str:
        kind, token, _ = self._tokens[self._at]
        return token if kind in ("mark", "newline") else kind

    def _next(self) -> tuple[str, str, int]:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _key(self) -> tuple[Path, int]:
        """A dotted key and its line."""
        parts: list[str | int] = []
        line = self._tokens[self._at][2]
        while True:
            kind, token, _ = self._next()
            parts.append(_unquote(token) if kind == "string" else token)
            if self._peek() != ".":
                return tuple(parts), line
            self._next()

    def _note(self, base: Path, key: Path, line: int) -> Path:
        for end in range(1, len(key) + 1):
            self.lines.setdefault(base + key[:end], line)
        return base + key

    def scan(self) -> None:
        table: Path = ()
        while self._peek() != "end":
            if self._peek() == "\n":
                self._next()
            elif self._peek() == "[":
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> Path:
        """``[a.b]`` or ``[[a.b]]``; where a part of the path is an array of tables its last item is meant."""
        self._next()
        repeated = self._peek() == "["
        if repeated:
            self._next()
        key, line = self._key()
        while self._peek() not in ("\n", "end"):
            self._next()
        path: Path = ()
        for index, part in enumerate(key):
            path = (*path, part)
            self.lines.setdefault(path, line)
            last = index == len(key) - 1
            if last and repeated:
                self._arrays[path] = self._arrays.get(path, -1) + 1
            if path in self._arrays:
                path = (*path, self._arrays[path])
                self.lines.setdefault(path, line)
        return path

    def _pair(self, base: Path) -> None:
        key, line = self._key()
        path = self._note(base, key, line)
        self._next()  # the '='
        self._value(path)

    def _value(self, path: Path) -> None:
        if self._peek() == "[":
            self._next()
            index = 0
            while (mark := self._peek()) != "]":
                if mark in ("\n", ","):
                    self._next()
                    continue
                self.lines[(*path, index)] = self._tokens[self._at][2]
                self._value((*path, index))
                index += 1
            self._next()
        elif self._peek() == "{":
            self._next()
            while (mark := self._peek()) != "}":
                if mark in ("\n", ","):
                    self._next()
                else:
                    self._pair(path)
            self._next()
        else:
            # Scalars may be several tokens: 1.5, 1979-05-27 07:32:00
            while self._peek() not in ("\n", ",", "]", "}", "end"):
                self._next()


def _unquote(token: str) -> str:
    return str(tomllib.loads(f"k = {token}")["k"])


def key_lines(text: str) -> dict[Path, int]:
    """The 1-based line of every table, key and array item of valid TOML ``text``."""
    scanner = _Scanner(text)
    scanner.scan()
    return scanner.lines


def dotted(path: Path) -> str:
    """A path as it is written in messages: ``acl[0].topics``; keys that need quotes get them."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            plain = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else f'"{part}"'
            text += f".{plain}" if text else plain
    return text
