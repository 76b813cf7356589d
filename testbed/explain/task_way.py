"""The way of one task, step by step, with the time and the part of the delay of each step."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from node_agent.errors import InputError
from testbed.explain.explained_run import ExplainedRun, read_explained
from testbed.record.task_line import TaskLine

SLOWEST = "slowest"


@dataclass(frozen=True, slots=True)
class WayStep:
    """A step of a task's way.

    Attributes:
        at_s: when it began [s].
        part: the part of the delay that it belongs to, by name.
        took_s: how long it took [s].
        where: the node, or sender and receiver.
        note: further facts in words; may be empty.
    """

    at_s: float
    part: str
    took_s: float
    where: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class TaskWay:
    """The way of one task.

    Attributes:
        task: its line of tasks.jsonl.
        steps: in order; empty if the task has no result, or its delay could not be split.
        mean_s: mean delay of the counted tasks, to compare with [s]; None without any.
    """

    task: TaskLine
    steps: tuple[WayStep, ...]
    mean_s: float | None


def explain_task(path: Path, which: str) -> TaskWay:
    """Explain the delay of one task of a recorded run.

    Args:
        path: the run directory.
        which: the task's number, or "slowest".

    Raises:
        InputError: this is no run directory, or it has no such task.
    """
    run = read_explained(path)
    delays = [task.delay_s for task, _ in run.counted if task.delay_s is not None]
    return way_of_task(run, _chosen(run, which), sum(delays) / len(delays) if delays else None)


def _chosen(run: ExplainedRun, which: str) -> TaskLine:
    if which == SLOWEST:
        completed = [task for task in run.tasks if task.delay_s is not None]
        if not completed:
            raise InputError(f"{run.path}: no task completed", hint="give the number of a task")
        return max(completed, key=lambda task: task.delay_s or 0.0)
    number = int(which) if which.isdecimal() else -1
    for task in run.tasks:
        if task.id == number:
            return task
    most = max((task.id for task in run.tasks), default=-1)
    hint = f"tasks are numbered from 0 to {most}; `{SLOWEST}` takes the one with the longest delay"
    raise InputError(f"{run.path}: no task {which!r}", hint=hint)


def way_of_task(run: ExplainedRun, task: TaskLine, mean_s: float | None) -> TaskWay:
    """Return the way of a task of this run; `mean_s` is the mean delay of its counted tasks [s]."""
    split = run.splits.get(task.id)
    if split is None:
        return TaskWay(task, (), mean_s)
    steps = [WayStep(task.created_s, "machine", split.late_s, (task.device,), "late with the first offer")]
    first = split.hops[0]
    asked = ", ".join(offer.receiver for offer in task.offers if offer.sent_s < first.sent_s)
    steps.append(
        WayStep(first.sent_s - split.retries_s, "retries", split.retries_s, (task.device,), f"no result from {asked}")
    )
    for hop, line in zip(split.hops, task.hops, strict=True):
        path, arrived_s = (hop.sender, hop.node), line.received_s
        on_links_s = hop.transfer_s + hop.link_wait_s
        steps.append(WayStep(hop.sent_s, "retries", hop.down_s, (hop.node,), "it was down"))
        steps.append(
            WayStep(arrived_s - on_links_s, "link_wait", hop.link_wait_s, path, "beyond the time of idle links")
        )
        steps.append(WayStep(arrived_s - hop.transfer_s, "transfer", hop.transfer_s, path, f"{hop.size_bytes} bytes"))
        steps.append(WayStep(arrived_s, "queueing", hop.queueing_s, (hop.node,)))
        steps.append(WayStep(line.started_s, "service", hop.service_s, (hop.node,)))
        steps.append(WayStep(line.started_s + hop.service_s, "machine", hop.late_s, (hop.node,), "late in service"))
        failed = ", ".join(each.receiver for each in line.failed)
        steps.append(
            WayStep(line.sent_s - hop.retries_s, "retries", hop.retries_s, (hop.node,), f"no answer from {failed}")
        )
    last = task.hops[-1]
    steps.append(WayStep(last.sent_s, "return", split.return_s, (last.node, task.device)))
    always = ("transfer", "queueing", "service", "return")
    return TaskWay(task, tuple(step for step in steps if step.took_s > 0 or step.part in always), mean_s)


def way_as_json(way: TaskWay) -> dict[str, Any]:
    """Return the way as an object for JSON; times in seconds."""
    task = way.task
    return {
        "task": task.id,
        "device": task.device,
        "status": task.status,
        "created_s": task.created_s,
        "completed_s": task.completed_s,
        "delay_s": task.delay_s,
        "mean_s": way.mean_s,
        "exit_stage": task.exit_stage,
        "reason": task.reason,
        "steps": [asdict(step) for step in way.steps],
    }
