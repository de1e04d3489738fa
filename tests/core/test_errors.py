"""The error tree: the text of each is fit for a user, and its facts can be asked for."""

from __future__ import annotations

import pytest

from core import errors
from core.errors import ConfigError, HeadraceError, PacketError, Rejected, RuleError, SinkError, Throttled, Unavailable


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConfigError("is wrong"), "is wrong"),
        (ConfigError("is wrong", path="a.b"), "a.b: is wrong"),
        (ConfigError("is wrong", file="f.toml", line=3, path="a.b", hint="try c"), "f.toml:3: a.b: is wrong (try c)"),
        (ConfigError("is wrong", file="f.toml"), "f.toml: is wrong"),
        (RuleError(["first", "second"]), "first\n\nsecond"),
        (Rejected("no", [(0, "too big")]), "no"),
    ],
)  # fmt: skip
def test_texts(error: HeadraceError, text: str) -> None:
    assert str(error) == text


def test_facts() -> None:
    assert PacketError("bad").reason_code == 0x81
    assert Throttled("slow", 5).retry_after == 5
    assert Rejected("no", [(0, "x")]).rows == ((0, "x"),)
    assert isinstance(Throttled("slow"), Unavailable)


def test_one_tree() -> None:
    classes = [
        found for found in vars(errors).values() if isinstance(found, type) and found.__module__ == errors.__name__
    ]
    assert len(classes) == 11
    assert all(issubclass(found, HeadraceError) for found in classes)
    assert all(issubclass(found, SinkError) for found in (Unavailable, Rejected))
