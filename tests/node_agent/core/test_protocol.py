"""A whole network of node cores in virtual time: each case of the protocol."""

import random
from itertools import pairwise

import numpy as np
import pytest

from node_agent.core.config import Timeouts
from node_agent.core.estimators import LinkTime
from node_agent.core.events import ComputeFinished, Publish, Received, RunStarted, StartCompute, TaskArrived, TimerFired
from node_agent.core.machine import ServerCore, UnexpectedEvent
from node_agent.errors import TestbedError
from node_agent.policies import policy_names
from node_agent.wire import Ack, Assignment, Offer, Result, Task, Tensor
from tests.node_agent.small import PICTURE, node_config
from tests.node_agent.virtual import DEAD, IMAGE, World, synthetic_table, three_stages


def last_shares(world: World, node: str) -> dict[str, float]:
    return [d for d in world.decisions if d.node == node][-1].offload


def test_every_task_ends_once_with_hops_in_order():
    world = three_stages()
    tasks = world.run(30)
    assert len(tasks) > 500
    assert len({t.id for t in tasks}) == len(tasks)
    assert {t.status for t in tasks} == {"completed"}
    assert {t.exit_stage for t in tasks} == {1, 2, 3}
    for task in tasks:
        assert len(task.hops) == task.exit_stage
        before = task.created_s
        for hop in task.hops:
            assert before < hop.received_s <= hop.started_s < hop.finished_s <= hop.sent_s
            before = hop.sent_s
        assert before < task.completed_s
    assert world.events == []


@pytest.mark.parametrize("policy", policy_names())
@pytest.mark.parametrize("late", [("a1", "b2", "c1"), ("d1", "d4")])
def test_messages_that_come_before_a_nodes_time_0_break_nothing(policy, late):
    """Agents of a live run start some milliseconds apart; `debug` checks every state."""
    world = three_stages(policy=policy, behind_s=dict.fromkeys(late, 0.03))
    tasks = world.run(6)
    assert world.all_completed
    assert len(tasks) > 100


def test_dto_ee_is_quicker_than_its_rivals_on_the_same_workload():
    delay = {}
    for policy in ("dto-ee-static", "computing-first", "bandwidth-first"):
        parameters = {"adapt_thresholds": False} if policy == "dto-ee-static" else {}
        world = three_stages(policy=policy, parameters=parameters)
        world.run(60)
        delay[policy] = world.mean_delay_s()
    assert delay["dto-ee-static"] < 0.97 * delay["computing-first"]
    assert delay["dto-ee-static"] < 0.9 * delay["bandwidth-first"]


@pytest.mark.slow
def test_gallagers_update_finds_the_same_plan():
    plans = []
    for update in ("momentum", "gallager"):
        parameters = {"update": update, "most_rounds": 300, "stop_gap": 0.0, "adapt_thresholds": False}
        world = three_stages(parameters=parameters, slot_s=60.0)
        world.run(58.0, tasks=False)
        plans.append({d.node: d.offload for d in world.decisions})
    for node, shares in plans[0].items():
        assert plans[1][node] == pytest.approx(shares, abs=0.06)


def test_rounds_stop_when_every_device_has_certified_a_small_gap():
    world = three_stages()
    world.run(29.9, tasks=False)
    for device in world.devices:
        decisions = [d for d in world.decisions if d.node == device]
        assert [d.slot for d in decisions] == list(range(10))
        assert decisions[3].gap < 0.02
        assert 1 < decisions[3].rounds < 24
    assert {d.slot for d in world.decisions if d.node == "c2"} == set(range(10))


@pytest.mark.slow
def test_rounds_end_where_the_gap_falls_no_further():
    """Random service times make prices jump, so that the gap stalls at the level of the noise."""

    def rounds(stop_gap: float) -> int:
        chance = random.Random(1)
        moments = [(number / 10, 30 * chance.uniform(0.8, 1.2)) for number in range(1, 600)]
        plan = [(at_s, lambda world, rate=rate: world.set_speed("a1", rate)) for at_s, rate in moments]
        world = three_stages(parameters={"stop_gap": stop_gap, "most_rounds": 40}, slot_s=10.0, plan=plan)
        world.run(60)
        return sum(d.rounds for d in world.decisions if d.node == "d1")

    assert rounds(0.01) < 0.7 * rounds(0.0)  # a stop gap of 0 plays all rounds


