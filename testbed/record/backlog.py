"""Detect overload from the tasks that are still waiting when the workload ends."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

from node_agent.records import DEVICE_DOWN
from testbed.record.task_line import TaskLine

OVERLOAD_SHARE = 0.025  # share of the duration that outstanding work may exceed the median delay by
OVERLOAD_GROWTH = 1.5  # backlog at the end over backlog after a quarter of the duration
CHANCE = 3.0  # standard deviations of a Poisson backlog: a surplus of fewer counts as chance


@dataclass(frozen=True, slots=True)
class Tasks:
    """Creation and completion times of the n tasks that were not refused.

    Attributes:
        created_s: (n,) creation times [s].
        completed_s: (n,) completion times [s]; infinity for a lost task.
        reasons: (n,) reasons of loss; None for a completed task.
        refused_s: (m,) creation times of the tasks that their devices refused [s].
    """

    created_s: npt.NDArray[np.float64]
    completed_s: npt.NDArray[np.float64]
    reasons: Sequence[str | None]
    refused_s: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    @classmethod
    def of(cls, lines: Iterable[TaskLine]) -> Self:
        """Collect the tasks of a run, in the order of its lines."""
        created_s: list[float] = []
        completed_s: list[float] = []
        reasons: list[str | None] = []
        refused_s: list[float] = []
        for line in lines:
            if line.status == "refused":
                refused_s.append(line.created_s)
                continue
            created_s.append(line.created_s)
            completed_s.append(np.inf if line.completed_s is None else line.completed_s)
            reasons.append(line.reason)
        created, completed, refused = (np.array(each, dtype=np.float64) for each in (created_s, completed_s, refused_s))
        return cls(created, completed, tuple(reasons), refused)


def backlog(tasks: Tasks, at_s: float) -> int:
    """Count the tasks created by `at_s` [s] that had no result by then.

    Lost tasks count, except those lost because their device was down. Refused tasks do not count.
    """
    waiting = (tasks.created_s <= at_s) & (tasks.completed_s > at_s)
    return sum(tasks.reasons[index] != DEVICE_DOWN for index in np.nonzero(waiting)[0].tolist())


def overload(tasks: Tasks, duration_s: float) -> tuple[bool, float]:
    """Return True if the run was overloaded, and the outstanding work when the workload ends [s of arrivals].

    Outstanding work is the backlog (see `backlog`) divided by the run's arrival rate. In a stable network it equals
    the mean delay, however long the run is (J. Little, 1961). In an overloaded network it grows with time.

    A run is overloaded if all hold:

    - its outstanding work at the end exceeds its median delay by more than 2.5 % of the duration;
    - its backlog at the end is at least 1.5 times the backlog after a quarter of the duration;
    - its backlog at the end exceeds that of the median delay by three standard deviations of a Poisson number.

    Seconds are compared with seconds, so neither the size of the network nor its time scale matters. The median delay,
    unlike the mean, does not rise where one of many servers floods. The second condition excludes runs that recover
    from a bad start, the third one short runs, in which a few tasks are a large share. Lost tasks stay in the backlog.
    Refused tasks are left out everywhere: they never wait.

    Args:
        tasks: the tasks of the run.
        duration_s: the length of the workload [s].
    """
    offered = tasks.created_s.size
    if not offered:
        return False, 0.0
    # Delays are cut at the end of the workload: tasks that hang must not raise the median.
    ordinary_s = float(np.median(np.minimum(tasks.completed_s, duration_s) - tasks.created_s))
    at_end, early = backlog(tasks, duration_s), backlog(tasks, duration_s / 4)
    outstanding_s = at_end / (offered / duration_s)
    piled_up = outstanding_s - ordinary_s > OVERLOAD_SHARE * duration_s
    usual = max(1.0, ordinary_s * offered / duration_s)
    surplus = at_end - usual > CHANCE * math.sqrt(usual)
    return piled_up and at_end >= OVERLOAD_GROWTH * early and surplus, outstanding_s
