"""Meshed networks on the real kernel: each frame takes the simulation's way, once, and no other."""

import re
import socket
from dataclasses import replace
from itertools import permutations

import pytest

from testbed.network.probe import sockets_in
from testbed.network.routes import Ways
from testbed.scenario import LinkShape, Server

from .scenarios import scenario

pytestmark = [pytest.mark.root, pytest.mark.timing, pytest.mark.company]
PINGS = 3
ETHERTYPE = 0x88B5  # for experiments
BROADCAST = b"\xff" * 6


def ring():
    """Six switches in a ring, with a node at each and one node at two; half of the pairs have two equal ways."""
    shape = LinkShape(1000.0, 0.002)
    links = {(f"s{i}", f"s{(i + 1) % 6}"): shape for i in range(6)}
    links |= {(f"n{i}", f"s{i}"): LinkShape(1000.0, 0.001) for i in range(6)}
    links["n0", "s3"] = LinkShape(1000.0, 0.001)
    return links


def fat_tree():
    """The fat-tree for k = 4: four core switches, four pods of two aggregation and two edge switches, 16 nodes."""
    shape, links = LinkShape(1000.0, 0.001), {}
    for pod in range(4):
        for one in range(2):
            for two in range(2):
                links[f"agg{pod}{one}", f"core{one}{two}"] = shape
                links[f"edge{pod}{one}", f"agg{pod}{two}"] = shape
                links[f"n{pod}{one}{two}", f"edge{pod}{one}"] = shape
    return links


def wide_area():
    """Ten cities and fifteen lines between them; the shortest way often passes more cities than the direct one."""
    lines = {
        (0, 1): 4, (0, 2): 7, (1, 2): 2, (1, 3): 9, (2, 4): 5, (3, 4): 3, (3, 5): 6, (4, 6): 11, (5, 6): 4, (5, 7): 8,
        (6, 8): 3, (7, 8): 5, (7, 9): 2, (8, 9): 9, (0, 9): 25,
    }  # fmt: skip
    links = {(f"city{one}", f"city{two}"): LinkShape(1000.0, ms / 1000) for (one, two), ms in lines.items()}
    return links | {(f"n{i}", f"city{i}"): LinkShape(1000.0, 0.001) for i in range(10)}


def meshed(links):
    """A scenario whose nodes (n...) are all servers, so that `Ways` knows the way between any two."""
    names = dict.fromkeys(end for ends in links for end in ends)
    nodes = [name for name in names if re.fullmatch(r"n\d+", name)]
    made = scenario(nodes, links, switches=[name for name in names if name not in nodes])
    return replace(made, devices=(), servers=tuple(Server(name, 1, 1e9) for name in nodes))


def carried(network):
    """Frames that each link has carried so far, by sending and receiving end."""
    return {link.ends: link.frames for link in network.statistics().links}


def pinged(network, source, targets):
    """Least round trip [s] by target; fails if an answer comes twice, or not at all."""
    commands = [f"ping -n -c {PINGS} -i 0.005 -W 2 {network.address(target)}" for target in targets]
    process = network.node(source).popen(["sh", "-c", "; ".join(commands)], text=True)
    said, _ = process.communicate(timeout=60)
    assert "DUP" not in said
    assert said.count(f"{PINGS} received") == len(targets), said
    return dict(zip(targets, [float(ms) / 1000 for ms in re.findall(r"= ([\d.]+)/", said)], strict=True))


@pytest.mark.parametrize("links", [ring, fat_tree, wide_area])
def test_every_pair_is_joined_by_one_way_whose_delays_add_up(build, links):
    asked = meshed(links())
    network = build(asked)
    ways = Ways(asked)
    nodes, shapes = asked.node_names, [link.shape for link in asked.links]
    before = carried(network)
    trips_s = {source: pinged(network, source, [other for other in nodes if other != source]) for source in nodes}
    expected = dict.fromkeys(before, 0)
    for source, target in permutations(nodes, 2):
        hops = ways.hops(source, target)
        for vertex, link in hops:  # the pings from source to target, and the answers to those from target to source
            one, other = asked.links[link].ends
            expected[(vertex, other if vertex == one else one)] += 2 * PINGS
        delay_s = sum(shapes[link].delay_s for _, link in hops)
        # The relay sends up to 0.1 ms early on each link; any excess is time of this machine.
        assert -2e-4 * len(hops) < trips_s[source][target] - 2 * delay_s < 1e-3 + 3e-4 * len(hops), (source, target)
    found = carried(network)
    assert {ends: found[ends] - before[ends] for ends in found} == expected
    network.check()


def test_a_broadcast_ends_at_the_first_switch(build):
    asked = meshed(ring())
    network = build(asked)
    names = asked.node_names
    paths = [network.namespace_path(name) for name in names]
    sockets = sockets_in(paths, socket.AF_PACKET, socket.SOCK_RAW)
    before = carried(network)
    frame = BROADCAST + b"\x02\x00\x00\x00\x00\x99" + ETHERTYPE.to_bytes(2) + bytes(50)
    for listener, name in zip(sockets, names, strict=True):
        listener.bind((network.plan.links_of[name][0].port_of(name).interface, ETHERTYPE))
        listener.settimeout(0.3)
    for _ in range(5):
        sockets[1].send(frame)
    unknown = b"\x02\x00\x00\x00\x00\x98" + frame[6:]  # a destination that no table names
    for _ in range(5):
        sockets[1].send(unknown)
    for listener in (*sockets[:1], *sockets[2:]):
        with pytest.raises(TimeoutError):
            listener.recv(100)
    found = carried(network)
    grown = {ends: found[ends] - before[ends] for ends in found if found[ends] != before[ends]}
    assert grown == {("n1", "s1"): 10}
    for listener in sockets:
        listener.close()
