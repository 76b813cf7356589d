"""Admission at a device: predicted delays by hand, what a refusal changes, and that no device locks itself out."""

from collections import Counter

import pytest
from msgspec.structs import replace

from node_agent.core.machine import DeviceCore
from node_agent.core.offloading.neighbour import UNHEARD, Receiver
from node_agent.core.offloading.statuses import STATUS_EVERY_S
from node_agent.records import DecisionRecord, SampleRecord, TaskRecord
from node_agent.wire import Ack, Offer, Probe, ProbeAck, Result, Status, Task
from tests.node_agent.played import PlayedNode
from tests.node_agent.small import IMAGE, PICTURE, node_config
from tests.node_agent.virtual import World

BOUND_S = 0.4
LINK_S, ONWARD_S, PER_S = 0.05, 0.03, 20.0  # a task takes 130 ms at a server that is idle


class Device(PlayedNode):
    """A device of one receiver, `near`, whose links are measured; its first task arrives at 0.1 s."""

    def __init__(self, *, bound_s=BOUND_S, reported=True, policy="computing-first"):
        config = replace(node_config("cam", 0, receivers=("near",)), delay_bound_s=bound_s, policy=policy, debug=True)
        super().__init__(DeviceCore(config))
        self.measure_links()
        while probes := self.sent(Probe):
            self.sends.clear()
            self.time_s += LINK_S
            for peer, probe in probes:
                self.hear(peer, ProbeAck(probe.sequence, self.time_s))
        self.time_s = 0.0
        self.start()
        self.fire(("slot", 0))
        if reported:
            self.report()
        self.time_s = 0.1
        self.number = 0

    def report(self, backlog=0):
        """Let the receiver answer the last offer."""
        offer = self.sent(Offer)[-1][1]
        told = replace(UNHEARD, slot=offer.slot, round=offer.round, service_per_s=PER_S, onward_delay_s=ONWARD_S)
        self.hear("near", replace(told, backlog=backlog, offer_s=LINK_S, sent_s=self.time_s, onward_paths=((1.0, ()),)))

    def arrive(self) -> str:
        """Let a task arrive; return `offered` or `refused`."""
        offered, self.number = len(self.sent(Task)), self.number + 1
        self.offer(self.number, 0, self.time_s)
        if len(self.sent(Task)) > offered:
            return "offered"
        assert self.ended[-1].id == self.number
        return self.ended[-1].status

    @property
    def predicted_s(self) -> float | None:
        """Return the predicted delay of a task that is sent now [s]."""
        return self.receiver.predicted_delay_s(self.time_s)

    @property
    def ended(self) -> list[TaskRecord]:
        return self.published(TaskRecord)

    @property
    def receiver(self) -> Receiver:
        return self.core.routing.receivers["near"]


class TestPrediction:
    def test_the_prediction_by_hand(self):
        device = Device()
        assert device.predicted_s == pytest.approx(LINK_S + 1 / PER_S + ONWARD_S)
        device.hear("near", Status(3))
        assert device.predicted_s == pytest.approx(LINK_S + 4 / PER_S + ONWARD_S)
        device.arrive()  # is on its way from now on
        assert device.predicted_s == pytest.approx(LINK_S + 5 / PER_S + ONWARD_S)

    def test_a_status_replaces_the_speed_and_the_delay_onward_of_the_report(self):
        device = Device()
        device.hear("near", Status(3, service_per_s=8.0, onward_delay_s=0.25))
        assert device.predicted_s == pytest.approx(LINK_S + 4 / 8.0 + 0.25)

    def test_it_is_the_figure_by_which_a_policy_may_choose(self):
        device = Device()
        device.hear("near", Status(2))
        candidate = device.receiver.candidate(1.0, device.time_s)
        assert candidate.predicted_delay_s == device.predicted_s
        assert candidate.predicted_delay_s == candidate.expected_delay_s + candidate.onward_delay_s

    def test_a_receiver_that_has_not_reported_or_does_not_answer_has_none(self):
        device = Device(reported=False)
        assert device.predicted_s is None
        device.report()
        assert device.predicted_s is not None
        device.core.routing.lost_contact(device.receiver, "it does not answer")
        assert device.predicted_s is None

    def test_the_way_back_of_a_receiver_s_results_counts(self):
        device = Device()
        before_s = device.predicted_s
        device.receiver.return_correction_s = 0.02
        assert device.predicted_s == pytest.approx(before_s + 0.02)


