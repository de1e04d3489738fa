"""What the windows of rules hold, in a file over a stop: the next start goes on with it.

Invariants: the file is whole or absent (written beside, synced, renamed); it is used once, so that what a service did
after it had read it is never counted twice; a file that cannot be used is kept aside and named, and the service starts
without it. A crash leaves no file: the windows that were open then are lost with the messages that they had counted.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

_log = logging.getLogger("headrace.states")

FILE_NAME: Final = "windows.state"
_VERSION: Final = 1


class _File(msgspec.Struct):
    """``offset`` is that of the inbox: everything before it is in the states."""

    version: int
    offset: int
    states: dict[str, list[tuple[str, bytes]]]


class StateFile:
    """The file at ``path``."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def take(self) -> Mapping[str, Any]:
        """The states by the name of their rule or view, empty where there are none; the file is gone then."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            _log.error("%s cannot be read, windows begin anew: %s", self._path, error)
            return {}
        try:
            found = msgspec.msgpack.decode(data, type=_File)
            if found.version != _VERSION:
                raise msgspec.ValidationError(f"version {found.version} is not {_VERSION}")
        except msgspec.DecodeError as error:
            aside = self._path.with_suffix(".unreadable")
            self._path.replace(aside)
            _log.error("the states of windows cannot be read, they begin anew; see %s: %s", aside, error)
            return {}
        self._path.unlink()
        return found.states

    def save(self, states: Mapping[str, Any], offset: int) -> None:
        """Write the file; an OSError is the caller's."""
        beside = self._path.with_suffix(".new")
        with beside.open("wb") as file:
            file.write(msgspec.msgpack.encode(_File(_VERSION, offset, dict(states))))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
