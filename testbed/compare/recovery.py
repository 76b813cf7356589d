"""The response of delay to an injected event: level before, peak, settled level, time to recover, and cost.

A stretch reaches from one event to the next, or to the end of the workload. Events at the same instant count as one. A
task belongs to the stretch in which it was created.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

from testbed.record.backlog import Tasks
from testbed.record.reading import read_lines
from testbed.record.run_directory import TASKS
from testbed.record.task_line import TaskLine
from testbed.scenario import Event, Scenario
from testbed.wording import counted

Floats = npt.NDArray[np.float64]

MIN_WINDOW_S = 2.0
MIN_WINDOW_TASKS = 30  # a mean over fewer tasks says little
STEPS_PER_WINDOW = 8  # the window slides by 1/8 of its length
MIN_WINDOWS = 6  # shortest stretch with a recovery, in windows: in a shorter one the settled level would be a guess
SETTLED_SHARE = 1 / 3  # of a stretch: its last part, whose mean is the settled level
TOLERANCE = 0.2  # as a share of the settled level
ALLOWANCE_S = 1e-3  # added to the tolerance, for levels near zero
NOISE_FACTOR = 2.5  # ordinary fluctuation of a window's mean, in standard deviations
TREND = 0.1  # as a share of the settled level: a smaller difference between the halves of its part is no trend


@dataclass(frozen=True, slots=True)
class DelayCourse:
    """Delays over the time of creation, of one run or of several runs of the same length together.

    `created_s` (n,) and `delay_s` (n,) are those of completed tasks, in the order of creation. `lost_created_s` (m,)
    and `refused_created_s` (k,) are the times at which lost and refused tasks were created. `repeats` is the number of
    runs. Times are in emulated seconds.
    """

    created_s: Floats
    delay_s: Floats
    lost_created_s: Floats
    repeats: int = 1
    refused_created_s: Floats = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True, slots=True)
class Happening:
    """All changes injected at one instant, in words."""

    at_s: float
    what: str


@dataclass(frozen=True, slots=True)
class Recovery:
    """An event and the delays until the next one; times in emulated seconds, None if there are too few tasks.

    Attributes:
        at_s: time of the event.
        what: the event in words.
        until_s: time of the next event, or of the end of the workload.
        window_s: length of the sliding window, which is also the resolution of times.
        before_s: mean delay in the last third of the stretch before the event, without the warm-up.
        peak_s: largest mean delay in a window of the stretch.
        settled_s: mean delay in the last third of the stretch.
        mean_s: mean delay of the whole stretch. It compares fairly a policy that recovers with one that does not.
        tolerance_s: distance from `settled_s` that counts as settled: 20 % of it plus 1 ms, or 2.5 standard deviations
            of the ordinary fluctuation of a window's mean if that is more. None if the stretch is too short for a
            recovery.
        recovered_after_s: time from the event to the start of the first window after which delay stays within the
            tolerance, apart from excursions shorter than a window. None if delay did not settle before the next event
            (or the end).
        paid_task_s: sum of (delay - settled level) over the tasks created until recovery, per run [task*s]; negative
            if delay rises slowly to a worse level. None without recovery.
        paid_per_task_s: `paid_task_s` divided by the number of those tasks [s].
        extra_task_s: sum of (delay - level before) over all tasks of the stretch, per run [task*s]: the total cost of
            the event, by a peak or a worse level; negative if it brings relief.
        lost: number of lost tasks of the stretch, per run.
        refused: number of tasks of the stretch that devices refused, per run.
    """

    at_s: float
    what: str
    until_s: float
    window_s: float | None
    before_s: float | None
    peak_s: float | None
    settled_s: float | None
    mean_s: float | None
    tolerance_s: float | None
    recovered_after_s: float | None
    paid_task_s: float | None
    paid_per_task_s: float | None
    extra_task_s: float | None
    lost: float
    refused: float = 0.0


def recoveries(course: DelayCourse, scenario: Scenario) -> tuple[Recovery, ...]:
    """The recoveries after the scenario's events, one per instant, in order; steps of network traces do not count."""
    return measure(course, happenings(scenario.incidents), begin_s=scenario.warm_up_s, end_s=scenario.duration_s)


def read_course(path: Path) -> DelayCourse:
    """The delays of a run directory. Raises InputError if its tasks cannot be read."""
    return pooled([read_tasks(path)])


def read_tasks(path: Path) -> Tasks:
    """The tasks of a run directory, in the order of their ends. Raises InputError if they cannot be read."""
    return Tasks.of(read_lines(path / TASKS, TaskLine))