def test_without_tasks_a_slot_costs_one_round_until_tasks_come_again():
    world = three_stages()
    world.run(29.9, tasks=False)
    rounds = {node: {d.slot: d.rounds for d in world.decisions if d.node == node} for node in ("d1", "a1", "c1")}
    for node, of_slot in rounds.items():
        assert of_slot[2] > 1, node
        assert [of_slot[slot] for slot in range(5, 10)] == [1] * 5, node
    rates = [d.arrival_rate_per_s for d in world.decisions if d.node == "d1"]
    assert all(later < earlier for earlier, later in pairwise(rates))
    assert rates[-1] < 0.2 * rates[0]
    world._schedule("d1", 30.5)
    world._run_until(39)
    assert [task.status for task in world.tasks] == ["completed"]
    later = {d.slot: d.rounds for d in world.decisions if d.node == "d1"}
    assert later[10] == 1  # the slot began before the task came
    assert later[11] > 1
    assert {d.slot: d.rounds for d in world.decisions if d.node == "d2"}[11] == 1  # d2 has no tasks


def test_thresholds_follow_the_exchange_rate():
    ends = {}
    for theta_s in (0.05, 20.0):
        world = three_stages(theta_s=theta_s)
        world.run(60)
        ends[theta_s] = [d.threshold for d in world.decisions if d.threshold is not None][-1]
    assert ends[0.05] < 0.75 < ends[20.0]


def test_slowed_server_loses_traffic_and_wins_it_back():
    world = three_stages(plan=[(30, lambda w: w.set_speed("a1", 10)), (60, lambda w: w.set_speed("a1", 30))])
    world.run(90)
    share = {d.slot: d.offload["a1"] for d in world.decisions if d.node == "d1"}
    assert share[13] < 0.5 * share[9]
    assert share[23] > 1.5 * share[19]


def test_server_without_tasks_notices_that_it_is_fast_again():
    world = three_stages()
    world.run(0.1, tasks=False)
    server = world.nodes["a1"]
    server.tasks.service.observe(1.0)
    slow = server.tasks.service_rate_per_s
    world._run_until(60.0)
    assert server.tasks.service_rate_per_s > 2 * slow
    assert server.tasks.service_rate_per_s == pytest.approx(30.0, rel=0.01)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_killed_server_costs_no_task(stage):
    victim = {1: "a1", 2: "b1", 3: "c1"}[stage]
    world = three_stages(timeouts=Timeouts(ack_s=0.5, result_s=4.0), plan=[(10, lambda w: w.kill(victim))])
    tasks = world.run(30)
    assert {t.status for t in tasks} == {"completed"}
    assert any(t.attempts > 1 for t in tasks)
    offloader = {1: "d1", 2: "a1", 3: "b1"}[stage]
    assert last_shares(world, offloader)[victim] == 0
    assert {e.kind for e in world.events} >= {"receiver-silent"}


@pytest.mark.slow
def test_returning_server_is_used_again():
    world = three_stages(
        timeouts=Timeouts(ack_s=0.5, result_s=4.0),
        plan=[(9.5, lambda w: w.kill("a1")), (20.5, lambda w: w.revive("a1"))],
    )
    tasks = world.run(60)
    assert {t.status for t in tasks} == {"completed"}
    assert last_shares(world, "d1")["a1"] > 0.2
    assert "receiver-back" in {e.kind for e in world.events}


def test_unreachable_next_stage_forces_an_exit():
    world = three_stages(timeouts=Timeouts(ack_s=0.5, result_s=6.0), plan=[(9, lambda w: w.kill("c1", "c2"))])
    tasks = world.run(30)
    late = [t for t in tasks if t.created_s > 15]
    assert {t.status for t in late} == {"completed"}
    assert any(t.forced_exit for t in late)
    assert {t.exit_stage for t in late} == {1, 2}


def test_task_is_reported_lost_when_nobody_answers():
    world = three_stages(timeouts=Timeouts(ack_s=0.5, result_s=2.0), plan=[(3, lambda w: w.kill("a1", "a2", "a3"))])
    tasks = world.run(10)
    lost = [t for t in tasks if t.status == "lost"]
    assert lost
    assert all("after 5 attempts" in t.reason for t in lost)
    assert len(tasks) == len({t.id for t in tasks}) == len(world.row_of)


def test_slow_link_is_measured_and_avoided():
    world = three_stages(link_s=lambda a, b, size: 0.3 if size and "a1" in (a, b) else 0.005)
    world.run(30)
    assert last_shares(world, "d1")["a1"] < 0.2


def test_lost_result_is_asked_for_again_and_duplicates_are_counted():
    world = three_stages(timeouts=Timeouts(result_s=0.05))  # shorter than any service: every task is offered again
    world.run(5)
    assert {t.status for t in world.tasks} <= {"completed", "lost"}
    world._run_until(world.now_s + 5)
    duplicates = sum(world.nodes[d].tasks.duplicates for d in world.devices)
    assert duplicates > 0
    assert len({t.id for t in world.tasks}) == len(world.tasks)


