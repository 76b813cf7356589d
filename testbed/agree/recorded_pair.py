"""The part of a run directory that an agreement reads: tasks with their hops, and decisions."""

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
    """A run: its tasks by number, its decisions in the order in which they were recorded."""

    tasks: Sequence[TaskLine]
    decisions: Sequence[DecisionRecord]


def read_pair(live: Path, simulated: Path) -> tuple[Recorded, Recorded]:
    """Read both runs of a repeat.

    Raises:
        InputError: a file cannot be read.
        TestbedError: the two runs had different tasks.
    """
    pair = read_run(live), read_run(simulated)
    for one, other in zip(pair[0].tasks, pair[1].tasks, strict=False):
        if _identity(one) != _identity(other):
            raise _unlike(live, simulated, f"task {one.id} is another one")
    if len(pair[0].tasks) != len(pair[1].tasks):
        raise _unlike(live, simulated, f"{len(pair[0].tasks)} tasks and {len(pair[1].tasks)}")
    return pair


def read_run(directory: Path) -> Recorded:
    """Read a run.

    Raises:
        InputError: a file cannot be read.
    """
    return Recorded(
        tasks=sorted(read_lines(directory / TASKS, TaskLine), key=lambda task: task.id),
        decisions=list(read_lines(directory / DECISIONS, DecisionRecord)),
    )


def _identity(task: TaskLine) -> tuple[int, float, str, int]:
    return task.id, task.created_s, task.device, task.sample


def _unlike(live: Path, simulated: Path, what: str) -> TestbedError:
    return TestbedError(
        f"{live} and {simulated} had different tasks: {what}",
        hint="they may come from different versions; choose a new directory with --out",
    )
