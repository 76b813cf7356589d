"""Invented lines of tasks.jsonl, for tests."""

from typing import Any

from testbed.record.task_line import TaskLine


def task_line(number: int = 0, **fields) -> TaskLine:
    """Return the line of a completed task; without a delay, of a lost one, or of one with the status that is given."""
    values: dict[str, Any] = {
        "device": "cam", "sample": number, "label": 7, "prediction": 7, "correct": True, "exit_stage": 1,
        "created_s": 20.0, "delay_s": 0.1, "status": "completed", "attempts": 1, "hops": (), "lateness_s": 0.0,
        "forced_exit": False, "reason": None,
    } | fields  # fmt: skip
    if values["delay_s"] is None:
        values |= {"prediction": None, "correct": None, "exit_stage": None, "completed_s": None}
        values["status"] = fields.get("status", "lost")
    else:
        values.setdefault("completed_s", values["created_s"] + values["delay_s"])
    return TaskLine(id=number, **values)
