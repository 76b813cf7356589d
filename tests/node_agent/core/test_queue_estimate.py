"""The estimate of a receiver's queue: by hand, out of order, as it ages, and against the true queue of a network."""

import math

import numpy as np
import pytest

from node_agent.core.offloading.neighbour import Receiver
from node_agent.core.offloading.queue_estimate import Flow, QueueEstimate
from node_agent.core.offloading.routing import EXPIRY_SLOTS
from node_agent.dtoee.queue_state import mean_wait_s
from node_agent.wire import Ack, Status
from tests.node_agent.core.test_under_way import report_of
from tests.node_agent.virtual import broad, three_stages

ALONE = Flow(0.0, 10.0, 0.0, 1.0)  # nobody else sends tasks of 0.1 s there
LINK_S, BACK_S = 0.02, 0.01


def at(queue, now_s, flow=ALONE):
    """The work that a task finds which is sent now."""
    return queue.at(now_s + LINK_S, LINK_S, now_s - BACK_S, flow)


def test_the_work_falls_by_service_and_rises_with_each_own_task_on_its_way():
    queue = QueueEstimate()
    assert queue.told(0.5, 1.0)
    assert at(queue, 1.0) == pytest.approx(0.5 - LINK_S)
    assert at(queue, 1.3) == pytest.approx(0.2 - LINK_S)
    queue.sent(1.3)
    assert at(queue, 1.3) == pytest.approx(0.3 - LINK_S)
    assert at(queue, 1.31) == pytest.approx(0.29 - LINK_S)
    queue.sent(1.31)
    assert at(queue, 1.31) == pytest.approx(0.39 - LINK_S)
    queue.settled(1.3)  # acknowledged with a statement that includes it
    assert queue.told(0.29, 1.3 + LINK_S)
    assert at(queue, 1.32) == pytest.approx(0.29 - LINK_S + 0.1)


def test_the_work_of_an_idle_receiver_never_becomes_negative():
    queue = QueueEstimate()
    queue.told(0.1, 1.0)
    assert at(queue, 9.0) == 0.0
    queue.sent(9.0)
    assert at(queue, 9.0) == pytest.approx(0.1)


def test_the_later_statement_counts_whichever_arrives_first():
    receiver = Receiver("b1", report=report_of(0), report_as_sent=report_of(0))
    receiver.set_out(0.9)
    receiver.stated(Status(5, work_s=0.5, sent_s=1.2), 1.25)
    receiver.settle(0.9, Ack(1, 1, 1.1, 1, 0.1))  # made before the status, and overtaken by it
    assert (receiver.told_backlog, receiver.queue.work_s, receiver.queue.at_s) == (5, 0.5, 1.2)
    assert receiver.unacked == len(receiver.queue.under_way_s) == 0
    receiver.set_out(1.3)
    receiver.settle(1.3, Ack(2, 2, 1.35, 2, 0.2))
    assert (receiver.told_backlog, receiver.queue.work_s, receiver.queue.at_s) == (2, 0.2, 1.35)


def test_statements_without_work_count_by_their_backlog():
    receiver = Receiver("b1", report=report_of(0), report_as_sent=report_of(0))  # 0.1 s for a task
    receiver.stated(Status(3), 2.0)
    assert (receiver.queue.work_s, receiver.queue.at_s) == (pytest.approx(0.3), 2.0)


def test_tasks_without_an_acknowledgement_pile_up_at_a_receiver_that_is_gone():
    """By the link's time they have long arrived and been served; but then they would have been acknowledged."""
    receiver = Receiver("b1", report=report_of(0), report_as_sent=report_of(0))
    receiver.link.observe_task(LINK_S)
    receiver.link.observe_back(BACK_S)
    receiver.stated(Status(0, work_s=0.0, sent_s=1.0), 1.0)
    price_s = [receiver.candidate(0.5, 2.0, fresh=True).price_s]
    for number in range(5):
        receiver.set_out(2.0 + 0.2 * number)
        now_s = 2.1 + 0.2 * number
        candidate = receiver.candidate(0.5, now_s, fresh=True)
        assert candidate.work_s == pytest.approx(0.1 * (number + 1), abs=0.001 + LINK_S + candidate.link_s)
        assert candidate.link_s == pytest.approx(now_s - BACK_S - 2.0)
        price_s.append(candidate.price_s)
    assert price_s == sorted(price_s)
    assert price_s[-1] > price_s[0] + 0.8


