"""Statuses by need: none without tasks, none without a flow, at once for a late service, and only within the budget."""

import numpy as np
import pytest
from msgspec.structs import replace

from node_agent.core.budget import Budget
from node_agent.core.events import Received
from node_agent.core.machine import ServerCore
from node_agent.core.offloading.statuses import LATE, WORTH_S
from node_agent.wire import Ack, Offer, Report, Status, Task
from tests.node_agent.core.test_under_way import Played, config
from tests.node_agent.small import IMAGE, PICTURE
from tests.node_agent.virtual import World, broad, synthetic_table, three_stages

DEVICES = ("d1", "d2")


class Server(Played):
    """A server of the last stage that serves 10 tasks/s, with two offloaders; the second announces 3 tasks/s."""

    def __init__(self, flows=(0.0, 3.0), policy="dto-ee"):
        super().__init__(
            ServerCore(replace(config("b1", 2, DEVICES, ()), policy=policy, onward_form=None), synthetic_table(2))
        )
        for device, flow in zip(DEVICES, flows, strict=True):
            offer = Offer(0, 0, flow, ((flow, (0.5,)),), self.time_s, done=False, last=False)
            self.receive(Received(device, offer))
        self.fire(("gather",))
        self.number = 0

    def take(self, device="d1"):
        self.number += 1
        self.receive(Received(device, Task(self.number, device, 1, self.number, self.time_s, (), IMAGE), PICTURE))

    @property
    def statuses(self):
        return self.sent(Status)


def test_an_offloader_is_told_of_a_queue_that_it_cannot_know():
    server = Server()
    assert {peer for peer, _ in server.sent(Report)} == set(DEVICES)  # the rounds go on
    assert server.statuses == []
    for _ in range(8):  # of the other offloader, which learns its own queue by acknowledgements
        server.take()
    assert {peer for peer, _ in server.sent(Ack)} == {"d1"}
    assert {peer for peer, _ in server.statuses} == {"d2"}
    last = server.statuses[-1][1]
    assert last.work_s == pytest.approx(0.1 * last.backlog, abs=0.1)
    assert last.sent_s is not None


def test_nobody_is_told_who_sends_nothing_or_knows_it_already():
    server = Server(flows=(3.0, 0.0))
    for _ in range(8):
        server.take()
    assert server.statuses == []


def test_without_tasks_there_are_no_statuses():
    world = World({"a1": (1, 30.0), "a2": (1, 20.0)}, {"d1": 5.0, "d2": 5.0}, policy="dto-ee", seed=1)
    sent = []
    give = world.give
    world.give = lambda name, received: (sent.append(received.message), give(name, received))
    world.run(30.0, tasks=False)
    assert not any(isinstance(message, Status) for message in sent)
    assert any(isinstance(message, Report) for message in sent)


def test_a_status_is_worth_its_bytes():
    """The error of the work, its duration and the flow decide: a twentieth of the flow needs a greater error."""
    most, rare = Server(flows=(0.0, 3.0)), Server(flows=(0.0, 0.01))
    for server in (most, rare):
        server.take()
        server.take()
    assert len(most.statuses) > len(rare.statuses) == 0
    assert 0.01 * (0.2 / 0.9) ** 2 < WORTH_S < 3.0 * (0.1 / 0.7) ** 2


def test_a_late_service_is_told_before_it_ends():
    server = Server()
    server.take("d2")
    assert server.statuses == []
    served = 0
    for _ in range(6):
        server.time_s = server.timers[LATE.key]
        server.fire(LATE.key)
    rates = [status.service_per_s for _, status in server.statuses if status.service_per_s is not None]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 7 > rates[-1]
    assert server.core.tasks.served == served
    assert len(rates) <= 6


def test_statuses_stop_when_the_budget_is_used_up_and_acknowledgements_do_not():
    server = Server()
    budget = server.core._outbox.budget = Budget(0.01)
    while budget.allows("d2", server.time_s):
        budget.spend("d2", Status(1), server.time_s)
    for _ in range(4):
        budget.spend("d2", Status(1), server.time_s)
    for _ in range(8):
        server.take()
    assert (server.statuses, len(server.sent(Ack))) == ([], 8)
    server.time_s += 60.0
    server.take()
    assert len(server.statuses) == 1


def shares_of(world, name):
    """The share of a server in the rows of its offloaders, the mean."""
    rows = [node.routing.shares() for node in world.nodes.values() if name in node.routing.receivers]
    return float(np.mean([row[name] for row in rows]))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_slowed_server_loses_half_of_its_share_within_a_moment(seed):
    """A row used to change at the next slot. Now it has changed when the first late service ends."""
    world = three_stages(policy="dto-ee", seed=seed, debug=False, slot_s=10.0, link_s=broad)
    known = []
    world.plan = [
        (14.0, lambda world: world.set_speed("a1", 10.0)),
        (13.9, lambda world: known.append(shares_of(world, "a1"))),
        (14.6, lambda world: known.append(shares_of(world, "a1"))),
    ]
    world.run(19.0)
    before, after = known
    assert before > 0.3
    assert after < before / 2
    assert world.all_completed
