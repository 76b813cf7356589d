import re

import pytest

from node_agent.errors import InputError
from testbed.network.delays.netem_delay import NetemDelay
from testbed.network.delays.relay_delay import RelayDelay
from testbed.network.emulated import EmulatedNetwork
from testbed.network.layout import NetworkPlan, scaled
from testbed.scenario import LinkShape
from testbed.topology import resolve_text
from tests.testbed.onboard import SHARED

from .scenarios import FAST, scenario

LONG = "a-very-long-name-of-a-camera-on-the-roof"


def test_names_fit_the_kernel_and_addresses_are_stable():
    plan = NetworkPlan(scenario([LONG, "hub", "server"], {(LONG, "hub"): FAST, ("hub", "server"): FAST}))
    assert plan.address == {LONG: "10.64.0.1", "hub": "10.64.0.2", "server": "10.64.0.3"}
    names = [name for link in plan.links for port in link.ports for name in (port.interface, port.middle)]
    assert len(set(names)) == 8
    assert max(map(len, names)) <= 15


def test_a_node_is_set_up_by_these_lines():
    plan = NetworkPlan(scenario(["a", "b", "c"], {("a", "b"): LinkShape(10.0, 0.01), ("b", "c"): FAST}))
    batch = plan.node_batch("a")
    assert batch.ip == [
        "link set dev lo up",
        "address add 10.64.0.1/32 dev lo",
        "link set dev n0-eth0 up gso_max_segs 1",
        "neighbour add 10.64.0.2 lladdr 02:64:00:00:00:01 dev n0-eth0 nud permanent",
        "route add 10.64.0.2/32 via 10.64.0.2 dev n0-eth0 onlink src 10.64.0.1",
        "route add 10.64.0.3/32 via 10.64.0.2 dev n0-eth0 onlink src 10.64.0.1",
    ]
    assert batch.tc[0] == "qdisc add dev n0-eth0 root handle 1: htb default 3"
    assert batch.settings


def test_a_devices_own_processor_lives_in_its_namespace_and_has_the_loopback_address():
    plan = NetworkPlan(resolve_text(SHARED))
    assert plan.nodes == ("cam-1", "cam-2", "plain", "post", "hub-1", "hub-2", "core")
    assert plan.address["cam-cpu-1"] == plan.address["cam-cpu-2"] == "127.0.0.1"
    assert plan.place_of["cam-cpu-2"] == "cam-2"
    assert {route.destination for route in plan.routes["core"]} == set(plan.nodes) - {"core"}
    assert set(plan.short) == {*plan.nodes, "access"}
    same = NetworkPlan(resolve_text(re.sub(r"runs: 1, capacity: 0.1 GFLOP/s, memory: 64 MiB", "", SHARED)))
    for node in plan.nodes:
        assert plan.node_batch(node) == same.node_batch(node), "the processor adds no address, route or link"


def test_a_switch_knows_where_every_node_is():
    plan = NetworkPlan(scenario(["a", "b"], {("a", "sw"): FAST, ("sw", "b"): FAST}, switches=["sw"]))
    batch = plan.switch_batch("sw")
    assert batch.bridge == [
        "fdb add 02:64:00:00:00:00 dev s0-eth0 master static",
        "fdb add 02:64:00:01:00:01 dev s0-eth1 master static",
    ]
    assert "link set dev s0-eth0 type bridge_slave learning off flood off mcast_flood off bcast_flood off" in batch.ip


def test_superframes_travel_only_between_nodes():
    links = {("a", "b"): FAST, ("a", "sw"): FAST, ("sw", "b"): FAST}
    plan = NetworkPlan(scenario(["a", "b"], links, switches=["sw"]))
    assert [link.segments(FAST) for link in plan.links] == [8, 1, 1]
    batch = plan.node_batch("a")
    assert "link set dev n0-eth0 up gso_max_segs 8" in batch.ip
    assert "qdisc add dev n0-eth0 parent 1:3 handle 30: pfifo limit 125" in batch.tc
    assert "link set dev n0-eth1 up gso_max_segs 1" in batch.ip
    assert "qdisc add dev n0-eth1 parent 1:3 handle 30: pfifo limit 1000" in batch.tc


def test_each_direction_has_a_shape_of_its_own():
    """The sending end limits the rate; the middle's interface towards the other end delays."""
    up, down = LinkShape(10.0, 0.010), LinkShape(50.0, 0.040)
    plan = NetworkPlan(scenario(["a", "b"], {("a", "b"): (up, down)}))
    ends = [plan.node_batch(name) for name in ("a", "b")]
    assert [batch.ip[2].split()[-1] for batch in ends] == ["1", "4"]
    assert [batch.tc[1].split()[10] for batch in ends] == ["10455801bit", "52279006bit"]
    assert [(line.split()[3], line.split()[11]) for line in plan.middle_batch(NetemDelay.discipline).tc] == [
        ("l0a", "40000.000us"), ("l0b", "10000.000us")
    ]  # fmt: skip


def test_the_middle_differs_by_backend():
    plan = NetworkPlan(scenario(["a", "b"], {("a", "b"): FAST}))
    assert plan.middle_batch(RelayDelay.discipline).tc == []
    kernel = plan.middle_batch(NetemDelay.discipline)
    assert [line.split()[3] for line in kernel.tc] == ["l0a", "l0b"]
    assert "link set dev l0a master b0" in kernel.ip
    assert plan.veth_lines({"a": 1, "b": 2}, 3)[0] == (
        "link add name n0-eth0 address 02:64:00:00:00:00 netns 1 type veth "
        "peer name l0a address 02:64:00:00:01:00 netns 3"
    )


def test_time_scale_slows_rates_and_stretches_delays():
    assert scaled(LinkShape(10.0, 0.01, 0.002, 0.1, 50), 4.0) == LinkShape(2.5, 0.04, 0.008, 0.1, 50)


@pytest.mark.parametrize(("ends", "message"), [(("a", "x"), "named x"), (("a", "a"), "joins an end to itself")])
def test_impossible_links_are_refused(ends, message):
    with pytest.raises(InputError, match=message):
        NetworkPlan(scenario(["a", "b"], {ends: FAST}))


def test_a_link_is_found_by_its_ends_in_either_order():
    plan = NetworkPlan(scenario(["a", "b"], {("a", "b"): FAST}))
    assert plan.link_between(("b", "a")) is plan.links[0]
    with pytest.raises(InputError, match="no link between"):
        plan.link_between(("a", "c"))


def test_a_direction_of_a_link_is_found_by_its_sender():
    network = EmulatedNetwork(scenario(["a", "b"], {("a", "b"): FAST}), run_id="unbuilt", ledger=None)
    link = network.plan.links[0]
    assert [link.sides(sender) for sender in (None, "a", "b")] == [(0, 1), (0,), (1,)]
    with pytest.raises(InputError, match="c is not an end of the link a - b"):
        network.change_link(("b", "a"), FAST, sender="c")
