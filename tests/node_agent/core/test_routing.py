"""Routing of an offloader: `prospect` changes nothing, `weigh` restricts the row to the living receivers."""

import numpy as np
import pytest

from node_agent.core.offloading.routing import Routing
from tests.node_agent.virtual import World


def routing_of_a_device(*, lost: str | None = None) -> Routing:
    """Return the routing of a device after some slots under ngto, with the receiver `lost` given up."""
    servers = {"a1": (1, 30.0), "a2": (1, 20.0), "a3": (1, 10.0)}
    world = World(servers, {"d1": 8.0}, policy="ngto", seed=3)
    world.run(12.0)
    routing = world.nodes["d1"].routing
    if lost is not None:
        routing.lost_contact(routing.receivers[lost], "it does not answer")
    return routing


def state_of(routing: Routing) -> dict[str, object]:
    """Return the values of all that a routing holds, except its policy's own state."""
    receivers = {
        name: {field: getattr(receiver, field) for field in receiver.__slots__} | {"link": vars(receiver.link).copy()}
        for name, receiver in routing.receivers.items()
    }
    weighed = routing._weighed
    return {
        "row": routing.row.tolist(), "receivers": receivers, "prices": routing.prices(), "weighed": id(weighed),
        "leaving_per_s": routing.leaving_per_s, "threshold": routing.threshold, "dice": routing._random.getstate(),
    }  # fmt: skip


@pytest.mark.parametrize("lost", [None, "a1"])
def test_asking_for_the_prospect_changes_nothing(lost):
    routing = routing_of_a_device(lost=lost)
    before = state_of(routing)
    first = routing.prospect(stale=False)
    assert state_of(routing) == before
    assert routing.prospect(stale=False).receivers == first.receivers
    assert first.alive.tolist() == [lost != "a1", True, True]


def test_weighing_restricts_the_row_to_the_receivers_that_live_and_prices_it():
    routing = routing_of_a_device(lost="a1")
    before = routing.row.copy()
    assert before[0] > 0
    weighed = routing.weigh(stale=False)
    assert routing.row.tolist() == pytest.approx([0, *(before[1:] / before[1:].sum())])
    assert routing.prices() == {"a2": weighed.receivers[1].delta_s, "a3": weighed.receivers[2].delta_s}


def test_where_nobody_lives_nothing_is_weighed_and_the_last_prices_stay():
    routing = routing_of_a_device()
    prices, row = routing.prices(), routing.row
    for receiver in routing.receivers.values():
        routing.lost_contact(receiver, "it does not answer")
    assert routing.weigh(stale=False) is None
    assert routing.row is row
    assert routing.prices() == prices
    assert not routing.prospect(stale=False).alive.any()


def test_a_policy_has_no_row_of_its_own_the_node_keeps_it():
    """The next step starts from the row that is set, even if a coordinator has set it."""
    routing = routing_of_a_device()
    routing.row = np.array([0.05, 0.05, 0.9])
    prospect = routing.weigh(stale=True)  # a short step, without momentum
    routing.policy.start_slot()
    routing.update_row(prospect)
    assert routing.row == pytest.approx([0.05, 0.05, 0.9], abs=0.1)
