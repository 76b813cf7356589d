"""Real agents over real sockets: a whole line of three with the shipped model, and single ones among hand-played peers.

The agents run in threads, on loopback addresses of their own, and speak to real telemetry.
"""

import statistics
import threading
import time
from collections import Counter
from dataclasses import dataclass

import msgspec
import pytest
import zmq

from node_agent.core.config import Timeouts
from node_agent.process.agent import LONG_TURN_S, Agent, AgentConfig, ScheduledTask
from node_agent.process.executor import PacedExecutor
from node_agent.process.transport import PORTS
from node_agent.records import EventRecord, Ready, SampleRecord, SetCapacity, Start, Stop, TaskRecord
from node_agent.wire import Ack, Offer, Probe, ProbeAck, Report, Result, Task, Tensor, encode
from testbed.live.agent_configs import agent_configs, stated_costs
from testbed.live.telemetry import Telemetry
from testbed.scenario import Scenario
from testbed.topology import resolve_text
from testbed.trace import workload
from tests.node_agent.blocks import block_by_block
from tests.node_agent.process.addresses import fresh_address
from tests.node_agent.small import IMAGE, PICTURE
from tests.node_agent.virtual import synthetic_table
from tests.testbed.live.line import LINE
from tests.testbed.live.stage import of, wait_for

pytestmark = [pytest.mark.timing, pytest.mark.company]

TASKS, LATE_TASKS = 20, 6
CHANGE_S = 1.9  # the near server slows to half its speed
LATENESS_S = 0.03  # of a thread on a machine shared with others, at worst; the median is held to a tenth of it


@dataclass
class Played:
    """The records of a run of the line, for tests to inspect."""

    scenario: Scenario
    configs: dict[str, AgentConfig]
    arrivals: list[workload.Arrival]
    records: list
    epoch_s: float
    still_running: list[str]
    expected: dict[int, tuple[int, int]]  # task -> exit stage, prediction
    work_flop: dict[str, float]  # of a task, by server

    def service_s(self, server, capacity_factor=1.0):
        return self.work_flop[server] / self.configs[server].capacity_flop_per_s / capacity_factor


def expected_outcomes(bundle, arrivals):
    """Exit stage and prediction of every task, computed here."""
    network, outcomes = bundle.network(), {}
    for task_id, arrival in enumerate(arrivals):
        first = block_by_block(network, range(1, 3), bundle.evaluation.images[arrival.sample : arrival.sample + 1])
        if first.confidence >= 0.8:
            outcomes[task_id] = (1, first.prediction)
        else:
            outcomes[task_id] = (2, block_by_block(network, range(3, 6), first.activation).prediction)
    return outcomes


