"""The figures over tasks that an agreement compares, and the values behind each."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from testbed.agree.recorded_pair import Recorded
from testbed.agree.resampling import ComparedFigure, Statistic, Values, compare_values
from testbed.record.task_line import TaskLine

STEPS = ("transfer", "queue", "service", "sending", "return")  # of a hop, in the order in which a task passes them
QUANTILES = {"delay_p50_s": 0.5, "delay_p95_s": 0.95, "delay_p99_s": 0.99}


@dataclass(frozen=True, slots=True)
class TaskFrame:
    """The tasks of a run that count: those created from `warm_up_s` on [s], in blocks of `slot_s` [s].

    `stages` is the number of stages of servers.
    """

    warm_up_s: float
    slot_s: float
    stages: int

    def block(self, created_s: float) -> int:
        """The number of the block of a task that was created at this time [s]."""
        return int(created_s // self.slot_s)


def task_figures(frame: TaskFrame, pairs: Sequence[tuple[Recorded, Recorded]]) -> dict[str, ComparedFigure]:
    """Delays [s], accuracy, goodput and exits (0..1), losses and refusals [tasks], times of all steps [s], by name.

    Delay, accuracy, exits and steps count completed tasks that were created after the warm-up, as summary.json does.
    Losses and refusals count all tasks, goodput all that were created after the warm-up.

    Args:
        pairs: (live, simulated), one per repeat.
    """
    taken = [tuple(_values(frame, run.tasks) for run in pair) for pair in pairs]
    return {
        name: compare_values(statistic, "slots", [(live[name], simulated[name]) for live, simulated in taken])
        for name, statistic in _statistics(frame)
    }


def step_name(stage: int, step: str) -> str:
    """The name of the figure of a step (one of STEPS) at a stage, counted from 1."""
    return f"stage_{stage}_{step}_s"


def _statistics(frame: TaskFrame) -> Iterator[tuple[str, Statistic]]:
    yield "delay_mean_s", "mean"
    yield from QUANTILES.items()
    yield "accuracy", "mean"
    for stage in range(1, frame.stages + 1):
        yield f"exit_share_{stage}", "mean"
    yield "goodput", "mean"
    yield "lost", "sum"
    yield "refused", "sum"
    yield "offering_s", "mean"
    for stage in range(1, frame.stages + 1):
        for step in STEPS:
            yield step_name(stage, step), "mean"


def _values(frame: TaskFrame, tasks: Sequence[TaskLine]) -> dict[str, Values]:
    """The values of each figure, by name, with their blocks."""
    found: dict[str, tuple[list[float], list[int]]] = defaultdict(lambda: ([], []))

    def add_in(block: int) -> Callable[[str, float], None]:
        def add(name: str, value: float) -> None:
            values, blocks = found[name]
            values.append(value)
            blocks.append(block)

        return add

    for task in tasks:
        add = add_in(frame.block(task.created_s))
        add("lost", float(task.status == "lost"))
        add("refused", float(task.status == "refused"))
        if task.created_s < frame.warm_up_s:
            continue
        add("goodput", float(task.correct is True))
        if task.completed_s is None:
            continue
        for name in ("delay_mean_s", *QUANTILES):
            add(name, task.completed_s - task.created_s)
        add("accuracy", float(bool(task.correct)))
        for stage in range(1, frame.stages + 1):
            add(f"exit_share_{stage}", float(task.exit_stage == stage))
        for name, time_s in _steps(task, task.completed_s):
            add(name, time_s)
    return {name: _arrays(*found[name]) for name, _ in _statistics(frame)}


def _steps(task: TaskLine, completed_s: float) -> Iterator[tuple[str, float]]:
    """The duration of each step of a completed task [s]; their sum is its delay.

    The first is offering: from creation to the offer that led to the result, earlier offers included. Each hop has
    transfer (from sent to received), queue, service and sending (until the next receiver has the task, or the result is
    sent). The last is the return.
    """
    if not task.hops:
        return
    offer = task.offer_of(task.hops)
    sent_s = task.created_s if offer is None else offer.sent_s
    yield "offering_s", sent_s - task.created_s
    for stage, hop in enumerate(task.hops, start=1):
        yield step_name(stage, "transfer"), hop.received_s - sent_s
        yield step_name(stage, "queue"), hop.started_s - hop.received_s
        yield step_name(stage, "service"), hop.finished_s - hop.started_s
        yield step_name(stage, "sending"), hop.sent_s - hop.finished_s
        sent_s = hop.sent_s
    yield step_name(len(task.hops), "return"), completed_s - sent_s


def _arrays(values: Sequence[float], blocks: Sequence[int]) -> Values:
    return Values(np.array(values, dtype=np.float64), np.array(blocks, dtype=np.int64))
