"""A recorded run compared with its expectation, from its files."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from node_agent.records import DecisionRecord
from testbed.expectation.causes import Cause, Stall, causes_of
from testbed.expectation.deviation import DelayFigure, deviation_of
from testbed.expectation.lateness_sums import LatenessSums
from testbed.expectation.measured_times import Measured, measured_off
from testbed.expectation.replay import expected_delays
from testbed.expectation.steps import steps_of
from testbed.expectation.world import FOREVER_S, ExactWorld
from testbed.record.reading import read_lines
from testbed.record.task_line import TaskLine, Way

MOST_CAUSES = 3


@dataclass(frozen=True, slots=True)
class Findings:
    """The result of comparing a run with its expectation; `trouble` says why if that was impossible."""

    figures: Sequence[DelayFigure] = ()
    causes: Sequence[Cause] = ()
    measured: Sequence[Measured] = ()
    lateness: LatenessSums = field(default_factory=LatenessSums)
    trouble: str | None = None
    offered: int = 0  # tasks
    unfinished: Mapping[str, int] = field(default_factory=dict)  # by device: tasks lost though it stayed up
    expected_s: dict[int, float] = field(default_factory=dict)  # expected delay by task
    took_s: float | None = None  # real time that the comparison took, after the run

    def as_dict(self) -> dict[str, object]:
        """Return the part of `fidelity` in summary.json that comes from this comparison."""
        return {
            "expected_delay_s": {figure.name: figure.expected_s for figure in self.figures} or None,
            "delay_off": {figure.name: figure.emulated_s / figure.expected_s - 1 for figure in self.figures} or None,
            "delay_chance_s": {figure.name: figure.chance_s for figure in self.figures} or None,
            "causes": [
                {
                    "kind": cause.kind, "what": list(cause.what), "late_s": cause.late_s, "tasks": cause.tasks,
                    "from_s": cause.from_s, "until_s": cause.until_s, "carried_mbit_per_s": cause.carried_mbit_per_s,
                }
                for cause in self.causes
            ],
            "check_took_s": self.took_s,
            "lateness": self.lateness.as_dict(),
            "decisions": [
                {"slot": each.slot, "links_off": each.links_off, "speed_off": each.speed_off, "worst": each.worst}
                for each in self.measured
            ],
        }  # fmt: skip


def hold_against(
    world: ExactWorld,
    tasks_file: Path,
    decisions_file: Path,
    *,
    repeats: Mapping[int, Sequence[Way]],
    stalls: Sequence[Stall],
    relayed: bool,
) -> Findings:
    """Compare a finished run with its expectation.

    Args:
        world: the exact world of the run's scenario.
        tasks_file: the run's tasks.jsonl.
        decisions_file: the run's decisions.jsonl.
        repeats: by task, the ways whose results came after the first one.
        stalls: spans in which processes are known to have stood still.
        relayed: True if a relay delayed the frames.

    Raises:
        InputError: a file cannot be read.
    """
    tasks = [
        replace(task, repeats=tuple(repeats[task.id])) if task.id in repeats else task
        for task in read_lines(tasks_file, TaskLine)
    ]
    steps = steps_of(world, tasks)
    expected = expected_delays(world, tasks, steps.failed)
    decisions = list(read_lines(decisions_file, DecisionRecord))
    scale = world.scenario.time_scale
    return Findings(
        figures=deviation_of(tasks, expected, warm_up_s=world.scenario.warm_up_s),
        causes=causes_of(steps.late, stalls, time_scale=scale, relayed=relayed, legs=world.legs)[:MOST_CAUSES],
        measured=measured_off(world, decisions, steps.late),
        lateness=LatenessSums.of(steps.late),
        offered=len(tasks),
        unfinished=Counter(task.device for task in tasks if task.status == "lost" and _stayed_up(world, task)),
        expected_s=expected.mean_s,
    )


def _stayed_up(world: ExactWorld, task: TaskLine) -> bool:
    return not world.is_down(task.device, task.created_s, FOREVER_S)