def test_silent_link_before_the_run_is_named():
    servers = {"a1": (1, 30.0), "a2": (1, 30.0), "b1": (2, 30.0)}
    world = World(servers, {"d1": 1.0}, link_s=lambda a, b, _size: DEAD if {a, b} == {"d1", "a2"} else 0.01)
    with pytest.raises(AssertionError):
        world.run(1)
    world._run_until(20.0)
    ready = {r.node: r.unreachable for r in world.records if hasattr(r, "unreachable")}
    assert ready["d1"] == ("a2",)


def test_messages_that_make_no_sense_here_are_noted_not_obeyed():
    world = three_stages()
    world.run(1, tasks=False)
    server, device = world.nodes["a1"], world.nodes["d1"]
    wrong_shape = Task(1, "d1", 1, 1, 0.0, (), IMAGE)
    activation = Tensor(world.nodes["b1"].config.input_form.usual, b"")
    effects = server.handle(Received("d1", wrong_shape, activation), 2.0)
    assert [e.record.kind for e in effects if isinstance(e, Publish)] == ["unexpected-message"]
    assert not any(isinstance(e, StartCompute) for e in effects)
    effects = device.handle(Received("a1", Offer(0, 0, 1.0, ((1.0, ()),), 0.0, False, False)), 2.0)
    assert [e.record.kind for e in effects if isinstance(e, Publish)] == ["unexpected-message"]
    assert device.handle(Received("a1", Ack(999, 1, 0.0, 1)), 2.0) == []  # an acknowledgement of an unknown task
    device.handle(Received("a1", Result(999, 1, 3, 0.9, 1, False, ())), 2.0)
    assert device.tasks.duplicates == 0  # nor a result of an unknown task


def test_second_result_of_a_task_counts_as_a_duplicate():
    world = three_stages()
    done = world.run(5)[0]
    device = world.nodes[done.device]
    device.handle(Received("a1", Result(done.id, 1, 3, 0.9, 1, False, ())), world.now_s)
    assert device.tasks.duplicates == 1
    assert len([t for t in world.tasks if t.id == done.id]) == 1


def test_driver_faults_are_loud():
    world = three_stages()
    with pytest.raises(UnexpectedEvent, match="a1"):
        world.nodes["a1"].handle(TaskArrived(1, 1, 0.0, Tensor(IMAGE, bytes(64))), 0.0)


@pytest.mark.parametrize(("policy", "rate"), [("computing-first", 0.0), ("bandwidth-first", 4e6)])
def test_probes_keep_idle_links_known(policy, rate):
    """A small message takes 5 ms, a task 10 ms. Larger probes measure the rate if the policy wants link rates."""
    world = three_stages(policy=policy, link_s=lambda _a, _b, size: 0.005 + (0.005 if size else 0) + size / 4e6)
    world.run(30, tasks=False)
    for receiver in world.nodes["a1"].routing.receivers.values():
        assert receiver.link.transfer_s == pytest.approx(0.01 + 1024 / 4e6, rel=1e-6)
        assert receiver.link.byte_per_s == pytest.approx(rate, rel=1e-6)


def test_bandwidth_first_follows_the_rates_of_links_that_differ_only_in_rate():
    slow = {"a2"}
    world = three_stages(
        policy="bandwidth-first", link_s=lambda a, b, size: 0.01 + size / (1e6 if slow & {a, b} else 3e6)
    )
    world.run(10)
    assert last_shares(world, "d1") == pytest.approx({"a1": 3 / 7, "a2": 1 / 7, "a3": 3 / 7}, rel=0.01)


def test_link_that_recovers_is_used_again():
    state = {"slow": False}

    def link_s(a, b, size):
        return 0.5 if state["slow"] and "a1" in (a, b) and size else 0.01

    world = three_stages(
        link_s=link_s,
        plan=[(12, lambda _w: state.update(slow=True)), (24, lambda _w: state.update(slow=False))],
    )
    world.run(60)
    share = {d.slot: d.offload["a1"] for d in world.decisions if d.node == "d1"}
    assert share[3] > 0.3
    assert share[7] < 0.05
    assert share[12] > 0.3  # twelve seconds after it recovered


