"""The generated loop over rows of tumbling and hopping windows: stay within one pane, update one flat list per row.

The aggregates' code stands in the loop itself (``Accumulators.write_update``). What is rare is a call: another pane, a
full one, a row that is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rules.aggregates.accumulator import Accumulators, run_source
from rules.aggregates.keys import unboxed
from rules.codegen.emitter import Emitter

Loop = Callable[..., int]
"""``loop(rows, top, latest, enter, full, refuse) -> top``."""
RowMaker = Callable[..., tuple[Any, ...]]
"""``row(key, start, end, state, carried, since, until)``: what is emitted; see ``Accumulators.write_output``."""
Start = Callable[[Any], list[Any]]
"""The samples of a key from before a window."""


def compile_loop(accumulators: Accumulators, max_keys: int, *, tracks: bool) -> Loop:
    """``tracks``: keys are noted where ``enter`` says so, for results that are told anew."""
    out = Emitter()
    with out.block("def loop(rows, top, latest, enter, full, refuse):"):
        out.line("low = high = 0")
        with out.block("for row in rows:"):
            with out.block("try:"):
                accumulators.write_checks(out, "row")
                out.line("t = row[0]")
                with out.block("if t is None or not low <= t < high:"):
                    out.line("low, high, groups, changed, top = enter(row, t, top)")
                    with out.block("if groups is None:"):
                        out.line("continue")
                    # Within the pane a time may still be too far ahead: those ask again.
                    with out.block("if high > latest:"):
                        out.line("high = latest + 1")
                with out.block("elif t > top:"):
                    out.line("top = t")
                out.line("k = row[1]")
                out.line("s = groups.get(k)")
                with out.block("if s is None:"):
                    with out.block(f"if len(groups) >= {max_keys} and not full(groups, row):"):
                        out.line("continue")
                    out.line(f"s = groups[k] = {accumulators.write_init(out)}")
                accumulators.write_update(out, "s", "t")
                if tracks:
                    with out.block("if changed is not None:"):
                        out.line("changed[k] = None")
            with out.block("except Exception as error:"):
                out.line("refuse(row, error)")
        out.line("return top")
    loop: Loop = run_source("<window>", out)["loop"]
    return loop


Teller = Callable[..., None]
"""``tell(names, groups, before, after, start, end, append, begin)``: see :func:`compile_teller`."""


def compile_row(accumulators: Accumulators, keys: int, boxed: frozenset[int]) -> RowMaker:
    out = Emitter()
    with out.block("def row(k, start, end, s, c, since, until):"):
        out.line(f"return {_row_text(out, accumulators, keys, boxed, 'since', 'until')}")
    row: RowMaker = run_source("<window row>", out)["row"]
    return row


def _row_text(
    out: Emitter, accumulators: Accumulators, keys: int, boxed: frozenset[int], since: str, until: str
) -> str:
    parts = [] if not keys else ["k"] if keys == 1 else [f"k[{number}]" for number in range(keys)]
    for number in boxed:
        unbox = out.shared_constant("unboxed", unboxed, "unboxed")
        parts[number] = f"{unbox}({parts[number]})"
    results = accumulators.write_output(out, "s", "c", since, until)
    return f"({', '.join([*parts, 'start', 'end', *results])})"


def compile_teller(accumulators: Accumulators, keys: int, boxed: frozenset[int]) -> Teller:
    """A function that emits groups of one pane of a window: ``append`` gets a row for each of ``names``, whose states
    in ``groups`` are joined with those of the panes ``after``. Keys that a pane ``before`` has were told with that.
    ``begin`` is a :data:`Start`, asked where aggregates carry samples over."""
    out = Emitter()
    with out.block("def tell(names, groups, before, after, start, end, append, begin):"):
        with out.block("for k in names:"):
            out.line("s = groups.get(k)")
            with out.block("if s is None:"):
                out.line("continue")
            with out.block("for g in before:"), out.block("if k in g:"):
                out.line("break")
            with out.block("else:"):
                out.line("shared = True")
                with out.block("for g in after:"):
                    out.line("o = g.get(k)")
                    with out.block("if o is None:"):
                        out.line("continue")
                    with out.block("if shared:"):  # the pane's own state is still needed as it is
                        out.line("shared = False")
                        if accumulators.mutable:
                            out.line("own = s")
                            out.line(f"s = {accumulators.write_init(out)}")
                            accumulators.write_merge(out, "s", "own")
                        else:
                            out.line("s = s[:]")
                    accumulators.write_merge(out, "s", "o")
                if accumulators.carries:
                    out.line("c = begin(k)")
                out.line(f"append({_row_text(out, accumulators, keys, boxed, 'start', 'end')})")
        out.line("return None")
    tell: Teller = run_source("<window rows>", out)["tell"]
    return tell
