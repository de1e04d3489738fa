"""What meters need: values weighted by the time they stood, registers that grow and are reset, time spent in a state.

All of them add up something over neighbouring samples, in the order of time, whatever order the rows come in. A state
keeps the newest samples (up to :data:`MAX_PENDING`) and folds older ones into a total. A row that is older than what
was folded, which takes more than :data:`KEPT` newer rows of the same key and pane before it, is left out and counted.

Between the first and the last row of a window; what a device did before its first row and after its last one is not
guessed.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any, Final

from core.message import Type
from rules.aggregates.base import BOOLEAN, FLOAT, NUMBER, Aggregate, Code, Example, Kind, Parameter, Tally, fixed
from rules.aggregates.numbers import finite, plus

MAX_PENDING: Final = 256
KEPT: Final = 128
_BY_TIME: Final = itemgetter(0)
_SECOND: Final = 1_000_000

# A series is [first time, first value, last time, last value, total, samples]: what was folded, then (time, value)
# pairs that were not. Times are None while nothing was folded.
Series = list[Any]
Step = Callable[[int, Any, int, Any], Any]
"""What the way from one sample (time, value) to the next adds to the total."""


def held(time: int, value: Any, next_time: int, _next_value: Any) -> Any:
    """A value stands until the next one: value times microseconds."""
    return value * (next_time - time)


def grown(_time: int, value: Any, _next_time: int, next_value: Any) -> Any:
    """What a register grew by; one that shows less than before began again at 0."""
    return plus(next_value, -value) if next_value >= value else next_value


def series() -> Series:
    return [None, None, None, None, 0, []]


def _fold(state: Series, samples: list[tuple[int, Any]], step: Step) -> None:
    first_time, first, time, value, total, pending = state
    for next_time, next_value in samples:
        if time is None:
            first_time, first = next_time, next_value
        else:
            total = plus(total, step(time, value, next_time, next_value))
        time, value = next_time, next_value
    state[:] = [first_time, first, time, value, total, pending]


def settle(state: Series, step: Step, kept: int = 0) -> None:
    """Fold all samples but the newest ``kept``."""
    samples = state[5]
    samples.sort(key=_BY_TIME)
    old = samples[: len(samples) - kept]
    state[5] = samples[len(samples) - kept :]
    _fold(state, old, step)


def sample(state: Series, time: int, value: Any, step: Step, tally: Tally) -> None:
    if state[2] is not None and time < state[2]:
        tally.left_out += 1
        return
    samples = state[5]
    samples.append((time, value))
    if len(samples) >= MAX_PENDING:
        settle(state, step, KEPT)


def chain(one: Series, other: Series, step: Step, tally: Tally) -> None:
    """Bring the samples of ``other`` into ``one``; both orders of time are understood."""
    if other[2] is None:
        for time, value in other[5]:
            sample(one, time, value, step, tally)
        return
    other = [*other[:5], other[5][:]]
    if one[2] is None and not one[5]:
        one[:] = other
        return
    earlier, later = (one, other) if _begin(one) <= other[0] else (other, one)
    head = [*earlier[:5], [item for item in earlier[5] if item[0] <= later[0]]] if later[0] is not None else earlier
    tally.left_out += len(earlier[5]) - len(head[5])
    settle(head, step)
    if later[0] is None:
        tail = head
        for time, value in later[5]:
            sample(tail, time, value, step, tally)
        one[:] = tail
        return
    # Folded series that overlap in time come from rows counted in their order of arrival: there is no way between them.
    bridge = step(head[2], head[3], later[0], later[1]) if head[2] <= later[0] else 0
    total = plus(plus(head[4], bridge), later[4])
    one[:] = [head[0], head[1], later[2], later[3], total, later[5]]


def _begin(state: Series) -> int:
    begin: int = state[0] if state[0] is not None else min(time for time, _ in state[5])
    return begin


def _settled(state: Series, step: Step) -> Series:
    """All of it folded; the state itself stays as it is, so that a result may be asked for at any time."""
    whole = [*state[:5], state[5][:]]
    settle(whole, step)
    return whole


def weighted(state: Series, step: Step, tally: Tally) -> Any:
    first_time, _, time, value, total, _ = _settled(state, step)
    if time is None:
        return None
    return finite(float(value) if time == first_time else total / (time - first_time), tally)


def spent(state: Series, step: Step) -> Any:
    """Microseconds in the state; null without rows."""
    whole = _settled(state, step)
    return None if whole[2] is None else int(whole[4])


def growth(state: Series, step: Step, tally: Tally) -> Any:
    whole = _settled(state, step)
    return None if whole[2] is None else finite(whole[4], tally)


def speed(state: Series, step: Step, tally: Tally) -> Any:
    """Per second."""
    first_time, _, time, _, total, _ = _settled(state, step)
    if time is None or time == first_time:
        return None
    return finite(float(total) * _SECOND / (time - first_time), tally)


def _meter(name: str, doc: str, output: str, result: Any, kind: Kind, step: Step, example: Example) -> Aggregate:
    code = Code(
        ("{series}()",),
        "{sample}({s0}, {t}, {x}, {step}, {tally})",
        "{chain}({a0}, {b0}, {step}, {tally})",
        output,
        mutable=True,
    )
    names = {
        **{function.__name__: function for function in (series, sample, chain, weighted, spent, growth, speed)},
        "step": step,
    }
    return Aggregate(name, doc, fixed(code), result, (Parameter("x", kind),), examples=(example,), names=names)


METERS: Final = (
    _meter(
        "time_weighted_avg",
        "The mean of a value that stands until the next one, weighted by how long it stood, from the first to the"
        " last row. Of rows at one time only, their last value.",
        "{weighted}({s0}, {step}, {tally})",
        Type.DOUBLE,
        FLOAT,
        held,
        Example("time_weighted_avg(x)", ((10,), (10,), (40,), (0,)), 20.0),
    ),
    _meter(
        "counter_delta",
        "By how much a register (a meter's energy) grew from the first to the last row. A value less than the one"
        " before it is a reset: the register began again at 0.",
        "{growth}({s0}, {step}, {tally})",
        Type.ANY,
        NUMBER,
        grown,
        Example("counter_delta(x)", ((100,), (130,), (5,), (25,)), 55),
    ),
    _meter(
        "counter_rate",
        "`counter_delta` per second; null where all rows are of one time.",
        "{speed}({s0}, {step}, {tally})",
        Type.DOUBLE,
        NUMBER,
        grown,
        Example("counter_rate(x)", ((100,), (130,), (5,), (25,)), 55 / 3),
    ),
    _meter(
        "duration",
        "How long a condition held: it holds, or does not, until the next row says otherwise.",
        "{spent}({s0}, {step})",
        Type.INTERVAL,
        BOOLEAN,
        held,
        Example("duration(x)", ((True,), (True,), (False,), (True,)), 2_000_000),
    ),
)
