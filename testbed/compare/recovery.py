"""How delay answers to an injected event: its level before, its peak, where it settles, how soon, and at what price.

A stretch reaches from one event to the next (or to the end of the workload); events at one instant are one. A task
belongs to the instant at which it was created.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
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
MIN_WINDOW_TASKS = 30  # a mean over fewer says little
STEPS_PER_WINDOW = 8  # the window slides by this part of its length
MIN_WINDOWS = 6  # a stretch shorter than this many windows tells no recovery: its settled part would be a guess
SETTLED_SHARE = 1 / 3  # of a stretch: its last part, taken as the level that it settles at
TOLERANCE = 0.2  # of the settled level
ALLOWANCE_S = 1e-3  # beside it, for levels near zero
NOISE_FACTOR = 2.5  # ordinary fluctuation of a window's mean, in standard deviations
TREND = 0.1  # of the settled level: halves of its part that differ by no more show no rise or fall


@dataclass(frozen=True, slots=True)
class DelayCourse:
    """Delays over the time of creation, of one run or of several runs of the same length put together.

    `created_s` (n,) rises; `delay_s` (n,) are completed tasks only, `lost_created_s` (m,) tells when lost ones were
    created. `repeats` is the number of runs.
    """

    created_s: Floats
    delay_s: Floats
    lost_created_s: Floats
    repeats: int = 1


@dataclass(frozen=True, slots=True)
class Happening:
    """What is injected at one instant, in words."""

    at_s: float
    what: str


@dataclass(frozen=True, slots=True)
class Recovery:
    """One event and what followed until `until_s` [emulated s]; None where too few tasks tell.

    Attributes:
        window_s: length of the sliding window; times are not known more finely.
        before_s: mean delay in the last third of the stretch before (from the end of the warm-up on).
        peak_s: largest mean delay in a window of the stretch.
        settled_s: mean delay in the last third of the stretch.
        mean_s: mean delay of the whole stretch: the fair measure between a policy that recovers and one that stays bad.
        tolerance_s: how far from `settled_s` counts as settled: 20 % of it and a millisecond, or 2.5 standard
            deviations of the ordinary fluctuation of a window's mean where that is more. None where the stretch is
            too short to tell whether delay has settled.
        recovered_after_s: from the event to the start of the first window from which on delay stays within the
            tolerance: no later stretch outside it is as long as a window. None if delay did not settle before the next
            event (or the end).
        paid_task_s: sum over the tasks created until recovery of delay - settled level, per run [task*s]; negative
            where delay rises slowly to a worse level. None without recovery.
        paid_per_task_s: the same, per task created until recovery.
        extra_task_s: sum over all tasks of the stretch of delay - level before, per run [task*s]: what the event cost
            (or, where it is a relief, saved) in all, be it in a peak or by a worse level.
        lost: tasks of the stretch that never came back, per run.
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


def recoveries(course: DelayCourse, scenario: Scenario) -> tuple[Recovery, ...]:
    """The recoveries after the scenario's events, one per instant, in order; steps of network traces are none."""
    return measure(course, happenings(scenario.incidents), begin_s=scenario.warm_up_s, end_s=scenario.duration_s)


def read_course(path: Path) -> DelayCourse:
    """The delays of a run directory. Raises InputError if its tasks cannot be read."""
    return pooled([read_tasks(path)])


def read_tasks(path: Path) -> Tasks:
    """The tasks of a run directory, in the order of their ends. Raises InputError if they cannot be read."""
    return Tasks.of(read_lines(path / TASKS, TaskLine))


def pooled(runs: Sequence[Tasks]) -> DelayCourse:
    """The tasks of several runs as one course: a window's mean is then one over all runs."""
    created_s = np.concatenate([run.created_s for run in runs]) if runs else np.empty(0)
    completed_s = np.concatenate([run.completed_s for run in runs]) if runs else np.empty(0)
    order = np.argsort(created_s, kind="stable")
    created_s, completed_s = created_s[order], completed_s[order]
    back = np.isfinite(completed_s)
    return DelayCourse(created_s[back], completed_s[back] - created_s[back], created_s[~back], len(runs))


