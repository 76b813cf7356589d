"""The base of all drivers: before the start, while a node is down, and with repeated events."""

import itertools

import msgspec
import pytest

from node_agent.core.events import ComputeFinished
from node_agent.core.machine import DeviceCore, ServerCore, UnexpectedEvent
from node_agent.process.driver import HELD_MESSAGES
from node_agent.records import DEVICE_DOWN, EventRecord, SampleRecord, TaskRecord
from node_agent.wire import Ack, Probe, ProbeAck, Result, Status, Task
from tests.node_agent.played import PlayedNode
from tests.node_agent.small import IMAGE, PICTURE, node_config
from tests.node_agent.virtual import World, synthetic_table

SURE = ComputeFinished(1, 0.9, None, overrun=False)


def server():
    return PlayedNode(ServerCore(node_config("server", 1, offloaders=("cam",)), synthetic_table(1)))


def device():
    return PlayedNode(DeviceCore(node_config("cam", 0, receivers=("server",))))


def bring(node, task_id, received_s=None):
    node.hear("cam", Task(task_id, "cam", 1, 1, 0.0, (), IMAGE), PICTURE, received_s)


def acknowledged(node):
    return [(message.task_id, message.received_s) for _, message in node.sent(Ack)]


def test_before_the_start_probes_are_answered_and_all_else_waits_in_its_order():
    node = server()
    node.time_s = 5000.0  # as if since the boot of the machine
    for task_id in (3, 1, 2):
        bring(node, task_id, received_s=5000.0)
    node.hear("cam", Probe(9, IMAGE), PICTURE, 4999.5)
    assert [message for _, message in node.sent(ProbeAck)] == [ProbeAck(9, 4999.5)]
    assert acknowledged(node) == []
    node.time_s = 0.25
    node.start()
    assert acknowledged(node) == [(3, 0.25), (1, 0.25), (2, 0.25)]  # now, not by the earlier zero of time
    bring(node, 4, received_s=0.125)
    assert acknowledged(node)[3:] == [(4, 0.125)]


def test_with_too_many_messages_before_the_start_the_oldest_is_dropped_and_an_event_published():
    node = server()
    node.time_s = 5000.0
    for task_id in range(HELD_MESSAGES + 2):
        bring(node, task_id)
    noted = node.published(EventRecord)
    assert [(event.kind, event.time_s, event.node) for event in noted] == [("dropped", 0.0, "server")] * 2
    assert noted[0].detail == "before the start, Task: too much is queued"
    node.start()
    assert [task_id for task_id, _ in acknowledged(node)] == list(range(2, HELD_MESSAGES + 2))


def test_timers_set_before_the_start_are_forgotten():
    node = device()
    node.measure_links()
    assert any(key[0] == "probe" for key in node.timers)
    node.start()
    assert not any(key[0] == "probe" for key in node.timers)


def test_tasks_offered_before_the_start_are_lost_at_the_start():
    node = device()
    node.offer(4, 2, 1.5)
    node.offer(5, 0, 2.5)
    assert node.published(TaskRecord) == []
    node.time_s = 3.0
    node.start()
    node.offer(6, 1, 3.5)
    lost = node.published(TaskRecord)
    assert [(task.id, task.sample, task.created_s, task.device) for task in lost] == [
        (4, 2, 1.5, "cam"), (5, 0, 2.5, "cam"),
    ]  # fmt: skip
    assert {(task.status, task.reason, task.attempts) for task in lost} == {("lost", DEVICE_DOWN, 0)}
    assert [message.task_id for _, message in node.sent(Task)] == [6]


