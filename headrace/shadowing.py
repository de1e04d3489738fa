"""Are headrace's packages its own? Their names are generic, so another distribution or a stray folder may come first.

``rules`` or ``core`` may exist where headrace is installed beside other code; what Python finds first under such a name
is what would be imported. All of headrace lies in one folder, in a wheel as in a checkout, and this is what is
compared. Invariant: imports the standard library alone, as it is asked before anything else of headrace is imported;
it imports none of the packages that it looks for.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

PACKAGES: Final = ("broker", "connections", "core", "formats", "gateways", "rules", "sinks")


def foreign_packages() -> list[tuple[str, str]]:
    """Name and path of each package that Python would take from elsewhere than from beside headrace."""
    home = Path(__file__).resolve().parent.parent
    found = []
    for name in PACKAGES:
        place = _place(name)
        if place is not None and Path(place).resolve() not in (home / name, home / name / "__init__.py"):
            found.append((name, place))
    return found


def complaint() -> str | None:
    """What to tell the user about :func:`foreign_packages`, in one line; None if there are none."""
    found = foreign_packages()
    if not found:
        return None
    places = ", ".join(f"{name} is {place}" for name, place in found)
    return f"other packages take the place of headrace's own: {places}; install headrace in an environment of its own"


def _place(name: str) -> str | None:
    """What an import of ``name`` takes: a file, a folder if it has no ``__init__.py``, None if there is nothing."""
    try:
        spec = find_spec(name)
    except ValueError:  # something without a spec has been put into sys.modules
        return getattr(sys.modules[name], "__file__", None) or f"a module without a file named {name}"
    if spec is None:
        return None
    if spec.has_location and spec.origin is not None:
        return spec.origin
    return next(iter(spec.submodule_search_locations or ()), spec.origin)
