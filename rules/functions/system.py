"""Identifiers and the environment."""

from __future__ import annotations

import uuid
from typing import Any, Final

from core.message import Type
from rules.functions.base import Category, Refusal, Text
from rules.functions.host import ENVIRONMENT_PREFIX, Host

NAME: Final = "system"


def category(host: Host) -> Category:
    """The functions, with the variables that the host lets rules read."""
    found = Category(NAME)

    @found.scalar(Type.TEXT, ("strlen(uuid_v4())", 36), pure=False)
    def uuid_v4() -> str:
        """A random UUID with hyphens."""
        return str(uuid.uuid4())

    @found.scalar(Type.TEXT, ("strlen(uuid_v4_no_hyphen())", 32), pure=False)
    def uuid_v4_no_hyphen() -> str:
        """A random UUID without hyphens."""
        return uuid.uuid4().hex

    def variable(name: Any) -> str:
        value = host.variable(name) if isinstance(name, str) else ""
        if value is None:
            raise Refusal(
                f"rules may not read the environment variable {name[:80]!r}",
                "forbidden_variable",
                hint=f"name it in `[functions] env`, or set {ENVIRONMENT_PREFIX}{name[:80]}",
            )
        return value

    @found.scalar(Type.TEXT, pure=False, checks={"name": variable})
    def getenv(name: Text) -> str:
        """The environment variable `EMQXVAR_<name>` if it is set, else `<name>` if `[functions] env` allows that
        ('' where it is not set). Any other name is refused with the code `forbidden_variable`, a literal one already
        when the rule is read."""
        return variable(name)

    return found