def pooled(runs: Sequence[Tasks]) -> DelayCourse:
    """The tasks of several runs as one course, so that the mean of a window is one over all runs."""
    created_s = np.concatenate([run.created_s for run in runs]) if runs else np.empty(0)
    completed_s = np.concatenate([run.completed_s for run in runs]) if runs else np.empty(0)
    order = np.argsort(created_s, kind="stable")
    created_s, completed_s = created_s[order], completed_s[order]
    back = np.isfinite(completed_s)
    refused_s = np.concatenate([run.refused_s for run in runs]) if runs else np.empty(0)
    return DelayCourse(created_s[back], completed_s[back] - created_s[back], created_s[~back], len(runs), refused_s)


def measure(
    course: DelayCourse, instants: Sequence[Happening], *, begin_s: float, end_s: float
) -> tuple[Recovery, ...]:
    """The recovery after each instant, in order of time.

    `begin_s` is the begin of the stretch before the first instant, `end_s` the end of the last stretch.
    """
    edges = [begin_s, *(happening.at_s for happening in instants), end_s]
    return tuple(
        _recovery(course, happening, before=(edges[index], edges[index + 1]), until_s=edges[index + 2])
        for index, happening in enumerate(instants)
    )


def happenings(events: Sequence[Event]) -> tuple[Happening, ...]:
    """The events by instant, in words; `events` are sorted by time."""
    return tuple(
        Happening(at_s, _in_words(tuple(together))) for at_s, together in groupby(events, key=lambda event: event.at_s)
    )


def _in_words(events: Sequence[Event]) -> str:
    if len(events) <= 2:
        return ", ".join(event.in_words() for event in events)
    nouns = Counter(event.noun for event in events)
    return ", ".join(counted(count, noun) for noun, count in nouns.items())


class _Means:
    """Mean delays over spans of creation time; each takes a binary search."""

    def __init__(self, course: DelayCourse) -> None:
        self._created_s = course.created_s
        self._sums = np.concatenate([[0.0], np.cumsum(course.delay_s)])

    def counts(self, begin_s: Floats | float, end_s: Floats | float) -> npt.NDArray[np.int64]:
        """Number of tasks created in [begin, end)."""
        return np.asarray(np.searchsorted(self._created_s, end_s) - np.searchsorted(self._created_s, begin_s))

    def totals(self, begin_s: Floats | float, end_s: Floats | float) -> Floats:
        """Sum of delays of tasks created in [begin, end) [s]."""
        first, last = np.searchsorted(self._created_s, begin_s), np.searchsorted(self._created_s, end_s)
        return np.asarray(self._sums[last] - self._sums[first])

    def over(self, begin_s: Floats, end_s: Floats) -> Floats:
        """Mean delay of tasks created in [begin, end) [s]; NaN without a task."""
        counts = self.counts(begin_s, end_s)
        means: Floats = np.full(counts.shape, np.nan)
        np.divide(self.totals(begin_s, end_s), counts, out=means, where=counts > 0)
        return means

    def level(self, begin_s: float, end_s: float) -> float | None:
        """Mean delay of tasks created in [begin, end) [s]; None for fewer than MIN_WINDOW_TASKS."""
        count = int(self.counts(begin_s, end_s))
        return float(self.totals(begin_s, end_s)) / count if count >= MIN_WINDOW_TASKS else None

    def excess(self, begin_s: float, end_s: float, level_s: float) -> tuple[float, int]:
        """Sum of (delay - level) over tasks created in [begin, end) [task*s], and their number."""
        count = int(self.counts(begin_s, end_s))
        return float(self.totals(begin_s, end_s)) - count * level_s, count


def _recovery(course: DelayCourse, happening: Happening, *, before: tuple[float, float], until_s: float) -> Recovery:
    """The recovery after an event; `before` is the stretch before it, (begin, end) [s]."""
    means, at_s, repeats = _Means(course), happening.at_s, max(1, course.repeats)
    before_s = means.level(before[1] - SETTLED_SHARE * (before[1] - before[0]), before[1])
    settled_s = means.level(until_s - SETTLED_SHARE * (until_s - at_s), until_s)
    mean_s = means.level(at_s, until_s)
    window_s = _window_s(means, at_s, until_s)
    peak_s = tolerance_s = after_s = None
    if window_s is not None:
        peak_s, tolerance_s, after_s = _answer(means, at_s, until_s, window_s, settled_s)
    paid = None if after_s is None or settled_s is None else means.excess(at_s, at_s + after_s, settled_s)
    extra = None if mean_s is None or before_s is None else means.excess(at_s, until_s, before_s)
    lost, refused = (
        float(np.sum((times_s >= at_s) & (times_s < until_s)))
        for times_s in (course.lost_created_s, course.refused_created_s)
    )
    return Recovery(
        at_s=at_s,
        what=happening.what,
        until_s=until_s,
        window_s=window_s,
        before_s=before_s,
        peak_s=peak_s,
        settled_s=settled_s,
        mean_s=mean_s,
        tolerance_s=tolerance_s,
        recovered_after_s=after_s,
        paid_task_s=None if paid is None else paid[0] / repeats,
        paid_per_task_s=None if paid is None else paid[0] / max(1, paid[1]),
        extra_task_s=None if extra is None else extra[0] / repeats,
        lost=lost / repeats,
        refused=refused / repeats,
    )


