"""User-perceived characters, the unit in which Erlang's string functions count.

An approximation of Unicode's extended grapheme clusters (UAX 29) from the categories of ``unicodedata``: CR LF,
marks and joiners after their base, emoji with modifiers and zero-width joiners, pairs of regional indicators and
Hangul syllables of conjoining jamo are one each. Prepended marks of some Indic scripts are not joined.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_JOINER: Final = "\u200d"
_REGIONAL: Final = range(0x1F1E6, 0x1F200)
_EMOJI_MODIFIERS: Final = range(0x1F3FB, 0x1F400)
_LEADING_JAMO: Final = range(0x1100, 0x1160)
_VOWEL_JAMO: Final = range(0x1160, 0x11A8)
_TRAILING_JAMO: Final = range(0x11A8, 0x1200)
_SYLLABLES: Final = range(0xAC00, 0xD7A4)

_SIMPLE: Final = re.compile("[\t\n\x0b\x0c\x0e-\u02ff\u0400-\u0482\u3041-\u3096\u30a0-\u30ff\u4e00-\u9fff]*").fullmatch
"""Texts in which every character stands alone: most Latin, Cyrillic, Kana and Han, without CR."""


def _extends(character: str) -> bool:
    return (
        character == _JOINER
        or unicodedata.category(character) in ("Mn", "Me", "Mc")
        or ord(character) in _EMOJI_MODIFIERS
    )


def _joins(previous: str, character: str) -> bool:
    """Do two Hangul parts belong to one syllable?"""
    before, code = ord(previous), ord(character)
    if before in _LEADING_JAMO:
        return code in _LEADING_JAMO or code in _VOWEL_JAMO or code in _SYLLABLES
    open_syllable = before in _SYLLABLES and (before - _SYLLABLES.start) % 28 == 0
    if before in _VOWEL_JAMO or open_syllable:
        return code in _VOWEL_JAMO or code in _TRAILING_JAMO
    return (before in _TRAILING_JAMO or before in _SYLLABLES) and code in _TRAILING_JAMO


def graphemes(text: str) -> list[str] | str:
    """``text`` cut into its clusters; the text itself where each character is one."""
    if _SIMPLE(text):
        return text
    clusters: list[str] = []
    start = 0
    regional = 0
    for index in range(1, len(text)):
        previous, character = text[index - 1], text[index]
        regional = regional + 1 if ord(previous) in _REGIONAL else 0
        together = (
            (previous == "\r" and character == "\n")
            or (_extends(character) and previous not in "\r\n")
            or (previous == _JOINER and unicodedata.category(character) == "So")
            or (regional % 2 == 1 and ord(character) in _REGIONAL)
            or _joins(previous, character)
        )
        if not together:
            clusters.append(text[start:index])
            start = index
    clusters.append(text[start:])
    return clusters
