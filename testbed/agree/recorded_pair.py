"""What an agreement reads of a run directory: its tasks with the ways they took, and its decisions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from node_agent.errors import TestbedError
from node_agent.records import DecisionRecord
from testbed.record.reading import read_lines
from testbed.record.run_directory import DECISIONS, TASKS
from testbed.record.task_line import TaskLine


@dataclass(frozen=True, slots=True)
class Recorded:
    """One run: its tasks by number, its decisions in the order in which they were told."""

    tasks: Sequence[TaskLine]
    decisions: Sequence[DecisionRecord]


def read_pair(live: Path, simulated: Path) -> tuple[Recorded, Recorded]:
    """Both runs of a repeat.

    Raises:
        InputError: a file cannot be read.
        TestbedError: the two have not met the same tasks.
    """
    pair = read_run(live), read_run(simulated)
    for one, other in zip(pair[0].tasks, pair[1].tasks, strict=False):
        if _identity(one) != _identity(other):
            raise _unlike(live, simulated, f"task {one.id} is another one")
    if len(pair[0].tasks) != len(pair[1].tasks):
        raise _unlike(live, simulated, f"{len(pair[0].tasks)} tasks and {len(pair[1].tasks)}")
    return pair


def read_run(directory: Path) -> Recorded:
    """One run. Raises InputError if it cannot be read."""
    return Recorded(
        tasks=sorted(read_lines(directory / TASKS, TaskLine), key=lambda task: task.id),
        decisions=list(read_lines(directory / DECISIONS, DecisionRecord)),
    )


def _identity(task: TaskLine) -> tuple[int, float, str, int]:
    return task.id, task.created_s, task.device, task.sample


def _unlike(live: Path, simulated: Path, what: str) -> TestbedError:
    return TestbedError(
        f"{live} and {simulated} have not met the same tasks: {what}",
        hint="were they made by different versions? choose a new directory with --out",
    )
