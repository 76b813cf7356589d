"""Each offered task ends exactly once, however the run goes."""

import numpy as np
import pytest
from msgspec import structs

from node_agent.records import EventRecord, SampleRecord, TaskRecord, lost_task
from node_agent.wire import Handover, Hop
from testbed.record.run_directory import Recorder
from testbed.run.bookkeeping import DEVICE_DOWN, DRAIN_S, STILL_S, Bookkeeping
from testbed.run.observer import SilentObserver
from testbed.trace.workload import Arrival
from tests.cli.watched import scenario

ARRIVALS = [Arrival(1.0, "west-1", 0), Arrival(2.0, "west-2", 1), Arrival(3.0, "west-1", 0)]
END_S = 10.0


@pytest.fixture
def bookkeeping(tmp_path):
    recorder = Recorder(tmp_path, topology_text="", arrivals=ARRIVALS, labels=np.array([7, 8]))
    yield Bookkeeping(scenario(duration_s=END_S), ARRIVALS, recorder, SilentObserver())
    recorder.finish(None, "completed")


def done(task_id: int, completed_s: float, prediction: int = 7) -> TaskRecord:
    arrival = ARRIVALS[task_id]
    return TaskRecord(
        id=task_id, device=arrival.device, sample=arrival.sample, prediction=prediction, exit_stage=1,
        created_s=arrival.time_s, completed_s=completed_s, status="completed", reason=None, attempts=1, lateness_s=0.0,
        forced_exit=False, hops=(),
    )  # fmt: skip


def by_reason(bookkeeping) -> list[tuple[float, str | None]]:
    return [(task.created_s, task.reason) for task in bookkeeping.tasks]


def test_the_first_word_on_a_task_counts(bookkeeping):
    bookkeeping.take(done(0, 1.5), 1.5)
    bookkeeping.take(lost_task(0, "west-1", 0, 1.0, DEVICE_DOWN), 4.0)
    assert [(task.status, task.correct, task.delay_s) for task in bookkeeping.tasks] == [("completed", True, 0.5)]


def test_a_task_is_kept_without_its_way_and_with_the_lateness_of_its_services(bookkeeping):
    hops = tuple(Hop(node, 1.1, 1.1, 1.2, 1.2, late_s, (Handover("near-3", 1.1),)) for node, late_s in
                 (("near-1", 0.25), ("mid-1", 0.5)))  # fmt: skip
    bookkeeping.take(structs.replace(done(0, 1.5), hops=hops, offers=(Handover("near-1", 1.0),)), 1.5)
    bookkeeping.take(lost_task(1, "west-2", 1, 2.0, DEVICE_DOWN), 4.0)
    assert bookkeeping.service_lateness_s == [0.75, 0.0]
    assert [(task.id, task.hops, task.offers) for task in bookkeeping.tasks] == [(0, (), ()), (1, (), ())]


def test_a_run_is_over_when_all_tasks_have_ended_and_no_sooner_than_its_duration(bookkeeping):
    for task_id in range(3):
        assert not bookkeeping.finished(END_S)
        bookkeeping.take(done(task_id, 5.0), 5.0)
    assert not bookkeeping.finished(END_S - 0.001)
    assert bookkeeping.finished(END_S)
    bookkeeping.close(END_S)
    assert len(bookkeeping.tasks) == 3


def test_results_are_waited_for_while_some_still_come(bookkeeping):
    bookkeeping.take(done(0, 5.0), 5.0)
    assert not bookkeeping.finished(END_S + DRAIN_S)
    bookkeeping.take(done(1, 95.0, prediction=8), END_S + DRAIN_S - 1)
    assert not bookkeeping.finished(END_S + DRAIN_S - 1 + STILL_S)
    assert bookkeeping.finished(END_S + DRAIN_S + STILL_S)
    bookkeeping.close(END_S + DRAIN_S + STILL_S)
    assert by_reason(bookkeeping)[-1] == (3.0, "still under way when the run ended")


