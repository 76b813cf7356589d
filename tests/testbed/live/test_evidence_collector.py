"""Evidence from the records of nodes; test_experiment.py has whole runs."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from node_agent.records import TaskRecord
from node_agent.wire import Hop
from testbed.host.ledger import Ledger
from testbed.live.evidence_collector import UNSTEADY_S, EvidenceCollector, since
from testbed.network import EmulatedNetwork, LinkStatistics, NetworkStatistics
from testbed.record.run_directory import Recorder
from testbed.run.bookkeeping import Bookkeeping
from testbed.run.observer import SilentObserver
from testbed.scenario import LinkShape
from testbed.topology import load_topology
from testbed.topology.event_kinds.device_rate import RateChange
from testbed.topology.event_kinds.link_shape import LinkChange
from testbed.trace.workload import Arrival
from tests.cli.watched import sample
from tests.testbed import small

ARRIVALS = [Arrival(time_s, "cam-1", 0) for time_s in (1.0, 2.0, 3.0)]


@pytest.fixture
def told(tmp_path):
    """The collector of a run that never starts (its network is only planned), and its bookkeeping."""
    file = tmp_path / "topology.yaml"
    file.write_text(small.SMALL)  # its warm-up is 2 s
    scenario = load_topology(file).resolve()
    recorder = Recorder(tmp_path, topology_text="", arrivals=ARRIVALS, labels=np.array([7]))
    bookkeeping = Bookkeeping(scenario, ARRIVALS, recorder, SilentObserver())
    with Ledger("collector-test") as ledger:
        network = EmulatedNetwork(scenario, run_id="collector-test", ledger=ledger)
        yield EvidenceCollector(scenario, network, bookkeeping, ()), bookkeeping
    recorder.finish(None, "completed")


def done(task_id: int, *, delay_s: float = 0.1, lateness_s: float = 0.0, late_s: tuple[float, ...] = ()) -> TaskRecord:
    created_s = ARRIVALS[task_id].time_s
    hops = tuple(Hop("near-1", created_s, created_s, created_s, created_s, late) for late in late_s)
    return TaskRecord(
        id=task_id, device="cam-1", sample=0, prediction=7, exit_stage=1, created_s=created_s,
        completed_s=created_s + delay_s, status="completed", reason=None, attempts=1, lateness_s=lateness_s,
        forced_exit=False, hops=hops,
    )  # fmt: skip


def test_tasks_of_the_warm_up_do_not_count_and_none_counts_twice(told):
    collector, bookkeeping = told
    bookkeeping.take(done(0, late_s=(0.5,)), 1.1)
    bookkeeping.take(done(1, late_s=(0.001, 0.002), lateness_s=0.001), 2.1)
    assert collector.report().evidence.tasks.completed == 1
    bookkeeping.take(done(2), 3.1)
    tasks = collector.report().evidence.tasks
    assert (tasks.completed, tasks.touched) == (2, 1)
    assert tasks.added_s == pytest.approx(0.004)
    assert tasks.replay_lateness_s == [0.001, 0.0]


def test_what_servers_tell_adds_up(told):
    collector, _ = told
    record = sample("near-1", 1, served=5, work_flop=125e6, busy_s=0.35, served_s=0.30, compute_cpu_s=0.02,
                    deadlines=10, late_timers=1, worst_timer_s=0.003, overruns=2)  # fmt: skip
    for at_s in (1.0, 2.0):
        collector.sampled(msgspec.structs.replace(record, time_s=at_s))
    collector.sampled(sample("cam-1", 0, deadlines=7, late_timers=2, worst_timer_s=0.01, busy_s=0.0))
    evidence = collector.report().evidence
    near = evidence.servers["near-1"]
    assert (near.served, near.overruns, near.stated_flop_per_s) == (10, 4, pytest.approx(0.5e9))
    assert near.served_flop_per_s == pytest.approx(10 * 25e6 / 0.6)
    assert near.host_flop_per_s == pytest.approx(10 * 25e6 / 0.04)
    assert (evidence.deadlines, evidence.late_timers, evidence.worst_timer_s) == (27, 4, 0.01)


def test_speed_is_not_judged_around_a_change_of_capacity(told):
    collector, _ = told
    collector.capacity_changed("near-1", 4.2, 1e9)
    for at_s in (4.0, 5.0, 6.0, 4.2 + UNSTEADY_S + 0.2):
        collector.sampled(sample("near-1", 1, at_s, served=1, work_flop=1e8, served_s=0.1, deadlines=1))
    near = collector.report().evidence.servers["near-1"]
    assert (near.served, near.deadlines) == (2, 4)


def test_speed_is_that_of_ended_services_however_long(told):
    """Services of 3 s at the stated speed, with samples in between, and an end in the midst of one."""
    collector, _ = told
    for second in range(1, 12):
        ended = second % 3 == 0
        served = {"served": 1, "work_flop": 1.5e9, "served_s": 3.0} if ended else {"served": 0}
        collector.sampled(sample("near-1", 1, float(second), busy_s=1.0, **served))
    near = collector.report().evidence.servers["near-1"]
    assert (near.served, near.served_flop_per_s) == (3, pytest.approx(0.5e9))


def test_a_service_that_began_before_a_change_of_capacity_is_not_judged(told):
    collector, _ = told
    collector.capacity_changed("near-1", 4.2, 1e9)
    for at_s in (4.2 + UNSTEADY_S + 1.0, 4.2 + UNSTEADY_S + 3.1):
        collector.sampled(sample("near-1", 1, at_s, served=1, work_flop=3e9, served_s=3.0))
    assert collector.report().evidence.servers["near-1"].served == 1


def test_work_is_due_by_the_capacity_of_the_time_it_was_done_at(told):
    """Also where the sample is read after later changes."""
    collector, _ = told
    collector.capacity_changed("near-1", 4.0, 1e9)
    collector.capacity_changed("near-1", 8.0, 0.25e9)
    for at_s, due_s in ((3.9, 0.2), (7.9, 0.1), (11.0, 0.4)):  # stated at first: 0.5 GFLOP/s
        before_s = collector.report().evidence.servers["near-1"].due_s
        collector.sampled(sample("near-1", 1, at_s, served=1, work_flop=1e8, served_s=due_s))
        assert collector.report().evidence.servers["near-1"].due_s - before_s == pytest.approx(due_s)


def silences(collector) -> dict[str, float]:
    return {node: silence_s for node, silence_s in collector.report().evidence.silences_s.items() if silence_s}


def test_silence_is_what_lies_between_samples_of_a_node_that_is_up(told):
    collector, _ = told
    collector.came_up("near-1", 1.0)
    for at_s in (2.0, 3.1, 7.6, 8.0):
        collector.sampled(sample("near-1", 1, at_s))
    assert silences(collector) == {"near-1": pytest.approx(4.5)}
    collector.went_down("near-1")
    collector.sampled(sample("near-1", 1, 8.1))  # a sample from before
    collector.came_up("near-1", 20.0)
    collector.sampled(sample("near-1", 1, 21.0))
    assert silences(collector) == {"near-1": pytest.approx(4.5)}


def test_changes_are_counted_with_their_lateness(told):
    collector, _ = told
    shape = LinkShape(20.0, 0.010)
    for late_s in (0.001, 0.002, 0.2):
        collector.injected(LinkChange(5.0, ("cam-1", "near-1"), shape, traced=True), 5.0 + late_s)
    collector.injected(RateChange(5.0, "cam-1", 3.0), 9.0)  # nothing is done for it
    collector.skipped()
    changes = collector.report().evidence.changes
    assert (changes.injected, changes.skipped) == (3, 1)
    assert changes.worst_s == pytest.approx(0.2)


def test_a_collector_that_has_not_started_tells_nothing_and_may_be_stopped(told):
    collector, _ = told
    assert collector.beat(1.0) is None
    collector.stop()
    assert collector.report().verdict == "held"


def test_counters_are_those_of_the_run():
    link = LinkStatistics(("a", "b"), 100, 5000, 3, 2, 1, 1e-5, 1e-4, 0.002)
    before = NetworkStatistics("userspace", 100, 1, 0.002, 3, 2, 0.5, realtime_priority=True, links=(link,))
    later = replace(link, frames=400, bytes=9000, lost=4, dropped=2, late=11)
    now = replace(before, frames_relayed=400, frames_late=11, frames_lost=4, relay_cpu_s=2.0, links=(later,))
    counted = since(before, now)
    assert (counted.frames_relayed, counted.frames_late, counted.frames_lost, counted.frames_dropped) == (300, 10, 1, 0)
    assert counted.relay_cpu_s == 1.5
    assert counted.links[0] == replace(later, frames=300, bytes=4000, lost=1, dropped=0, late=10)


def test_netem_counts_no_late_frames():
    link = LinkStatistics(("a", "b"), 100, 5000, 3, 2, None, None, None, None)
    before = NetworkStatistics("netem", 100, 0, 0.0, 3, 2, 0.0, realtime_priority=True, links=(link,))
    assert since(before, before).links[0].late is None
