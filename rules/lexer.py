"""The lexical rules of EMQX's rule SQL, as a sqlglot tokenizer that makes sqlglot's own tokens.

Keywords are case-insensitive and few, so that almost any word can be a name. ``"..."`` is a name, ``'...'`` a text;
neither knows escapes: quotes of the same kind at both ends are trimmed, a doubled quote inside stays doubled
(emqx.md 1.1). ``GROUP BY`` and its like are one token, so that ``group`` and ``order`` stay names.
Offsets are characters; a token's ``end`` is inclusive, as sqlglot has it.
"""

from __future__ import annotations

import re
import unicodedata
from types import MappingProxyType
from typing import Final

from sqlglot import Token, TokenType, tokens

from core.errors import HeadraceError

KEYWORDS: Final = MappingProxyType(
    {
        "AND": TokenType.AND,
        "AS": TokenType.ALIAS,
        "CASE": TokenType.CASE,
        "DIV": TokenType.DIV,
        "ELSE": TokenType.ELSE,
        "END": TokenType.END,
        "FALSE": TokenType.FALSE,
        "FROM": TokenType.FROM,
        "IN": TokenType.IN,
        "MOD": TokenType.MOD,
        "NOT": TokenType.NOT,
        "OR": TokenType.OR,
        "SELECT": TokenType.SELECT,
        "THEN": TokenType.THEN,
        "TRUE": TokenType.TRUE,
        "WHEN": TokenType.WHEN,
        "WHERE": TokenType.WHERE,
        "GROUP BY": TokenType.GROUP_BY,
        "ORDER BY": TokenType.ORDER_BY,
        "PARTITION BY": TokenType.PARTITION_BY,
    }
)
"""Words that are no bare names. (FOREACH, DO and INCASE are words that the grammar reserves.)"""

_OPERATORS: Final = MappingProxyType(
    {
        "=~": TokenType.RLIKE,
        "<>": TokenType.NEQ,
        "!=": TokenType.NEQ,
        "<=": TokenType.LTE,
        ">=": TokenType.GTE,
        "||": TokenType.DPIPE,
        "::": TokenType.DCOLON,
        "..": TokenType.RANGE,
        "=": TokenType.EQ,
        "<": TokenType.LT,
        ">": TokenType.GT,
        "+": TokenType.PLUS,
        "-": TokenType.DASH,
        "*": TokenType.STAR,
        "/": TokenType.SLASH,
        "(": TokenType.L_PAREN,
        ")": TokenType.R_PAREN,
        "[": TokenType.L_BRACKET,
        "]": TokenType.R_BRACKET,
        ",": TokenType.COMMA,
        ".": TokenType.DOT,
        ";": TokenType.SEMICOLON,
        "{": TokenType.L_BRACE,
        "}": TokenType.R_BRACE,
        ":": TokenType.COLON,
    }
)

_TOKEN: Final = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<comment>--[^\n]*)
    | (?P<block>/\*.*?\*/)
    | (?P<number>[0-9]+(?:\.[0-9]+(?:[eE][+-]?[0-9]+)?)?)
    | (?P<pair>(?:group|order|partition)\s+by\b)
    | (?P<word>[A-Za-z_][A-Za-z0-9_$@~]*)
    | (?P<name>"(?:[^"]|"")*")
    | (?P<text>'(?:[^']|'')*')
    | (?!/\*)(?P<operator>"""
    + "|".join(re.escape(operator) for operator in sorted(_OPERATORS, key=len, reverse=True))
    + r""")
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII | re.DOTALL,
).match
_LETTERS: Final = re.compile(r"(?:(?![\x00-\x7f])\w)+").match

# What word processors and chats make of quotes and operators.
_LOOKALIKES: Final = MappingProxyType(
    {
        **dict.fromkeys("\u2018\u2019\u201a", "'"),
        **dict.fromkeys("\u201c\u201d\u201e", '"'),
        **dict.fromkeys("\u2013\u2212", "-"),
        "\u00d7": "*",
        "\u00f7": "/",
        "\u2260": "!=",
        "\u2264": "<=",
        "\u2265": ">=",
    }
)
_UNFINISHED: Final = MappingProxyType(
    {
        "'": "this text has no closing quote",
        '"': "this name has no closing quote",
        "/": "this comment has no end",
    }
)


class GrammarError(HeadraceError):
    """Text that is no rule SQL from ``start`` to ``end`` (exclusive); ``code`` is one of ``codes.CODES``."""

    def __init__(
        self, message: str, start: int, end: int, *, code: str = "syntax", label: str = "", hint: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.start = start
        self.end = end
        self.code = code
        self.label = label
        self.hint = hint


def _token(kind: str, text: str, line: int, start: int, end: int) -> Token:
    if kind == "word":
        return Token(KEYWORDS.get(text.upper(), TokenType.VAR), text, line, 1, start, end)
    if kind == "pair":
        return Token(KEYWORDS[" ".join(text.upper().split())], text, line, 1, start, end)
    if kind == "number":
        return Token(TokenType.NUMBER, text, line, 1, start, end)
    if kind == "operator":
        return Token(_OPERATORS[text], text, line, 1, start, end)
    quote = text[0]
    return Token(TokenType.IDENTIFIER if kind == "name" else TokenType.STRING, text.strip(quote), line, 1, start, end)


class Lexer(tokens.Tokenizer):
    """Text to tokens; GrammarError at the first characters that are none."""

    def tokenize(self, sql: str) -> list[Token]:
        found: list[Token] = []
        position, line = 0, 1
        while position < len(sql):
            match = _TOKEN(sql, position)
            if match is None or match.lastgroup is None:
                raise self._error(sql, position)
            text = match.group()
            if match.lastgroup not in ("space", "comment", "block"):
                found.append(_token(match.lastgroup, text, line, position, match.end() - 1))
            line += text.count("\n")
            position = match.end()
        return found

    @staticmethod
    def _error(sql: str, position: int) -> GrammarError:
        character = sql[position]
        if character in _UNFINISHED and (character != "/" or sql.startswith("/*", position)):
            end = sql.find("\n", position)
            return GrammarError(_UNFINISHED[character], position, len(sql) if end < 0 else end)
        letters = _LETTERS(sql, position)
        if letters is not None:
            # The words of the grammar are ASCII, so a name that goes on in other letters was begun before them.
            return GrammarError(
                f"{letters.group()!r} cannot stand in a bare name",
                position,
                letters.end(),
                hint='names with such letters stand in double quotes, as in payload."größe"',
            )
        plain = _LOOKALIKES.get(character) or unicodedata.normalize("NFKC", character)
        hint = f"write {plain} for it" if plain.isascii() and plain != character else ""
        return GrammarError(f"{character!r} has no meaning here", position, position + 1, hint=hint)
