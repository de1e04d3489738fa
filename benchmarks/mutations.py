"""Rule SQL gone wrong: statements that are nearly right, tokens in any order, bytes. What the fuzz programs feed.

Owns the making of inputs, from random numbers and the texts of good statements; what is done with
them is the caller's business. Inputs are short (see :data:`MAX_LENGTH`), as a rule is.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

MAX_LENGTH: Final = 2_000

# ruff: noqa: S608, SIM905 - SQL from strings is what is made here

_TOKEN: Final = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\w+|\s+|::|\.\.|[<>!=]=|\|\||.""", re.DOTALL)
_WORDS: Final = (
    "SELECT FROM WHERE AND OR NOT IN CASE WHEN THEN ELSE END AS FOREACH DO INCASE INSERT INTO CREATE RULE WITH LIKE "
    "ILIKE ESCAPE BETWEEN IS NULL UNKNOWN TRUE FALSE CAST TRY_CAST EXTRACT INTERVAL TIMESTAMP AT TIME ZONE DECIMAL "
    "HOUR EPOCH BIGINT DOUBLE TEXT BYTES ARRAY OBJECT BOTH EXCEPT REPLACE DISTINCT GROUP BY ORDER LIMIT JOIN UNION "
    "SOURCE TABLE VIEW WATERMARK FOR LEFT INNER OUTER ON HAVING QUALIFY FILTER OVER PARTITION DESC NULLS FIRST LAST "
    "TUMBLE HOP SESSION SLIDE COUNT_WINDOW TUMBLINGWINDOW SLIDINGWINDOW ss mi window_start count sum lag "
    "payload topic qos clientid timestamp flags user_properties item system now() __import__ __builtins__ self None "
    "m k0 v1 emit fail MISSING"
).split()
_NUMBERS: Final = "0 1 2 -1 2.5 0.1 1.5e300 9223372036854775807 99999999999999999999999999 12345678.9e-5".split()
_TEXTS: Final = (
    *("'text'", "'1'", "''", "'2026-01-01T00:00:00Z'", "'1 day'", "'%a_'", "'(a+)+$'", "'[1,2]'", "'{\"a\":1}'"),
    *(
        "'Europe/Berlin'",
        "'\u00e9\U0001f600'",
        "'\ud800'",
        '"t/#"',
        '""',
        '"a b"',
        "'%s %d %Y'",
        "'.a|.[]'",
        "'base64'",
    ),
)
_OPERATORS: Final = "+ - * / div mod = != <> < > <= >= =~ || :: . , AND OR LIKE IN".split()
_REST: Final = (
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ";",
    ":",
    "..",
    "?",
    "@",
    "$",
    "\\",
    "`",
    "#",
    "--",
    "/*",
    "*/",
    "\n",
    "\0",
)
_CHARACTERS: Final = "'\"()[]{},.;:=<>!|*/+-_%$@\\`#?~^&\n\t\r\0 aAzZ09\u00e9\u2028\ufeff\ud800\udfff\U0001f600"
_KINDS: Final = (
    (re.compile(r"[0-9]"), _NUMBERS),
    (re.compile(r"['\"]"), _TEXTS),
    (re.compile(r"[-+*/=<>!|,]|::|and$|or$|div$|mod$|like$|in$", re.IGNORECASE), _OPERATORS),
)


def tokens(sql: str) -> list[str]:
    """The pieces of a statement; joined they are the statement."""
    return _TOKEN.findall(sql)


class Material(NamedTuple):
    """What inputs are made of: good statements in pieces, words, anything, names of functions."""

    statements: tuple[list[str], ...]
    words: tuple[str, ...]
    pool: tuple[str, ...]
    functions: tuple[str, ...]


def material(statements: Sequence[str], functions: Sequence[str]) -> Material:
    pieces = tuple(tokens(statement) for statement in statements)
    found = {token for statement in pieces for token in statement if token[0].isalpha() or token[0] == "_"}
    words = (*_WORDS, *sorted(found))
    pool = (*words, *_NUMBERS, *_TEXTS, *_OPERATORS, *_REST, *(f"{name}(" for name in functions))
    return Material(pieces, words, pool, tuple(functions))