def measure(
    course: DelayCourse, instants: Sequence[Happening], *, begin_s: float, end_s: float
) -> tuple[Recovery, ...]:
    """The recovery after each instant (in order of time), the first stretch beginning at `begin_s`, the last ending
    at `end_s`."""
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
    """Mean delays over spans of creation time, each in the time of a search."""

    def __init__(self, course: DelayCourse) -> None:
        self._created_s = course.created_s
        self._sums = np.concatenate([[0.0], np.cumsum(course.delay_s)])

    def counts(self, begin_s: Floats | float, end_s: Floats | float) -> npt.NDArray[np.int64]:
        """Tasks created in [begin, end)."""
        return np.asarray(np.searchsorted(self._created_s, end_s) - np.searchsorted(self._created_s, begin_s))

    def totals(self, begin_s: Floats | float, end_s: Floats | float) -> Floats:
        """Sum of delays of tasks created in [begin, end) [s]."""
        first, last = np.searchsorted(self._created_s, begin_s), np.searchsorted(self._created_s, end_s)
        return np.asarray(self._sums[last] - self._sums[first])

    def over(self, begin_s: Floats, end_s: Floats) -> Floats:
        """Mean delay of tasks created in [begin, end) [s]; not a number over no task."""
        counts = self.counts(begin_s, end_s)
        means: Floats = np.full(counts.shape, np.nan)
        np.divide(self.totals(begin_s, end_s), counts, out=means, where=counts > 0)
        return means

    def level(self, begin_s: float, end_s: float) -> float | None:
        """Mean delay of tasks created in [begin, end) [s], None if they are too few to tell."""
        count = int(self.counts(begin_s, end_s))
        return float(self.totals(begin_s, end_s)) / count if count >= MIN_WINDOW_TASKS else None

    def excess(self, begin_s: float, end_s: float, level_s: float) -> tuple[float, int]:
        """Sum of delay - level over tasks created in [begin, end) [task*s], and their number."""
        count = int(self.counts(begin_s, end_s))
        return float(self.totals(begin_s, end_s)) - count * level_s, count


def _recovery(course: DelayCourse, happening: Happening, *, before: tuple[float, float], until_s: float) -> Recovery:
    """`before` is the stretch before, as (begin, end)."""
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
    lost = np.sum((course.lost_created_s >= at_s) & (course.lost_created_s < until_s))
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
        lost=float(lost) / repeats,
    )


def _answer(
    means: _Means, at_s: float, until_s: float, window_s: float, settled_s: float | None
) -> tuple[float, float | None, float | None]:
    """Peak, tolerance and time to recover of a stretch [s]; see `Recovery`."""
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
    """Long enough for MIN_WINDOW_TASKS at the stretch's rate; None if not even one fits."""
    count = int(means.counts(begin_s, end_s))
    if not count:
        return None
    window_s = max(MIN_WINDOW_S, MIN_WINDOW_TASKS * (end_s - begin_s) / count)
    return window_s if window_s <= end_s - begin_s else None


def _fluctuation_s(windows_s: Floats) -> float:
    """Standard deviation of a window's mean about its course, from second differences of neighbouring windows: unlike
    the plain one, it takes no rise or fall for noise (after J. von Neumann, 1941)."""
    step = STEPS_PER_WINDOW
    bends_s = windows_s[2 * step :] - 2 * windows_s[step:-step] + windows_s[: -2 * step]
    bends_s = bends_s[np.isfinite(bends_s)]
    return float(np.sqrt(np.mean(bends_s**2) / 6)) if bends_s.size else 0.0


def _is_moving(means: _Means, at_s: float, until_s: float, noise: float) -> bool:
    """Whether delay still rises or falls in the last third of a stretch: its halves differ by more than 10 % and by
    more than chance explains, and it lies beyond the middle third in the same direction, by more than the tolerance.

    `noise` is the fluctuation of a mean over one second [s*sqrt(s)]. The last third alone would not do: a straight
    rise from nothing stays within 20 % of its mean there.
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
    """From the first start to the one from which on windows no more lie outside for as long as a window is; None if
    that is not before the part from which the settled level was taken."""
    inside_at = np.nonzero(~np.append(outside, False))[0]
    lengths = np.diff(inside_at, prepend=-1) - 1  # windows outside just before each one inside
    (excursions,) = np.nonzero(lengths >= STEPS_PER_WINDOW)
    first_inside = int(inside_at[excursions[-1]]) if excursions.size else 0
    if first_inside == len(starts_s) or starts_s[first_inside] > settled_from_s:
        return None
    return float(starts_s[first_inside] - starts_s[0])
