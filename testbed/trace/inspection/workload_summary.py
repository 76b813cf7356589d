"""Figures of a workload trace: counts, rates, gaps and burstiness, gathered in constant memory."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from testbed.trace.importers.contract import TICKS_PER_S
from testbed.trace.inspection.gap_counts import GapCounts
from testbed.trace.inspection.rate_curve import RateCurve
from testbed.trace.inspection.window_counts import WindowCounts
from testbed.trace.workload import Arrival

WINDOWS_S = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0, 10_000.0)
MOST_NAMES = 20_000  # devices and samples that are counted one by one
OTHERS = "(others)"
_CHUNK = 1 << 16

Integers = npt.NDArray[np.int64]


class WorkloadRow(TypedDict):
    """Figures of one device, or of all; `dispersion` is the variance over the mean of the task counts per window."""

    tasks: int
    rate_per_s: float
    dispersion: float | None


class GapFigures(TypedDict):
    """Figures of the gaps between tasks, whatever their devices.

    `variation` is the standard deviation over the mean (1 for Poisson), `burstiness` is (variation - 1) / (variation +
    1), from -1 (regular) over 0 (Poisson) to 1 (K.-I. Goh and A.-L. Barabasi, Europhysics Letters 81, 2008). `none` is
    the number of gaps without length.
    """

    mean_s: float | None
    variation: float | None
    burstiness: float | None
    none: int


class Summary(TypedDict):
    """The figures of a workload; `span_s` runs from 0 to the last arrival, `samples` counts different samples.

    `windows` has the index of dispersion by the length of the window [s]. `peak_per_s` is the greatest rate in steps of
    `step_s`. Devices beyond MOST_NAMES are one row, and of samples no more are counted.
    """

    span_s: float
    samples: int
    devices: dict[str, WorkloadRow]
    all: WorkloadRow
    gaps: GapFigures
    windows: dict[str, float | None]
    step_s: float
    peak_per_s: float


@dataclass(slots=True)
class _Device:
    tasks: int
    counts: WindowCounts


@dataclass(slots=True)
class Gathered:
    """A workload as it goes by: its tasks are added in the order of time.

    Attributes:
        window_s: length of the windows for the dispersion by device [s].
        curve: the rate over time.
        gaps: the gaps between tasks.
        span_ticks: time of the last task [us].
    """

    window_s: float = 1.0
    curve: RateCurve = field(default_factory=RateCurve)
    gaps: GapCounts = field(default_factory=GapCounts)
    span_ticks: int = 0
    _windows: dict[float, WindowCounts] = field(default_factory=dict)
    _devices: dict[str, _Device] = field(default_factory=dict)
    _samples: set[int] = field(default_factory=set)
    _tasks: int = 0

    def __post_init__(self) -> None:
        """Begin without a task."""
        lengths_s = {*WINDOWS_S, self.window_s}
        self._windows = {length_s: WindowCounts(round(length_s * TICKS_PER_S)) for length_s in sorted(lengths_s)}

    def add(self, ticks: Integers, names: Sequence[str], devices: Integers, samples: Integers | None) -> None:
        """Add tasks, sorted, none before those added earlier.

        Args:
            ticks: times from the start [us], (n,).
            names: of devices.
            devices: the place of each task's device among the names, (n,).
            samples: of each task, (n,); None: the source states none.
        """
        if not len(ticks):
            return
        self._tasks += len(ticks)
        self.span_ticks = int(ticks[-1])
        self.curve.add(ticks)
        self.gaps.add(ticks)
        for counts in self._windows.values():
            counts.add(ticks)
        order = np.argsort(devices, kind="stable")
        found, starts = np.unique(devices[order], return_index=True)
        for place, part in zip(found.tolist(), np.split(order, starts[1:]), strict=True):
            self._add_to(names[place], ticks[part])
        if samples is not None and len(self._samples) < MOST_NAMES:
            self._samples.update(np.unique(samples).tolist()[: MOST_NAMES - len(self._samples)])

    def _add_to(self, name: str, ticks: Integers) -> None:
        device = self._devices.get(name)
        if device is None:
            # The others are not one stream with sorted chunks, but it is their number that counts.
            name = name if len(self._devices) < MOST_NAMES else OTHERS
            device = self._devices.setdefault(name, _Device(0, WindowCounts(round(self.window_s * TICKS_PER_S))))
        device.tasks += len(ticks)
        if name != OTHERS:
            device.counts.add(ticks)

    def add_arrivals(self, arrivals: Iterable[Arrival]) -> None:
        """Add tasks one by one, in the order of time."""
        rest = iter(arrivals)
        while chunk := list(islice(rest, _CHUNK)):
            places: dict[str, int] = {}
            devices = np.array([places.setdefault(arrival.device, len(places)) for arrival in chunk])
            ticks = np.array([round(arrival.time_s * TICKS_PER_S) for arrival in chunk], dtype=np.int64)
            samples = np.array([arrival.sample for arrival in chunk], dtype=np.int64)
            self.add(ticks, list(places), devices, samples)

    def summary(self) -> Summary:
        """Return the figures of the tasks so far."""
        rows = {name: self._row(each.tasks, each.counts) for name, each in self._devices.items()}
        variation = self.gaps.variation
        counts = self.curve.until(self.span_ticks)
        step_s = self.curve.step_ticks / TICKS_PER_S
        return Summary(
            span_s=self.span_ticks / TICKS_PER_S,
            samples=len(self._samples),
            devices={name: rows[name] for name in sorted(rows, key=_natural)},
            all=self._row(self._tasks, self._windows[self.window_s]),
            gaps=GapFigures(
                mean_s=self.gaps.mean_s,
                variation=variation,
                burstiness=None if variation is None else (variation - 1) / (variation + 1),
                none=self.gaps.none,
            ),
            windows={f"{length_s:g}": self._dispersion(counts) for length_s, counts in self._windows.items()},
            step_s=step_s,
            peak_per_s=float(counts.max()) / step_s if self.span_ticks else 0.0,
        )

    def _dispersion(self, counts: WindowCounts) -> float | None:
        return counts.dispersion(self.span_ticks)

    def _row(self, tasks: int, counts: WindowCounts) -> WorkloadRow:
        span_s = self.span_ticks / TICKS_PER_S
        return WorkloadRow(
            tasks=tasks, rate_per_s=tasks / span_s if span_s > 0 else 0.0, dispersion=self._dispersion(counts)
        )


def summarise(arrivals: Iterable[Arrival], *, window_s: float) -> Summary:
    """Return the figures of tasks in the order of time, with dispersions by device in windows of `window_s` seconds.

    A dispersion is None with fewer than two whole windows, or without a task.
    """
    gathered = Gathered(window_s)
    gathered.add_arrivals(arrivals)
    return gathered.summary()


def top(rows: Mapping[str, WorkloadRow], most: int) -> list[str]:
    """The devices with the most tasks, in descending order."""
    return sorted(rows, key=lambda name: (-rows[name]["tasks"], _natural(name)))[:most]


def _natural(name: str) -> tuple[str, int]:
    """Sort key that puts cam-2 before cam-10."""
    stem, _, number = name.rpartition("-")
    return (stem, int(number)) if number.isascii() and number.isdigit() and len(number) < 19 else (name, 0)
