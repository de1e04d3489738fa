"""What meters need: values weighted by the time they stood, registers that grow and are reset, time spent in a state.

All of them add up something over neighbouring samples, in the order of time, whatever order the rows come in. A state
keeps the newest samples (up to :data:`MAX_PENDING`) and folds older ones into a total. A row that is older than what
was folded, which takes more than :data:`KEPT` newer rows of the same key and pane before it, is left out and counted.

Samples do not end with a window. The last one before it is *carried* in by the operator where there is one, so that
windows of a key that follow each other leave nothing out between them: a register has grown since the carried sample,
and a value stood from ``since`` (the window's start) on. The last value stands until ``until`` (the window's end).
Without them, in windows that go by rows, a result tells of the time between the first and the last row.
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

Sample = tuple[int, Any]
"""Time and value."""

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


def latest(state: Series) -> Sample | None:
    """The sample that the next window goes on from; of equal times the one that came last."""
    found = None
    for item in state[5]:
        if found is None or item[0] >= found[0]:
            found = item
    return (state[2], state[3]) if found is None and state[2] is not None else found


def _grown(state: Series, step: Step, carried: Sample | None) -> tuple[Any, int, int] | None:
    """The growth since the carried or the first sample, the time of that one, and of the last one."""
    first_time, first, time, _, total, _ = _settled(state, step)
    if time is None:
        return None
    if carried is None:
        return total, first_time, time
    return plus(step(*carried, first_time, first), total), carried[0], time


def _stood(
    state: Series, step: Step, carried: Sample | None, since: int | None, until: int | None
) -> tuple[Any, int, int, Any] | None:
    """Value times microseconds, the beginning and the end of the time that they cover, and the last value."""
    begin, first, end, value, total, _ = _settled(state, step)
    if end is None:
        if carried is None or since is None:
            return None
        begin = end = since  # no sample, but a value that stood all the time
        value, total = carried[1], 0
    elif carried is not None and since is not None and since < begin:
        start = max(since, carried[0])
        total = plus(step(start, carried[1], begin, first), total)
        begin = start
    if until is not None and until > end:
        total = plus(total, step(end, value, until, value))
        end = until
    return total, begin, end, value


def weighted(
    state: Series, step: Step, tally: Tally, carried: Sample | None, since: int | None, until: int | None
) -> Any:
    found = _stood(state, step, carried, since, until)
    if found is None:
        return None
    total, begin, end, value = found
    return finite(float(value) if begin == end else total / (end - begin), tally)


def spent(state: Series, step: Step, carried: Sample | None, since: int | None, until: int | None) -> Any:
    """Microseconds in the state; null where nothing is known of it."""
    found = _stood(state, step, carried, since, until)
    return None if found is None else int(found[0])


def growth(state: Series, step: Step, tally: Tally, carried: Sample | None) -> Any:
    found = _grown(state, step, carried)
    return None if found is None else finite(found[0], tally)


def speed(state: Series, step: Step, tally: Tally, carried: Sample | None) -> Any:
    """Per second."""
    found = _grown(state, step, carried)
    if found is None or found[1] >= found[2]:
        return None
    return finite(float(found[0]) * _SECOND / (found[2] - found[1]), tally)


def _meter(name: str, doc: str, output: str, result: Any, kind: Kind, step: Step, example: Example) -> Aggregate:
    code = Code(
        ("{series}()",),
        "{sample}({s0}, {t}, {x}, {step}, {tally})",
        "{chain}({a0}, {b0}, {step}, {tally})",
        output,
        mutable=True,
        last="{latest}({s0})",
    )
    functions: tuple[Callable[..., Any], ...] = (series, sample, chain, latest, weighted, spent, growth, speed)
    names = {**{function.__name__: function for function in functions}, "step": step}
    return Aggregate(name, doc, fixed(code), result, (Parameter("x", kind),), examples=(example,), names=names)


METERS: Final = (
    _meter(
        "time_weighted_avg",
        "The mean of a value that stands until the next one, weighted by how long it stood"
        " ([in a window](../concepts/windows.md#from-one-window-to-the-next): from its start to its end). Of rows at"
        " one time only, their last value.",
        "{weighted}({s0}, {step}, {tally}, {carried}, {since}, {until})",
        Type.DOUBLE,
        FLOAT,
        held,
        Example("time_weighted_avg(x)", ((10,), (10,), (40,), (0,)), 20.0),
    ),
    _meter(
        "counter_delta",
        "By how much a register (a meter's energy) grew until the last row, from the last row of the window before on"
        " or, where [none is known](../concepts/windows.md#from-one-window-to-the-next), from the first. A value less"
        " than the one before it is a reset: the register began again at 0.",
        "{growth}({s0}, {step}, {tally}, {carried})",
        Type.ANY,
        NUMBER,
        grown,
        Example("counter_delta(x)", ((100,), (130,), (5,), (25,)), 55),
    ),
    _meter(
        "counter_rate",
        "`counter_delta` per second of the time in which the register grew; null where all rows are of one time.",
        "{speed}({s0}, {step}, {tally}, {carried})",
        Type.DOUBLE,
        NUMBER,
        grown,
        Example("counter_rate(x)", ((100,), (130,), (5,), (25,)), 55 / 3),
    ),
    _meter(
        "duration",
        "How long a condition held: it holds, or does not, until the next row says otherwise.",
        "{spent}({s0}, {step}, {carried}, {since}, {until})",
        Type.INTERVAL,
        BOOLEAN,
        held,
        Example("duration(x)", ((True,), (True,), (False,), (True,)), 2_000_000),
    ),
)