class Mutator:
    """Makes inputs. The same material and the same random numbers make the same inputs."""

    def __init__(self, material: Material, numbers: random.Random) -> None:
        self._random = numbers
        self._statements, self._words, self._pool, self._functions = material
        self._edits: tuple[Callable[[list[str]], None], ...] = (
            *(self._exchange,) * 8,
            self._delete,
            self._repeat,
            self._replace,
            self._insert,
            self._swap,
            self._splice,
            *(self._wrap,) * 3,
        )

    def mutated(self) -> str:
        """A good statement with one to four changes of its tokens, and now and then of a character.

        Most changes put a token in the place of one of its kind, so that what comes out has a meaning often enough.
        """
        pieces = list(self._random.choice(self._statements))
        for _ in range(self._random.choice((1, 1, 1, 2, 2, 3, 4))):
            if not pieces:
                break
            self._random.choice(self._edits)(pieces)
        text = "".join(pieces)
        return self._damaged(text) if self._random.random() < 0.1 else text[:MAX_LENGTH]

    def soup(self) -> str:
        """Tokens in any order, half of the time behind a SELECT."""
        words = " ".join(self._random.choices(self._pool, k=self._random.randint(1, 30)))
        return f"SELECT {words} FROM t" if self._random.random() < 0.5 else words

    def noise(self) -> str:
        """Bytes, read as Latin-1 or as far as they are UTF-8, or characters that mean something somewhere."""
        choice = self._random.random()
        size = self._random.randint(0, 60)
        if choice < 0.4:
            return self._random.randbytes(size).decode("latin-1")
        if choice < 0.6:
            return self._random.randbytes(size).decode(errors="surrogateescape")
        return "".join(self._random.choices(_CHARACTERS, k=size))

    def _place(self, pieces: list[str]) -> int:
        return self._random.randrange(len(pieces))

    def _delete(self, pieces: list[str]) -> None:
        start = self._place(pieces)
        del pieces[start : start + self._random.randint(1, 4)]

    def _repeat(self, pieces: list[str]) -> None:
        start = self._place(pieces)
        part = pieces[start : start + self._random.randint(1, 8)]
        pieces[start:start] = part * self._random.choice((1, 1, 2, 40))
        del pieces[MAX_LENGTH:]

    def _exchange(self, pieces: list[str]) -> None:
        """A number for a number, a function for a function, ..."""
        place = self._place(pieces)
        token = pieces[place]
        if token in self._functions:
            pieces[place] = self._random.choice(self._functions)
            return
        same = next((found for pattern, found in _KINDS if pattern.match(token)), None)
        if same is not None or token[:1].isalpha():
            pieces[place] = self._random.choice(same or self._words)

    def _replace(self, pieces: list[str]) -> None:
        pieces[self._place(pieces)] = self._random.choice(self._pool)

    def _insert(self, pieces: list[str]) -> None:
        pieces.insert(self._place(pieces), f" {self._random.choice(self._pool)} ")

    def _swap(self, pieces: list[str]) -> None:
        one, two = self._place(pieces), self._place(pieces)
        pieces[one], pieces[two] = pieces[two], pieces[one]

    def _splice(self, pieces: list[str]) -> None:
        other = self._random.choice(self._statements)
        place = self._place(pieces)
        pieces[place:] = other[self._random.randrange(len(other)) :]

    def _wrap(self, pieces: list[str]) -> None:
        """A call, a cast or a condition around some of the pieces."""
        start = self._place(pieces)
        end = min(len(pieces), start + self._random.randint(1, 5))
        name = self._random.choice(self._functions)
        before, behind = self._random.choice(
            (
                (f"{name}(", ")"),
                (f"{name}(payload.a, ", ")"),
                ("CAST(", " AS BIGINT)"),
                ("(NOT ", ")"),
                ("[", "]"),
                ("-", ""),
            )
        )
        pieces[start:end] = [before, *pieces[start:end], behind]

    def _damaged(self, text: str) -> str:
        place = self._random.randint(0, len(text))
        return (text[:place] + self._random.choice(_CHARACTERS) + text[place + self._random.randint(0, 2) :])[
            :MAX_LENGTH
        ]
