"""The door for extensions: names and classes from entry points, listed without importing, loaded on first use.

Built-ins come through the same door. Discovery activates nothing: only the configuration does, by name. Two
packages that claim one name are an error that names both, raised when that name is looked up or listed.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from core.errors import ExtensionError

Base = TypeVar("Base")


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """``did you mean 'x'?`` for the nearest known name, else None."""
    near = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else None


class Registry(Generic[Base]):
    """The extensions of one group (``headrace.sinks``), each a subclass of ``base``."""

    def __init__(self, group: str, base: type[Base], points: Iterable[EntryPoint] | None = None) -> None:
        self._group = group
        self._base = base
        self._points: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=group) if points is None else points:
            claims = self._points.setdefault(point.name, [])
            if point.value not in [claim.value for claim in claims]:
                claims.append(point)
        self._loaded: dict[str, type[Base]] = {}

    def names(self) -> list[str]:
        """All names, sorted, without importing anything; ExtensionError when two packages claim one."""
        for name in self._points:
            self._point(name)
        return sorted(self._points)

    def _point(self, name: str) -> EntryPoint:
        claims = self._points.get(name)
        if not claims:
            hint = did_you_mean(name, self._points) or f"known are {', '.join(sorted(self._points)) or 'none'}"
            raise ExtensionError(f"there is no {self._group} extension named {name!r}; {hint}", self._group, name)
        if len(claims) > 1:
            owners = " and ".join(f"{claim.dist.name if claim.dist else '?'} ({claim.value})" for claim in claims)
            raise ExtensionError(
                f"{self._group} extension {name!r} is claimed by {owners}; uninstall one", self._group, name
            )
        return claims[0]

    def load(self, name: str) -> type[Base]:
        """The class behind ``name``; ExtensionError where it is unknown, broken or not a ``base``."""
        known = self._loaded.get(name)
        if known is not None:
            return known
        point = self._point(name)
        try:
            found: Any = point.load()
        except Exception as error:  # importing runs foreign code: whatever it raises is its failure
            what = error if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: {error}"
            raise ExtensionError(
                f"{self._group} extension {name!r} ({point.value}) cannot be loaded: {what}",
                self._group,
                name,
            ) from error
        if not (isinstance(found, type) and issubclass(found, self._base)):
            raise ExtensionError(f"{point.value} is not a {self._base.__name__}", self._group, name)
        self._loaded[name] = found
        return found


def require_driver(module: str, extra: str, group: str, name: str) -> Any:
    """Import a driver on first use; ExtensionError that says what to install where it is absent or broken."""
    try:
        return import_module(module)
    except ImportError as error:
        absent = isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")
        why = "" if absent else f", which cannot be imported here ({error})"
        raise ExtensionError(f"{name!r} needs {module}{why}: pip install 'headrace[{extra}]'", group, name) from error
