"""Whether a run was overloaded, told by the tasks that were waiting when its workload ended."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from node_agent.records import DEVICE_DOWN
from testbed.record.task_line import TaskLine

OVERLOAD_SHARE = 0.025  # of the duration
OVERLOAD_GROWTH = 1.5  # of the backlog, since a quarter of the duration


@dataclass(frozen=True, slots=True)
class Tasks:
    """When tasks were created and completed, (n,) each [s]; a lost one is completed at infinity, for a reason."""

    created_s: npt.NDArray[np.float64]
    completed_s: npt.NDArray[np.float64]
    reasons: Sequence[str | None]

    @classmethod
    def of(cls, lines: Iterable[TaskLine]) -> Self:
        """The tasks of a run, in the order of its lines."""
        created_s: list[float] = []
        completed_s: list[float] = []
        reasons: list[str | None] = []
        for line in lines:
            created_s.append(line.created_s)
            completed_s.append(np.inf if line.completed_s is None else line.completed_s)
            reasons.append(line.reason)
        return cls(np.array(created_s, dtype=np.float64), np.array(completed_s, dtype=np.float64), tuple(reasons))


def backlog(tasks: Tasks, at_s: float) -> int:
    """Tasks created by `at_s` and without a result by then, lost ones included; not those whose device was down."""
    waiting = (tasks.created_s <= at_s) & (tasks.completed_s > at_s)
    return sum(tasks.reasons[index] != DEVICE_DOWN for index in np.nonzero(waiting)[0].tolist())


def overload(tasks: Tasks, duration_s: float) -> tuple[bool, float]:
    """Whether a run was overloaded, and its outstanding work when the workload ends [s of arrivals].

    The backlog (see `backlog`) divided by the run's arrival rate is how many seconds of arrivals are outstanding. In a
    stable network that is its mean delay however long it runs (J. Little, 1961); in an overloaded one it grows with
    time. So a run is overloaded when what is outstanding at the end exceeds its median delay by more than 2.5 % of the
    duration, and the backlog is half as large again as after a quarter of the duration. Seconds are held against
    seconds, so that neither the size of the network nor its time scale matters. The median, unlike the mean, does not
    rise where one of many servers floods; the growth keeps out short runs, in which few tasks make large shares, and
    those that have come over a bad start. Tasks that never came back stay in the backlog.
    """
    offered = tasks.created_s.size
    if not offered:
        return False, 0.0
    # As long as it has taken by then: a task that hangs must not make the ordinary one look slow.
    ordinary_s = float(np.median(np.minimum(tasks.completed_s, duration_s) - tasks.created_s))
    at_end, early = backlog(tasks, duration_s), backlog(tasks, duration_s / 4)
    outstanding_s = at_end / (offered / duration_s)
    piled_up = outstanding_s - ordinary_s > OVERLOAD_SHARE * duration_s
    return piled_up and at_end >= OVERLOAD_GROWTH * early, outstanding_s
