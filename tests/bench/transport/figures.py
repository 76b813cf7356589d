"""Mean and 95th percentile with 95 % intervals of delays that come in runs: what one loss holds up is late together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

BLOCK = 20  # successive messages that are drawn together
DRAWS = 400
MEAN_WITHIN, P95_WITHIN = 0.05, 0.10  # of the live figure
ENDS_MS = 0.3  # by which ZeroMQ and the kernel vary at both ends, on links that take little longer themselves

Values = np.ndarray


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure [ms] with the interval in which it lies with 95 % confidence."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.1f} [{self.low:.1f}, {self.high:.1f}]"

    def agrees(self, other: "Figure", within: float) -> bool:
        """True if the other lies within this share of this one (or ENDS_MS), or cannot be distinguished from it."""
        near = abs(other.value - self.value) <= max(within * self.value, ENDS_MS)
        return near or (self.low <= other.high and other.low <= self.high)


def mean_of(values: Sequence[float]) -> Figure:
    """The mean, by block bootstrap."""
    return _figure(values, lambda drawn: drawn.mean(axis=1))


def p95_of(values: Sequence[float]) -> Figure:
    """The 95th percentile, by block bootstrap."""
    return _figure(values, lambda drawn: np.percentile(drawn, 95, axis=1))


def _figure(values: Sequence[float], statistic: Callable[[Values], Values]) -> Figure:
    known = np.asarray(values, dtype=float)
    value = float(statistic(known[None, :])[0])
    block = min(BLOCK, max(1, len(known) // 10))
    blocks = known[: len(known) // block * block].reshape(-1, block)
    drawn = np.random.default_rng(1).integers(0, len(blocks), (DRAWS, len(blocks)))
    found = np.concatenate([statistic(blocks[some].reshape(len(some), -1)) for some in np.array_split(drawn, 20)])
    low, high = np.percentile(found, [2.5, 97.5])
    return Figure(value, float(low), float(high))
