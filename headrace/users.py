"""``headrace users``: the commands around the password file; its format is that of ``broker.password_file``."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path

from broker.password_file import PasswordFile, add_user, delete_user, list_users
from core.errors import ConfigError
from headrace.config import load


def _file(file: str | None, config_file: str) -> Path:
    """The password file that was named, or else that of the configuration."""
    if file is not None:
        return Path(file)
    if not Path(config_file).exists():
        raise ConfigError("there is no such file", file=config_file, hint="--file PATH names the password file itself")
    config = load(config_file)
    for spec in config.providers:
        if isinstance(spec.config, PasswordFile.Config):
            return config.base_dir / spec.config.path
    hint = "--file PATH names the password file itself"
    raise ConfigError("`auth.providers` has no password_file", file=config_file, hint=hint)


def add(name: str, file: str | None, config_file: str, *, from_stdin: bool) -> int:
    """Add a user; the password comes from standard input (one line) or is asked for twice."""
    path = _file(file, config_file)
    if from_stdin:
        password = sys.stdin.buffer.readline().removesuffix(b"\n").removesuffix(b"\r")
    else:
        password = _ask(name)
    added = add_user(path, name, password)
    sys.stdout.write(f"{name}: {'added to' if added else 'new password in'} {path}\n")
    return 0


def _ask(name: str) -> bytes:
    try:
        first = getpass.getpass(f"Password for {name}: ")
        second = getpass.getpass("Again: ")
    except EOFError:
        raise ConfigError("no password was given", hint="--password-stdin reads it from standard input") from None
    if first != second:
        raise ConfigError("the two passwords differ, nothing was changed")
    return first.encode()


def delete(name: str, file: str | None, config_file: str) -> int:
    """Remove a user."""
    path = _file(file, config_file)
    delete_user(path, name)
    sys.stdout.write(f"{name}: removed from {path}\n")
    return 0


def show(file: str | None, config_file: str) -> int:
    """Print the users' names, one a line."""
    for name in list_users(_file(file, config_file)):
        sys.stdout.write(f"{name}\n")
    return 0