def _answer(
    means: _Means, at_s: float, until_s: float, window_s: float, settled_s: float | None
) -> tuple[float, float | None, float | None]:
    """Peak, tolerance and time to recover of a stretch [s], as `Recovery` defines them."""
    starts_s = np.arange(at_s, until_s - window_s + 1e-9, window_s / STEPS_PER_WINDOW)
    windows_s = means.over(starts_s, starts_s + window_s)
    peak_s = float(np.nanmax(windows_s))
    if settled_s is None or MIN_WINDOWS * window_s > until_s - at_s:
        return peak_s, None, None
    noise_s = _fluctuation_s(windows_s[starts_s >= (at_s + until_s) / 2])
    tolerance_s = max(TOLERANCE * settled_s + ALLOWANCE_S, NOISE_FACTOR * noise_s)
    if _is_moving(means, at_s, until_s, noise_s * np.sqrt(window_s)):
        return peak_s, tolerance_s, None
    outside = np.abs(windows_s - settled_s) > tolerance_s
    return peak_s, tolerance_s, _settles_after_s(starts_s, outside, until_s - SETTLED_SHARE * (until_s - at_s))


def _window_s(means: _Means, begin_s: float, end_s: float) -> float | None:
    """Length of a window that holds MIN_WINDOW_TASKS at the stretch's rate [s]; None if it exceeds the stretch."""
    count = int(means.counts(begin_s, end_s))
    if not count:
        return None
    window_s = max(MIN_WINDOW_S, MIN_WINDOW_TASKS * (end_s - begin_s) / count)
    return window_s if window_s <= end_s - begin_s else None


def _fluctuation_s(windows_s: Floats) -> float:
    """Standard deviation of a window's mean about its trend [s].

    It comes from second differences of neighbouring windows (after J. von Neumann, 1941), so that a steady rise or fall
    does not count as noise.
    """
    step = STEPS_PER_WINDOW
    bends_s = windows_s[2 * step :] - 2 * windows_s[step:-step] + windows_s[: -2 * step]
    bends_s = bends_s[np.isfinite(bends_s)]
    return float(np.sqrt(np.mean(bends_s**2) / 6)) if bends_s.size else 0.0


def _is_moving(means: _Means, at_s: float, until_s: float, noise: float) -> bool:
    """True if delay still rises or falls in the last third of a stretch.

    Two conditions: the halves of the last third differ by more than 10 % and by more than chance explains; and its mean
    differs from that of the middle third in the same direction, by more than the tolerance. The last third alone is not
    enough: a straight rise from zero stays within 20 % of its mean there.

    Args:
        noise: fluctuation of a mean over one second [s*sqrt(s)].
    """
    from_s = until_s - SETTLED_SHARE * (until_s - at_s)
    half_s = (until_s - from_s) / 2
    edges_s = np.array([at_s + SETTLED_SHARE * (until_s - at_s), from_s, from_s + half_s, until_s])
    middle_s, early_s, late_s = means.over(edges_s[:-1], edges_s[1:])
    level_s = (early_s + late_s) / 2
    inner_s, outer_s = late_s - early_s, level_s - middle_s
    by_chance_s = NOISE_FACTOR * noise * np.sqrt(2 / half_s)
    return bool(
        abs(inner_s) > max(TREND * level_s + ALLOWANCE_S, by_chance_s)
        and abs(outer_s) > TOLERANCE * level_s
        and inner_s * outer_s > 0
    )


def _settles_after_s(starts_s: Floats, outside: npt.NDArray[np.bool_], settled_from_s: float) -> float | None:
    """Time from the first start to the first window after which no excursion is as long as a window [s].

    None if that is after `settled_from_s`, where the part with the settled level begins.
    """
    inside_at = np.nonzero(~np.append(outside, False))[0]
    lengths = np.diff(inside_at, prepend=-1) - 1  # number of windows outside just before each window inside
    (excursions,) = np.nonzero(lengths >= STEPS_PER_WINDOW)
    first_inside = int(inside_at[excursions[-1]]) if excursions.size else 0
    if first_inside == len(starts_s) or starts_s[first_inside] > settled_from_s:
        return None
    return float(starts_s[first_inside] - starts_s[0])
