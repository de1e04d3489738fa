"""Identifiers and the environment."""

from __future__ import annotations

import os
import uuid
from functools import lru_cache
from typing import Final

from core.message import Type
from rules.functions.base import Category, Text

CATEGORY = Category("system")
scalar = CATEGORY.scalar

ENVIRONMENT_PREFIX: Final = "EMQXVAR_"


@scalar(Type.TEXT, ("strlen(uuid_v4())", 36), pure=False)
def uuid_v4() -> str:
    """A random UUID with hyphens."""
    return str(uuid.uuid4())


@scalar(Type.TEXT, ("strlen(uuid_v4_no_hyphen())", 32), pure=False)
def uuid_v4_no_hyphen() -> str:
    """A random UUID without hyphens."""
    return uuid.uuid4().hex


@lru_cache(maxsize=1_024)
def _variable(name: str) -> str:
    return os.environ.get(ENVIRONMENT_PREFIX + name, "") if "\0" not in name else ""


@scalar(Type.TEXT, ("getenv('NOT_SET')", ""), pure=False)
def getenv(name: Text) -> str:
    """The environment variable `EMQXVAR_<name>`, read once; '' where it is not set. The prefix keeps rules away from
    all other variables."""
    return _variable(name)
