"""Tasks sent on and not yet acknowledged: each counts once, whatever is lost, late or repeated."""

from collections import Counter

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from node_agent.core.config import NodeConfig, Timeouts
from node_agent.core.events import ComputeFinished, Received
from node_agent.core.machine import DeviceCore, ServerCore
from node_agent.core.offloading.neighbour import UNHEARD
from node_agent.records import TaskRecord
from node_agent.wire import Ack, InputForm, Probe, ProbeAck, Result, Status, Task, Tensor
from tests.node_agent.played import PlayedNode
from tests.node_agent.small import IMAGE, PICTURE
from tests.node_agent.virtual import ACTIVATION, World, synthetic_table

UNSURE = ComputeFinished(1, 0.0, Tensor(ACTIVATION, bytes(ACTIVATION.byte_count)), overrun=False)
DEVICES, RECEIVERS = ("d1", "d2"), ("b1", "b2", "b3")


def config(name, stage, offloaders, receivers, bound_s=None):
    return NodeConfig(
        name=name, stage=stage, stages=2, offloaders=offloaders, receivers=receivers, rank=0, peers_in_stage=1,
        declared_rate_per_s=10.0, slot_s=1e6, policy="join-shortest-queue", parameters={}, theta_s=2.0, seed=1,
        input_form=InputForm(IMAGE) if stage else None, onward_form=InputForm(ACTIVATION if stage else IMAGE),
        timeouts=Timeouts(ack_s=1.0, result_s=5.0), delay_bound_s=bound_s, debug=True,
    )  # fmt: skip


class Played(PlayedNode):
    """A node that has started; each event advances time by 10 ms."""

    def __init__(self, core):
        super().__init__(core)
        self.start()

    def handle(self, event, now_s=None):
        self.time_s += 0.01
        super().handle(event, now_s)

    @property
    def tasks(self):
        return self.sent(Task)

    def acknowledge(self, place, peer=None):
        receiver, task = self.tasks[place % len(self.tasks)]
        self.receive(Received(peer or receiver, Ack(task.task_id, task.sequence, self.time_s, 1)))

    def time_out(self, place, kinds=("ack",)):
        keys = [key for key in self.timers if key[0] in kinds]
        if keys:
            self.fire(keys[place % len(keys)])

    def time_out_all(self):
        for _ in range(1000):
            if not any(key[0] in ("ack", "result") for key in self.timers):
                return
            self.time_out(0, ("ack", "result"))
        raise AssertionError("timers without end")

    def counted(self):
        return Counter({name: r.unacked for name, r in self.core.routing.receivers.items() if r.unacked})


def report_of(backlog):
    """A report on round 0 of slot 1, from a server that takes 0.1 s for a task."""
    return replace(UNHEARD, slot=1, service_per_s=10.0, backlog=backlog, onward_paths=((1.0, (0.5,)),))


def server():
    return Played(ServerCore(config("a1", 1, DEVICES, RECEIVERS), synthetic_table(2)))


def offer(played, device, task_id, attempt):
    """Let a device offer a task, which the server serves without confidence and forwards."""
    played.receive(Received(device, Task(task_id, device, attempt, attempt, 0.0, (), IMAGE), PICTURE))
    played.answer(UNSURE)


