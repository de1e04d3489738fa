"""Functions on text. Lengths and positions count user-perceived characters (:mod:`rules.functions.graphemes`).

A binary that is UTF-8 is taken as its text; any other is refused, except by the functions of ``encoding`` and
``bits``. Regular expressions are in ``regular``, formatting in ``formatting``.
"""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from typing import Any, Final

from core.message import Type
from rules.functions.base import Anything, Array, Binary, Category, Int, Refusal, Text, check_size, shown
from rules.functions.graphemes import graphemes
from rules.functions.values import json_text, text_of

CATEGORY = Category("strings")
scalar = CATEGORY.scalar

WHITESPACE: Final = "\t\n\x0b\x0c\r \x85\u200e\u200f\u2028\u2029"
"""Unicode's Pattern_White_Space, which EMQX trims; a no-break space is not in it."""


def _choice(value: str, *known: str) -> str:
    if value not in known:
        raise Refusal(f"{value[:40]!r} is none of {', '.join(known)}")
    return value


@scalar(Type.TEXT, ("lower('0ABC')", "0abc"))
def lower(text: Text) -> str:
    """The text in lower case."""
    # Python writes a capital sigma at a word's end as a final one; Erlang maps every character for itself.
    return text.lower() if "\u03a3" not in text else "".join(map(str.lower, text))


@scalar(Type.TEXT, ("upper('abc4')", "ABC4"))
def upper(text: Text) -> str:
    """The text in upper case."""
    return text.upper()


@scalar(Type.TEXT, ("reverse('abcd')", "dcba"))
def reverse(text: Text) -> str:
    """The characters in opposite order."""
    return "".join(reversed(graphemes(text)))


@scalar(Type.TEXT, ("trim(' abc ')", "abc"), ("trim('--abc-', '-')", "abc"))
def trim(text: Text, characters: Text = WHITESPACE) -> str:
    """The text without white space, or without any of `characters`, at both ends."""
    return text.strip(characters) if characters else text


@scalar(Type.TEXT, ("ltrim(' abc ')", "abc "))
def ltrim(text: Text, characters: Text = WHITESPACE) -> str:
    """As `trim`, at the beginning only."""
    return text.lstrip(characters) if characters else text


@scalar(Type.TEXT, ("rtrim(' abc ')", " abc"), ("rtrim('abc,,', ',')", "abc"))
def rtrim(text: Text, characters: Text = WHITESPACE) -> str:
    """As `trim`, at the end only."""
    return text.rstrip(characters) if characters else text


@scalar(Type.TEXT, ("rm_prefix('foo/bar', 'foo/')", "bar"), ("rm_prefix('foo/bar', 'xxx/')", "foo/bar"))
def rm_prefix(text: Text, prefix: Text) -> str:
    """The text without `prefix`; unchanged where it does not begin with it."""
    return text.removeprefix(prefix)


@scalar(Type.BIGINT, ("strlen('abcd')", 4), ("strlen('')", 0))
def strlen(text: Text) -> int:
    """The number of characters."""
    return len(graphemes(text))


def _clusters_from(text: str, start: int) -> list[str] | str:
    if start < 0:
        raise Refusal(f"start must not be negative, not {shown(start)}")
    return graphemes(text)[start:]


@scalar(Type.TEXT, ("substr('abc', 1)", "bc"), ("substr('abc', 5)", ""))
def substr(text: Text, start: Int) -> str:
    """The characters from the 0-based `start` on, at most `length` of them where that is given."""
    return "".join(_clusters_from(text, start))


@scalar(Type.TEXT, ("substr('abcd', 1, 2)", "bc"), name="substr")
def _substr(text: Text, start: Int, length: Int) -> str:
    if length < 0:
        raise Refusal(f"length must not be negative, not {shown(length)}")
    return "".join(_clusters_from(text, start)[:length])


@scalar(Type.BIGINT, ("ascii('ab')", 97))
def ascii(text: Binary) -> int:  # noqa: A001 - EMQX's name
    """The first byte as a number; the code of the first character, if that is ASCII."""
    if not text:
        raise Refusal("the string is empty")
    return text[0]