class TestRefusal:
    def test_a_task_is_refused_above_the_bound_and_admitted_at_it(self):
        at_once_s = LINK_S + ONWARD_S
        device = Device(bound_s=round(at_once_s + 6 / PER_S, 9))
        assert [device.arrive() for _ in range(9)] == ["offered"] * 6 + ["refused"] * 3

    def test_the_record_of_a_refused_task(self):
        device = Device()
        device.hear("near", Status(9))
        device.offer(7, 3, 0.08)  # the workload wanted it 20 ms ago
        (record,) = device.ended
        predicted_s = LINK_S + 10 / PER_S + ONWARD_S
        assert (record.id, record.sample, record.status, record.created_s) == (7, 3, "refused", 0.08)
        assert record.reason == f"a delay of {predicted_s:.3f} s was predicted, above the bound of 0.4 s"
        assert record.predicted_delay_s == pytest.approx(predicted_s)
        assert record.lateness_s == pytest.approx(0.02)
        assert (record.attempts, record.offers, record.hops) == (0, (), ())
        assert record.prediction is record.exit_stage is record.completed_s is None

    def test_a_completed_task_keeps_its_prediction(self):
        device = Device()
        device.arrive()
        device.hear("near", Result(1, 1, 2, 0.9, 1, False, ()))
        (record,) = device.ended
        assert record.status == "completed"
        assert record.predicted_delay_s == pytest.approx(LINK_S + 1 / PER_S + ONWARD_S)

    def test_without_a_bound_nothing_is_refused_and_nothing_predicted(self):
        device = Device(bound_s=None)
        device.hear("near", Status(1000))
        assert device.arrive() == "offered"
        device.hear("near", Result(1, 1, 2, 0.9, 1, False, ()))
        assert device.ended[0].predicted_delay_s is None

    def test_a_receiver_that_is_not_known_gets_the_task(self):
        device = Device(reported=False)
        device.hear("near", Status(1000))
        assert device.arrive() == "offered"

    def test_a_task_that_is_offered_again_is_not_refused(self):
        """It was admitted, so it is never refused, however long the queue is by then."""
        device = Device()
        assert device.arrive() == "offered"
        device.hear("near", Status(1000))
        device.fire(("ack", 1))
        assert len(device.sent(Task)) == 2
        device.hear("near", Status(1000))
        device.fire(("result", 1))
        assert len(device.sent(Task)) == 3
        assert not device.ended

    def test_only_admitted_tasks_count_in_the_announced_rate(self):
        device = Device()
        for _ in range(30):  # a second for each, on the way to the next slot
            device.hear("near", Status(0))
            assert device.arrive() == "offered"
            device.hear("near", Ack(device.number, device.sent(Task)[-1][1].sequence, device.time_s, 9))
            assert device.arrive() == "refused"
            device.time_s += 1.0
        device.time_s = 40.0
        rate_per_s = device.core.tasks.rate.update(device.time_s)
        everything = Device(bound_s=None)
        for _ in range(60):
            everything.arrive()
        everything.time_s = 40.0
        declared = everything.core.config.declared_rate_per_s
        fading = (declared - rate_per_s) / (declared - everything.core.tasks.rate.update(40.0))
        assert fading == pytest.approx((declared - 30 / 40) / (declared - 60 / 40)), "30 tasks counted, not 60"

    def test_the_sample_counts_refused_tasks(self):
        device = Device()
        for backlog in (0, 1000, 1000):
            device.hear("near", Status(backlog))
            device.arrive()
        device.time_s = 1.0
        device.fire(("sample",))
        (sample,) = device.published(SampleRecord)
        assert (sample.arrived, sample.refused, sample.forwarded, sample.queue_length) == (3, 2, 1, 1)


