"""Outages of network traces: the rate of a link while its trace has almost none.

A lull is an unbroken time in which a trace has less than a full packet in 0.1 s. Decision 050: a link in a lull keeps
the rate of one full packet in its length, at most one a second
(docs/decisions/050-outages-keep-a-least-rate.md).
"""

import math
from collections.abc import Iterator
from itertools import groupby

from testbed.trace.link_trace import LULL_MBIT_PER_S, SEGMENT_MBIT, SHORTEST_LULL_S, LinkTrace, Series

LONGEST_LULL_S = 1.0  # in longer lulls, a packet takes this time


def outage_rate_mbit_per_s(length_s: float) -> float:
    """Return the rate [Mbit/s] of a link in a lull of this length [s]: one packet in it, taken as 0.1 to 1 s."""
    return SEGMENT_MBIT / min(LONGEST_LULL_S, max(SHORTEST_LULL_S, length_s))


def least_rates_mbit_per_s(trace: LinkTrace, rates: Series, *, repeats: bool = True) -> Series:
    """Return the least rate [Mbit/s] that a link has in each step of a trace with these rates, (n,).

    A lull at the end goes on with the first step if the trace `repeats`, and forever if not.
    """
    low = [rate < LULL_MBIT_PER_S for rate in rates]
    if all(low):
        return (outage_rate_mbit_per_s(math.inf),) * len(rates)
    pieces = [(begin, end, in_lull) for begin, end, in_lull in _pieces(low)]
    edges_s = (*trace.starts_s, trace.length_s)
    lengths_s = [edges_s[end] - edges_s[begin] for begin, end, _ in pieces]
    if not repeats:
        lengths_s[-1] = math.inf
    elif low[0] and low[-1]:
        lengths_s[0] = lengths_s[-1] = lengths_s[0] + lengths_s[-1]
    least: list[float] = []
    for (begin, end, in_lull), length_s in zip(pieces, lengths_s, strict=True):
        least += [outage_rate_mbit_per_s(length_s) if in_lull else 0.0] * (end - begin)
    return tuple(least)


def _pieces(low: list[bool]) -> Iterator[tuple[int, int, bool]]:
    """Yield (first step, step after the last, whether it is a lull) of all lulls and of the pieces between them."""
    begin = 0
    for in_lull, steps in groupby(low):
        end = begin + sum(1 for _ in steps)
        yield begin, end, in_lull
        begin = end


def emulated(trace: LinkTrace, *, scale: float = 1.0, repeats: bool = True) -> LinkTrace:
    """Return the trace as a link follows it: rates times `scale`, none below the least, without equal steps."""
    if trace.rate_mbit_per_s is None:
        return trace.merged()
    rates = tuple(rate * scale for rate in trace.rate_mbit_per_s)
    least = least_rates_mbit_per_s(trace, rates, repeats=repeats)
    followed = tuple(map(max, rates, least))
    return LinkTrace(
        trace.starts_s, trace.length_s, followed, trace.delay_s, trace.jitter_s, trace.loss
    ).merged()  # fmt: skip
