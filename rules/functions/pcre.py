"""Patterns of PCRE, as EMQX takes them, written for Python's engines and for RE2.

Classes such as ``\\w`` and letter case are ASCII, as in PCRE without its Unicode option, but a dot is a whole
character. Only notation is changed here: what a pattern costs is judged by ``backtracking``, and whether it is a
pattern at all by the engines.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Final, NamedTuple

from rules.functions.base import Refusal

_POSIX: Final = MappingProxyType(
    {
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
        "space": "\\t-\\r ",
        "upper": "A-Z",
        "word": "0-9A-Z_a-z",
        "xdigit": "0-9A-Fa-f",
    }
)
_SPACE: Final = "\\t\\n\\x0b\\x0c\\r "
_VERTICAL: Final = "\\n\\x0b\\x0c\\r\\x85\\u2028\\u2029"
_OUTSIDE: Final = MappingProxyType(
    {
        "\\z": "\\Z",
        "\\Z": "(?=\\n?\\Z)",
        "\\h": "[ \\t]",
        "\\H": "[^ \\t]",
        "\\v": f"[{_VERTICAL}]",
        "\\V": f"[^{_VERTICAL}]",
        "\\N": "[^\\n]",
        "\\R": "(?>\\r\\n|[\\n\\x0b\\x0c\\r\\x85])",
        "\\e": "\\x1b",
    }
)
_INSIDE: Final = MappingProxyType({"\\h": " \\t", "\\v": _VERTICAL, "\\e": "\\x1b", "\\R": "R", "\\X": "X"})
_LINEAR: Final = MappingProxyType(
    {
        "\\s": f"[{_SPACE}]",
        "\\S": f"[^{_SPACE}]",
        "\\h": "[ \\t]",
        "\\H": "[^ \\t]",
        "\\N": "[^\\n]",
        "\\e": "\\x1b",
        "\\v": "[\\n\\x0b\\x0c\\r\\x{85}\\x{2028}\\x{2029}]",
    }
)
_LINEAR_INSIDE: Final = MappingProxyType(
    {"\\s": _SPACE, "\\S": "\\x00-\\x08\\x0e-\\x1f!-\\x{10ffff}", "\\h": " \\t", "\\e": "\\x1b"}
)
_LINEAR_ESCAPES: Final = frozenset("abdwntrfADWBz")
_ALTERNATIVES: Final = "|"

_TOKEN: Final = re.compile(
    r"\\Q(?P<literal>.*?)(?:\\E|\Z)"
    r"|\\x\{(?P<code>[0-9A-Fa-f]{1,6})\}"
    r"|\\x(?P<hex>[0-9A-Fa-f]{0,2})"
    r"|\\(?P<octal>0[0-7]{0,2})"
    r"|\\c(?P<control>[\x20-\x7e])"
    r"|\\(?:g\{(?P<group>-?\w+)\}|g(?P<number>-?[0-9]+)|k[{<'](?P<back>\w+)[}>'])"
    r"|(?P<escape>\\.)"
    r"|\(\?(?:P?<|')(?P<name>[A-Za-z_]\w*)[>']"
    r"|\(\?(?P<switch>[imsxUJ]*(?:-[imsxUJ]+)?)\)"
    r"|(?P<comment>\(\?\#[^)]*\))"
    r"|(?P<paren>\((?:\?(?:[:=!>|]|<[=!]|[imsxUJ-]+:)?)?)"
    r"|(?P<shut>\))"
    r"|\[:(?P<negated>\^?)(?P<posix>[a-z]+):\]"
    r"|(?P<open>\[\^?\]?)"
    r"|(?P<close>\])"
    r"|(?P<braces>\{,[0-9]+\})"
    r"|(?P<other>.)",
    re.DOTALL,
)


class Translation(NamedTuple):
    """A pattern for Python's engines, and for RE2 where that has all of it (else None).

    ``needs_no_newline``: RE2 means the same only for texts that do not end with a newline; ``needs_ascii``: only for
    ASCII texts; ``loops``: a group is repeated, and if a round of it may be empty, RE2 has something else in the group.
    """

    python: str
    linear: str | None
    needs_no_newline: bool
    needs_ascii: bool
    loops: bool


def translate(pattern: str) -> Translation:
    """The pattern in both notations; Refusal for a POSIX class or a character code that there is not."""
    return _Translator().translated(pattern)


def _complement(members: str) -> str:
    """The members of a class that has everything but ``members``."""
    inside = re.compile(f"[{members}]").match
    codes = [code for code in range(0x80) if not inside(chr(code))]
    return "".join(f"\\x{code:02x}" for code in codes) + "\\x80-\\U0010ffff"


class _Translator:
    def __init__(self) -> None:
        self._python: list[str] = []
        self._linear: list[str] = []
        self._is_linear = True
        self._ends = False
        self._folds = False
        self._in_class = False
        # The flags set within each open group: Python has them at the start of a group only.
        self._flags: list[list[str]] = [[]]

    def translated(self, pattern: str) -> Translation:
        loops = False
        previous: str | None = None
        for token in _TOKEN.finditer(pattern):
            loops |= previous == "shut" and token.group() in ("*", "+", "{")
            previous = token.lastgroup
            _METHODS[token.lastgroup or "other"](self, token)
        self._put(")" * len(self._flags[0]))
        linear = "".join(self._linear) if self._is_linear else None
        return Translation("".join(self._python), linear, self._ends, self._folds, loops)

    def _put(self, python: str, linear: str | None = "") -> None:
        """Write a piece; ``linear`` is what RE2 gets, '' the same and None nothing that it has."""
        self._python.append(python)
        if linear is None:
            self._is_linear = False
        else:
            self._linear.append(linear or python)

    def _literal(self, token: re.Match[str]) -> None:
        self._put(re.escape(token["literal"]))

    def _code(self, token: re.Match[str]) -> None:
        code = int(token["code"], 16)
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            raise Refusal(f"\\x{{{token['code']}}} is no character")
        self._put(f"\\U{code:08x}", f"\\x{{{code:x}}}")

    def _hex(self, token: re.Match[str]) -> None:
        self._put(f"\\x{int(token['hex'] or '0', 16):02x}")

    def _octal(self, token: re.Match[str]) -> None:
        self._put(f"\\x{int(token['octal'], 8):02x}")

    def _braces(self, token: re.Match[str]) -> None:
        # PCRE takes {,3} literally.
        self._put(token.group() if self._in_class else re.escape(token.group()))

    def _control(self, token: re.Match[str]) -> None:
        self._put(f"\\x{ord(token['control'].upper()) ^ 0x40:02x}")

    def _group(self, token: re.Match[str]) -> None:
        name = token["group"]
        self._put(f"(?P={name})" if not name.lstrip("-").isdigit() else f"(?:\\{name})", None)

    def _number(self, token: re.Match[str]) -> None:
        self._put(f"(?:\\{token['number']})", None)

    def _back(self, token: re.Match[str]) -> None:
        self._put(f"(?P={token['back']})", None)

    def _escape(self, token: re.Match[str]) -> None:
        text = token["escape"]
        letter = text[1]
        special = letter.isalnum()
        if self._in_class:
            linear = _LINEAR_INSIDE.get(text, None if special and letter not in "dDwWntrf" else "")
            self._put(_INSIDE.get(text, text), linear)
            return
        if text == "\\Z":
            self._ends = True
            self._put(_OUTSIDE[text], "\\z")
            return
        known = letter in _LINEAR_ESCAPES or not (special or letter >= "\x80")
        self._put(_OUTSIDE.get(text, text), text if known else _LINEAR.get(text))

    def _name(self, token: re.Match[str]) -> None:
        if self._in_class:
            self._put(re.escape(token.group()))
            return
        self._flags.append([])
        self._put(f"(?P<{token['name']}>")

    def _set(self, flags: str) -> None:
        self._folds |= "i" in flags.partition("-")[0]
        self._put(f"(?{flags}:", None if set(flags) - set("ims-") else "")

    def _switch(self, token: re.Match[str]) -> None:
        """``(?i)``: flags for the rest of the group."""
        if self._in_class:
            self._put(re.escape(token.group()))
        elif token["switch"]:
            self._flags[-1].append(token["switch"])
            self._set(token["switch"])

    def _paren(self, token: re.Match[str]) -> None:
        text = token["paren"]
        if self._in_class:
            self._put(text)
            return
        self._flags.append([])
        if text.endswith(":") and text != "(?:":
            self._set(text[2:-1])
        else:
            self._put(text, "" if text in ("(", "(?:") else None)

    def _shut(self, _token: re.Match[str]) -> None:
        if self._in_class:
            self._put(")")
            return
        flags = self._flags.pop() if len(self._flags) > 1 else []
        self._put(")" * len(flags) + ")")

    def _comment(self, token: re.Match[str]) -> None:
        if self._in_class:
            self._put(token.group())

    def _posix(self, token: re.Match[str]) -> None:
        if not self._in_class:
            self._put(re.escape(token.group()))
            return
        members = _POSIX.get(token["posix"])
        if members is None:
            raise Refusal(f"there is no POSIX class [:{token['posix'][:40]}:]")
        self._put(_complement(members) if token["negated"] else members, token.group())

    def _open(self, token: re.Match[str]) -> None:
        text = token["open"]
        if self._in_class:
            # A bracket inside a class is itself, but Python warns of it unless it is escaped.
            self._in_class = not text.endswith("]")
            self._put("\\" + text)
        else:
            self._in_class = True
            self._put(text.replace("]", "\\]"))

    def _close(self, _token: re.Match[str]) -> None:
        self._put("]" if self._in_class else "\\]")
        self._in_class = False

    def _other(self, token: re.Match[str]) -> None:
        text = token["other"]
        if self._in_class:
            self._put("\\" + text if text in "&|~" else text)
            return
        if text == _ALTERNATIVES and self._flags[-1]:
            # (?i) holds for the alternatives that follow, too.
            self._put(")" * len(self._flags[-1]) + "|")
            for flags in self._flags[-1]:
                self._put(f"(?{flags}:")
            return
        self._ends |= text == "$"
        self._put(text)


_METHODS: Final = MappingProxyType(
    {
        "literal": _Translator._literal,
        "code": _Translator._code,
        "hex": _Translator._hex,
        "octal": _Translator._octal,
        "braces": _Translator._braces,
        "control": _Translator._control,
        "group": _Translator._group,
        "number": _Translator._number,
        "back": _Translator._back,
        "escape": _Translator._escape,
        "name": _Translator._name,
        "switch": _Translator._switch,
        "comment": _Translator._comment,
        "paren": _Translator._paren,
        "shut": _Translator._shut,
        "posix": _Translator._posix,
        "open": _Translator._open,
        "close": _Translator._close,
        "other": _Translator._other,
    }
)