@pytest.fixture(scope="module")
def played(tmp_path_factory) -> Played:
    """20 tasks, a change of capacity, six more, strangers all the while; then the agents are stopped."""
    import torch

    from node_agent.models import load_bundle
    from node_agent.process.assemble import make_device, make_server

    torch.set_num_threads(1)
    scenario = resolve_text(LINE)
    bundle = load_bundle("glyphs")
    sub_models, warm = bundle.sub_models((2, 5), "float32"), stated_costs(bundle, scenario.model)
    times_s = [0.1 + 0.08 * n for n in range(TASKS)] + [CHANGE_S + 0.2 + 0.1 * n for n in range(LATE_TASKS)]
    arrivals = [workload.Arrival(time_s, "cam", 7 * n) for n, time_s in enumerate(times_s)]
    addresses = {name: fresh_address() for name in scenario.node_names}
    table = synthetic_table(2)
    with Telemetry(tmp_path_factory.mktemp("room")) as room:
        configs = agent_configs(
            scenario, arrivals, warm, address=addresses.__getitem__, telemetry=room.endpoint, quota_procs_paths={}
        )
        agents = {
            "cam": make_device(configs["cam"], bundle.inputs((2, 5), "float32")),
            "near": make_server(configs["near"], sub_models[0], table),
            "far": make_server(configs["far"], sub_models[1], table),
        }
        threads = {name: threading.Thread(target=agent.run, name=name) for name, agent in agents.items()}
        for thread in threads.values():
            thread.start()
        records = []
        try:
            wait_for(room, lambda heard: len(of(Ready, heard)) == 3, records)
            epoch_s = time.monotonic() + 0.2
            for name in threads:
                assert room.tell(name, Start(epoch_s))
            disturb(addresses.values())
            wait_for(room, lambda heard: len(of(TaskRecord, heard)) >= TASKS, records)
            records += room.listen(max(0.0, epoch_s + CHANGE_S - time.monotonic()))
            while time.monotonic() < epoch_s + CHANGE_S:
                records += room.listen(0.01)
            room.tell("near", SetCapacity(configs["near"].capacity_flop_per_s / 2))
            wait_for(room, lambda heard: len(of(TaskRecord, heard)) >= TASKS + LATE_TASKS, records)
        finally:
            for name in threads:
                room.tell(name, Stop())
            for thread in threads.values():
                thread.join(5.0)
        while heard := room.listen(0.1):
            records += heard
    still_running = [name for name, thread in threads.items() if thread.is_alive()]
    expected = expected_outcomes(bundle, arrivals)
    work_flop = {"near": float(warm.profiles[0].flop), "far": float(warm.profiles[1].flop)}
    return Played(scenario, configs, arrivals, records, epoch_s, still_running, expected, work_flop)


def disturb(addresses):
    """An unknown peer sends meaningless bytes to all agents, on both ports."""
    context = zmq.Context()
    for address in addresses:
        for port in PORTS.values():
            stranger = context.socket(zmq.DEALER)
            stranger.setsockopt(zmq.IDENTITY, b"stranger\xff")
            stranger.setsockopt(zmq.LINGER, 1000)
            stranger.connect(f"tcp://{address}:{port}")
            stranger.send_multipart([b"bytes", b"of", b"no meaning"])
            stranger.close()
    context.term()


def test_agents_get_ready_and_stop_when_told(played):
    ready = of(Ready, played.records)
    assert {record.node for record in ready} == {"cam", "near", "far"}
    assert all(record.unreachable == () for record in ready)
    assert played.still_running == []


def test_every_task_ends_where_the_model_says_with_its_answer(played):
    tasks = of(TaskRecord, played.records)
    assert sorted(task.id for task in tasks) == list(range(TASKS + LATE_TASKS))
    assert {task.status for task in tasks} == {"completed"}
    assert {task.id: (task.exit_stage, task.prediction) for task in tasks} == played.expected
    assert Counter(stage for stage, _ in played.expected.values()).keys() == {1, 2}  # or the test would show little
    assert all(task.attempts == 1 and not task.forced_exit for task in tasks)
    assert {task.id: task.sample for task in tasks} == {n: a.sample for n, a in enumerate(played.arrivals)}


def test_answers_over_the_line_are_those_that_the_bundle_records(played):
    """The scores were recorded in advance, by the uncut network on all pictures at once."""
    from node_agent.models import load_bundle

    scores = load_bundle("glyphs").scores((2, 5))
    for record in of(TaskRecord, played.records):
        row = played.arrivals[record.id].sample
        assert record.exit_stage == (1 if scores.confidence[row, 0] >= 0.8 else 2)
        assert record.prediction == scores.prediction[row, record.exit_stage - 1]


def test_hops_are_in_order_in_place_and_time(played):
    for task in of(TaskRecord, played.records):
        assert [hop.node for hop in task.hops] == ["near", "far"][: task.exit_stage]
        assert task.created_s == played.arrivals[task.id].time_s
        assert 0 <= task.lateness_s < LATENESS_S
        before_s = task.created_s + task.lateness_s
        for hop in task.hops:
            assert before_s <= hop.received_s <= hop.started_s < hop.finished_s <= hop.sent_s
            before_s = hop.sent_s
        assert before_s < task.completed_s


