"""Arrival processes whose rate follows a curve over the run: inhomogeneous Poisson processes.

A process states a curve h(t) >= 0 and its area A(t), the integral of h from 0 to t. In a run of T seconds a device of
the stated rate m offers tasks at the rate m h(t) T / A(T): on average over the run, m. Times are drawn by thinning
(P. Lewis and G. Shedler, Naval Research Logistics Quarterly 26, 1979): candidates come evenly at the greatest rate, and
one at t stays with probability h(t) / greatest h.
"""

import math
from abc import abstractmethod

import numpy as np

from testbed.scenario import ArrivalProcess, RateChanges
from testbed.trace.processes.pieces import Piece, Times, even, pieces, within

MOST_AT_ONCE = 1_000_000  # candidates that are held at a time


class Shaped(ArrivalProcess):
    """A Poisson process whose rate follows a curve over the run, the same one for all devices."""

    __slots__ = ()

    @property
    def varies(self) -> bool:
        """True: the rate changes over the run."""
        return True

    @abstractmethod
    def height(self, at_s: Times, duration_s: float) -> Times:
        """The curve h at these times, (n,), in a run of this length."""

    @abstractmethod
    def area(self, at_s: float, duration_s: float) -> float:
        """The integral of the curve from 0 to `at_s` [s]."""

    @abstractmethod
    def greatest(self, duration_s: float) -> float:
        """A bound on the curve."""

    def mean_factor(self, begin_s: float, end_s: float, duration_s: float) -> float:
        """The mean rate in [begin, end) over the mean rate of the run."""
        within_it = self.area(end_s, duration_s) - self.area(begin_s, duration_s)
        return self._level(duration_s) * within_it / (end_s - begin_s)

    def times_s(self, random: np.random.Generator, changes: RateChanges, duration_s: float) -> Times:
        """Draw arrival times [s] in [0, duration), (n,)."""
        level, greatest = self._level(duration_s), self.greatest(duration_s)
        parts = [np.empty(0)]
        for piece in pieces(changes, 0.0, duration_s):
            turns = max(1, math.ceil(piece.rate_per_s * piece.length_s * level * greatest / MOST_AT_ONCE))
            for turn in range(turns):
                begin_s = piece.begin_s + piece.length_s * turn / turns
                part = Piece(begin_s, piece.length_s / turns, piece.rate_per_s)
                times_s = even(random, part, level * greatest)
                parts.append(times_s[random.random(len(times_s)) * greatest < self.height(times_s, duration_s)])
        return within(np.concatenate(parts), duration_s)

    def _level(self, duration_s: float) -> float:
        return duration_s / self.area(duration_s, duration_s)
