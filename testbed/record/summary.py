"""The figures of a run: delays, accuracy, exits, and how well the emulation kept time.

Fields of summary.json. "Counted" tasks are completed ones created at or after `warm_up_s`. Figures over no task are
None.

    schema: version of the format.
    policy: the policy's label.
    tasks: numbers of tasks `offered`, `completed`, `lost`, `refused` by their device and `counted`, and of `duplicates`
        (later results of a task).
    delay_s: `mean`, `p50`, `p95` and `p99` of the counted tasks' delays [s].
    accuracy: share of the counted tasks whose prediction was right, 0 to 1.
    goodput: share of all tasks created at or after `warm_up_s` that got a right answer, 0 to 1: lost and refused tasks
        count as wrong.
    exit_share: share of the counted tasks that left at each stage, 0 to 1, by stage ("1" to "H").
    deadlines: figures of the tasks with a deadline that were created at or after `warm_up_s`, see
        `testbed.record.deadlines.deadline_figures`.
    utility: theta_s * accuracy - mean delay [s]; with `utility_of` "deadlines", theta_s * the share of all tasks
        created at or after `warm_up_s` with a right answer that was not late - mean delay. In both cases less the price
        of the energy per task, if one is stated.
    utility_of: "accuracy" or "deadlines".
    theta_s: mean delay that one unit of accuracy is worth [s].
    warm_up_s: end of the warm-up [s].
    attempts: `most`, the largest number of offers for one task; `above_one`, the number of tasks offered again.
    forced_exits: number of tasks that left because no receiver answered.
    lost_reasons: number of lost tasks by reason.
    fidelity: the verdict on the emulation, see `testbed.fidelity.report.FidelityReport.as_dict`.
    parts_s: means of the parts of the counted tasks' delays [s], see `testbed.breakdown.parts.Parts`; None if no delay
        could be split.
    fairness: how equal the devices' mean delays of counted tasks are: `jain`, Jain's index, 1 if all are equal;
        `worst_over_mean`, the worst over their mean; `worst_device`; and `devices`, the number with a counted task.
    overloaded: true if tasks piled up, see `testbed.record.backlog.overload`; None if the run was cut short.
    outstanding_s: outstanding work when the workload ended [s of arrivals]; None if the run was cut short.
    seed: the random seed.
    topology: the topology's name.
    setup_s: live runs: time from the start until each part of the set-up was ready [real s].
    answers: "recorded elsewhere" if a table answered; left out if the model's own sub-models did.
    costs: the published architecture whose work and sizes counted; left out if they were the model's own.
    criterion: the exit criterion by name; left out for the confidence, the default.
    energy: the energy of nodes and links, see `testbed.energy.meter`; left out if the topology states no power.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from testbed.record.deadlines import deadline_figures, timely_share
from testbed.record.task_line import TaskLine
from testbed.scenario import UtilityOf

SUMMARY_SCHEMA = 1


def summarise(
    tasks: Sequence[TaskLine],
    *,
    policy: str,
    theta_s: float,
    warm_up_s: float,
    duplicates: int,
    stages: int,
    fidelity: Mapping[str, object],
    utility_of: UtilityOf = "accuracy",
    group_of: Mapping[str, str] | None = None,
    energy_cost_s: float = 0.0,
) -> dict[str, object]:
    """Return the fields of summary.json from `schema` to `fidelity`.

    Args:
        tasks: one line per offered task; offers and hops are not needed.
        policy: the policy's label.
        theta_s: mean delay that one unit of accuracy is worth [s].
        warm_up_s: end of the warm-up [s].
        duplicates: number of results that came after the first one.
        stages: number of stages H.
        fidelity: the verdict on the emulation.
        utility_of: right answers that theta rewards: all, or those in time.
        group_of: the group of each device, by its name; None means that each is a group of its own.
        energy_cost_s: mean delay that the energy of a task is worth [s].
    """
    created = [task for task in tasks if task.created_s >= warm_up_s]
    counted = [task for task in created if task.status == "completed"]
    delays = np.array([task.delay_s for task in counted])
    accuracy = float(np.mean([task.correct for task in counted])) if counted else None
    mean_s = float(delays.mean()) if counted else None
    ends, exits = Counter(task.status for task in tasks), Counter(task.exit_stage for task in counted)
    rewarded = timely_share(created) if utility_of == "deadlines" else accuracy
    return {
        "schema": SUMMARY_SCHEMA,
        "policy": policy,
        "tasks": {
            "offered": len(tasks), "completed": ends["completed"], "lost": ends["lost"], "refused": ends["refused"],
            "duplicates": duplicates, "counted": len(counted),
        },
        "delay_s": {"mean": mean_s, **{f"p{q}": _percentile(delays, q) for q in (50, 95, 99)}},
        "accuracy": accuracy,
        "goodput": float(np.mean([task.correct is True for task in created])) if created else None,
        "exit_share": {str(h): exits[h] / len(counted) if counted else None for h in range(1, stages + 1)},
        "deadlines": deadline_figures(created, group_of or {}),
        "utility": theta_s * rewarded - mean_s - energy_cost_s if rewarded is not None and mean_s is not None else None,
        "utility_of": utility_of,
        "theta_s": theta_s,
        "warm_up_s": warm_up_s,
        "attempts": {
            "most": max((task.attempts for task in tasks), default=0),
            "above_one": sum(task.attempts > 1 for task in tasks),
        },
        "forced_exits": sum(task.forced_exit for task in tasks),
        "lost_reasons": dict(Counter(task.reason for task in tasks if task.status == "lost")),
        "fidelity": dict(fidelity),
    }  # fmt: skip


def _percentile(values: "np.ndarray[Any, np.dtype[np.float64]]", q: float) -> float | None:
    return float(np.percentile(values, q)) if values.size else None
