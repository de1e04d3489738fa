"""Questions about a value's type, answered with a boolean for every value there is."""

from __future__ import annotations

from core.message import Missing, Type
from rules.functions.base import Anything, Category

CATEGORY = Category("predicates")
scalar = CATEGORY.scalar


@scalar(Type.BOOLEAN, ("is_null(null())", True), ("is_null('')", False))
def is_null(value: Anything) -> bool:
    """True for what is not there (undefined), and for nothing else: JSON null is a value."""
    return isinstance(value, Missing)