def test_late_acknowledgement_of_an_earlier_attempt_measures_nothing():
    world = World({"a1": (1, 30.0), "b1": (2, 30.0)}, {"d1": 2.0}, timeouts=Timeouts(ack_s=0.5))
    world.run(0.1, tasks=False)
    device = world.nodes["d1"]
    sends = device.handle(TaskArrived(7, 0, 1.0, Tensor(IMAGE, bytes(64))), 1.0)
    assert any(isinstance(getattr(e, "message", None), Task) for e in sends)
    device.handle(TimerFired(("ack", 7)), 1.5)  # offered again, to the only receiver there is
    before = device.routing.receivers["a1"].link.transfer_s
    device.handle(Received("a1", Ack(7, 1, 1.01, 1)), 1.6)
    assert device.routing.receivers["a1"].link.transfer_s == before
    device.handle(Received("a1", Ack(7, 2, 1.53, 1)), 1.7)
    measured = before + LinkTime.WEIGHT * (0.03 - before)  # by the second attempt, which was sent at 1.5 s
    assert device.routing.receivers["a1"].link.transfer_s == pytest.approx(measured)
    assert measured != pytest.approx(before)


@pytest.mark.parametrize(("delay_s", "slot_s"), [(0.1, 3.0), (0.035, 1.0), (0.3, 3.0)])
def test_every_node_decides_in_every_slot_however_slow_the_rounds(delay_s, slot_s):
    world = three_stages(
        link_s=lambda _a, _b, _size: delay_s, slot_s=slot_s, timeouts=Timeouts(round_s=max(0.25, 4 * delay_s))
    )
    world.run(8 * slot_s - 0.1)
    for node in world.nodes:
        slots = [d.slot for d in world.decisions if d.node == node]
        assert sorted(set(slots)) == slots
        assert set(slots) >= set(range(7))


def test_overload_does_not_feed_itself_with_repeats():
    world = World(
        {"a1": (1, 6.0), "b1": (2, 50.0)}, {"d1": 9.0}, policy="computing-first", timeouts=Timeouts(result_s=5.0)
    )
    tasks = world.run(60)
    assert {t.status for t in tasks} == {"completed"}
    assert world.nodes["d1"].tasks.duplicates < 0.1 * len(tasks)


def test_same_seed_gives_the_same_run():
    runs = []
    for _ in range(2):
        world = three_stages(seed=5)
        world.run(10)
        runs.append([(t.id, t.completed_s, t.exit_stage) for t in world.tasks])
    assert runs[0] == runs[1]
    assert np.isfinite([done for _, done, _ in runs[0]]).all()


@pytest.mark.parametrize("confidence", [float("nan"), float("inf"), -0.1, 1.5])
def test_an_answer_that_is_no_probability_ends_the_node(confidence):
    """Damaged weights or overflowing activations give such answers; unchecked they would count as sure or unsure."""
    core = ServerCore(node_config("server", 1, offloaders=("cam",)), synthetic_table(1))
    core.handle(RunStarted(), 0.0)
    core.handle(Received("cam", Task(1, "cam", 1, 1, 2.9, (), PICTURE.form), PICTURE), 3.0)
    with pytest.raises(TestbedError, match=r"^the sub-model of stage 1 answered with a confidence of"):
        core.handle(ComputeFinished(1, confidence, None, overrun=False), 3.5)


def test_a_confidence_that_rounding_lifts_above_one_is_one():
    core = ServerCore(node_config("server", 1, offloaders=("cam",)), synthetic_table(1))
    core.handle(RunStarted(), 0.0)
    core.handle(Received("cam", Task(1, "cam", 1, 1, 2.9, (), PICTURE.form), PICTURE), 3.0)
    effects = core.handle(ComputeFinished(1, 1.0000001, None, overrun=False), 3.5)
    assert [e.message.confidence for e in effects if isinstance(getattr(e, "message", None), Result)] == [1.0]


def test_an_assignment_that_means_no_receiver_of_this_node_is_noted_and_moves_nothing():
    world = three_stages(policy="ga", parameters={"generations": 5}, seed=9)
    device = world.nodes["d1"]
    before = device.routing.row.tolist()
    device.handle(Received("c1", Assignment(1, {"b1": 1.0}, None)), 1.0)
    assert device.routing.row.tolist() == before
    noted = [e.record for e in device.handle(Received("c1", Assignment(1, {"a1": 0.0}, None)), 1.0)]
    assert [(record.kind, record.node) for record in noted] == [("unexpected-message", "d1")]
    assert device.routing.row.tolist() == before
    device.handle(Received("c1", Assignment(1, {"a1": 0.25, "a2": 0.75}, None)), 1.0)
    assert device.routing.row.tolist() == [0.25, 0.75, 0.0]
    device.handle(Received("c1", Assignment(2, {}, None)), 1.0)
    assert device.routing.row.tolist() == [0.25, 0.75, 0.0]
