"""The version of the installed distribution."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """The distribution's version; ``0+unknown`` where the packages run without having been installed."""
    try:
        return version("headrace")
    except PackageNotFoundError:
        return "0+unknown"
