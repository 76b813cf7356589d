"""The arrival process `ramp`: the rate goes from one level to another in a line."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from node_agent.errors import InputError
from testbed.trace.processes.parameters import END, START, Moment, read_factor, read_moment
from testbed.trace.processes.pieces import Times
from testbed.trace.processes.shaped import Shaped


@dataclass(frozen=True, slots=True)
class Ramp(Shaped):
    """The curve h(t): `first` until `begin`, `last` from `end` on, and a line between.

    Attributes:
        first: the level at the start, relative to `last`; 0 or more.
        last: the level at the end; 0 or more, but not both.
        begin: where the line begins.
        end: where it ends, after `begin`.

    Raises:
        InputError: both levels are 0.
    """

    name: ClassVar[str] = "ramp"
    readers: ClassVar[Mapping[str, Callable[[object], object]]] = {
        "first": read_factor, "last": read_factor, "begin": read_moment, "end": read_moment,
    }  # fmt: skip

    first: float = 0.5
    last: float = 1.5
    begin: Moment = START
    end: Moment = END

    def __post_init__(self) -> None:
        """Check the levels."""
        if not self.first + self.last > 0:
            raise InputError("first and last are both x0", hint="for example first: x0.5, last: x1.5")

    def check(self, duration_s: float) -> None:
        """Raise InputError if the line has no length, or lies after the end of a run of this length."""
        begin_s, end_s = self._times(duration_s)
        if not begin_s < end_s or (not self.first and begin_s >= duration_s):
            message = f"arrivals: the ramp goes from {begin_s:g} s to {end_s:g} s in a run of {duration_s:g} s"
            raise InputError(message, hint="for example begin: 0 %, end: 50 %")

    def height(self, at_s: Times, duration_s: float) -> Times:
        """The curve at these times, (n,)."""
        begin_s, end_s = self._times(duration_s)
        return np.asarray(np.interp(at_s, (begin_s, end_s), (self.first, self.last)))

    def area(self, at_s: float, duration_s: float) -> float:
        """The integral of the curve from 0 to `at_s` [s]."""
        begin_s, end_s = self._times(duration_s)
        before_s, after_s = min(at_s, begin_s), max(0.0, at_s - end_s)
        on_it_s = at_s - before_s - after_s
        reached = self.first + (self.last - self.first) * on_it_s / (end_s - begin_s)
        return self.first * before_s + (self.first + reached) / 2 * on_it_s + self.last * after_s

    def greatest(self, duration_s: float) -> float:
        """The highest level within the run."""
        begin_s, _ = self._times(duration_s)
        return max(self.first, self.last if begin_s < duration_s else self.first)

    def _times(self, duration_s: float) -> tuple[float, float]:
        """The begin and the end of the line [s]."""
        return self.begin.seconds(duration_s), self.end.seconds(duration_s)
