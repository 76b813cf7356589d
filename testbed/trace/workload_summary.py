"""Figures of a workload trace: counts, rates and burstiness."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from testbed.trace.workload import Arrival


class WorkloadRow(TypedDict):
    """Figures of one device, or of all; `dispersion` is the variance over the mean of the task counts per window."""

    tasks: int
    rate_per_s: float
    dispersion: float | None


class Summary(TypedDict):
    """The figures of a workload; `span_s` runs from 0 to the last arrival, `samples` counts different samples."""

    span_s: float
    samples: int
    devices: dict[str, WorkloadRow]
    all: WorkloadRow


def summarise(arrivals: Sequence[Arrival], *, window_s: float) -> Summary:
    """Return counts, mean rates [tasks/s] and the index of dispersion of the counts in windows of `window_s` seconds.

    The dispersion is None with fewer than two whole windows, or without a task.
    """
    times: dict[str, list[float]] = {}
    for arrival in arrivals:
        times.setdefault(arrival.device, []).append(arrival.time_s)
    everything = np.array([arrival.time_s for arrival in arrivals])
    span_s = float(everything[-1]) if len(everything) else 0.0
    return Summary(
        span_s=span_s,
        samples=len({arrival.sample for arrival in arrivals}),
        devices={name: _row(np.array(times[name]), span_s, window_s) for name in sorted(times, key=_natural)},
        all=_row(everything, span_s, window_s),
    )


def _row(times_s: npt.NDArray[np.float64], span_s: float, window_s: float) -> WorkloadRow:
    windows = int(span_s / window_s)
    dispersion = None
    if windows >= 2:
        counts, _ = np.histogram(times_s, bins=windows, range=(0.0, windows * window_s))
        if counts.any():
            dispersion = float(counts.var(ddof=1) / counts.mean())
    rate_per_s = len(times_s) / span_s if span_s > 0 else 0.0
    return WorkloadRow(tasks=len(times_s), rate_per_s=rate_per_s, dispersion=dispersion)


def _natural(name: str) -> tuple[str, int]:
    """Sort key that puts cam-2 before cam-10."""
    stem, _, number = name.rpartition("-")
    return (stem, int(number)) if number.isascii() and number.isdigit() else (name, 0)