PLACE = st.integers(0, 40)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.sampled_from(DEVICES), st.integers(1, 4), st.integers(1, 3)),
        st.tuples(st.just("served")),
        st.tuples(st.just("acknowledge"), PLACE),
        st.tuples(st.just("acknowledge"), PLACE, st.sampled_from(RECEIVERS)),  # from any receiver
        st.tuples(st.just("time out"), PLACE),
        st.tuples(st.just("says"), st.sampled_from(RECEIVERS)),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_a_server_never_counts_a_task_that_is_not_under_way(steps):
    """The counts agree after every step, and are zero when all tasks are acknowledged or given up."""
    played = server()
    for step in steps:
        match step:
            case "offer", device, task_id, attempt:
                played.receive(Received(device, Task(task_id, device, attempt, attempt, 0.0, (), IMAGE), PICTURE))
            case ("served",):
                played.answer(UNSURE)
            case "acknowledge", *place:
                if played.tasks:
                    played.acknowledge(*place)
            case "time out", place:
                played.time_out(place)
            case "says", receiver:
                played.receive(Received(receiver, Probe(1, IMAGE), PICTURE))  # a sign of life
                played.receive(Received(receiver, Status(2)))
    for place in range(len(played.tasks)):
        played.acknowledge(place)
    assert not played.counted()


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("arrive")),
            st.tuples(st.just("acknowledge"), PLACE),
            st.tuples(st.just("acknowledge"), PLACE, st.sampled_from(RECEIVERS)),
            st.tuples(st.just("answer"), PLACE),
            st.tuples(st.just("time out"), PLACE),
            st.tuples(st.just("reports"), st.sampled_from(RECEIVERS), st.integers(0, 30)),
            st.tuples(st.just("says"), st.sampled_from(RECEIVERS), st.integers(0, 30)),
        ),
        max_size=60,
    ),
    st.sets(st.sampled_from(RECEIVERS)),
    st.sampled_from([0.05, 0.25, 0.5, None]),
)
def test_a_device_never_counts_a_task_that_is_not_under_way(steps, known, bound_s):
    """Each task that arrives is owned, completed, lost or refused; in the end it has one record of its own."""
    played = Played(DeviceCore(config("d1", 0, (), RECEIVERS, bound_s)))
    played.fire(("slot", 1))
    for receiver in sorted(known):
        played.receive(Received(receiver, report_of(0)))
    arrived = set()
    for number, step in enumerate(steps):
        match step:
            case ("arrive",):
                played.offer(number, 0, played.time_s)
                arrived.add(number)
            case "reports", receiver, backlog:
                played.receive(Received(receiver, report_of(backlog)))
            case "says", receiver, backlog:
                played.receive(Received(receiver, Status(backlog, 10.0, 0.02)))
            case "acknowledge", *place:
                if played.tasks:
                    played.acknowledge(*place)
            case "answer", place:
                if played.tasks:
                    peer, task = played.tasks[place % len(played.tasks)]
                    played.receive(Received(peer, Result(task.task_id, task.attempt, 1, 0.9, 1, False, ())))
            case "time out", place:
                played.time_out(place, ("ack", "result"))
        tasks, ended = played.core.tasks, Counter(record.status for record in played.published(TaskRecord))
        assert (tasks.completed, tasks.lost, tasks.refused) == (ended["completed"], ended["lost"], ended["refused"])
        assert len(arrived) == tasks.arrived == tasks.unfinished + ended.total()
    played.time_out_all()
    assert not played.counted()
    records = played.published(TaskRecord)
    assert sorted(record.id for record in records) == sorted(arrived)
    refused = {record.id for record in records if record.status == "refused"}
    assert not refused & {task.task_id for _, task in played.tasks}, "a refused task is never offered"
    assert all(record.predicted_delay_s > bound_s for record in records if record.status == "refused")
    event(f"refused {min(len(refused), 1)}")


def test_two_messages_of_one_task_and_attempt_are_two_tasks_under_way():
    """The server's second attempt and the device's second attempt count separately, and neither is left at the end."""
    played = server()
    offer(played, "d1", 7, 1)
    played.time_out(0)  # not acknowledged: the server sends it elsewhere, as attempt 2
    offer(played, "d1", 7, 2)  # the device has timed out, too: attempt 2 as well
    second, third = played.tasks[1:]
    assert second[1].attempt == third[1].attempt == 2
    assert second[1].sequence != third[1].sequence
    assert sum(played.counted().values()) == 2
    played.acknowledge(1)
    assert played.counted() == Counter({third[0]: 1})
    played.acknowledge(2)
    assert not played.counted()


def test_tasks_of_two_devices_with_one_number_are_distinct():
    played = server()
    offer(played, "d1", 7, 1)
    offer(played, "d2", 7, 1)
    assert sum(played.counted().values()) == 2
    for place in (0, 1):
        played.acknowledge(place)
    assert not played.counted()


def test_a_receiver_that_is_back_still_has_what_is_on_its_way_there():
    """Its queue is unknown then. A task sent to it counts until it is acknowledged or given up."""
    played = server()
    for task_id in range(1, 7):
        offer(played, "d1", task_id, 1)
    receiver = played.tasks[0][0]
    under_way = played.counted()[receiver]
    assert under_way == 2
    played.time_out(0)  # the first is given up: the receiver is suspect
    played.receive(Received(receiver, Status(3)))
    played.receive(Received(receiver, Probe(1, IMAGE), PICTURE))
    assert played.core.routing.receivers[receiver].alive
    assert played.counted()[receiver] == under_way - 1
    for place in range(len(played.tasks)):
        played.acknowledge(place)
    assert not played.counted()


def test_an_answer_to_a_probe_of_an_earlier_life_measures_nothing():
    world = World({"a1": (1, 30.0)}, {"d1": 2.0}, plan=[(5.0, lambda w: w.kill("d1")), (6.0, lambda w: w.revive("d1"))])
    stale = ProbeAck(1, 6.5)  # the first probe of any life had the number 1
    world.plan.append((6.001, lambda w: w.give("d1", Received("a1", stale))))
    seen = []
    world.plan.append((6.002, lambda w: seen.append(w.nodes["d1"].routing.receivers["a1"].link.transfer_s)))
    world.plan.append((6.9, lambda w: seen.append(w.nodes["d1"].routing.receivers["a1"].link.transfer_s)))
    world.run(8.0)
    before, after = seen
    assert before == 0.0  # nothing measured yet
    assert after == pytest.approx(0.01)