def test_old_knowledge_becomes_the_stationary_queue_and_so_does_none():
    flow = Flow(6.0, 10.0, 0.5, 1.0)
    known, unknown = QueueEstimate(), QueueEstimate()
    known.told(3.0, 0.0)
    assert at(known, 0.0, flow) > 2.9
    for queue in (known, unknown):
        assert at(queue, 1e4, flow) == pytest.approx(mean_wait_s(*flow), rel=1e-6)
    assert unknown.age_s(1.0) == math.inf
    known.sent(1e4)
    known.forget()
    assert known.age_s(1.0) == math.inf
    assert at(known, 1e4, flow) == pytest.approx(mean_wait_s(*flow) + 0.1, rel=0.2)


def test_prices_expire():
    receiver = Receiver("b1", expiry_s=10.0)
    assert not receiver.candidate(0.5, 1.0, fresh=True).current
    receiver.reported(report_of(0), None)  # sent at 0 s
    assert receiver.candidate(0.5, 9.9, fresh=True).current
    assert not receiver.candidate(0.5, 10.1, fresh=True).current
    routing = three_stages().nodes["d1"].routing
    assert {each.expiry_s for each in routing.receivers.values()} == {EXPIRY_SLOTS * 3.0}


def test_a_new_service_rate_changes_the_price_at_once():
    receiver = Receiver("b1", report=report_of(0), report_as_sent=report_of(0))
    before = receiver.report
    idle_s = receiver.candidate(0.5, 1.0, fresh=True).price_s
    assert not receiver.stated(Status(0, work_s=0.0, sent_s=1.0), 1.0)  # says nothing of the rate
    assert receiver.stated(Status(0, 10.0 / 3, work_s=0.0, sent_s=1.1), 1.1)
    assert before.service_per_s == 10.0
    assert receiver.candidate(0.5, 1.1, fresh=True).price_s == pytest.approx(idle_s + 0.2)
    assert receiver.report.marginal_s - receiver.report.local_s == pytest.approx(before.marginal_s - before.local_s)
    assert not receiver.stated(Status(0, 10.0, work_s=0.0, sent_s=1.05), 1.2)  # older than what is known
    assert receiver.report.service_per_s == pytest.approx(10.0 / 3)


def test_the_estimate_follows_the_true_queues_of_a_network():
    """At every choice, compare the estimate with the work that the task finds; statements alone are worse."""
    world = three_stages(policy="dto-ee", seed=3, debug=False, link_s=broad)
    errors: dict[str, list[float]] = {"estimate": [], "last statement": [], "always the mean": []}

    def look(world):
        for device in world.devices:
            for receiver in world.nodes[device].routing.receivers.values():
                now_s = world.now_s
                estimate_s = receiver.candidate(0.0, now_s, fresh=True).work_s
                told_s, age_s = receiver.queue.work_s, receiver.queue.age_s(now_s)
                arrival_s = now_s + receiver.link.transfer_s
                world.at(arrival_s, lambda r=receiver, e=estimate_s, t=told_s, a=age_s: compare(world, r.name, e, t, a))

    def compare(world, name, estimate_s, told_s, age_s):
        true_s = world.nodes[name].tasks.work_s
        if age_s < math.inf:
            errors["estimate"].append(estimate_s - true_s)
            errors["last statement"].append(told_s - true_s)
            errors["always the mean"].append(true_s)

    world.plan = [(5.0 + 0.05 * step, look) for step in range(600)]
    world.run(36.0)
    assert world.all_completed
    spread = {name: float(np.sqrt(np.mean(np.square(error)))) for name, error in errors.items()}
    spread["always the mean"] = float(np.std(errors["always the mean"]))
    assert len(errors["estimate"]) > 5000
    assert spread["estimate"] < 0.8 * spread["last statement"]
    assert spread["estimate"] < 0.9 * spread["always the mean"]
    assert abs(np.mean(errors["estimate"])) < 0.005