@pytest.mark.parametrize("server", ["near", "far"])
def test_service_takes_work_over_capacity(played, server):
    assert_paced(played, server, played.service_s(server), lambda task: task.id < TASKS)


def test_a_change_of_capacity_changes_the_service_time(played):
    assert_paced(played, "near", played.service_s("near", 0.5), lambda task: task.id >= TASKS)


def assert_paced(played, server, service_s, counts):
    hops = [hop for task in of(TaskRecord, played.records) if counts(task) for hop in task.hops if hop.node == server]
    assert len(hops) > 3
    for hop in hops:  # as late as the machine is, and the record says by how much
        assert hop.finished_s - hop.started_s - hop.late_s == pytest.approx(service_s, abs=1e-6)
        assert hop.late_s >= 0
    assert statistics.median(hop.late_s for hop in hops) < LATENESS_S


def test_samples_tell_of_the_machine(played):
    samples = [record for record in of(SampleRecord, played.records) if record.node == "near"]
    served = sum(sample.served for sample in samples)
    assert served == TASKS + LATE_TASKS
    assert sum(sample.deadlines for sample in samples) > served
    assert 0 < sum(sample.compute_cpu_s for sample in samples) < sum(sample.cpu_s for sample in samples)
    hops = [hop for task in of(TaskRecord, played.records) for hop in task.hops if hop.node == "near"]
    in_service_s = sum(hop.finished_s - hop.started_s for hop in hops)
    assert sum(sample.busy_s for sample in samples) == pytest.approx(in_service_s, abs=0.01)
    assert sum(sample.served_s for sample in samples) == pytest.approx(in_service_s, abs=0.01)
    assert sum(sample.work_flop for sample in samples) == served * played.work_flop["near"]
    assert max(sample.worst_timer_s for sample in samples) >= max(hop.late_s for hop in hops)


def test_a_stranger_is_noted_and_nothing_else_went_wrong(played):
    events = of(EventRecord, played.records)
    assert {event.kind for event in events} == {"foreign-message"}
    assert {event.node for event in events} == {"cam", "near", "far"}
    assert all("'stranger�', who is no neighbour" in event.detail for event in events)


def test_telemetry_adds_up_to_the_tasks_the_last_interval_included(played):
    totals = Counter()
    for sample in of(SampleRecord, played.records):
        totals[sample.node, "arrived"] += sample.arrived
        totals[sample.node, "served"] += sample.served
        totals[sample.node, "exits"] += sample.exits
        assert sample.cpu_s >= 0
    everything = TASKS + LATE_TASKS
    deep = sum(stage == 2 for stage, _ in played.expected.values())
    assert totals["cam", "arrived"] == totals["cam", "served"] == everything
    assert (totals["near", "served"], totals["near", "exits"]) == (everything, everything - deep)
    assert (totals["far", "served"], totals["far", "exits"]) == (deep, deep)


# --- single agents among peers that the test plays


def answer_probes(server, device, count=3):
    for _ in range(count):
        probe = server.hear(Probe)
        server.say(device, ProbeAck(probe.sequence, time.monotonic()))


def test_a_device_is_ready_when_its_receivers_have_answered_their_probes(stage):
    server = stage.peer("server")
    stage.device("cam", {"server": server})
    answer_probes(server, "cam", 2)
    assert stage.room.listen(0.2) == []
    answer_probes(server, "cam", 1)
    assert stage.wait(Ready) == [Ready("cam", ())]


def test_a_device_names_receivers_that_do_not_answer(stage):
    server = stage.peer("server")
    stage.device("cam", {"server": server}, timeouts=Timeouts(probe_s=0.3))
    assert stage.wait(Ready) == [Ready("cam", ("server",))]


def test_a_probe_that_is_not_answered_is_sent_again_and_only_its_answer_counts(stage):
    """This happens if a connection breaks while a probe is on its way."""
    server = stage.peer("server")
    stage.device("cam", {"server": server}, timeouts=Timeouts(probe_s=4.0))
    lost = server.hear(Probe)
    again = server.hear(Probe)
    assert again.sequence > lost.sequence
    server.say("cam", ProbeAck(lost.sequence, time.monotonic()))
    server.say("cam", ProbeAck(again.sequence, time.monotonic()))
    answer_probes(server, "cam", 2)
    assert stage.wait(Ready) == [Ready("cam", ())]


