"""The figures of tasks with a deadline: how many were in time, and how many were right and in time."""

from collections.abc import Mapping, Sequence

from testbed.record.task_line import TaskLine


def deadline_figures(created: Sequence[TaskLine], group_of: Mapping[str, str]) -> dict[str, object]:
    """Return the field `deadlines` of summary.json.

    It counts the tasks of `created` that have a deadline. Those that were lost or refused are not in time.

        tasks: number of tasks with a deadline.
        missed: number of those that were not in time; None without any task.
        in_time: share of them whose result came by the deadline, 0 to 1; None without any task.
        correct_in_time: share of them whose result was right and in time, 0 to 1; None without any task.
        groups: these four figures of each group of devices with a deadline, by the group's name.

    Args:
        created: the tasks that were created after the warm-up.
        group_of: the group of each device; a device that is not there is a group of its own.
    """
    groups: dict[str, list[TaskLine]] = {}
    for task in created:
        if task.in_time is not None:
            groups.setdefault(group_of.get(task.device, task.device), []).append(task)
    every = [task for tasks in groups.values() for task in tasks]
    return {**_figures(every), "groups": {name: _figures(groups[name]) for name in sorted(groups)}}


def timely_share(created: Sequence[TaskLine]) -> float | None:
    """Return the share of tasks with a right answer that was not late, 0 to 1; None without any task.

    A right answer to a task without a deadline is never late.
    """
    if not created:
        return None
    return sum(task.correct is True and task.in_time is not False for task in created) / len(created)


def _figures(tasks: Sequence[TaskLine]) -> dict[str, int | float | None]:
    if not tasks:
        return {"tasks": 0, "missed": None, "in_time": None, "correct_in_time": None}
    in_time = sum(task.in_time is True for task in tasks)
    right = sum(task.in_time is True and task.correct is True for task in tasks)
    return {
        "tasks": len(tasks),
        "missed": len(tasks) - in_time,
        "in_time": in_time / len(tasks),
        "correct_in_time": right / len(tasks),
    }
