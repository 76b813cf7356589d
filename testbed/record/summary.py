"""A run in figures: delays, accuracy, where tasks left, and how well the emulation kept time."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from testbed.record.task_line import TaskLine

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
) -> dict[str, object]:
    """The content of summary.json.

    Args:
        tasks: one line per offered task; their ways are not needed.
        theta_s: seconds of mean delay that one unit of accuracy is worth; utility = theta * accuracy - mean delay [s].
        warm_up_s: delays, accuracy, exits and utility count tasks created at or after this time.
        duplicates: results that came a second time.

    Figures over no task at all are None.
    """
    completed = [task for task in tasks if task.status == "completed"]
    counted = [task for task in completed if task.created_s >= warm_up_s]
    delays = np.array([task.delay_s for task in counted])
    accuracy = float(np.mean([task.correct for task in counted])) if counted else None
    mean_s = float(delays.mean()) if counted else None
    exits = Counter(task.exit_stage for task in counted)
    return {
        "schema": SUMMARY_SCHEMA,
        "policy": policy,
        "tasks": {
            "offered": len(tasks),
            "completed": len(completed),
            "lost": len(tasks) - len(completed),
            "duplicates": duplicates,
            "counted": len(counted),
        },
        "delay_s": {
            "mean": mean_s,
            "p50": _percentile(delays, 50),
            "p95": _percentile(delays, 95),
            "p99": _percentile(delays, 99),
        },
        "accuracy": accuracy,
        "exit_share": {str(h): exits[h] / len(counted) if counted else None for h in range(1, stages + 1)},
        "utility": theta_s * accuracy - mean_s if accuracy is not None and mean_s is not None else None,
        "theta_s": theta_s,
        "warm_up_s": warm_up_s,
        "attempts": {
            "most": max((task.attempts for task in tasks), default=0),
            "above_one": sum(task.attempts > 1 for task in tasks),
        },
        "forced_exits": sum(task.forced_exit for task in tasks),
        "lost_reasons": dict(Counter(task.reason for task in tasks if task.status == "lost")),
        "fidelity": dict(fidelity),
    }


def _percentile(values: "np.ndarray[Any, np.dtype[np.float64]]", q: float) -> float | None:
    return float(np.percentile(values, q)) if values.size else None