def test_a_node_that_goes_down_forgets_its_work_its_timers_and_what_it_held():
    node = server()
    node.start()
    bring(node, 1)
    assert node.serving is not None
    node.go_down()
    assert (node.up, node.started, node.serving, node.timers) == (False, False, None, {})
    bring(node, 2)  # dropped: the node is down
    node.hear("cam", Probe(9, IMAGE), PICTURE)
    node.come_up(server().core)
    bring(node, 3)
    node.go_down()
    node.come_up(server().core)
    assert node.sent(ProbeAck) == []
    node.start()
    assert [task_id for task_id, _ in acknowledged(node)] == [1]
    bring(node, 4)
    node.answer(SURE)
    assert [message.task_id for _, message in node.sent(Result)] == [4]


def test_a_node_that_is_down_handles_nothing():
    node = server()
    node.go_down()
    with pytest.raises(AssertionError, match="server is down"):
        node.handle(SURE)


def test_events_of_unsent_messages_are_thinned_out():
    node = server()
    node.start()
    node.connected = False
    node.time_s = 7.0
    for task_id in range(40):
        bring(node, task_id)
    noted = node.published(EventRecord)
    assert {(event.kind, event.time_s) for event in noted} == {("unsent", 7.0)}
    detail = "Ack to cam: not connected, or too much is queued"
    assert [event.detail for event in noted] == [
        *itertools.repeat(detail, 8), f"{detail} (16 times so far)", f"{detail} (32 times so far)",
    ]  # fmt: skip


def test_a_report_of_a_queue_to_a_neighbour_that_is_gone_leaves_no_event():
    config = msgspec.structs.replace(node_config("server", 1, offloaders=("cam",)), bounded=("cam",))
    node = PlayedNode(ServerCore(config, synthetic_table(1)))
    node.start()
    node.connected = False
    for _ in range(20):
        node.fire(("status",))
    assert len(node.sent(Status)) == 20
    assert node.published(EventRecord) == []
    bring(node, 1)
    assert [event.kind for event in node.published(EventRecord)] == ["unsent"]


def test_after_a_restart_events_are_counted_from_zero():
    node = server()
    node.connected = False
    for _ in range(2):
        node.start()
        for task_id in range(20):
            bring(node, task_id)
        node.go_down()
        node.come_up(server().core)
    assert len(node.published(EventRecord)) == 2 * 9


def test_a_sample_counts_the_time_of_a_service_at_once_and_again_when_it_ends():
    node = server()
    node.start()
    found = []
    bring(node, 1)
    for time_s, ends in ((1.0, False), (2.5, True), (3.5, False)):
        node.time_s = time_s
        if ends:
            node.answer(SURE)
            bring(node, 2)
        node.end()
        found.append(node.published(SampleRecord)[-1])
    assert [(sample.busy_s, sample.served, sample.served_s) for sample in found] == [
        (1.0, 0, 0.0), (1.5, 1, 2.5), (1.0, 0, 0.0),
    ]  # fmt: skip


def test_the_last_interval_is_published_at_the_end_if_there_was_one():
    node = server()
    node.end()
    assert node.records == []
    node.start()
    node.time_s = 0.5
    node.end()
    assert [record.time_s for record in node.published(SampleRecord)] == [0.5]


def test_what_the_node_raises_goes_up_as_it_is():
    node = device()
    node.start()
    with pytest.raises(UnexpectedEvent, match="cam"):
        node.handle(SURE)


def test_a_device_killed_in_the_run_loses_the_tasks_it_missed_and_goes_on():
    world = World(
        {"a1": (1, 30.0)}, {"d1": 4.0}, plan=[(10.0, lambda world: world.kill("d1")), (14.0, lambda w: w.revive("d1"))]
    )
    tasks = world.run(30.0, drain_s=5.0)
    lost = [task for task in tasks if task.status == "lost"]
    assert len(lost) > 5
    assert {task.reason for task in lost} == {DEVICE_DOWN}
    assert min(task.created_s for task in lost) > 10.0
    assert 13.0 < max(task.created_s for task in lost) < 14.1  # until its links were measured
    after = [task for task in tasks if task.created_s > 14.1]
    assert after
    assert {task.status for task in after} == {"completed"}
    assert len({task.id for task in tasks}) == len(tasks)
