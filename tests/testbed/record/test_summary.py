"""The summary, compared with figures worked out by hand."""

import pytest

from testbed.record.summary import summarise
from tests.testbed.record.task_lines import task_line


def lost(reason, **fields):
    return task_line(delay_s=None, reason=reason, **fields)


def refused(**fields):
    return task_line(delay_s=None, status="refused", reason="too long", attempts=0, **fields)


def summary_of(tasks, **options):
    values = {"policy": "p", "theta_s": 2.0, "warm_up_s": 10.0, "duplicates": 0, "stages": 3, "fidelity": {}}
    return summarise(tasks, **values | options)


def test_figures_by_hand():
    tasks = [
        task_line(delay_s=0.1),
        task_line(delay_s=0.2, correct=False),
        task_line(delay_s=0.3, exit_stage=2, attempts=3),
        task_line(delay_s=1.0, exit_stage=3, forced_exit=True),
        lost("timed out", attempts=5),
        refused(),
        refused(),
        refused(created_s=1.0),  # in the warm-up
    ]
    summary = summary_of(tasks, duplicates=7, fidelity={"host_cpu_share": 0.5})
    assert summary["schema"] == 1
    assert summary["policy"] == "p"
    assert summary["tasks"] == {
        "offered": 8, "completed": 4, "lost": 1, "refused": 3, "duplicates": 7, "counted": 4,
    }  # fmt: skip
    assert summary["delay_s"] == pytest.approx(
        {
            "mean": 0.4,
            "p50": 0.25,  # between the second and the third of four
            "p95": 0.3 + 0.85 * 0.7,  # place 0.95 * 3 = 2.85
            "p99": 0.3 + 0.97 * 0.7,
        }
    )
    assert summary["accuracy"] == 0.75
    assert summary["goodput"] == pytest.approx(3 / 7), "three right answers, and seven tasks after the warm-up"
    assert summary["exit_share"] == {"1": 0.5, "2": 0.25, "3": 0.25}
    assert summary["utility"] == pytest.approx(2.0 * 0.75 - 0.4)
    assert (summary["theta_s"], summary["warm_up_s"]) == (2.0, 10.0)
    assert summary["attempts"] == {"most": 5, "above_one": 2}
    assert summary["forced_exits"] == 1
    assert summary["lost_reasons"] == {"timed out": 1}
    assert summary["fidelity"] == {"host_cpu_share": 0.5}


def test_tasks_of_the_warm_up_count_as_offered_only():
    tasks = [
        task_line(created_s=9.999, delay_s=50.0, correct=False, exit_stage=3),
        task_line(created_s=10.0, delay_s=0.5),
        lost("why", created_s=1.0),
    ]
    summary = summary_of(tasks)
    assert summary["tasks"] == {
        "offered": 3, "completed": 2, "lost": 1, "refused": 0, "duplicates": 0, "counted": 1,
    }  # fmt: skip
    assert summary["delay_s"] == {"mean": 0.5, "p50": 0.5, "p95": 0.5, "p99": 0.5}
    assert summary["accuracy"] == summary["goodput"] == 1.0
    assert summary["exit_share"] == {"1": 1.0, "2": 0.0, "3": 0.0}


@pytest.mark.parametrize("tasks", [[], [lost("gone"), lost("gone")], [refused()], [task_line(created_s=5.0)]])
def test_figures_over_no_task_are_none(tasks):
    summary = summary_of(tasks)
    assert summary["tasks"]["counted"] == 0
    assert summary["tasks"]["offered"] == len(tasks)
    assert set(summary["delay_s"].values()) == {None}
    assert summary["exit_share"] == {"1": None, "2": None, "3": None}
    assert summary["accuracy"] is summary["utility"] is None
    assert summary["goodput"] == (0.0 if any(task.created_s >= 10 for task in tasks) else None)


def test_nothing_at_all():
    summary = summary_of([])
    assert summary["attempts"] == {"most": 0, "above_one": 0}
    assert summary["lost_reasons"] == {}
    assert summary["forced_exits"] == 0