def _joined(parts: list[str], separator: str = "") -> str:
    check_size(sum(map(len, parts)) + len(separator) * max(len(parts) - 1, 0))
    return separator.join(parts)


@scalar(Type.TEXT, ("concat(['a', 1, true])", "a1true"))
def concat(items: Array) -> str:
    """The items as one text; what is no string is converted as by `str`."""
    return _joined([text_of(item) for item in items])


@scalar(Type.TEXT, ("concat('a', 'b')", "ab"), ("concat('a', 1.5)", "a1.5"), name="concat")
def _concat(first: Anything, second: Anything, *more: Anything) -> str:
    return _joined([text_of(item) for item in (first, second, *more)])


@scalar(Type.TEXT, ("join_to_string(['a', 1, [2]])", "a, 1, [2]"))
def join_to_string(items: Array) -> str:
    """The items as text, as by `str`, with a comma and a space (or a separator given first) between them."""
    return _joined([text_of(item) for item in items], ", ")


@scalar(Type.TEXT, ("join_to_string('-', ['a', 'b'])", "a-b"), name="join_to_string")
def _join_to_string(separator: Text, items: Array) -> str:
    return _joined([text_of(item) for item in items], separator)


def _sql_literal(value: Any) -> str:
    if isinstance(value, bool) or value is None or isinstance(value, str | bytes):
        text = text_of(value)
    elif isinstance(value, list | dict):
        text = json_text(value)
    else:
        text = text_of(value)
        return "NULL" if text == "undefined" else text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


@scalar(
    Type.TEXT,
    ("join_to_sql_values_string(['a', 1, [2]])", "'a', 1, '[2]'"),
    ("join_to_sql_values_string([])", ""),
)
def join_to_sql_values_string(items: Array) -> str:
    """The items as SQL literals for an IN list: texts quoted and escaped with backslashes (as for MySQL),
    numbers as they are, arrays and maps as quoted JSON, undefined as NULL."""
    return _joined([_sql_literal(item) for item in items], ", ")


