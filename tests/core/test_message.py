"""The values that travel: their defaults, and what MISSING is."""

from __future__ import annotations

import copy
import pickle
from itertools import pairwise

import pytest

from core.message import ANONYMOUS, MISSING, Batch, Message, Missing, Publisher, Schema, Type


def test_a_message_is_small_and_complete_by_default() -> None:
    message = Message("a/b", b"x")
    assert (message.qos, message.retain, message.dup, message.properties) == (0, False, False, None)
    assert message.publisher is ANONYMOUS
    assert message.document is MISSING
    assert message.match is message.columns is None
    with pytest.raises(AttributeError):
        message.colour = 1  # type: ignore[attr-defined]


def test_a_device_has_passed_no_rule() -> None:
    device = Publisher("c1", username="alice", peer_host="10.0.0.1", peer_port=5)
    assert (device.hops, device.rule) == (0, None)
    assert repr(device) == "Publisher('c1', username='alice')"


def test_missing_is_one_falsy_value() -> None:
    assert not MISSING
    assert repr(MISSING) == "MISSING"
    assert MISSING.value == "undefined"
    assert MISSING is Missing("undefined")
    assert all(other is MISSING for other in (copy.deepcopy(MISSING), pickle.loads(pickle.dumps(MISSING))))  # noqa: S301


def test_schemas_compare_by_value() -> None:
    one, other = (Schema(("a", "b"), (Type.BIGINT, Type.TEXT)) for _ in range(2))
    assert one == other
    assert len({one, other}) == 1
    assert Batch("t", "r", one, []).hops == 0
    assert all(first is not second for first, second in pairwise(Type))
