"""Refused tasks in whole simulated runs: which ones they are, worked out by hand, and how the records show them."""

import json
from collections import Counter

import numpy as np
import pytest

from cli.printing.summary_lines import render_summary
from testbed.optimum.bound import bound_for_run
from testbed.record.backlog import Tasks, overload
from testbed.record.reading import read_lines, read_recorded
from testbed.record.task_line import TaskLine
from tests.testbed.simulated import lines, simulate
from tests.testbed.simulation.test_simulator import ALONE, SERVICE_S, offer

BOUND_S = 0.45
BOUNDED = ALONE.replace("rate: 1 /s", "rate: 1 /s, delay_bound: 450 ms").replace("duration: 100 s", "duration: 20 s")
BOUNDED = BOUNDED.replace("slot: 100 s", "slot: 10 s")
LINKS_S = 0.0111 + 0.0102  # 1,084 bytes there and some 200 back, at a byte per microsecond and 10 ms


def ends(outcome):
    return [task["status"] for task in sorted(lines(outcome, "tasks.jsonl"), key=lambda task: task["id"])]


class TestByHand:
    def test_a_burst(self, tmp_path):
        """The k-th task of a burst waits for k - 1 others: four fit into 450 ms, as 0.0213 s + 4 * 0.1 s <= 0.45 s."""
        trace = offer(tmp_path, *(5 + number * 0.001 for number in range(10)))
        outcome = simulate(tmp_path, BOUNDED, trace_path=trace)
        assert ends(outcome) == ["completed"] * 4 + ["refused"] * 6
        for number, task in enumerate(read_lines(outcome.run_directory / "tasks.jsonl", TaskLine)):
            if task.status == "completed":
                assert task.predicted_delay_s == pytest.approx(LINKS_S + (task.id + 1) * SERVICE_S, abs=1e-3)
                assert task.delay_s == pytest.approx(task.predicted_delay_s, abs=5e-3), "and so it came"
            else:
                assert number < 6, "refused tasks end at once"
                assert task.predicted_delay_s == pytest.approx(LINKS_S + 5 * SERVICE_S, abs=1e-3)
                assert (
                    task.reason == f"a delay of {task.predicted_delay_s:.3f} s was predicted, above the bound of 0.45 s"
                )

    def test_tasks_while_the_queue_of_a_burst_drains(self, tmp_path):
        """Four are admitted at 5 s, and leave at 5.11, 5.21, 5.31 and 5.41 s. A status leaves each tenth of a second.

        At 5.05 s the device knows of all four by their acknowledgements. The status of 5.1 s still says four, that of
        5.2 s three: the queue then has room for one more.
        """
        burst = [5 + number * 0.001 for number in range(4)]
        trace = offer(tmp_path, *burst, 5.05, 5.15, 5.25, 5.26, 6.5)
        outcome = simulate(tmp_path, BOUNDED, trace_path=trace)
        assert ends(outcome) == ["completed"] * 4 + ["refused", "refused", "completed", "refused", "completed"]

    def test_twice_the_capacity_for_as_long_as_one_likes(self, tmp_path):
        """The server works without a pause, and takes half of the tasks; no delay is much above the bound."""
        trace = offer(tmp_path, *(1 + number * 0.05 for number in range(380)))
        outcome = simulate(tmp_path, BOUNDED, trace_path=trace)
        statuses = Counter(ends(outcome))
        served_until_s = 20.0 + BOUND_S
        assert statuses["completed"] == pytest.approx((served_until_s - 1) / SERVICE_S, abs=4)
        assert statuses["refused"] == 380 - statuses["completed"]
        delays_s = [task["delay_s"] for task in lines(outcome, "tasks.jsonl") if task["status"] == "completed"]
        assert np.mean(delays_s) < BOUND_S
        assert max(delays_s) < BOUND_S + SERVICE_S, "a status is at most 0.1 s old"

    def test_a_bound_that_is_never_reached_changes_nothing(self, tmp_path):
        """But for messages: servers send their status, which takes room on the links."""
        trace = offer(tmp_path, *(1 + number * 0.3 for number in range(60)))
        with_bound = simulate(tmp_path / "with", BOUNDED, trace_path=trace)
        without = simulate(tmp_path / "without", BOUNDED.replace(", delay_bound: 450 ms", ""), trace_path=trace)
        for one, other in zip(lines(with_bound, "tasks.jsonl"), lines(without, "tasks.jsonl"), strict=True):
            assert "predicted_delay_s" not in other
            assert one["delay_s"] == pytest.approx(other["delay_s"], abs=1e-3)
            assert (one["prediction"], one["status"]) == (other["prediction"], "completed")


