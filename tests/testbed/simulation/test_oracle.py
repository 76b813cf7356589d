"""Runs with an oracle: offloaders know every queue, the tasks of others on their way included."""

from dataclasses import replace

import pytest

from node_agent.core.offloading.queue_estimate import Flow
from node_agent.errors import InputError
from testbed.run.observer import SilentObserver
from testbed.simulation.oracle import TrueQueue
from testbed.simulation.simulator import SimulatedRun, Simulation
from testbed.virtual_time import Calendar
from tests.testbed.simulated import plan
from tests.testbed.small import SMALL

SED = "shortest-expected-delay"


class Nobody:
    """Takes the records of a run, and needs none."""

    def take(self, record, now_s): ...

    def finished(self, now_s):  # noqa: ARG002 - the signature of bookkeeping
        return False

    def battery_due_s(self, now_s):  # noqa: ARG002 - the signature of bookkeeping
        return None


@pytest.fixture
def course(tmp_path):
    """A run with an oracle, halted before time zero."""
    made = plan(tmp_path, SMALL, policy=SED, seed=4)
    course = SimulatedRun(replace(made, debug=False), Calendar(), Nobody(), oracle=True)
    course.measure_links()
    return course


def found_s(course, offloader, receiver, link_s=0.01):
    """The work that a task finds if it is sent now."""
    queue = course.nodes[offloader].core.routing.receivers[receiver].queue
    assert isinstance(queue, TrueQueue)
    now_s = course._agenda.now_s
    assert queue.age_s(now_s) == 0
    return queue.at(now_s + link_s, link_s, now_s, Flow(3.0, 30.0, 0.0, 1.0))


def test_it_knows_the_work_at_the_server_and_all_tasks_on_their_way(course):
    course.start()
    agenda, server = course._agenda, course.nodes["near-1"]
    usual_s = server.processor.usual_s
    assert found_s(course, "cam-1", "near-1") == 0
    # Three tasks of the other camera in a row: they arrive together, some 10 ms later.
    other = course.nodes["cam-2"].core.routing.receivers["near-1"]
    for sent_s in (0.0, 0.0, 0.0):
        other.queue.sent(sent_s)
    there_s = other.link.transfer_s
    assert found_s(course, "cam-1", "near-1", link_s=there_s + 0.001) == pytest.approx(3 * usual_s - 0.001)
    assert found_s(course, "cam-1", "near-1", link_s=there_s - 0.001) == 0  # it arrives before them
    # They are acknowledged only later than they arrive; they are never counted twice.
    agenda.now_s = there_s + 1e-6
    assert found_s(course, "cam-1", "near-1", link_s=0.0) == 0


def test_it_counts_the_task_in_service_by_what_is_left_of_it(course):
    course.start()
    agenda, server = course._agenda, course.nodes["near-2"]
    while server.core.tasks.backlog < 2:
        agenda.run(agenda.now_s + 0.001, 10_000)
    usual_s = server.processor.usual_s
    waiting = server.core.tasks.backlog - 1
    left_s = server.processor.left_s
    assert 0 < left_s <= usual_s
    coming = [
        sent_s + receiver.link.transfer_s
        for name in ("cam-1", "cam-2")
        for receiver in [course.nodes[name].core.routing.receivers["near-2"]]
        for sent_s in receiver.queue.under_way_s
        if sent_s + receiver.link.transfer_s > agenda.now_s
    ]
    assert found_s(course, "cam-1", "near-2", link_s=0.0) == pytest.approx(left_s + waiting * usual_s)
    # A server that slows has more left, at once.
    course.set_capacity("near-2", 0.1e9)
    assert found_s(course, "cam-1", "near-2", link_s=0.0) == pytest.approx(3 * (left_s + waiting * usual_s))
    assert len(coming) <= 2


def test_a_server_that_is_down_is_estimated_as_before(course):
    course.start()
    course.nodes["near-1"].go_down()
    plain = course.nodes["cam-1"].core.routing.receivers["near-1"].queue
    assert found_s(course, "cam-1", "near-1") == super(TrueQueue, plain).at(0.01, 0.01, 0.0, Flow(3.0, 30.0, 0.0, 1.0))


def test_true_knowledge_helps_and_says_so(tmp_path):
    runs = {}
    for oracle in (False, True):
        made = plan(
            tmp_path / str(oracle), SMALL.replace("rate: 5 /s", "rate: 9 /s"), policy=SED, seed=3, duration_s=40.0
        )
        runs[oracle] = Simulation(made, SilentObserver(), oracle=oracle).run().summary
    assert runs[True]["delay_s"]["mean"] < runs[False]["delay_s"]["mean"]
    assert runs[True]["fidelity"]["oracle"] is True
    assert runs[False]["fidelity"]["oracle"] is False


@pytest.mark.parametrize("policy", ["uniform", "dto-ee-2c", f"{SED}:knowledge=reports"])
def test_a_policy_that_would_not_look_is_refused(tmp_path, policy):
    with pytest.raises(InputError, match="does not bring queues up to date"):
        Simulation(plan(tmp_path, SMALL, policy=policy), SilentObserver(), oracle=True)


def test_all_offloaders_have_it(course):
    queues = [r.queue for node in course.nodes.values() for r in node.core.routing.receivers.values()]
    assert len(queues) == 6
    assert all(isinstance(queue, TrueQueue) for queue in queues)