def test_bytes_of_no_meaning_from_a_neighbour_are_noted_ever_more_rarely(stage):
    server = stage.peer("server")
    stage.device("cam", {"server": server})
    answer_probes(server, "cam")
    garbage = 4 * [
        [b"hello"],
        [b""],
        [b"DTOE\x02"],
        [b"DTOE\x01\xc1"],
        [b"DTOE\x01" + msgspec.msgpack.encode({"type": "ack", "task_id": -1})],
        encode(Task(1, "cam", 1, 1, 0.0, (), IMAGE)),  # without its tensor
        [*encode(Ack(1, 1, 0.0, 1)), b"a tensor"],
        [encode(Task(1, "cam", 1, 1, 0.0, (), IMAGE))[0].replace(b"cam", b"c\xff\xfe"), bytes(64)],  # no text
        [b"x"] * 9,
    ]
    for frames in garbage:
        assert server.transport.send("cam", "data", frames)
    events = stage.wait(EventRecord, 10)
    assert [event.kind for event in events] == ["foreign-message"] * 10
    assert events[0].detail == "from server: bytes of another protocol"
    assert not any(event.detail.endswith("so far)") for event in events[:8])
    for event, count in zip(events[8:], (16, 32), strict=True):
        assert event.detail.endswith(f" ({count} times so far)")
    assert stage.alive() == ["cam"]


def test_an_agent_told_late_of_the_start_offers_everything_late(stage):
    server = stage.peer("server")
    stage.device("cam", {"server": server}, arrivals=[ScheduledTask(0.1, 0, 0), ScheduledTask(0.9, 1, 1)])
    answer_probes(server, "cam")
    stage.wait(Ready)
    stage.tell("cam", Start(time.monotonic() - 1.0))
    assert [server.hear(Task).task_id for _ in range(2)] == [0, 1]


def test_an_agent_that_comes_up_during_the_run_tells_what_it_has_missed_as_lost(stage):
    server = stage.peer("server")
    arrivals = [ScheduledTask(0.1, 0, 0), ScheduledTask(0.9, 1, 1), ScheduledTask(3.4, 2, 2), ScheduledTask(3.5, 3, 3)]
    epoch_s = time.monotonic() - 1.0
    stage.device("cam", {"server": server}, epoch_s=epoch_s, arrivals=arrivals)
    answer_probes(server, "cam")
    stage.wait(Ready)
    stage.tell("cam", Start(epoch_s))
    tasks = [server.hear(Task) for _ in range(2)]
    assert [task.task_id for task in tasks] == [2, 3]
    assert [task.sent_s for task in tasks] == pytest.approx([3.4, 3.5], abs=LATENESS_S)
    for task in tasks:
        server.say("cam", Ack(task.task_id, task.sequence, task.sent_s, 1))
        server.say("cam", Result(task.task_id, 1, 5, 0.7, 1, False, ()))
        server.say("cam", Result(task.task_id, 1, 6, 0.7, 1, False, ()))  # a second one does not count
    ended = stage.wait(TaskRecord, 4)
    outcomes = [(task.id, task.prediction, task.sample) for task in ended]
    assert outcomes == [(0, None, 0), (1, None, 1), (2, 5, 2), (3, 5, 3)]
    assert [task.reason for task in ended] == ["its device was down"] * 2 + [None] * 2


