"""The index of dispersion of arrivals: variance over mean of the counts in windows of one length."""

import numpy as np
import numpy.typing as npt


class WindowCounts:
    """Counts of sorted arrivals in windows [k w, (k + 1) w) of w microseconds, k = 0, 1, ...

    Only sums and the counts of the last two windows are kept: the end of the trace decides about those.
    """

    __slots__ = ("_counts", "_squares", "_total", "_window", "_windows")

    def __init__(self, window_ticks: int) -> None:
        """Begin without an arrival."""
        self._window = window_ticks
        self._windows = self._counts = np.empty(0, dtype=np.int64)  # of the last two windows with an arrival
        self._total = self._squares = 0

    def add(self, ticks: npt.NDArray[np.int64]) -> None:
        """Add arrivals, sorted, none before those added earlier: their times [us], (n,)."""
        windows, counts = np.unique(ticks // self._window, return_counts=True)
        if len(windows) and len(self._windows) and windows[0] == self._windows[-1]:
            counts[0] += self._counts[-1]
            self._windows, self._counts = self._windows[:-1], self._counts[:-1]
        windows, counts = np.concatenate([self._windows, windows]), np.concatenate([self._counts, counts])
        self._total += int(counts[:-2].sum())
        self._squares += int((counts[:-2] ** 2).sum())
        self._windows, self._counts = windows[-2:], counts[-2:]

    def dispersion(self, span_ticks: int) -> float | None:
        """Return the index of dispersion over the whole windows of a trace of this length [us].

        None with fewer than two whole windows, or without an arrival in them. The last window includes its end.
        """
        windows = span_ticks // self._window
        if windows < 2:
            return None
        counts = dict(zip(self._windows.tolist(), self._counts.tolist(), strict=True))
        if windows in counts and span_ticks == windows * self._window:
            counts[windows - 1] = counts.get(windows - 1, 0) + counts.pop(windows)
        inside = [count for window, count in counts.items() if window < windows]
        total = self._total + sum(inside)
        if not total:
            return None
        squares = self._squares + sum(count * count for count in inside)
        return (squares - total * total / windows) / (windows - 1) / (total / windows)
