"""The exit of a task by price: the receiver that it would go to decides, and the plan stays right."""

import pytest

from node_agent.core.offloading.routing import Routing
from tests.node_agent.virtual import World

SERVERS = {"a1": (1, 40.0), "b1": (2, 16.0), "b2": (2, 12.0)}


def world(policy: str = "dto-ee", **parameters) -> World:
    played = World(SERVERS, {"d1": 9.0, "d2": 6.0}, policy=policy, parameters=parameters, theta_s=0.6, seed=2)
    played.run(20.0)
    return played


@pytest.fixture(scope="module")
def priced() -> World:
    return world(exits="price")


def with_work(routing: Routing, work_s: float) -> float:
    """The threshold of a task for b1 whose queue holds `work_s` [s]."""
    b1 = routing.receivers["b1"]
    b1.queue.work_s, b1.queue.at_s = work_s, routing._outbox.now_s
    b1.queue.under_way_s.clear()
    found = routing.task_threshold(b1)
    assert found is not None
    return found


def test_the_longer_the_queue_of_its_receiver_the_more_tasks_leave(priced):
    routing = priced.nodes["a1"].routing
    found = [with_work(routing, work_s) for work_s in (0.0, 0.02, 0.04, 0.1, 2.0)]
    assert found == sorted(found, reverse=True)
    assert found[0] > found[2] > found[-1]
    assert found[-1] == 0.0  # it waits for longer than any answer is worth
    assert found[0] > routing.threshold > found[-1]


def test_without_a_receiver_and_before_the_first_round_the_threshold_is_the_servers_own(priced):
    routing = priced.nodes["a1"].routing
    assert routing.task_threshold(None) == routing.threshold
    fresh = World(SERVERS, {"d1": 9.0}, policy="dto-ee", parameters={"exits": "price"}).nodes["a1"].routing
    assert fresh.view is None
    assert fresh.task_threshold(fresh.receivers["b1"]) == fresh.threshold == 0.8


def test_the_announced_remaining_ratio_is_that_of_the_tasks_that_go_on(priced):
    tasks, rounds = priced.nodes["a1"].tasks, priced.nodes["a1"].rounds
    assert tasks.served > 200
    assert tasks.forwards / tasks.served == pytest.approx(rounds.remaining_ratio, abs=0.1)


def test_a_threshold_that_has_moved_since_the_last_price_counts_at_once(priced):
    routing = priced.nodes["a1"].routing
    before, routing.threshold = routing.threshold, 0.0
    assert with_work(routing, 0.0) == 0.0
    routing.threshold = before


def test_a_policy_without_prices_of_exits_is_never_asked():
    routing = world("dto-ee-static").nodes["a1"].routing
    assert routing.view is None
    assert routing.task_threshold(routing.receivers["b1"]) == routing.threshold


def test_any_policy_may_give_each_task_a_threshold_of_its_own():
    """All tasks leave at 0, none at 2, although the server's own threshold is another."""
    for threshold, share in ((0.0, 0.0), (2.0, 1.0)):
        played = World(SERVERS, {"d1": 9.0}, policy="dto-ee-static", parameters={}, seed=3)
        policy = played.nodes["a1"].routing.policy.unchecked
        policy.prices_exits, policy.task_threshold = True, lambda _view, _candidate, found=threshold: found
        played.run(20.0)
        tasks = played.nodes["a1"].tasks
        assert tasks.forwards / tasks.served == pytest.approx(share, abs=0.03)  # a few before the first round


def test_an_overloaded_server_announces_what_it_can_serve():
    """Half of what the device offers: the servers behind it are priced by the tasks that come."""
    seen = {}

    def look(played: World) -> None:
        seen.update({name: played.nodes[name].rounds.pricing.arrival_per_s for name in ("a1", "b1")})

    servers, devices = {"a1": (1, 5.0), "b1": (2, 30.0)}, {"d1": 10.0}
    World(servers, devices, policy="no-early-exit", seed=4, plan=[(25.0, look)]).run(30.0)
    assert seen["a1"] > 8.0
    assert seen["b1"] == pytest.approx(5.0, rel=0.05)