def test_a_task_that_is_not_acknowledged_is_offered_elsewhere(stage):
    deaf, good = stage.peer("deaf"), stage.peer("good")
    arrivals = [ScheduledTask(0.05 * number, number, 0) for number in range(1, 7)]
    stage.device("cam", {"deaf": deaf, "good": good}, arrivals=arrivals, timeouts=Timeouts(ack_s=0.3))
    answer_probes(deaf, "cam")
    answer_probes(good, "cam")
    stage.wait(Ready)
    stage.tell("cam", Start(time.monotonic()))
    served = {}
    while len(served) < len(arrivals):
        task = good.hear(Task)
        served[task.task_id] = task.attempt
        good.say("cam", Ack(task.task_id, task.sequence, task.sent_s + 0.001, 1))
        good.say("cam", Result(task.task_id, task.attempt, 1, 0.9, 1, False, ()))
    ended = stage.wait(TaskRecord, len(arrivals))
    assert {task.status for task in ended} == {"completed"}
    assert {task.id: task.attempts for task in ended} == served
    assert 2 in served.values()  # half of the tasks, by the draw of this seed, went to the deaf one first
    assert "receiver-silent" in {event.kind for event in of(EventRecord, stage.records)}


def test_what_comes_before_time_zero_is_known_waits_for_it(stage):
    """This happens if a server restarts while others still send to its earlier agent."""
    address = fresh_address()
    stage.server("server", ["cam"], address=address)
    cam = stage.peer("cam", {"server": address})
    stage.wait(Ready)
    for task_id in (1, 2):
        cam.say("server", Task(task_id, "cam", 1, 1, 0.0, (), IMAGE), PICTURE)
    cam.say("server", Probe(7, IMAGE), PICTURE)
    assert cam.hear(ProbeAck).sequence == 7  # links are measured before the start
    time.sleep(0.1)
    epoch_s = time.monotonic() - 40.0
    stage.tell("server", Start(epoch_s))
    results = [cam.hear(Result) for _ in range(2)]
    assert [result.task_id for result in results] == [1, 2]
    for result in results:
        (hop,) = result.hops
        assert 40 <= hop.received_s <= hop.started_s < hop.finished_s <= time.monotonic() - epoch_s
        assert 0.05 - 1e-6 <= hop.finished_s - hop.started_s < 0.05 + LATENESS_S


def test_an_agent_that_comes_up_during_the_run_measures_its_links_by_the_clock_of_the_run(stage):
    server = stage.peer("server")
    epoch_s = time.monotonic() - 40.0
    tasks = [ScheduledTask(40.5, 0, 0), ScheduledTask(70.0, 1, 0)]
    stage.device("cam", {"server": server}, epoch_s=epoch_s, arrivals=tasks)
    for _ in range(3):
        probe = server.hear(Probe)
        server.say("cam", ProbeAck(probe.sequence, time.monotonic() - epoch_s + 0.02))
    stage.wait(Ready)
    stage.tell("cam", Start(epoch_s))
    assert server.hear(Task).sent_s == pytest.approx(40.5, abs=LATENESS_S)


@pytest.mark.parametrize("time_scale", [1.0, 3.0])
def test_a_server_serves_one_task_after_the_other_at_its_pace(stage, time_scale):
    address = fresh_address()
    stage.server("server", ["cam"], address=address, work_flop=5e7, time_scale=time_scale)  # 50 ms
    cam = stage.peer("cam", {"server": address})
    stage.wait(Ready)
    stage.tell("server", Start(time.monotonic()))
    time.sleep(0.05)
    began_s = time.monotonic()
    for task_id in range(3):
        cam.say("server", Task(task_id, "cam", 1, 1, 0.0, (), IMAGE), Tensor(IMAGE, bytes([task_id] * 64)))
    acks = [cam.hear(Ack) for _ in range(3)]
    results = [cam.hear(Result) for _ in range(3)]
    real_s = time.monotonic() - began_s
    assert [(ack.task_id, ack.backlog) for ack in acks] == [(0, 1), (1, 2), (2, 3)]
    assert [(result.task_id, result.prediction, result.exit_stage) for result in results] == [
        (0, 0, 1),
        (1, 1, 1),
        (2, 2, 1),
    ]
    hops = [result.hops[-1] for result in results]
    assert all(0.05 - 1e-6 <= hop.finished_s - hop.started_s < 0.05 + LATENESS_S for hop in hops)
    assert hops[1].started_s >= hops[0].finished_s
    assert hops[2].started_s >= hops[1].finished_s
    assert 0.15 * time_scale <= real_s < 0.15 * time_scale + 3 * LATENESS_S


