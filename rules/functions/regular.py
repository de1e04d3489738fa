"""Regular expressions with the syntax and meaning of PCRE as far as Python's ``re`` goes.

Classes such as ``\\w`` and letter case are ASCII, as in PCRE without its Unicode option, but a dot is a whole
character. Compiled patterns are kept in a bounded cache. ``re`` cannot be interrupted, so a pattern with nested
repetitions is as slow as it is written: patterns belong into rules, not into payloads.
"""

from __future__ import annotations

import re
import warnings
from functools import lru_cache
from typing import Final

from core.message import Type
from rules.functions.base import Category, Refusal, Text, check_size

CATEGORY = Category("regular expressions")
scalar = CATEGORY.scalar

MAX_PATTERN: Final = 4_096
MAX_CACHED: Final = 256

_POSIX_CLASSES: Final = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": "\\x00-\\x7f",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": "\\s",
    "upper": "A-Z",
    "word": "\\w",
    "xdigit": "0-9A-Fa-f",
}
_OUTSIDE: Final = {
    "\\z": "\\Z",
    "\\Z": "(?=\\n?\\Z)",
    "\\h": "[ \\t]",
    "\\R": "(?>\\r\\n|[\\n\\x0b\\x0c\\r\\x85])",
    "\\e": "\\x1b",
}
_TOKEN: Final = re.compile(
    r"\\Q(?P<literal>.*?)(?:\\E|\Z)"
    r"|(?P<escape>\\.)"
    r"|\(\?<(?P<group>[A-Za-z_]\w*)>"
    r"|\[:(?P<posix>[a-z]+):\]"
    r"|(?P<open>\[\^?\]?)"
    r"|(?P<close>\])"
    r"|(?P<other>.)",
    re.DOTALL,
)


def _translated(pattern: str) -> str:
    """A PCRE pattern as Python writes it."""
    parts: list[str] = []
    in_class = False
    for token in _TOKEN.finditer(pattern):
        text = token.group()
        if (literal := token["literal"]) is not None:
            text = re.escape(literal)
        elif token["escape"]:
            text = ("\\x1b" if text == "\\e" else text) if in_class else _OUTSIDE.get(text, text)
        elif token["group"] and not in_class:
            text = f"(?P<{token['group']}>"
        elif token["posix"] and in_class:
            text = _POSIX_CLASSES.get(token["posix"], text)
        elif token["open"] and in_class:
            # A bracket inside a class is itself, but Python warns of it unless it is escaped.
            in_class = not text.endswith("]")
            text = "\\" + text
        elif token["open"]:
            in_class = True
            text = text.replace("]", "\\]")
        elif token["close"]:
            in_class = False
        elif in_class and text in "&|~":
            text = "\\" + text
        parts.append(text)
    return "".join(parts)


@lru_cache(maxsize=MAX_CACHED)
def _compiled(pattern: str) -> re.Pattern[str]:
    if len(pattern) > MAX_PATTERN:
        raise Refusal(f"the pattern has {len(pattern)} characters, the limit is {MAX_PATTERN}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return re.compile(_translated(pattern), re.ASCII)
    except (re.error, OverflowError) as error:
        raise Refusal(f"{pattern[:80]!r} is no regular expression: {error}") from None


@scalar(
    Type.BOOLEAN,
    ("regex_match('abc 123', '\\d+')", True),
    ("regex_match('e2xebd', '^[a-z]+$')", False),
)
def regex_match(text: Text, pattern: Text) -> bool:
    """True where the pattern matches anywhere in the text."""
    return _compiled(pattern).search(text) is not None


_REFERENCE: Final = re.compile(
    r"\\g\{(?P<braced>[0-9]{1,4})\}|\\g?(?P<number>[0-9]{1,4})|\\(?P<literal>.)|&", re.DOTALL
)


@lru_cache(maxsize=MAX_CACHED)
def _template(replacement: str) -> tuple[str | int, ...]:
    """A replacement as literal texts and group numbers."""
    parts: list[str | int] = []
    end = 0
    for found in _REFERENCE.finditer(replacement):
        parts.append(replacement[end : found.start()])
        number = found["braced"] or found["number"]
        if found["literal"]:
            # Only the ampersand and the backslash lose their backslash; others keep it.
            parts.append(found["literal"] if found["literal"] in "&\\" else found.group())
        else:
            parts.append(int(number) if number else 0)
        end = found.end()
    parts.append(replacement[end:])
    return tuple(part for part in parts if part != "")


@scalar(
    Type.TEXT,
    ("regex_replace('hello 123', '\\d+', 'world')", "hello world"),
    ("regex_replace('accbcd', 'c+', '[&]')", "a[cc]b[c]d"),
    ("regex_replace('a=1', '(\\w)=(\\w)', '\\2=\\1')", "1=a"),
)
def regex_replace(text: Text, pattern: Text, replacement: Text) -> str:
    """The text with every match replaced. In `replacement`, `&` and `\\0` are the match, `\\1` to `\\9`... its groups
    (empty where there is no such group); `\\&` is an ampersand."""
    parts = _template(replacement)
    compiled = _compiled(pattern)
    size = 0

    def expand(found: re.Match[str]) -> str:
        nonlocal size
        pieces = [
            part if isinstance(part, str) else (found.group(part) or "" if part <= compiled.groups else "")
            for part in parts
        ]
        expanded = "".join(pieces)
        size += len(expanded)
        check_size(size)
        return expanded

    return compiled.sub(expand, text)


@scalar(
    Type.ARRAY,
    ("regex_extract('Date: 2021-05-20', '(\\d{4})-(\\d{2})-(\\d{2})')", ["2021", "05", "20"]),
    ("regex_extract('No numbers here!', '(\\d+)')", []),
)
def regex_extract(text: Text, pattern: Text) -> list[str]:
    """The groups of the first match; empty where nothing matches or the pattern has no groups."""
    found = _compiled(pattern).search(text)
    return [group or "" for group in found.groups()] if found else []
