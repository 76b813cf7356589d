"""Deadlines and assertions in whole simulated runs, against delays that are known beforehand."""

import json
from dataclasses import replace

import pytest

from cli.optimum import optimum_lines
from testbed.assertions import parse_assertion
from testbed.optimum.bound import bound_for_run
from testbed.record.reading import read_lines, read_recorded
from testbed.record.task_line import TaskLine
from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_replay
from testbed.simulation.simulator import Simulation
from tests.testbed.simulated import lines, plan, simulate
from tests.testbed.simulation.test_simulator import ALONE, SERVICE_S, offer

LINKS_S = 0.0111 + 0.0102  # 1,084 bytes there and some 200 back, at a byte per microsecond and 10 ms
DUE = ALONE.replace("rate: 1 /s", "rate: 1 /s, deadline: 450 ms")
BURST = [5 + number * 0.001 for number in range(10)]


def test_a_burst(tmp_path):
    """The k-th task waits for k - 1 others: four are in time, as 0.0213 s + 4 * 0.1 s <= 0.45 s."""
    outcome = simulate(tmp_path, DUE, trace_path=offer(tmp_path, *BURST))
    tasks = list(read_lines(outcome.run_directory / "tasks.jsonl", TaskLine))
    assert [task.delay_s for task in tasks] == pytest.approx([LINKS_S + k * SERVICE_S for k in range(1, 11)], abs=0.011)
    assert [task.in_time for task in tasks] == [True] * 4 + [False] * 6
    assert {task["deadline_s"] for task in lines(outcome, "tasks.jsonl")} == {0.45}
    right = sum(bool(task.correct) for task in tasks[:4])
    expected = {"tasks": 10, "missed": 6, "in_time": 0.4, "correct_in_time": right / 10}
    assert outcome.summary["deadlines"] == {**expected, "groups": {"cam": expected}}


def test_a_deadline_changes_nothing_but_figures(tmp_path):
    trace = offer(tmp_path, *BURST)
    with_one = simulate(tmp_path / "with", DUE, trace_path=trace)
    without = simulate(tmp_path / "without", ALONE, trace_path=trace)
    for name in ("decisions.jsonl", "timeseries.jsonl", "events.jsonl"):
        assert lines(with_one, name) == lines(without, name)
    assert [{**task, "deadline_s": 0.45} for task in lines(without, "tasks.jsonl")] == lines(with_one, "tasks.jsonl")
    assert without.summary["deadlines"]["in_time"] is without.summary["deadlines"]["missed"] is None
    assert {**without.summary, "deadlines": 0} == {**with_one.summary, "deadlines": 0}


def test_refused_tasks_are_not_in_time(tmp_path):
    text = DUE.replace("deadline:", "delay_bound: 450 ms, deadline:").replace("slot: 100 s", "slot: 10 s")
    summary = simulate(tmp_path, text, trace_path=offer(tmp_path, *BURST)).summary
    assert summary["tasks"]["refused"] == 6
    assert (summary["deadlines"]["missed"], summary["deadlines"]["in_time"]) == (6, 0.4)


def test_the_utility_with_deadlines(tmp_path):
    trace = offer(tmp_path, *BURST)
    usual = simulate(tmp_path / "usual", DUE, trace_path=trace).summary
    timely = simulate(tmp_path / "timely", f"{DUE}utility: deadlines\ntheta: 2 s\n", trace_path=trace).summary
    assert usual["utility"] == pytest.approx(2 * usual["accuracy"] - usual["delay_s"]["mean"])
    share = timely["deadlines"]["correct_in_time"]
    assert timely["utility"] == pytest.approx(2 * share - timely["delay_s"]["mean"])
    assert share < usual["accuracy"]


def test_the_best_plans_have_deadlines_too(tmp_path):
    """One server, one plan: played against the same tasks, it has the figures of the run."""
    times = [1 + number * 0.5 for number in range(100)] + [60 + number * 0.001 for number in range(10)]
    run = simulate(tmp_path, f"{DUE}utility: deadlines\n", trace_path=offer(tmp_path, *times))
    optimum, summary = bound_for_run(run.run_directory)
    assert optimum.played.in_time == summary["deadlines"]["in_time"] == 104 / 110
    assert optimum.played.correct_in_time == pytest.approx(summary["deadlines"]["correct_in_time"])
    assert optimum.played.utility_s == pytest.approx(summary["utility"], abs=2e-3)
    assert optimum.utility_of == "deadlines"
    assert optimum.overall.utility_s >= optimum.played.utility_s
    text = "\n".join(words for _, words in optimum_lines(optimum, summary))
    assert "        94.5 % in time, " in text
    assert "utility counts right answers in time when played and in runs" in text


def test_assertions_stand_in_the_summary_and_are_not_replayed(tmp_path):
    asserted = tuple(map(parse_assertion, ("missed <= 6", "in_time > 40 %", "p99 < 9 s")))
    made = replace(plan(tmp_path, DUE, trace_path=offer(tmp_path, *BURST)), assertions=asserted)
    outcome = Simulation(made, SilentObserver()).run()
    written = json.loads((outcome.run_directory / "summary.json").read_text())
    assert [(entry["assertion"], entry["holds"]) for entry in written["assertions"]] == [
        ("missed <= 6", True), ("in_time > 40 %", False), ("p99 < 9000 ms", True),
    ]  # fmt: skip
    assert written == json.loads(json.dumps(outcome.summary))
    again = Simulation(plan_replay(outcome.run_directory, out=tmp_path / "again"), SilentObserver()).run()
    assert "assertions" not in again.summary
    assert again.summary["deadlines"] == outcome.summary["deadlines"]
    assert read_recorded(again.run_directory).scenario().deadlines_s == {"cam": 0.45}
