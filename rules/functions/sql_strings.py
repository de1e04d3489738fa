"""Texts as PostgreSQL has them: positions count from 1, null for null. EMQX's own functions are in ``strings``.

Characters are user-perceived ones, as everywhere (``graphemes``).
"""

from __future__ import annotations

import re

from core.message import Type
from rules.functions.base import Category, Int, Refusal, Text, check_size, shown
from rules.functions.graphemes import graphemes

CATEGORY = Category("strings as in SQL")
scalar = CATEGORY.scalar


@scalar(Type.BIGINT, ("char_length('abcd')", 4), aliases=("character_length",), propagate=True)
def char_length(text: Text) -> int:
    """The number of characters."""
    return len(graphemes(text))


@scalar(Type.TEXT, ("left('abcd', 2)", "ab"), ("left('abcd', -1)", "abc"), propagate=True)
def left(text: Text, count: Int) -> str:
    """The first `count` characters; with a negative one all but the last."""
    return "".join(graphemes(text)[:count])


@scalar(Type.TEXT, ("right('abcd', 2)", "cd"), ("right('abcd', -1)", "bcd"), propagate=True)
def right(text: Text, count: Int) -> str:
    """The last `count` characters; with a negative one all but the first."""
    return "".join(graphemes(text)[-count:]) if count else ""


@scalar(
    Type.BIGINT,
    ("strpos('abcb', 'b')", 2),
    ("position('b' IN 'abcb')", 2),
    ("strpos('abc', 'x')", 0),
    propagate=True,
)
def strpos(text: Text, wanted: Text) -> int:
    """The position of the first `wanted` in the text, 0 where there is none; also `position(wanted IN text)`."""
    found = text.find(wanted)
    return len(graphemes(text[:found])) + 1 if found >= 0 else 0


@scalar(
    Type.TEXT,
    ("split_part('a/b/c', '/', 2)", "b"),
    ("split_part('a/b/c', '/', -1)", "c"),
    ("split_part('a/b', '/', 9)", ""),
    propagate=True,
)
def split_part(text: Text, separator: Text, number: Int) -> str:
    """The part of that number between separators, negative from the end; empty where there is none."""
    if not number:
        raise Refusal("parts are numbered from 1")
    parts = text.split(separator) if separator else [text]
    place = number - 1 if number > 0 else len(parts) + number
    return parts[place] if 0 <= place < len(parts) else ""


@scalar(Type.TEXT, ("repeat('ab', 3)", "ababab"), ("repeat('ab', -1)", ""), propagate=True)
def repeat(text: Text, count: Int) -> str:
    """The text `count` times."""
    check_size(len(text) * max(count, 0))
    return text * count if text else ""


@scalar(Type.BOOLEAN, ("starts_with('cp/1', 'cp/')", True), propagate=True)
def starts_with(text: Text, prefix: Text) -> bool:
    """True where the text begins with `prefix`."""
    return text.startswith(prefix)


@scalar(Type.BOOLEAN, ("ends_with('cp/1', '/1')", True), propagate=True)
def ends_with(text: Text, suffix: Text) -> bool:
    """True where the text ends with `suffix`."""
    return text.endswith(suffix)


_WORD = re.compile(r"[^\W_]+")


@scalar(Type.TEXT, ("initcap('hello wORLD-2x')", "Hello World-2x"), propagate=True)
def initcap(text: Text) -> str:
    """Every word with a capital first and small letters behind it."""
    return _WORD.sub(lambda word: word[0][:1].upper() + word[0][1:].lower(), text)


@scalar(
    Type.TEXT,
    ("substring('abcd', 2)", "bcd"),
    ("substring('abcd', 2, 2)", "bc"),
    ("substring('abcd' FROM 2 FOR 2)", "bc"),
    ("substring('abcd', -1, 3)", "a"),
    propagate=True,
)
def substring(text: Text, start: Int, count: Int = 1 << 62) -> str:
    """The characters from position `start` on, at most `count` of them; also `substring(text FROM start FOR count)`.
    EMQX's `substr` counts from 0."""
    if count < 0:
        raise Refusal(f"the count must not be negative, not {shown(count)}")
    first = max(start - 1, 0)
    return "".join(graphemes(text)[first : max(start - 1 + count, first)])


def _padding(text: Text, length: int, filler: str) -> tuple[str, str]:
    """The text, cut to ``length``, and what fills it up."""
    characters = graphemes(text)[: max(length, 0)]
    missing = length - len(characters)
    fill = graphemes(filler)
    if missing <= 0 or not fill:
        return "".join(characters), ""
    check_size(length * max(map(len, fill)))
    return "".join(characters), "".join((list(fill) * (missing // len(fill) + 1))[:missing])


@scalar(Type.TEXT, ("lpad('7', 3, '0')", "007"), ("lpad('abcd', 2)", "ab"), propagate=True)
def lpad(text: Text, length: Int, filler: Text = " ") -> str:
    """The text with `filler` before it up to that length; a longer text is cut."""
    kept, fill = _padding(text, length, filler)
    return fill + kept


@scalar(Type.TEXT, ("rpad('7', 3, '0')", "700"), propagate=True)
def rpad(text: Text, length: Int, filler: Text = " ") -> str:
    """The text with `filler` behind it up to that length; a longer text is cut."""
    kept, fill = _padding(text, length, filler)
    return kept + fill
