"""The rate of arrivals over time, in a bounded number of steps."""

import numpy as np
import numpy.typing as npt

MOST_STEPS = 5000
GROWTH = 10
LEAST_STEP_TICKS = 1000  # a millisecond


class RateCurve:
    """Counts of arrivals in steps of equal length, which grows tenfold whenever the time outgrows MOST_STEPS steps."""

    def __init__(self) -> None:
        """Begin without an arrival."""
        self.step_ticks = LEAST_STEP_TICKS
        self.counts = np.zeros(MOST_STEPS, dtype=np.int64)

    def add(self, ticks: npt.NDArray[np.int64]) -> None:
        """Add arrivals by their times [us], (n,)."""
        if not len(ticks):
            return
        last = int(ticks.max())
        while last >= MOST_STEPS * self.step_ticks:
            self.step_ticks *= GROWTH
            together = self.counts.reshape(-1, GROWTH).sum(axis=1)
            self.counts = np.concatenate([together, np.zeros(MOST_STEPS - len(together), dtype=np.int64)])
        self.counts += np.bincount(ticks // self.step_ticks, minlength=MOST_STEPS)

    def until(self, span_ticks: int) -> npt.NDArray[np.int64]:
        """The counts of the steps that begin in a trace of this length [us], (k,)."""
        return self.counts[: min(MOST_STEPS, max(1, -(-span_ticks // self.step_ticks)))]
