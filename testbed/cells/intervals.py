"""Means with bootstrap confidence intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

LEVEL = 0.95
RESAMPLES = 10_000
SEED = 20_240_229  # fixed: the same runs always give the same interval


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over repeats with its 95 % interval."""

    mean: float  # the mean
    low: float | None = None  # lower end of the interval; None with a single repeat
    high: float | None = None  # upper end of the interval; None with a single repeat


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of `values` with its percentile bootstrap interval (B. Efron, 1979).

    The resamples depend only on the number of values, so that all figures of the same repeats use the same resamples.
    An interval is never wider than the range of the values: with fewer than about five it is too narrow.

    Raises:
        ValueError: `values` is empty.
    """
    if not values:
        raise ValueError("no values, hence no mean")
    data = np.asarray(values, dtype=np.float64)
    mean = float(data.mean())
    if data.size == 1:
        return Estimate(mean)
    return Estimate(mean, *bounds(data[_resamples(data.size)].mean(axis=1)))


def bounds(resampled: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The ends of the 95 % percentile interval, from the values of a figure in all resamples, (r,)."""
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


@lru_cache(maxsize=8)
def _resamples(count: int) -> npt.NDArray[np.int64]:
    """The numbers of the repeats in each resample, (RESAMPLES, count)."""
    return np.random.default_rng([SEED, count]).integers(0, count, size=(RESAMPLES, count))
