"""The figures of a run by short name: what assertions, comparisons, sweeps, frontiers and capacities can ask of it.

Each stands in summary.json at a path with dots. To add a figure to all of these commands, add its line here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["time", "share", "count", "energy", "number"]
"""Of the values: seconds, shares from 0 to 1, counts, joules, or numbers without unit."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of a run.

    Attributes:
        name: its short name.
        path: where it stands in summary.json, with dots.
        column: its column in tables for programs, with the unit in its name.
        kind: what sort of value it is.
        title: its name in tables and pictures, without unit.
        better: "lower" or "higher"; None if neither is better by itself.
    """

    name: str
    path: str
    column: str
    kind: Kind
    title: str
    better: Literal["lower", "higher"] | None

    def of(self, summary: Mapping[str, Any]) -> float | None:
        """Return its value in a summary; None if the summary has none, or a figure over no task."""
        value = at_path(summary, self.path)
        return float(value) if isinstance(value, int | float) else None


FIGURES = (
    Figure("mean", "delay_s.mean", "delay_mean_s", "time", "mean delay", "lower"),
    Figure("p50", "delay_s.p50", "delay_p50_s", "time", "median delay", "lower"),
    Figure("p95", "delay_s.p95", "delay_p95_s", "time", "95 % quantile of delay", "lower"),
    Figure("p99", "delay_s.p99", "delay_p99_s", "time", "99 % quantile of delay", "lower"),
    Figure("accuracy", "accuracy", "accuracy", "share", "accuracy", "higher"),
    Figure("goodput", "goodput", "goodput", "share", "goodput", "higher"),
    Figure("in_time", "deadlines.in_time", "in_time", "share", "tasks in time", "higher"),
    Figure("correct_in_time", "deadlines.correct_in_time", "correct_in_time", "share", "right and in time", "higher"),
    Figure("missed", "deadlines.missed", "missed_deadlines", "count", "missed deadlines", "lower"),
    Figure("utility", "utility", "utility_s", "time", "utility", "higher"),
    Figure("offered", "tasks.offered", "offered", "count", "tasks offered", None),
    Figure("completed", "tasks.completed", "completed", "count", "tasks completed", "higher"),
    Figure("lost", "tasks.lost", "lost", "count", "tasks lost", "lower"),
    Figure("refused", "tasks.refused", "refused", "count", "tasks refused", "lower"),
    Figure("energy", "energy.total_j", "energy_j", "energy", "energy", "lower"),
    Figure("energy_per_task", "energy.per_task_j", "energy_per_task_j", "energy", "energy per task", "lower"),
    Figure(
        "energy_per_correct",
        "energy.per_correct_j",
        "energy_per_correct_j",
        "energy",
        "energy per correct answer",
        "lower",
    ),
    Figure("machine", "parts_s.machine", "machine_s", "time", "lateness of this machine", "lower"),
    Figure("retries", "parts_s.retries", "retries_s", "time", "retries", "lower"),
    Figure("transfer", "parts_s.transfer", "transfer_s", "time", "transfer", "lower"),
    Figure("link_wait", "parts_s.link_wait", "link_wait_s", "time", "waiting for links", "lower"),
    Figure("queueing", "parts_s.queueing", "queueing_s", "time", "queueing", "lower"),
    Figure("service", "parts_s.service", "service_s", "time", "service", "lower"),
    Figure("return", "parts_s.return", "return_s", "time", "way back", "lower"),
    Figure("fairness", "fairness.jain", "fairness_jain", "number", "fairness over devices (Jain)", "higher"),
    Figure(
        "worst_device",
        "fairness.worst_over_mean",
        "worst_over_mean",
        "number",
        "worst device's delay over the devices' mean",
        "lower",
    ),
    Figure("forced_exits", "forced_exits", "forced_exits", "count", "forced exits", "lower"),
)
BY_NAME = {figure.name: figure for figure in FIGURES}


def at_path(summary: Mapping[str, Any], path: str) -> object:
    """Return the value at a path with dots; None if the summary has no such path."""
    value: object = summary
    for step in path.split("."):
        if not isinstance(value, Mapping) or step not in value:
            return None
        value = value[step]
    return value


def figures_of(summary: Mapping[str, Any]) -> dict[str, float | None]:
    """Return all figures of a run by short name."""
    return {figure.name: figure.of(summary) for figure in FIGURES}
