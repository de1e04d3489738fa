"""``headrace fmt``: rule files into their one form, or what would be changed. What the form is: ``rules.format``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from difflib import unified_diff
from pathlib import Path

from core.errors import ConfigError
from headrace import config as configuration
from headrace.config import RuleText
from rules.format import Formatted, format_rules

STDIN = "-"


def format_files(paths: Sequence[str], config_file: str, *, check: bool, diff: bool) -> int:
    """Format the files, or with ``check`` or ``diff`` only tell; 1 where one has errors, or stays unformatted."""
    if STDIN in paths:
        if len(paths) > 1:
            sys.stderr.write("headrace: - stands for standard input and for no other file\n")
            return 2
        return _stream(check=check, diff=diff)
    files = list(_files(paths, config_file))
    changed = broken = 0
    for file in files:
        found = format_rules(*file)
        if _complain(file.path, found):
            broken += 1
        elif found.text != file.text:
            changed += 1
            if diff:
                sys.stdout.write(_difference(file, found.text))
            if not (check or diff):
                _write(file.path, found.text)
            sys.stderr.write(f"{'would be formatted' if check or diff else 'formatted'}: {file.path}\n")
    sys.stdout.flush()
    sys.stderr.write(_summary(len(files), changed, broken, told=check or diff))
    return 1 if broken or (changed and (check or diff)) else 0


def _stream(*, check: bool, diff: bool) -> int:
    """Standard input to standard output; what has errors comes out as it went in."""
    file = RuleText("<stdin>", sys.stdin.read())
    found = format_rules(*file)
    broken = _complain(file.path, found)
    if diff:
        sys.stdout.write(_difference(file, found.text))
    elif not check:
        sys.stdout.write(found.text)
    return 1 if broken or (found.text != file.text and (check or diff)) else 0


def _files(paths: Sequence[str], config_file: str) -> Iterator[RuleText]:
    """The files that are named, those in the folders that are, or without any those of the configuration."""
    if not paths:
        survey = configuration.inspect(config_file)
        if not survey.sources:
            raise survey.errors[0] if survey.errors else ConfigError("`rules` names no file", file=config_file)
        yield from survey.sources
        return
    found: dict[Path, None] = {}
    for name in paths:
        path = Path(name)
        found.update(dict.fromkeys(sorted(path.rglob("*.sql")) if path.is_dir() else [path]))
    for path in found:
        yield RuleText(str(path), configuration.read_text(path, str(path)))


def _complain(path: str, found: Formatted) -> bool:
    """Tell what is wrong with a file; was there anything?"""
    for diagnostic in found.diagnostics:
        sys.stderr.write(f"{diagnostic}\n\n")
    for line in found.kept:
        sys.stderr.write(f"{path}:{line}: left as it is: its new form would not mean the same (a defect of headrace)\n")
    return bool(found.diagnostics)


def _difference(file: RuleText, text: str) -> str:
    lines = unified_diff(file.text.splitlines(), text.splitlines(), file.path, f"{file.path} (formatted)", lineterm="")
    return "".join(f"{line}\n" for line in lines)


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", file=path) from None


def _summary(files: int, changed: int, broken: int, *, told: bool) -> str:
    parts = [f"{changed} of {files} file{'' if files == 1 else 's'} {'would be ' if told else ''}formatted"]
    if broken:
        parts.append(f"{broken} left alone because of errors")
    return ", ".join(parts) + "\n"
