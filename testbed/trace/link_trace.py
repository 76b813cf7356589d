"""A network trace: a link's rate, delay, jitter and loss over time, as a step function that can be averaged.

Rates are those of a topology's links: the rate of a TCP transfer. A mahimahi line stands for a whole IP packet. It
counts as 1448 bytes, TCP's payload in such a packet (see `testbed.network.commands`).
"""

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise

from testbed.sizes import SEGMENT_BYTES

MOST_MBIT_PER_S = 1e5
MOST_DELAY_S = 60.0
SEGMENT_MBIT = SEGMENT_BYTES * 8e-6
SHORTEST_LULL_S = 0.1
LULL_MBIT_PER_S = SEGMENT_MBIT / SHORTEST_LULL_S  # below it a trace has a lull, see `testbed.trace.outages`

Series = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class LinkTrace:
    """A link over time, as a step function that ends, or starts again, after `length_s`.

    `starts_s` (n,) rises from 0. Each of the others has a value per step, (n,), or is None if the trace does not state
    it. A rate may be zero: an outage.
    """

    starts_s: Series
    length_s: float
    rate_mbit_per_s: Series | None = None
    delay_s: Series | None = None
    jitter_s: Series | None = None
    loss: Series | None = None

    def lengths_s(self) -> Series:
        """Return the length of each step [s], (n,)."""
        return tuple(end - begin for begin, end in pairwise((*self.starts_s, self.length_s)))

    def at(self, time_s: float) -> int:
        """Return the number of the step that holds at a time [s] within the trace."""
        return max(0, bisect_right(self.starts_s, time_s) - 1)

    def merged(self) -> "LinkTrace":
        """Return the same trace without steps that change nothing."""
        every = (self.rate_mbit_per_s, self.delay_s, self.jitter_s, self.loss)
        rows = list(zip(*(series for series in every if series is not None), strict=True))
        kept = [step for step, row in enumerate(rows) if step == 0 or row != rows[step - 1]]
        if len(kept) == len(rows):
            return self

        def of(series: Series | None) -> Series | None:
            return None if series is None else tuple(series[step] for step in kept)

        return LinkTrace(tuple(self.starts_s[step] for step in kept), self.length_s, *map(of, every))

    def lull_edges_s(self) -> Iterator[float]:
        """Yield the times [s] at which lulls of 0.1 s or more begin and end; the end of the trace ends a lull."""
        if self.rate_mbit_per_s is None:
            return
        steps = zip(self.rate_mbit_per_s, (*self.starts_s[1:], self.length_s), strict=True)
        begin_s = 0.0
        for in_lull, piece in groupby(steps, key=lambda step: step[0] < LULL_MBIT_PER_S):
            end_s = deque(piece, maxlen=1)[0][1]
            if in_lull and end_s - begin_s >= SHORTEST_LULL_S - 1e-9:
                yield from (exact_s(begin_s), exact_s(end_s))
            begin_s = end_s

    def averaged(self, every_s: float) -> "LinkTrace":
        """Return the trace in steps of `every_s` [s], the last perhaps shorter, each the mean over its time.

        The volume is kept. Equal traces have equal averages, to the last digit, however they are cut into steps.
        Decision 049: a lull of 0.1 s or more begins and ends steps of its own
        (docs/decisions/049-lulls-keep-their-own-steps.md).
        """
        whole = self.merged()
        count = max(1, math.ceil(self.length_s / every_s - 1e-9))
        regular_s = (exact_s(number * every_s) for number in range(count))
        starts_s = tuple(sorted({*regular_s, *whole.lull_edges_s()} - {exact_s(self.length_s)}))
        edges_s = (*starts_s, self.length_s)

        def means(series: Series | None) -> Series | None:
            return None if series is None else tuple(_means(series, (*whole.starts_s, self.length_s), edges_s))

        return LinkTrace(
            starts_s, self.length_s, means(whole.rate_mbit_per_s), means(whole.delay_s), means(whole.jitter_s),
            means(whole.loss),
        )  # fmt: skip


def _means(series: Series, edges_s: Series, wanted_s: Series) -> Iterator[float]:
    """Yield the means of a step function between wanted edges, which begin and end with it.

    The mean of a single value is that value, to the last digit.
    """
    step = 0
    for begin_s, end_s in pairwise(wanted_s):
        met: set[float] = set()
        total = 0.0
        at_s = begin_s
        while True:
            until_s = min(end_s, edges_s[step + 1])
            if until_s > at_s:
                met.add(series[step])
                total += (until_s - at_s) * series[step]
                at_s = until_s
            if edges_s[step + 1] >= end_s or step + 1 == len(series):
                break
            step += 1
        yield met.pop() if len(met) == 1 else total / (end_s - begin_s)


def exact_s(time_s: float) -> float:
    """Round away the rounding error of a subtraction: 0.30000000000000004 -> 0.3."""
    return round(time_s, 9)