@pytest.fixture(scope="module")
def refusing(tmp_path_factory):
    """Twice the capacity for 20 s, in a run whose warm-up takes 4 s."""
    folder = tmp_path_factory.mktemp("refusing")
    trace = offer(folder, *(0.5 + number * 0.05 for number in range(380)))
    return simulate(folder, BOUNDED.replace("warm_up: 0 s", "warm_up: 4 s"), trace_path=trace)


class TestRecords:
    def test_the_summary_lists_them_apart(self, refusing):
        summary, tasks = refusing.summary, lines(refusing, "tasks.jsonl")
        statuses = Counter(task["status"] for task in tasks)
        assert summary["tasks"]["refused"] == statuses["refused"] > 150
        assert summary["tasks"]["lost"] == 0
        assert summary["lost_reasons"] == {}
        counted = [task for task in tasks if task["created_s"] >= 4]
        completed = [task for task in counted if task["status"] == "completed"]
        right = sum(task["correct"] for task in completed)
        assert summary["accuracy"] == pytest.approx(right / len(completed))
        assert summary["goodput"] == pytest.approx(right / len(counted))
        assert summary["delay_s"]["mean"] == pytest.approx(np.mean([task["delay_s"] for task in completed]))
        assert summary["overloaded"] is False, "nothing piles up"

    def test_the_closing_summary_shows_both_figures(self, refusing):
        text = render_summary(refusing.summary, refusing.run_directory)
        tasks = refusing.summary["tasks"]
        assert f"{tasks['completed']} completed, 0 lost, {tasks['refused']} refused" in text
        assert f"Goodput    {refusing.summary['goodput'] * 100:.1f} % of all tasks got a right answer" in text

    def test_samples_count_them(self, refusing):
        samples = [sample for sample in lines(refusing, "timeseries.jsonl") if sample["node"] == "cam"]
        assert sum(sample["refused"] for sample in samples) == refusing.summary["tasks"]["refused"]
        assert sum(sample["forwarded"] for sample in samples) == refusing.summary["tasks"]["completed"]
        assert sum(sample["arrived"] for sample in samples) == 380

    def test_refused_tasks_are_no_backlog(self, refusing):
        """As lost ones they would make the run overloaded."""
        path = refusing.run_directory / "tasks.jsonl"
        tasks = Tasks.of(read_lines(path, TaskLine))
        assert tasks.refused_s.size == refusing.summary["tasks"]["refused"]
        assert overload(tasks, 20.0)[0] is False
        as_lost = path.with_name("lost.jsonl")
        as_lost.write_text(path.read_text().replace('"refused"', '"lost"'))
        assert overload(Tasks.of(read_lines(as_lost, TaskLine)), 20.0)[0] is True

    def test_the_bound_of_a_run_is_that_of_its_admitted_tasks(self, refusing):
        """All 20 tasks/s together have no plan: the server serves ten."""
        recorded = read_recorded(refusing.run_directory)
        assert len(recorded.arrivals()) == 380
        assert len(recorded.admitted()) == refusing.summary["tasks"]["completed"]
        optimum, _ = bound_for_run(refusing.run_directory)
        assert optimum.played.tasks == sum(arrival.time_s >= 4 for arrival in recorded.admitted())

    def test_the_files_are_the_same_each_time(self, refusing, tmp_path):
        again = simulate(tmp_path, BOUNDED.replace("warm_up: 0 s", "warm_up: 4 s"),
                         trace_path=refusing.run_directory / "trace.jsonl")  # fmt: skip
        for name in ("tasks.jsonl", "summary.json", "timeseries.jsonl", "decisions.jsonl"):
            assert (again.run_directory / name).read_bytes() == (refusing.run_directory / name).read_bytes()
        assert json.loads((again.run_directory / "summary.json").read_text())["tasks"]["refused"]
