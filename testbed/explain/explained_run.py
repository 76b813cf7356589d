"""A recorded run with the delay of each task split, as explanations need it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from node_agent.errors import InputError
from testbed.breakdown.parts import TaskParts
from testbed.breakdown.splitter import Splitter
from testbed.record.reading import RecordedRun, read_lines, read_recorded
from testbed.record.run_directory import MANIFEST, TASKS, TIMESERIES
from testbed.record.task_line import TaskLine
from testbed.scenario import Scenario

MANY_RUNS = ("compare.json", "agree.json", "sweep.json", "frontier.json", "capacity.json")
"""Files of directories that hold run directories."""
MOST_NAMED = 3


class BusyLine(msgspec.Struct, frozen=True):
    """The fields of a line of timeseries.jsonl that say how busy a server was; 0 in runs of earlier versions.

    Attributes:
        time_s: when the sample was taken [s].
        node: the device or server.
        busy_s: time in service since the line before [s].
        arrived: number of tasks that arrived since then.
    """

    time_s: float
    node: str
    busy_s: float = 0.0
    arrived: int = 0


@dataclass(frozen=True, slots=True)
class ExplainedRun:
    """A recorded run.

    Attributes:
        path: of the run directory.
        scenario: what ran.
        splitter: splits the tasks' delays.
        tasks: all lines of tasks.jsonl.
        splits: by task id, the parts of each completed task that could be split.
        busy: of the servers, over the run.
        simulated: true if the run was a simulation.
    """

    path: Path
    scenario: Scenario
    splitter: Splitter
    tasks: list[TaskLine]
    splits: dict[int, TaskParts]
    busy: list[BusyLine]
    simulated: bool

    @property
    def counted(self) -> Iterator[tuple[TaskLine, TaskParts]]:
        """The completed tasks created after the warm-up whose delay could be split."""
        for task in self.tasks:
            split = self.splits.get(task.id)
            if split is not None and task.created_s >= self.scenario.warm_up_s:
                yield task, split

    @property
    def span_s(self) -> float:
        """The time over which counted tasks were created [s]."""
        return max(self.scenario.duration_s - self.scenario.warm_up_s, 1e-9)


def read_explained(path: Path) -> ExplainedRun:
    """Read a run directory and split the delays of its tasks.

    Raises:
        InputError: this is no run directory, an input has changed since the run, or the directory holds many runs.
    """
    for name in MANY_RUNS:
        if (path / name).is_file():
            raise _many_runs(path)
    run = read_recorded(path)
    scenario = run.scenario()
    splitter = Splitter.of(scenario, scenario.model.open())
    tasks = list(read_lines(path / TASKS, TaskLine))
    splits = {task.id: split for task in tasks if (split := splitter.split(task)) is not None}
    servers = {server.name for server in scenario.servers}
    busy = [line for line in read_lines(path / TIMESERIES, BusyLine) if line.node in servers]
    return ExplainedRun(path, scenario, splitter, tasks, splits, busy, _is_simulated(run))


def _is_simulated(run: RecordedRun) -> bool:
    manifest = json.loads((run.path / MANIFEST).read_text(encoding="utf-8"))
    backends = manifest.get("backends")
    return isinstance(backends, dict) and backends.get("network") == "simulated"


def _many_runs(path: Path) -> InputError:
    inside = sorted(file.parent.relative_to(path) for file in path.rglob(MANIFEST))
    named = ", ".join(str(path / each) for each in inside[:MOST_NAMED])
    more = f" and {len(inside) - MOST_NAMED} more" if len(inside) > MOST_NAMED else ""
    hint = f"explain one of the runs inside: {named}{more}" if inside else "it holds no complete run yet"
    return InputError(f"{path}: holds several runs, and is no run directory itself", hint=hint)
