"""The figures of tasks with a deadline, worked out by hand."""

import pytest
from msgspec import UNSET

from testbed.record.deadlines import deadline_figures, timely_share
from testbed.record.summary import summarise
from tests.testbed.record.task_lines import task_line

NOTHING = {"tasks": 0, "missed": None, "in_time": None, "correct_in_time": None, "groups": {}}
GROUPS = {"cam-1": "cam", "cam-2": "cam", "tv": "tv", "meter": "meter"}


def due(device, delay_s, deadline_s=0.5, **fields):
    return task_line(device=device, delay_s=delay_s, deadline_s=deadline_s, **fields)


TASKS = [
    due("cam-1", 0.4),
    due("cam-1", 0.5),  # at its deadline: in time
    due("cam-2", 0.4, correct=False),
    due("cam-2", 0.500001),
    due("tv", 0.9, 1.0),
    due("tv", None, 1.0),  # lost
    due("tv", None, 1.0, status="refused"),
    task_line(device="meter", delay_s=0.1),
    task_line(device="meter", delay_s=9.0),
    task_line(device="meter", delay_s=None),
]


@pytest.mark.parametrize(
    ("fields", "in_time"),
    [
        ({}, None),
        ({"deadline_s": 0.1}, True),
        ({"deadline_s": 0.0999}, False),
        ({"deadline_s": 0.1, "delay_s": None}, False),
        ({"deadline_s": 0.1, "delay_s": None, "status": "refused"}, False),
        ({"deadline_s": UNSET, "delay_s": None}, None),
    ],
)
def test_a_task_is_in_time_up_to_its_deadline(fields, in_time):
    assert task_line(**fields).in_time is in_time


def test_by_hand():
    assert deadline_figures(TASKS, GROUPS) == {
        "tasks": 7, "missed": 3, "in_time": pytest.approx(4 / 7), "correct_in_time": pytest.approx(3 / 7),
        "groups": {
            "cam": {"tasks": 4, "missed": 1, "in_time": 0.75, "correct_in_time": 0.5},
            "tv": {"tasks": 3, "missed": 2, "in_time": pytest.approx(1 / 3), "correct_in_time": pytest.approx(1 / 3)},
        },
    }  # fmt: skip
    # A device without a known group is one of its own.
    assert set(deadline_figures(TASKS, {})["groups"]) == {"cam-1", "cam-2", "tv"}


@pytest.mark.parametrize("tasks", [[], [task_line(), task_line(delay_s=None)]])
def test_without_a_deadline_there_are_no_shares(tasks):
    assert deadline_figures(tasks, GROUPS) == NOTHING


def test_a_right_answer_without_a_deadline_is_never_late():
    """Right and not late: two of cam's, one of tv's, and the two of meter that were completed, of ten."""
    assert timely_share(TASKS) == pytest.approx(5 / 10)
    assert timely_share([]) is None


def test_the_summary_counts_tasks_after_the_warm_up_only():
    tasks = [due("cam-1", 0.4), due("cam-1", 0.9), due("cam-1", 9.0, created_s=1.0), due("cam-1", None)]
    options = {"policy": "p", "theta_s": 2.0, "warm_up_s": 10.0, "duplicates": 0, "stages": 1, "fidelity": {}}
    usual = summarise(tasks, **options, group_of=GROUPS)
    timely = summarise(tasks, **options, group_of=GROUPS, utility_of="deadlines")
    expected = {"tasks": 3, "missed": 2, "in_time": pytest.approx(1 / 3), "correct_in_time": pytest.approx(1 / 3)}
    assert usual["deadlines"] == timely["deadlines"] == {**expected, "groups": {"cam": expected}}
    assert (usual["utility_of"], timely["utility_of"]) == ("accuracy", "deadlines")
    assert usual["utility"] == pytest.approx(2.0 * 1.0 - 0.65)
    assert timely["utility"] == pytest.approx(2.0 / 3 - 0.65), "the mean delay is still that of completed tasks"
    assert {**usual, "utility": 0, "utility_of": 0} == {**timely, "utility": 0, "utility_of": 0}


def test_a_utility_over_no_completed_task_is_none():
    options = {"policy": "p", "theta_s": 2.0, "warm_up_s": 0.0, "duplicates": 0, "stages": 1, "fidelity": {}}
    assert summarise([due("tv", None)], **options, utility_of="deadlines")["utility"] is None
    assert summarise([], **options, utility_of="deadlines")["utility"] is None
