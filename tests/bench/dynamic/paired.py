"""Intervals of differences between runs on the same seeds, corrected for the number of comparisons."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from scipy.stats import t as student

LEVEL = 0.95  # of all intervals together


class Interval(NamedTuple):
    """A mean with its interval; without bounds (infinite ones) from a single value."""

    mean: float
    low: float
    high: float

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Both ends; None if they are infinite."""
        return (self.low, self.high) if math.isfinite(self.low) else None


def simultaneous(differences: Sequence[float], comparisons: int) -> Interval:
    """The mean of paired differences, and its interval by Student's t, wide enough for `comparisons` of them at once.

    By Bonferroni each of m intervals has the level 1 - 0.05 / m, so that with 95 % probability all of them cover. The
    quantile is that of t with n - 1 degrees of freedom, which is wide for few seeds. Differences of means over hundreds
    of tasks are close to normal.

    >>> [round(each, 2) for each in simultaneous([1.0, 2.0, 3.0], 1)]
    [2.0, -0.48, 4.48]

    Args:
        differences: one for each seed, at least one.
        comparisons: m, the number of intervals that are judged together, at least 1.
    """
    mean, count = fmean(differences), len(differences)
    if count < 2:
        return Interval(mean, -math.inf, math.inf)
    quantile = float(student.ppf(1 - (1 - LEVEL) / (2 * comparisons), count - 1))
    half = quantile * stdev(differences) / math.sqrt(count)
    return Interval(mean, mean - half, mean + half)
