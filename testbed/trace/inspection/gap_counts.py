"""The gaps between arrivals: their moments, and their distribution in steps of equal ratio."""

import math

import numpy as np
import numpy.typing as npt

STEPS_PER_DECADE = 20
DECADES = 13  # from 1 us to 10^7 s


class GapCounts:
    """Gaps of sorted arrivals. Gap k of the distribution is at least 10^(k / STEPS_PER_DECADE) microseconds."""

    def __init__(self) -> None:
        """Begin without an arrival."""
        self.counts = np.zeros(DECADES * STEPS_PER_DECADE + 1, dtype=np.int64)
        self.none = 0  # gaps of length 0
        self._number = 0
        self._sum = self._squares = 0.0
        self._last: int | None = None

    def add(self, ticks: npt.NDArray[np.int64]) -> None:
        """Add arrivals, sorted, none before those added earlier: their times [us], (n,)."""
        if not len(ticks):
            return
        gaps = np.diff(ticks) if self._last is None else np.diff(ticks, prepend=self._last)
        self._last = int(ticks[-1])
        self._number += len(gaps)
        self._sum += float(gaps.sum())
        self._squares += float((gaps.astype(np.float64) ** 2).sum())
        some = gaps[gaps > 0]
        self.none += len(gaps) - len(some)
        places = np.floor(np.log10(some) * STEPS_PER_DECADE + 1e-9).astype(np.int64)
        self.counts += np.bincount(np.minimum(places, len(self.counts) - 1), minlength=len(self.counts))

    @property
    def mean_s(self) -> float | None:
        """The mean gap [s]; None without a gap."""
        return self._sum / self._number * 1e-6 if self._number else None

    @property
    def variation(self) -> float | None:
        """The coefficient of variation: standard deviation over mean (1 for Poisson); None if it is not defined."""
        if self._number < 2 or not self._sum:
            return None
        mean = self._sum / self._number
        return math.sqrt(max(0.0, self._squares / self._number - mean * mean)) / mean

    def longer(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The share of gaps that are at least as long as each bound [s]: (bounds, shares), both (k,)."""
        bounds_s = 10 ** (np.arange(len(self.counts)) / STEPS_PER_DECADE) * 1e-6
        shares = np.cumsum(self.counts[::-1])[::-1] / max(1, self._number)
        some = slice(0, int(np.flatnonzero(shares)[-1]) + 1 if shares.any() else 0)
        return bounds_s[some], shares[some]
