"""What an agreement reads of a run directory: its tasks with the ways they took, and its decisions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from node_agent.errors import InputError, TestbedError
from node_agent.records import DecisionRecord
from testbed.expectation import PassedTask
from testbed.record.run_directory import DECISIONS, TASKS

Line = TypeVar("Line")


class RanTask(PassedTask, frozen=True, kw_only=True):
    """A task of a run, with what came of it."""

    sample: int
    exit_stage: int | None = None
    correct: bool | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """One run: its tasks by number, its decisions in the order in which they were told."""

    tasks: Sequence[RanTask]
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
        tasks=sorted(_lines(directory / TASKS, RanTask), key=lambda task: task.id),
        decisions=_lines(directory / DECISIONS, DecisionRecord),
    )


def _lines(path: Path, kind: type[Line]) -> list[Line]:
    decode = msgspec.json.Decoder(kind).decode
    found: list[Line] = []
    try:
        for line in path.read_bytes().splitlines():
            found.append(decode(line))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise InputError(f"{path}:{len(found) + 1}: not as this version records it: {error}") from error
    return found


def _identity(task: RanTask) -> tuple[int, float, str, int]:
    return task.id, task.created_s, task.device, task.sample


def _unlike(live: Path, simulated: Path, what: str) -> TestbedError:
    return TestbedError(
        f"{live} and {simulated} have not met the same tasks: {what}",
        hint="were they made by different versions? choose a new directory with --out",
    )
