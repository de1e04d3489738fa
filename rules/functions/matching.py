"""Regular expressions in bounded time: which of three engines searches a text (decision 0005).

1. Python's ``re``, the fastest, for texts so short that backtracking cannot take long (``backtracking``).
2. ``regex``, which has nearly all of PCRE, with a time limit.
3. RE2, whose time is linear in the text, where it is installed and has the pattern's notation: from the first time on
   that ``regex`` was not done with the pattern in :data:`TRIAL` seconds.

Without RE2 a pattern that ran into the time limit rests (``limits``).

All three give the same matches. Compiled patterns are kept in a bounded cache.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any, Final, TypeVar

from rules.functions.backtracking import safe_length
from rules.functions.base import Refusal
from rules.functions.limits import Rest
from rules.functions.pcre import translate

MAX_PATTERN: Final = 4_096
MAX_CACHED: Final = 256
MAX_LINEAR_WORK: Final = 1 << 27
"""Characters times size of RE2's program: some tenths of a second in its slowest mode."""
TRIAL: Final = 0.005
"""Seconds."""
MAX_TRIED: Final = 1 << 16
"""Longer texts go to RE2 at once: ``regex`` looks at the clock between its steps, and a step may be as long as they."""

Result = TypeVar("Result")
Expand = Callable[[Any], str]


class Matcher:
    """One pattern with its engines; ``groups`` is the number of its groups. Matches have ``group`` and ``groups``."""

    def __init__(self, pattern: str) -> None:
        self._translation = translate(pattern)
        self._shown = repr(pattern[:80])
        python = self._translation.python
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._quick: re.Pattern[str] | None = re.compile(python, re.ASCII)
        except (re.error, OverflowError):
            self._quick = None
        self._safe = safe_length(python) if self._quick is not None else -1
        self.groups = self._slow.groups if self._quick is None else self._quick.groups
        self._overran = False
        self._rest = Rest()

    def search(self, text: str, limit: float, *, groups: bool = False) -> Any:
        """The first match or None; its groups count only with ``groups``. ``limit`` is in seconds."""
        if len(text) <= self._safe and self._quick is not None:
            return self._quick.search(text)
        if self._suits(text, groups):
            if not self._overran and len(text) <= MAX_TRIED:
                try:
                    return self._slow.search(text, timeout=min(TRIAL, limit))
                except TimeoutError:
                    self._overran = True
            return self._linear.search(text)
        return self._limited(lambda: self._slow.search(text, timeout=limit), len(text), limit)

    def replace(self, text: str, expander: Callable[[], Expand], limit: float, *, groups: bool = False) -> str:
        """``text`` with every match replaced by what a function of ``expander`` makes of it.

        It is asked for a new function for every engine that tries.
        """
        replaced: str
        if len(text) <= self._safe and self._quick is not None:
            return self._quick.sub(expander(), text)
        if self._suits(text, groups):
            if not self._overran and len(text) <= MAX_TRIED:
                try:
                    replaced = self._slow.sub(expander(), text, timeout=min(TRIAL, limit))
                    return replaced
                except TimeoutError:
                    self._overran = True
            # Behind an empty match RE2 goes on with the next character, PCRE with a match that is not empty.
            found = list(self._linear.finditer(text))
            if all(match.start() < match.end() for match in found):
                return _spliced(text, found, expander())
        replaced = self._limited(lambda: self._slow.sub(expander(), text, timeout=limit), len(text), limit)
        return replaced

    @cached_property
    def _linear(self) -> Any:
        """The pattern for RE2, None where it cannot be."""
        if self._translation.linear is None:
            return None
        try:
            import re2
        except ImportError:
            return None
        options = re2.Options()
        options.log_errors = False
        try:
            return re2.compile(self._translation.linear, options)
        except re2.error:
            return None

    @cached_property
    def _slow(self) -> Any:
        import regex

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return regex.compile(self._translation.python, regex.VERSION0 | regex.ASCII)
        except (regex.error, OverflowError, MemoryError) as error:
            raise Refusal(f"{self._shown} is no regular expression: {error}", "bad_regex") from None

    def _suits(self, text: str, groups: bool) -> bool:
        """Does the pattern mean the same to RE2 for this text, in time?"""
        translation = self._translation
        if self._linear is None or (groups and translation.loops and self.groups):
            return False
        if translation.needs_no_newline and text.endswith("\n"):
            return False
        if not text.isascii():
            if translation.needs_ascii:
                return False
            try:
                text.encode()
            except UnicodeEncodeError:
                return False
        return bool(self._linear.programsize * len(text) <= MAX_LINEAR_WORK)

    def _limited(self, run: Callable[[], Result], length: int, limit: float) -> Result:
        if self._rest.holds(length):
            raise Refusal(f"{self._shown} rests, as it took longer than {limit:g} s a moment ago", "regex_timeout")
        try:
            return run()
        except TimeoutError:
            self._rest.begin(length, limit)
            raise Refusal(
                f"{self._shown} took longer than {limit:g} s: nested or adjoining repetitions of the same characters?",
                "regex_timeout",
            ) from None
        except MemoryError:
            raise Refusal(f"{self._shown} needs too much memory for this text", "regex_timeout") from None


def _spliced(text: str, matches: list[Any], expand: Expand) -> str:
    pieces: list[str] = []
    end = 0
    for match in matches:
        pieces += (text[end : match.start()], expand(match))
        end = match.end()
    pieces.append(text[end:])
    return "".join(pieces)


@lru_cache(maxsize=MAX_CACHED)
def matcher(pattern: str) -> Matcher:
    """The compiled pattern; Refusal where it is none."""
    if len(pattern) > MAX_PATTERN:
        raise Refusal(f"the pattern has {len(pattern)} characters, the limit is {MAX_PATTERN}", "bad_regex")
    return Matcher(pattern)
