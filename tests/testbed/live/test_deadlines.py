"""Deadlines and assertions of a live run: they speak of its measured delays."""

import json
from dataclasses import replace

import pytest

from testbed.assertions import parse_assertion
from testbed.live.experiment import Experiment
from testbed.record.reading import read_lines
from testbed.record.task_line import TaskLine
from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_run
from tests.testbed import small

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("leaves_nothing")]
TEXT = small.SMALL.replace("rate: 5 /s", "rate: 5 /s, deadline: 120 ms").replace("duration: 8 s", "duration: 5 s")
ASSERTED = (
    "missed < 1000000", "in_time > 100 %", "tasks.lost == 0", "fidelity.verdict != broken", "setup_s.agents < 1 h",
)  # fmt: skip


def test_they_count_what_was_measured(tmp_path):
    topology = tmp_path / "topology.yaml"
    topology.write_text(f"{TEXT}utility: deadlines\n")
    assertions = tuple(map(parse_assertion, ASSERTED))
    plan = replace(plan_run(topology, out=tmp_path / "run"), assertions=assertions)
    outcome = Experiment(plan, SilentObserver()).run()
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary == json.loads(json.dumps(outcome.summary))
    tasks = [task for task in read_lines(tmp_path / "run/tasks.jsonl", TaskLine) if task.created_s >= 2]
    in_time = [task for task in tasks if task.delay_s is not None and task.delay_s <= 0.12]
    assert {task.deadline_s for task in tasks} == {0.12}
    assert summary["deadlines"]["tasks"] == len(tasks) > 10
    assert summary["deadlines"]["missed"] == len(tasks) - len(in_time)
    right = sum(task.correct for task in in_time) / len(tasks)
    assert summary["deadlines"]["correct_in_time"] == pytest.approx(right)
    assert summary["utility"] == pytest.approx(2.0 * right - summary["delay_s"]["mean"])
    holds = {entry["figure"]: entry["holds"] for entry in summary["assertions"]}
    assert (holds["missed"], holds["in_time"], holds["setup_s.agents"]) == (True, False, True)
    assert holds["fidelity.verdict"] == (summary["fidelity"]["verdict"] != "broken")
