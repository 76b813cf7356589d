"""Lines of tasks.jsonl that tests make up."""

from testbed.record.task_line import TaskLine


def task_line(number: int = 0, **fields) -> TaskLine:
    """A completed task, as if recorded; with a `delay_s` of None, one that was lost."""
    values = {
        "device": "cam", "sample": number, "label": 7, "prediction": 7, "correct": True, "exit_stage": 1,
        "created_s": 20.0, "delay_s": 0.1, "status": "completed", "attempts": 1, "hops": (), "lateness_s": 0.0,
        "forced_exit": False, "reason": None,
    } | fields  # fmt: skip
    if values["delay_s"] is None:
        values |= {"prediction": None, "correct": None, "exit_stage": None, "status": "lost", "completed_s": None}
    else:
        values.setdefault("completed_s", values["created_s"] + values["delay_s"])
    return TaskLine(id=number, **values)