class TestNoLockOut:
    def test_a_status_ends_a_refusal(self):
        device = Device()
        device.hear("near", Status(1000))
        assert device.arrive() == "refused"
        device.hear("near", Status(0))
        assert device.arrive() == "offered"

    def test_a_report_ends_a_refusal(self):
        device = Device()
        device.hear("near", Status(1000))
        assert device.arrive() == "refused"
        device.time_s = 10.0
        device.fire(("slot", 1))
        device.report(backlog=0)
        assert device.arrive() == "offered"

    def test_a_device_at_rest_admits_its_next_task(self):
        """It refused everything, then nothing arrived for so long that it rests; one slot of reports is enough."""
        device = Device()
        device.hear("near", Status(1000))
        for _ in range(20):
            assert device.arrive() == "refused"
        for slot in range(1, 12):
            device.time_s = 10.0 * slot
            device.fire(("slot", slot))
            device.report(backlog=0)
        assert device.sent(Offer)[-1][1].last, "it plays one round"
        assert device.sent(Offer)[-1][1].done, "as a device at rest does"
        assert device.arrive() == "offered"

    def test_a_server_that_died_with_a_long_queue_does_not_block_the_device(self):
        """Its last status said that the queue is long. It misses two rounds, then tasks go elsewhere, here to it."""
        device = Device()
        device.hear("near", Status(1000))
        assert device.arrive() == "refused"
        for slot in (1, 2):
            device.time_s = 10.0 * slot
            device.fire(("slot", slot))
            device.fire(("reports",))
        assert not device.receiver.alive
        assert device.arrive() == "offered"

    def test_a_server_that_is_back_has_no_queue(self):
        device = Device()
        device.hear("near", Status(1000, service_per_s=0.1, onward_delay_s=9.0))
        device.core.routing.lost_contact(device.receiver, "it does not answer")
        device.hear("near", Probe(1, IMAGE), PICTURE)
        assert device.receiver.alive
        assert device.arrive() == "offered"

    @pytest.mark.parametrize("policy", ["dto-ee", "computing-first", "shortest-expected-delay", "dto-ee-2c", "ga"])
    def test_a_device_admits_again_when_the_load_falls(self, policy):
        """Four times the capacity for 20 s, then the load of a single device: it loses nothing of that."""
        servers = {"a1": (1, 10.0), "b1": (2, 8.0)}
        devices = {f"d{number}": 8.0 for number in range(5)}
        world = World(servers, devices, policy=policy, bounds_s=dict.fromkeys(devices, 0.8), slot_s=3.0)
        world.run(20.0)
        late = len(world.row_of)
        for number in range(100):
            world._schedule("d0", 25.0 + number)
        world._run_until(130.0)
        ends = Counter(task.status for task in world.tasks if task.id >= late)
        assert ends == {"completed": 100}
        early = Counter(task.status for task in world.tasks if task.id < late)
        assert early["refused"] > 0.4 * early.total()
        assert early["completed"] > 0.05 * early.total()
        assert early["lost"] == 0

    def test_a_device_that_refuses_all_measures_its_links_again(self):
        """A link was slow; after a slot it is fast, and no task has crossed it since."""
        slow = {"d1"}
        world = World(
            {"a1": (1, 50.0)}, {"d1": 5.0}, bounds_s={"d1": 0.3}, slot_s=2.0,
            link_s=lambda sender, _peer, _size: 0.5 if sender in slow and world.now_s < 10 else 0.01,
        )  # fmt: skip
        world.run(20.0)
        ends = [(task.created_s, task.status) for task in sorted(world.tasks, key=lambda task: task.created_s)]
        assert {status for created_s, status in ends if 1 < created_s < 10} == {"refused"}
        assert {status for created_s, status in ends if created_s > 12.2} == {"completed"}


def overloaded(bound_s, *, duration_s=30.0):
    """A network whose last stage is scarce: 24 tasks/s are offered, and some half of them go on to it."""
    devices = {f"d{number}": 6.0 for number in range(4)}
    bounds_s = {} if bound_s is None else dict.fromkeys(devices, bound_s)
    world = World(
        {"a1": (1, 15.0), "a2": (1, 15.0), "b1": (2, 8.0)}, devices, policy="computing-first", bounds_s=bounds_s,
        parameters={"threshold": 0.6},
    )  # fmt: skip
    world.run(duration_s)
    return world


def share(world, status):
    return sum(task.status == status for task in world.tasks) / len(world.tasks)


class TestOverload:
    def test_a_queue_behind_stage_1_is_part_of_the_prediction(self):
        """The last stage is the scarce one: devices see its queue by the statuses of both stages."""
        free, bounded = overloaded(None), overloaded(1.0)
        assert share(free, "refused") == 0
        assert free.mean_delay_s() > 4.0
        assert share(bounded, "refused") > 0.1
        assert bounded.mean_delay_s() < 1.0
        assert share(bounded, "lost") == 0

    def test_announced_rates_are_those_of_the_admitted_tasks(self):
        """After the window of the rates, servers expect what comes: 24 tasks/s are offered, fewer are admitted."""
        world = overloaded(1.0, duration_s=60.0)
        admitted = sum(task.status == "completed" and task.created_s > 40 for task in world.tasks) / 20
        late = [record for record in world.of(DecisionRecord) if record.slot in range(14, 20)]
        announced = sum(record.arrival_rate_per_s for record in late if record.node.startswith("a")) / 6
        assert admitted < 20
        assert announced == pytest.approx(admitted, rel=0.15)

    def test_servers_send_their_status_only_where_a_bound_needs_it(self):
        world = World({"a1": (1, 30.0), "b1": (2, 30.0)}, {"d1": 1.0, "d2": 1.0}, bounds_s={"d1": 1.0}, debug=False)
        sent = Counter()
        for name, driver in world.drivers.items():
            driver._send = counting(name, driver._send, sent)
        world.run(10.0)
        assert set(+sent) == {("a1", "d1"), ("b1", "a1")}
        assert sent["a1", "d1"] >= 0.9 * 10 / STATUS_EVERY_S


def counting(name, send, sent):
    def counted(effect):
        sent[name, effect.peer] += isinstance(effect.message, Status)
        return send(effect)

    return counted