def test_nothing_is_waited_for_from_devices_that_are_down(bookkeeping):
    bookkeeping.take(done(1, 5.0), 5.0)
    assert not bookkeeping.finished(END_S)
    bookkeeping.went_down("west-1", END_S)
    assert bookkeeping.finished(END_S)
    bookkeeping.close(END_S)
    assert by_reason(bookkeeping)[1:] == [(1.0, DEVICE_DOWN), (3.0, DEVICE_DOWN)]


def test_a_device_that_goes_down_takes_its_tasks_with_it(bookkeeping):
    bookkeeping.went_down("west-1", 2.5)
    assert bookkeeping.is_down("west-1")
    assert by_reason(bookkeeping) == [(1.0, DEVICE_DOWN)]  # its other one has not been offered yet
    bookkeeping.came_up("west-1", 3.5)
    assert not bookkeeping.is_down("west-1")
    bookkeeping.take(done(0, 4.0), 4.0)  # it arrives too late
    bookkeeping.take(done(2, 5.0), 5.0)
    bookkeeping.take(done(1, 6.0), 6.0)
    assert bookkeeping.finished(END_S)
    bookkeeping.close(END_S)
    assert by_reason(bookkeeping) == [(1.0, DEVICE_DOWN), (3.0, None), (2.0, None)]


def test_tasks_whose_time_comes_while_their_device_is_down_are_lost_at_the_end(bookkeeping):
    bookkeeping.went_down("west-1", 0.5)
    bookkeeping.take(done(1, 6.0), 6.0)
    assert not bookkeeping.finished(END_S - 0.001)
    assert by_reason(bookkeeping) == [(2.0, None)]
    assert bookkeeping.finished(END_S)
    bookkeeping.came_up("west-1", END_S)
    bookkeeping.take(lost_task(0, "west-1", 0, 1.0, DEVICE_DOWN), END_S)  # the device reports it, too
    assert by_reason(bookkeeping)[1:] == [(1.0, DEVICE_DOWN), (3.0, DEVICE_DOWN)]


def test_a_run_cut_short_while_a_device_is_down(bookkeeping):
    bookkeeping.went_down("west-1", 0.5)
    bookkeeping.stopped_s = 2.5
    bookkeeping.close(2.5)
    assert by_reason(bookkeeping) == [(1.0, DEVICE_DOWN), (2.0, "the run was cut short")]


def test_what_a_cut_run_had_not_come_to_was_never_offered(bookkeeping):
    bookkeeping.take(done(0, 1.5), 1.5)
    bookkeeping.stopped_s = 2.5
    bookkeeping.close(2.5)
    assert by_reason(bookkeeping) == [(1.0, None), (2.0, "the run was cut short")]


def test_samples_are_summed_up_and_the_summary_tells_them(bookkeeping):
    values = {
        "queue_length": 0, "arrival_rate_per_s": 0.0, "utilisation": 0.0, "arrived": 1, "served": 1, "exits": 0,
        "forwarded": 1, "overruns": 2, "cpu_s": 0.25, "threshold": None, "busy_s": 0.0,
    }  # fmt: skip
    for duplicates in (1, 2):
        bookkeeping.take(SampleRecord(1.0, "west-1", 0, duplicates=duplicates, **values), 1.0)
    bookkeeping.take(EventRecord(1.0, None, "unsent", "odd"), 1.0)
    assert (bookkeeping.duplicates, bookkeeping.agents_cpu_s) == (3, 0.5)
    summary = bookkeeping.summary({"simulated": True}, {"network": 0.5})
    assert summary["tasks"]["duplicates"] == 3
    assert (summary["topology"], summary["seed"], summary["policy"]) == ("demo", 1, "dto-ee")
    assert (summary["fidelity"], summary["setup_s"]) == ({"simulated": True}, {"network": 0.5})