@scalar(
    Type.TEXT,
    ("pad('abc', 5)", "abc  "),
    ("pad('abc', 5, 'leading')", "  abc"),
    ("pad('hello', 8, 'both')", " hello  "),
    ("pad('abc', 5, 'trailing', 'ex')", "abcexex"),
)
def pad(text: Text, length: Int, side: Text = "trailing", filler: Text = " ") -> str:
    """The text filled up to `length` characters on the `trailing`, `leading` or on `both` sides (the odd one
    behind). `filler` counts as one character, whatever its length."""
    _choice(side, "trailing", "leading", "both")
    missing = max(length - len(graphemes(text)), 0)
    check_size(len(text) + missing * len(filler))
    front = {"leading": missing, "trailing": 0, "both": missing // 2}[side]
    return filler * front + text + filler * (missing - front)


@scalar(Type.TEXT, ("find('acbcd', 'c')", "cbcd"), ("find('acbcd', 'c', 'trailing')", "cd"), ("find('a', 'b')", ""))
def find(text: Text, wanted: Text, direction: Text = "leading") -> str:
    """The text from the first (`leading`) or last (`trailing`) occurrence of `wanted` on; '' where there is none."""
    _choice(direction, "leading", "trailing")
    if not wanted:
        return text
    index = text.find(wanted) if direction == "leading" else text.rfind(wanted)
    return text[index:] if index >= 0 else ""


@scalar(
    Type.TEXT,
    ("replace('ab c ', ' ', '-')", "ab-c-"),
    ("replace('ab c ', ' ', '-', 'leading')", "ab-c "),
    ("replace('ab c ', ' ', '-', 'trailing')", "ab c-"),
)
def replace(text: Text, wanted: Text, replacement: Text, which: Text = "all") -> str:
    """The text with `wanted` replaced: `all` occurrences, the first (`leading`) or the last (`trailing`)."""
    _choice(which, "all", "leading", "trailing")
    if not wanted:
        return text
    if which == "leading":
        return text.replace(wanted, replacement, 1)
    if which == "trailing":
        before, found, after = text.rpartition(wanted)
        return before + replacement + after if found else text
    if len(replacement) > len(wanted):
        check_size(len(text) + text.count(wanted) * (len(replacement) - len(wanted)))
    return text.replace(wanted, replacement)


@scalar(
    Type.ARRAY,
    ("split('/a/b//c/', '/')", ["a", "b", "c"]),
    ("split('/a/b//c/', '/', 'notrim')", ["", "a", "b", "", "c", ""]),
    ("split('a/b//c/', '/', 'leading')", ["a", "b//c/"]),
    ("split('a/b//c/', '/', 'trailing')", ["a/b//c"]),
    ("split('a/b//c/', '/', 'trailing_notrim')", ["a/b//c", ""]),
)
def split(text: Text, separator: Text, option: Text = "trim") -> list[str]:
    """The parts between separators, without the empty ones. Options: `notrim` keeps empty parts; `leading` and
    `trailing` split at the first or last separator only; `leading_notrim` and `trailing_notrim` do both."""
    where, _, trimming = _choice(
        option, "trim", "notrim", "leading", "leading_notrim", "trailing", "trailing_notrim"
    ).partition("_")
    if not separator:
        parts = [text]
    elif where == "leading":
        parts = text.split(separator, 1)
    elif where == "trailing":
        parts = text.rsplit(separator, 1)
    else:
        parts = text.split(separator)
    return parts if "notrim" in (where, trimming) else [part for part in parts if part]


@lru_cache(maxsize=256)
def _separators(characters: str, crlf: bool) -> re.Pattern[str]:
    """What separates. CR LF is one character, which neither a CR nor an LF among the separators is."""
    single = re.escape(characters.replace("\r", "").replace("\n", ""))
    alternatives = [f"[{single}]"] if single else []
    alternatives += ["\r\n"] if crlf or "\r\n" in characters else []
    alternatives += ["\r(?!\n)"] if "\r" in characters else []
    alternatives += ["(?<!\r)\n"] if "\n" in characters else []
    return re.compile(f"(?:{'|'.join(alternatives)})+")


@scalar(
    Type.ARRAY,
    ("tokens(' /a/ b /c', ' /')", ["a", "b", "c"]),
    ("tokens(unescape('a,b\\r\\n'), ',', 'nocrlf')", ["a", "b"]),
)
def tokens(text: Text, separators: Text, option: Text = "") -> list[str]:
    """The parts between any of the characters in `separators`, without empty ones. `nocrlf` separates at CR and LF
    too."""
    if option:
        _choice(option, "nocrlf")
        separators += "\n\r"
    if not separators:
        return [text] if text else []
    return [part for part in _separators(separators, bool(option)).split(text) if part]


_ESCAPES: Final = dict(zip("ntrbfv'\"\\?a", "\n\t\r\b\f\v'\"\\?\a", strict=True))
_ESCAPE: Final = re.compile(r"\\(?:x([0-9A-Fa-f]+)|(.)|\Z)", re.DOTALL)


def _unescaped(found: re.Match[str]) -> str:
    digits, letter = found.groups()
    if digits:
        significant = digits.lstrip("0")
        code = int(significant or "0", 16) if len(significant) <= 6 else sys.maxunicode + 1
        if code > sys.maxunicode or 0xD800 <= code < 0xE000:
            raise Refusal(f"\\x{digits[:20]} is no Unicode character", "invalid_unicode_character")
        return chr(code)
    if letter is None:
        return "\\"
    if letter in _ESCAPES:
        return _ESCAPES[letter]
    raise Refusal(f"{found.group()!r} is no known escape sequence", "unrecognized_escape_sequence")


@scalar(Type.TEXT, ("strlen(unescape('\\n'))", 1), ("unescape('\\x41\\x42')", "AB"))
def unescape(text: Text) -> str:
    """The text with `\\n \\t \\r \\b \\f \\v \\a \\' \\" \\? \\\\` and `\\xH...` (all hexadecimal digits that follow)
    replaced by what they stand for."""
    return _ESCAPE.sub(_unescaped, text)
