import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.errors import InputError
from testbed.network.layout import NetworkPlan
from testbed.network.routes import Forwarding, Route, Ways, forwarding, length_s, routes
from testbed.scenario import Link, LinkShape, Server
from testbed.topology import resolve_text
from tests.cli.watched import scenario
from tests.testbed.onboard import SHARED


def by_destination(table):
    return {route.destination: route for route in table}


def test_length_is_delay_and_transmission_of_a_full_frame():
    assert length_s(LinkShape(12.0, 0.005)) == pytest.approx(0.006)


def test_neighbours_use_their_own_link_even_where_a_detour_is_quicker():
    ends = [("a", "b"), ("b", "c"), ("a", "c")]
    table = routes(["a", "b", "c"], set(), ends, [0.001, 0.001, 0.005])
    assert by_destination(table["a"])["c"] == Route("c", "c", (2,))
    assert by_destination(table["c"])["a"] == Route("a", "a", (2,))


def test_the_quicker_of_two_ways_through_as_many_nodes_is_taken():
    ends = [("a", "b"), ("b", "d"), ("a", "c"), ("c", "d")]
    table = routes(["a", "b", "c", "d"], set(), ends, [0.001, 0.003, 0.001, 0.002])
    assert by_destination(table["a"])["d"] == Route("d", "c", (2,))


def test_switches_cost_time_but_count_as_no_node():
    ends = [("a", "s"), ("s", "t"), ("t", "c"), ("a", "b"), ("b", "c")]
    table = routes(["a", "b", "c"], {"s", "t"}, ends, [0.01, 0.01, 0.01, 0.001, 0.001])
    assert by_destination(table["a"])["c"] == Route("c", "c", (0, 1, 2))


def test_switches_are_passed_through():
    ends = [("a", "s"), ("s", "t"), ("t", "b"), ("b", "c")]
    table = routes(["a", "b", "c"], {"s", "t"}, ends, [0.001] * 4)
    assert by_destination(table["a"])["c"] == Route("c", "b", (0, 1, 2))
    assert set(forwarding({"s", "t"}, ends, [0.001] * 4)) == {
        Forwarding("s", 0, 0),
        Forwarding("t", 0, 1),
        Forwarding("t", 2, 2),
        Forwarding("s", 2, 1),
    }


def test_what_cannot_be_reached_has_no_route():
    table = routes(["a", "b", "c"], set(), [("a", "b")], [0.001])
    assert table["c"] == []
    assert [route.destination for route in table["a"]] == ["b"]


@given(st.integers(0, 10_000))
def test_frames_arrive_whatever_the_graph(seed):
    """Follow routes and forwarding tables hop by hop in random graphs with rings of switches and nodes."""
    draw = random.Random(seed)
    nodes, switches = [f"n{i}" for i in range(5)], [f"s{i}" for i in range(4)]
    vertices = nodes + switches
    ends = [(vertices[i], draw.choice(vertices[:i])) for i in range(1, len(vertices))]
    ends += [tuple(draw.sample(vertices, 2)) for _ in range(6)]
    lengths = [draw.choice([0.001, 0.002, 0.01]) for _ in ends]
    tables = routes(nodes, set(switches), ends, lengths)
    bridge = {(entry.switch, entry.enter): entry.leave for entry in forwarding(set(switches), ends, lengths)}

    def across(link, vertex):
        return ends[link][1] if ends[link][0] == vertex else ends[link][0]

    for source in nodes:
        assert set(by_destination(tables[source])) == set(nodes) - {source}
        for destination in set(nodes) - {source}:
            at, steps = source, 0
            while at != destination:
                route = by_destination(tables[at])[destination]
                vertex = across(route.links[0], at)
                while vertex in switches:
                    vertex = across(bridge[vertex, route.links[-1]], vertex)
                    steps += 1
                assert vertex == route.next_hop
                at, steps = vertex, steps + 1
                assert steps < 50, "a loop"


@given(st.integers(0, 10_000), st.sampled_from([1.0, 3.0, 0.37]))
def test_frames_go_the_ways_that_the_simulation_takes(seed, time_scale):
    """In graphs with many equal paths, nodes' routes, switches' tables and `Ways` agree, in both directions."""
    draw = random.Random(seed)
    nodes, switches = [f"n{i}" for i in range(5)], [f"s{i}" for i in range(6)]
    vertices = switches + nodes
    pairs = {tuple(sorted((vertices[i], draw.choice(vertices[:i])))) for i in range(1, len(vertices))}
    pairs |= {tuple(sorted(draw.sample(vertices, 2))) for _ in range(9)}
    ends = sorted(pairs, key=lambda _: draw.random())
    # 1 + 2 ms are as long as 3 ms, also where lengths are scaled and rounded.
    links = tuple(Link(pair, LinkShape(1e4, draw.choice([0.001, 0.002, 0.003]))) for pair in ends)
    named = replace(
        scenario(), devices=(), servers=tuple(Server(name, 1, 1e9) for name in nodes), switches=tuple(switches),
        links=links, time_scale=time_scale,
    )  # fmt: skip
    ways, plan = Ways(named), NetworkPlan(named)
    bridge = {(entry.switch, entry.enter): entry.leave for entry in plan.forwarding}
    for source in nodes:
        for destination in set(nodes) - {source}:
            at, passed = source, []
            while at != destination:
                route = by_destination(plan.routes[at])[destination]
                link = route.links[0]
                while True:
                    passed.append(link)
                    at = ends[link][1] if ends[link][0] == at else ends[link][0]
                    if at not in switches:
                        break
                    link = bridge[at, route.links[-1]]
            assert tuple(passed) == ways.links(source, destination) == ways.links(destination, source)[::-1]


def test_of_ways_as_good_the_one_over_links_stated_first_is_taken():
    ends = [("a", "s"), ("a", "t"), ("s", "b"), ("t", "b")]
    table = routes(["a", "b"], {"s", "t"}, ends, [0.001] * 4)
    assert by_destination(table["a"])["b"].links == (0, 2)
    assert by_destination(table["b"])["a"].links == (2, 0)


def test_ways_are_the_same_there_and_back():
    shape = LinkShape(10.0, 0.001)
    names = scenario()
    device, server, other = names.devices[0].name, names.servers[0].name, names.servers[1].name
    links = (Link((device, server), shape), Link((other, server), shape))
    ways = Ways(replace(names, links=links, switches=()))
    assert ways.hops(device, other) == [(device, 0), (server, 1)]
    assert ways.hops(other, device) == [(other, 1), (server, 0)]
    assert (ways.links(device, other), ways.links(other, device)) == ((0, 1), (1, 0))
    with pytest.raises(InputError, match="no links lead from nobody"):
        ways.hops("nobody", server)


def test_no_link_lies_between_nodes_at_one_place():
    """An own processor takes the ways of its device."""
    ways = Ways(resolve_text(SHARED))
    assert ways.hops("cam-1", "cam-cpu-1") == ways.hops("cam-cpu-1", "cam-1") == []
    assert ways.hops("cam-cpu-1", "hub-2") == ways.hops("cam-1", "hub-2") != []
    assert ways.hops("hub-2", "cam-cpu-1") == ways.hops("hub-2", "cam-1") != []
    assert ways.hops("cam-cpu-1", "cam-2") == [("cam-1", 0), ("access", 1)]
