"""The way of one task: its steps follow one another and sum to its delay."""

import pytest

from node_agent.errors import InputError
from testbed.explain.explained_run import read_explained
from testbed.explain.task_way import explain_task, way_as_json, way_of_task
from tests.testbed.explain.limited import LIMITED
from tests.testbed.simulated import simulate


@pytest.fixture(scope="module", params=["server that dies", "trunk behind a switch"])
def run(request, tmp_path_factory):
    text, _ = LIMITED[request.param]
    return simulate(tmp_path_factory.mktemp("run"), text).run_directory


def test_steps_follow_one_another_and_sum_to_the_delay(run):
    explained = read_explained(run)
    retried = 0
    for task in explained.tasks:
        way = way_of_task(explained, task, None)
        if task.delay_s is None:
            assert way.steps == ()
            continue
        now_s = task.created_s
        for step in way.steps:
            assert step.at_s == pytest.approx(now_s, abs=1e-9)
            now_s += step.took_s
        assert now_s == pytest.approx(task.completed_s, abs=1e-9)
        assert sum(step.took_s for step in way.steps) == pytest.approx(task.delay_s, abs=1e-9)
        retried += any(step.part == "retries" for step in way.steps)
    assert retried or all(task.attempts == 1 for task in explained.tasks)


def test_the_slowest_and_a_numbered_one(run):
    slowest = explain_task(run, "slowest")
    delays = [task.delay_s for task in read_explained(run).tasks if task.delay_s is not None]
    assert slowest.task.delay_s == max(delays)
    assert slowest.mean_s < slowest.task.delay_s
    same = way_as_json(explain_task(run, str(slowest.task.id)))
    assert same["steps"] == way_as_json(slowest)["steps"] != []


@pytest.mark.parametrize("which", ["99999", "-1", "first", "1.5", ""])
def test_a_task_that_is_none(run, which):
    with pytest.raises(InputError, match="no task") as caught:
        explain_task(run, which)
    assert "numbered from 0 to" in caught.value.hint
