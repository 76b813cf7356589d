"""Refused tasks of a live run, beside those of the simulation of the same workload."""

import json
from collections import Counter

import pytest

from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_replay
from testbed.simulation.simulator import Simulation
from tests.testbed.live.test_experiment import lines, run

pytestmark = [pytest.mark.root, pytest.mark.company, pytest.mark.usefixtures("leaves_nothing")]

# 16 tasks/s for a server that serves 6.1; a task alone takes 0.19 s.
TEXT = """
name: refusing
model: {name: glyphs, cut: [5]}
policy: dto-ee
slot: 2 s
duration: 12 s
warm_up: 2 s
devices:
  cam: {count: 2, rate: 8 /s, delay_bound: 600 ms}
servers:
  only: {stage: 1, capacity: 0.3 GFLOP/s}
links:
  - {from: cam, to: only, rate: 20 Mbit/s, delay: 10 ms}
"""


@pytest.mark.timing
def test_a_live_run_refuses_as_many_tasks_as_its_simulation(tmp_path):
    """Of 192 tasks, some 60 % are refused: a share with a standard deviation of 0.035, of independent tasks."""
    live = run(tmp_path, TEXT, debug=True)
    simulated = Simulation(plan_replay(live.run_directory, out=tmp_path / "simulated"), SilentObserver()).run()
    assert live.exit_reason == "completed"
    shares = []
    for outcome in (live, simulated):
        counts, tasks = outcome.summary["tasks"], lines(outcome.run_directory / "tasks.jsonl")
        assert counts["lost"] == 0
        assert counts["completed"] + counts["refused"] == counts["offered"] == len(tasks)
        assert Counter(task["status"] for task in tasks)["refused"] == counts["refused"]
        assert outcome.summary["overloaded"] is False
        assert outcome.summary["goodput"] < outcome.summary["accuracy"]
        shares.append(counts["refused"] / counts["offered"])
    assert shares[1] > 0.5
    assert abs(shares[0] - shares[1]) < 2 * 0.035
    assert json.loads((live.run_directory / "summary.json").read_text())["tasks"] == live.summary["tasks"]
    assert live.summary["delay_s"]["mean"] < 0.6
