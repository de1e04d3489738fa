"""Approximate aggregates: sketches of Apache DataSketches, which keep some kilobytes whatever they have seen.

The library is optional (``pip install headrace[sketches]``) and loaded when a query names one of these functions. A
sketch is merged without loss beyond its error: about 2 % of a count (HyperLogLog, 2 kB), about 1.7 % of the rank of a
percentile (KLL, 3 kB; its choices are random, so equal streams may differ within that).
"""

from __future__ import annotations

from decimal import Decimal
from importlib import import_module
from typing import Any, ClassVar, Final, Protocol, Self

from core.errors import ExtensionError
from core.message import Type
from rules.aggregates.base import ANY, FLOAT, Aggregate, Code, Constant, Example, Parameter, fixed
from rules.aggregates.collected import fraction

_LOG_SIZE: Final = 11
_RANKS: Final = 200


class Dumped(Protocol):
    """A slot's object that a snapshot can hold; ``tag`` names its class there."""

    tag: ClassVar[str]

    def dump(self) -> bytes: ...

    @classmethod
    def load(cls, data: bytes) -> Self: ...


def _library() -> Any:
    return import_module("datasketches")


def check_library() -> None:
    try:
        _library()
    except ImportError as error:
        raise ExtensionError(
            "approximate aggregates need the library datasketches: pip install 'headrace[sketches]'",
            "headrace.functions",
            "datasketches",
        ) from error


class DistinctSketch:
    """HyperLogLog."""

    tag: ClassVar[str] = "hll"
    __slots__ = ("_kind", "_library", "_sketch")

    def __init__(self) -> None:
        self._library = _library()
        self._kind = self._library.tgt_hll_type.HLL_8
        self._sketch = self._library.hll_sketch(_LOG_SIZE, self._kind)

    def add(self, value: Any) -> None:
        kind = type(value)
        if kind is str or kind is float:
            self._sketch.update(value)
        elif kind is int and -(1 << 53) <= value <= 1 << 53:
            self._sketch.update(float(value))  # 1 and 1.0 are one value
        else:
            self._sketch.update(f"{kind.__name__}:{value!r}")

    def merge(self, other: DistinctSketch) -> None:
        union = self._library.hll_union(_LOG_SIZE)
        union.update(self._sketch)
        union.update(other._sketch)
        self._sketch = union.get_result(self._kind)

    def result(self) -> int:
        return round(float(self._sketch.get_estimate()))

    def dump(self) -> bytes:
        return bytes(self._sketch.serialize_compact())

    @classmethod
    def load(cls, data: bytes) -> Self:
        found = cls()
        found._sketch = found._library.hll_sketch.deserialize(data)
        return found


class RankSketch:
    """KLL over floats."""

    tag: ClassVar[str] = "kll"
    __slots__ = ("_library", "_sketch")

    def __init__(self) -> None:
        self._library = _library()
        self._sketch = self._library.kll_doubles_sketch(_RANKS)

    def add(self, value: float | Decimal) -> None:
        self._sketch.update(float(value))

    def merge(self, other: RankSketch) -> None:
        self._sketch.merge(other._sketch)

    def result(self, part: float) -> float | None:
        return None if self._sketch.is_empty() else float(self._sketch.get_quantile(float(part)))

    def dump(self) -> bytes:
        return bytes(self._sketch.serialize())

    @classmethod
    def load(cls, data: bytes) -> Self:
        found = cls()
        found._sketch = found._library.kll_doubles_sketch.deserialize(data)
        return found


DUMPED: Final[dict[str, type[Dumped]]] = {kind.tag: kind for kind in (DistinctSketch, RankSketch)}

_ADD: Final = "{s0}.add({x})"
_MERGE: Final = "{a0}.merge({b0})"

SKETCHES: Final = (
    Aggregate(
        "approx_count_distinct",
        "About how many different values there are (HyperLogLog; a standard error of 2 %).",
        fixed(Code(("{sketch}()",), _ADD, _MERGE, "{s0}.result()", mutable=True)),
        Type.BIGINT,
        (Parameter("x", ANY),),
        examples=(Example("approx_count_distinct(x)", ((1,), (2,), (1,), (None,)), 2),),
        names={"sketch": DistinctSketch},
        check_library=check_library,
    ),
    Aggregate(
        "approx_percentile",
        "About the value below which a fraction of the values lies (KLL; a rank error of 1.7 %).",
        fixed(Code(("{sketch}()",), _ADD, _MERGE, "{s0}.result({p0})", mutable=True)),
        Type.DOUBLE,
        (Parameter("x", FLOAT),),
        (Constant("fraction", fraction),),
        (Example("approx_percentile(x, 0.5)", ((1,), (2,), (3,)), 2.0),),
        names={"sketch": RankSketch},
        check_library=check_library,
    ),
)