def test_a_change_of_capacity_reaches_the_task_in_service(stage):
    address = fresh_address()
    stage.server("server", ["cam"], address=address, work_flop=2e9)  # 2 s
    cam = stage.peer("cam", {"server": address})
    stage.wait(Ready)
    stage.tell("server", Start(time.monotonic()))
    cam.say("server", Task(1, "cam", 1, 1, 0.0, (), IMAGE), PICTURE)
    cam.hear(Ack)
    began_s = time.monotonic()
    time.sleep(0.1)
    stage.tell("server", SetCapacity(1e10))
    cam.hear(Result)
    # 0.1 s at 1 GFLOP/s leave 1.9 GFLOP, which take 0.19 s at ten times the speed.
    assert 0.28 < time.monotonic() - began_s < 0.29 + 3 * LATENESS_S


def test_an_answer_that_cannot_be_sent_is_noted(stage):
    address = fresh_address()
    stage.server("server", ["cam"], address=address)
    cam = stage.peer("cam", {"server": address})
    stage.wait(Ready)
    stage.tell("server", Start(time.monotonic()))
    cam.say("server", Task(1, "elsewhere", 1, 1, 0.0, (), IMAGE), PICTURE)
    (event,) = stage.wait(EventRecord)
    assert (event.kind, event.node) == ("unsent", "server")
    assert event.detail.startswith("Result to elsewhere: ")
    cam.say("server", Task(2, "cam", 1, 1, 0.0, (), IMAGE), PICTURE)
    assert cam.hear(Result).task_id == 2


def test_a_server_answers_an_offer_over_the_control_channel(stage):
    from node_agent.wire import Report

    address = fresh_address()
    stage.server("server", ["cam"], address=address)
    cam = stage.peer("cam", {"server": address})
    stage.wait(Ready)
    stage.tell("server", Start(time.monotonic()))
    cam.say("server", Offer(0, 0, 5.0, ((5.0, ()),), 0.0, False, True), channel="control")
    report = cam.hear(Report, channel="control")
    assert (report.slot, report.round, report.arrival_per_s) == (0, 0, 5.0)
    # As declared; it is measuring its speed at this moment, which has not taken longer than usual.
    assert report.service_per_s == pytest.approx(20.0)
    assert report.marginal_s > 1 / 20


def test_under_a_steady_stream_of_messages_timers_are_met_and_commands_heard(stage):
    loud, good = stage.peer("loud"), stage.peer("good")
    arrivals = [ScheduledTask(0.1 * number, number, 0) for number in range(1, 7)]
    stage.device("cam", {"loud": loud, "good": good}, arrivals=arrivals)
    answer_probes(loud, "cam")
    answer_probes(good, "cam")
    stage.wait(Ready)
    refused, quiet = [], threading.Event()
    frames = encode(Ack(999, 1, 0.0, 1))

    def shout():
        while not quiet.is_set():
            if not loud.transport.send("cam", "data", frames):  # all queues on the way are full
                refused.append(1)
                time.sleep(0.001)

    shouting = threading.Thread(target=shout)
    shouting.start()
    try:
        while not refused:
            time.sleep(0.01)
        stage.tell("cam", Start(time.monotonic()))
        assert good.hear(Task).task_id in range(1, 7)
        before = len(refused)
        stage.tell("cam", Stop())
        deadline_s = time.monotonic() + 5.0
        while stage.alive() and time.monotonic() < deadline_s:
            time.sleep(0.01)
        assert stage.alive() == []
        assert len(refused) > before  # it never fell silent
    finally:
        quiet.set()
        shouting.join()


