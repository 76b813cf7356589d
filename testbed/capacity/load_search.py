"""The search for the highest load at which an objective holds, on one seed: on a grid of factors in equal ratios.

It begins at the topology's own load, and doubles or halves it until it knows a load that holds and one that misses.
Then it halves the distance between the two on the grid. All seeds and policies search the same grid, so that their
probes can be compared, and a search that continues asks for the same ones.

The objective is taken to hold at all loads below one at which it holds. A search finds one crossing; where chance makes
several, it is one of them.
"""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from node_agent.errors import InputError

LEAST_PRECISION, MOST_PRECISION = 0.001, 0.5
LEAST_LOAD, MOST_LOAD = 1e-3, 1e3


@dataclass(frozen=True, slots=True)
class LoadGrid:
    """The loads that may be probed, as factors on the topology's own: ascending, the bounds of the search included."""

    loads: tuple[float, ...]

    @classmethod
    def between(cls, low: float, high: float, precision: float) -> "LoadGrid":
        """The loads from `low` to `high` in steps of `precision` (0.025: each 2.5 % above the one before); 1 is one.

        Raises:
            InputError: bounds or precision cannot be used.
        """
        if not LEAST_PRECISION <= precision <= MOST_PRECISION:
            raise InputError(f"a precision of {precision:g} is out of range", hint="from 0.1 % to 50 %")
        if not LEAST_LOAD <= low < high <= MOST_LOAD:
            raise InputError(f"no loads from x{low:g} to x{high:g}", hint="upwards, from x0.001 to x1000")
        step = math.log1p(precision)
        inside = range(math.ceil(math.log(low) / step), math.floor(math.log(high) / step) + 1)
        return cls(tuple(sorted({low, high, *(_rounded(math.exp(number * step)) for number in inside)})))

    @property
    def first(self) -> int:
        """Index of the load that is probed first: the one next to the topology's own."""
        return min(range(len(self.loads)), key=lambda index: abs(math.log(self.loads[index])))

    def nearest(self, load: float) -> int:
        """Index of the load next to this one."""
        index = bisect.bisect_left(self.loads, load)
        beside = [number for number in (index - 1, index) if 0 <= number < len(self.loads)]
        return min(beside, key=lambda number: abs(math.log(self.loads[number] / load)))

    def most_probes(self, low: float, high: float) -> int:
        """A number of probes that suffices between two loads: to double or halve, then to halve the distance."""
        if low == high:
            return 0
        doublings = math.ceil(math.log2(high / low)) + 1
        between = sum(low <= load <= 2 * low for load in self.loads)
        return doublings + between.bit_length()


def _rounded(load: float) -> float:
    return float(f"{load:.5g}")


@dataclass(slots=True)
class LoadSearch:
    """The search on one seed; `outcomes` are those of the probes so far, by index of the load: True if it held."""

    grid: LoadGrid
    outcomes: dict[int, bool] = field(default_factory=dict)

    @property
    def holds(self) -> int | None:
        """Index of the highest load known to hold; None if none is."""
        return max((index for index, held in self.outcomes.items() if held), default=None)

    @property
    def misses(self) -> int | None:
        """Index of the lowest load known to miss; None if none is."""
        return min((index for index, held in self.outcomes.items() if not held), default=None)

    def next(self) -> int | None:
        """Index of the load to probe next; None if the search is over."""
        holds, misses, last = self.holds, self.misses, len(self.grid.loads) - 1
        if holds is None and misses is None:
            return self.grid.first
        if misses is None:
            assert holds is not None
            return None if holds == last else max(holds + 1, self.grid.nearest(2 * self.grid.loads[holds]))
        if holds is None:
            return None if misses == 0 else min(misses - 1, self.grid.nearest(self.grid.loads[misses] / 2))
        return None if misses - holds == 1 else (holds + misses) // 2

    @property
    def most_left(self) -> int:
        """A number of probes that suffices from here on."""
        holds, misses, loads = self.holds, self.misses, self.grid.loads
        if holds is not None and misses is not None:
            return (misses - holds - 1).bit_length()
        if holds is not None:
            return self.grid.most_probes(loads[holds], loads[-1])
        if misses is not None:
            return self.grid.most_probes(loads[0], loads[misses])
        first = loads[self.grid.first]
        return 1 + max(self.grid.most_probes(first, loads[-1]), self.grid.most_probes(loads[0], first))

    @property
    def capacity(self) -> float | None:
        """The load between the two that enclose the crossing, their geometric mean; None without one of them."""
        holds, misses = self.holds, self.misses
        if holds is None or misses is None:
            return None
        return math.sqrt(self.grid.loads[holds] * self.grid.loads[misses])


def common(searches: Sequence[LoadSearch]) -> tuple[float | None, float | None]:
    """The highest load that held on all seeds, and the lowest that missed on all; None if there is none."""
    holds, misses = [search.holds for search in searches], [search.misses for search in searches]
    grid = searches[0].grid.loads
    low = None if None in holds else grid[min(index for index in holds if index is not None)]
    high = None if None in misses else grid[max(index for index in misses if index is not None)]
    return low, high
