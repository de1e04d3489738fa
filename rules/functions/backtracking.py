"""How long a text may be so that Python's backtracking ``re`` is certain to be done with it soon.

:func:`safe_length` looks at a pattern in Python's notation and gives the length up to which a search takes at most
about :data:`MAX_STEPS` steps, whatever the text is; 0 where it cannot tell. The estimate is an upper bound: a
repetition whose characters cannot be those that must follow it (``\\d+-``) gives back in vain and adds its length, any
other multiplies by it; every alternative doubles. Nothing is run here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MAX_STEPS: Final = 1 << 20
"""Some milliseconds of ``re``."""
_MAX_LENGTH: Final = 1 << 13

_BEYOND: Final = 128
"""Stands for all characters that are not ASCII."""
_ALL: Final = frozenset(range(_BEYOND + 1))
_DIGITS: Final = frozenset(range(0x30, 0x3A))
_WORD: Final = _DIGITS | frozenset(range(0x41, 0x5B)) | frozenset(range(0x61, 0x7B)) | {0x5F}
_SPACE: Final = frozenset({9, 10, 11, 12, 13, 32})
_CLASSES: Final = {
    "d": _DIGITS,
    "D": _ALL - _DIGITS,
    "w": _WORD,
    "W": _ALL - _WORD,
    "s": _SPACE,
    "S": _ALL - _SPACE,
}
_CONTROLS: Final = {"n": 10, "r": 13, "t": 9, "f": 12, "v": 11, "a": 7}

_TOKEN: Final = re.compile(
    r"(?P<class>\[\^?\]?(?:\\.|[^\]\\])*\])"
    r"|(?P<quantifier>(?:[*+?]|\{[0-9]+\}|\{[0-9]+,[0-9]*\})[?+]?)"
    r"|(?P<open>\((?:\?(?:[ims]*(?:-[ims]+)?:|P<\w+>))?)(?!\?)"
    r"|(?P<shut>\))"
    r"|(?P<escape>\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|.))"
    r"|(?P<special>[$^|])"
    r"|(?P<other>[^()])",
    re.DOTALL,
)
_FLAGS: Final = re.compile(r"\(\?([ims]+)(?:-[ims]+)?:").findall
_MEMBER: Final = re.compile(r"\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|.)|.", re.DOTALL)


class _UnknownError(Exception):
    """The pattern has something that is not judged here."""


@dataclass(slots=True)
class _Item:
    """Something that takes ``least`` to ``most`` (None: any number) of ``characters``; a barrier has none."""

    characters: frozenset[int] | None
    least: int = 1
    most: int | None = 1
    size: int = 1


def safe_length(pattern: str) -> int:
    """The length of text up to which ``re`` may be trusted with the pattern."""
    try:
        items, choices, anchored = _read(pattern)
    except _UnknownError:
        return 0
    constant = 2**choices * max(sum(item.size for item in items), 1)
    # Every start of a search is one factor, and what repetitions that give back in vain add is another.
    degree = 0 if anchored else 1
    walks = 1
    for index, item in enumerate(items):
        if item.most == item.least:
            continue
        if item.characters is not None and _ends(item.characters, items[index + 1 :]):
            walks += item.most is None or item.most > 1
        elif item.most is None:
            degree += 1
        else:
            constant *= item.most - item.least + 1
    degree += walks > 1
    constant *= walks
    if constant > MAX_STEPS:
        return 0
    if degree == 0:
        return _MAX_LENGTH
    return max(min(int((MAX_STEPS / constant) ** (1 / degree)) - 1, _MAX_LENGTH), 0)


def _ends(characters: frozenset[int], following: list[_Item]) -> bool:
    """Is what follows certain to fail wherever one of ``characters`` stands (or has everything matched)?"""
    for item in following:
        if item.characters is None or item.characters & characters:
            return False
        if item.least > 0:
            return True
    return True


def _read(pattern: str) -> tuple[list[_Item], int, bool]:
    """The items of a pattern, how many choices there are beside repetitions, and whether it is tied to the start."""
    items: list[_Item] = []
    choices = 0
    folds = any("i" in flags for flags in _FLAGS(pattern))
    dot = _ALL if any("s" in flags for flags in _FLAGS(pattern)) else _ALL - {10}
    # Per open group: where its items begin, and whether it holds a choice.
    groups: list[tuple[int, bool]] = [(0, False)]
    closed: tuple[int, bool] | None = None
    anchored = False
    at = 0
    while at < len(pattern):
        token = _TOKEN.match(pattern, at)
        if token is None:
            raise _UnknownError
        text = token.group()
        if token["quantifier"]:
            _repeat(items, text, closed)
        elif token["open"]:
            groups.append((len(items), False))
        elif token["shut"]:
            if len(groups) == 1:
                raise _UnknownError
            closed = groups.pop()
            if closed[1]:
                items.append(_Item(None, 0, 0, 0))
                groups[-1] = (groups[-1][0], True)
        elif token["special"]:
            if text == "^" and at == 0:
                anchored = True
            elif text == "|":
                choices += 1
                items.append(_Item(None, 0, 0, 0))
                groups[-1] = (groups[-1][0], True)
                anchored = False
            elif text == "$":
                items.append(_Item(frozenset({10}), 1, 1))
        else:
            found = [_Item(dot)] if text == "." else _single(token)
            items += [_Item(_folded(item.characters)) for item in found] if folds else found
        if not token["shut"]:
            closed = None
        at = token.end()
    if len(groups) > 1:
        raise _UnknownError
    return items, choices, anchored


def _repeat(items: list[_Item], text: str, closed: tuple[int, bool] | None) -> None:
    least, most = _bounds(text.rstrip("?+") or text[0])
    if closed is None:
        if not items or items[-1].characters is None:
            raise _UnknownError
        item = items[-1]
        if (item.least, item.most) != (1, 1):
            raise _UnknownError
        item.least, item.most = least, most
        item.size *= max(most or least, 1)
        return
    first, has_choice = closed
    group = items[first:]
    if has_choice or any(item.most != item.least for item in group):
        raise _UnknownError
    # The repetition of a fixed sequence. Whether the next round fails where what follows begins depends on its
    # first character alone, but then it gives back whole rounds: never in vain only if nothing of it may follow.
    characters = frozenset[int]().union(*(item.characters or _ALL for item in group))
    size = sum(item.size for item in group)
    items[first:] = [_Item(characters, least, most, max(size, 1) * max(most or least, 1))]


def _bounds(text: str) -> tuple[int, int | None]:
    if text == "*":
        return 0, None
    if text == "+":
        return 1, None
    if text == "?":
        return 0, 1
    least, comma, most = text.strip("{}").partition(",")
    return int(least), (int(most) if most else None) if comma else int(least)


def _single(token: re.Match[str]) -> list[_Item]:
    if token["class"]:
        return [_Item(_members(token["class"]))]
    if token["other"]:
        return [_Item(frozenset({_code(token["other"])}))]
    letter = token["escape"][1]
    if letter in "bB":
        return []
    if letter in "AZ":
        return [_Item(frozenset(), 1, 1)] if letter == "Z" else []
    found = _escaped(token["escape"])
    if found is None:
        raise _UnknownError
    return [_Item(found)]


def _folded(characters: frozenset[int] | None) -> frozenset[int] | None:
    """The characters with the other case of each letter."""
    if characters is None:
        return None
    texts = (chr(code) for code in characters if code < _BEYOND)
    return characters | {ord(text.swapcase()) for text in texts}


def _code(character: str) -> int:
    return min(ord(character), _BEYOND)


def _escaped(text: str) -> frozenset[int] | None:
    """What an escape stands for, None for something other than characters."""
    letter = text[1]
    if letter in _CLASSES:
        return _CLASSES[letter]
    if letter in "xuU" and len(text) > 2:
        return frozenset({min(int(text[2:].rjust(8, "0"), 16), _BEYOND)})
    if letter in _CONTROLS:
        return frozenset({_CONTROLS[letter]})
    return None if letter.isalnum() else frozenset({_code(letter)})


def _members(text: str) -> frozenset[int]:
    body = text[1:-1]
    negated = body.startswith("^")
    tokens = _MEMBER.findall(body[negated:])
    found: set[int] = set()
    index = 0
    while index < len(tokens):
        characters = _member(tokens[index])
        if index + 2 < len(tokens) and tokens[index + 1] == "-" and len(characters) == 1:
            last = _member(tokens[index + 2])
            found.update(range(min(characters), max(last) + 1))
            index += 3
        else:
            found |= characters
            index += 1
    if negated:
        # A class of some characters that are not ASCII leaves the others.
        return _ALL - (found - {_BEYOND})
    return frozenset(found)


def _member(text: str) -> frozenset[int]:
    if text[0] != "\\":
        return frozenset({_code(text)})
    if text == "\\b":
        return frozenset({8})
    found = _escaped(text)
    if found is None:
        raise _UnknownError
    return found