def test_what_came_in_a_burst_counts_as_received_when_it_came(stage):
    """A turn takes them one after the other, and each costs the ones behind it time."""
    address = fresh_address()
    stage.server("server", ["cam"], address=address)
    cam = stage.peer("cam", {"server": address})
    stage.wait(Ready)
    stage.tell("server", Start(time.monotonic() - 1.0))
    time.sleep(0.05)
    for task_id in range(40):
        cam.say("server", Task(task_id, "cam", 1, 1, 0.0, (), IMAGE), PICTURE)
    acks = [cam.hear(Ack) for _ in range(40)]
    times_s = [ack.received_s for ack in acks]
    assert times_s == sorted(times_s)
    assert len(set(times_s)) < 40


@pytest.mark.parametrize(
    ("work_flop", "long_turn_s", "several"),
    [(0.0, LONG_TURN_S, True), (0.0, 0.0, False), (5e6, LONG_TURN_S, False)],  # the last one is paced: 5 ms
)
def test_waiting_tasks_that_nothing_paces_share_a_turn_until_it_is_long(
    stage, monkeypatch, work_flop, long_turn_s, several
):
    turns, served_in = 0, []
    woken_by, start = Agent._woken_by, PacedExecutor.start

    def count_turn(agent, *, may_sleep):
        nonlocal turns
        turns += 1
        return woken_by(agent, may_sleep=may_sleep)

    def count_inference(executor, *arguments):
        served_in.append(turns)
        start(executor, *arguments)

    monkeypatch.setattr(Agent, "_woken_by", count_turn)
    monkeypatch.setattr(PacedExecutor, "start", count_inference)
    monkeypatch.setattr("node_agent.process.agent.LONG_TURN_S", long_turn_s)
    address = fresh_address()
    stage.server("server", ["cam"], address=address, work_flop=work_flop)
    cam = stage.peer("cam", {"server": address})
    stage.wait(Ready)
    for task_id in range(40):  # they wait for time zero
        cam.say("server", Task(task_id, "cam", 1, 1, 0.0, (), IMAGE), PICTURE)
    time.sleep(0.1)
    stage.tell("server", Start(time.monotonic()))
    assert [cam.hear(Result).task_id for _ in range(40)] == list(range(40))
    assert (max(Counter(served_in).values()) > 1) == several


def test_nothing_is_received_before_it_is_sent(stage):
    address = fresh_address()
    stage.server("server", ["cam"], address=address)
    cam = stage.peer("cam", {"server": address})
    stage.wait(Ready)
    epoch_s = time.monotonic()
    stage.tell("server", Start(epoch_s))
    time.sleep(0.05)
    for task_id in range(200):
        sent_s = time.monotonic() - epoch_s
        cam.say("server", Task(task_id, "cam", 1, 1, sent_s, (), IMAGE), PICTURE)
        assert cam.hear(Ack).received_s >= sent_s
    cam.say("server", Task(200, "cam", 1, 1, 1e6, (), IMAGE), PICTURE)  # as no honest clock says
    assert cam.hear(Ack).received_s <= time.monotonic() - epoch_s


def test_a_task_does_not_wait_for_a_servers_measurement_of_itself(stage):
    address = fresh_address()
    stage.server("server", ["cam"], address=address, work_flop=1e9)  # 1 s
    cam = stage.peer("cam", {"server": address})
    stage.wait(Ready)
    epoch_s = time.monotonic()
    stage.tell("server", Start(epoch_s))
    time.sleep(0.05)
    cam.say("server", Offer(0, 0, 1.0, (), 0.05, False, False), channel="control")  # a slot begins: it measures itself
    cam.hear(Report, channel="control")
    time.sleep(0.3)
    cam.say("server", Task(1, "cam", 1, 1, 0.0, (), IMAGE), PICTURE)
    hop = cam.hear(Result).hops[-1]
    assert hop.received_s > 0.3
    assert hop.started_s - hop.received_s < LATENESS_S  # not the 0.7 s that were left of the measurement
    assert 1.0 - 1e-6 <= hop.finished_s - hop.started_s < 1.0 + LATENESS_S
