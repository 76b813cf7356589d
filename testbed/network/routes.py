"""Shortest paths through a scenario's links, and the static tables that make frames follow them.

The best path passes through the fewest nodes; among equals the shortest is best. The length of a link is its delay plus
the transmission time of a full frame. Everything here is pure.

Decision 033: fewest nodes first, and exactly one best path between any two vertices, the same both ways
(docs/decisions/033-one-best-path-over-the-fewest-nodes.md).
"""

import hashlib
import heapq
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache

from node_agent.errors import InputError
from testbed.scenario import LinkShape, Scenario

FRAME_BITS = 1500 * 8
TICKS_PER_S = 1e12  # lengths are summed as whole numbers, so that sums do not depend on their order
_HASH_BITS = 64

Neighbours = Mapping[str, Sequence[tuple[str, int]]]  # vertex -> (other end, index of the link)


@dataclass(frozen=True, slots=True)
class Route:
    """To reach `destination`, a node sends frames to `next_hop` over `links` (several if switches lie between)."""

    destination: str
    next_hop: str
    links: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Forwarding:
    """On `switch`, frames leave by link `leave` if they are for the node that link `enter` attaches to a switch."""

    switch: str
    enter: int
    leave: int


def length_s(*shapes: LinkShape) -> float:
    """The time [s] that a full frame needs for this link without waiting; for two directions their mean."""
    return sum(shape.delay_s + FRAME_BITS / (shape.rate_mbit_per_s * 1e6) for shape in shapes) / len(shapes)


def neighbours(ends: Sequence[tuple[str, str]]) -> dict[str, list[tuple[str, int]]]:
    """Adjacency lists of the graph whose link i joins `ends[i]`."""
    table: dict[str, list[tuple[str, int]]] = {}
    for index, (one, other) in enumerate(ends):
        table.setdefault(one, []).append((other, index))
        table.setdefault(other, []).append((one, index))
    return table


def tree_towards(
    root: str,
    around: Neighbours,
    lengths_s: Sequence[float],
    switches: Set[str],
    *,
    only_switches: bool = False,
) -> dict[str, tuple[str, int]]:
    """The best way to `root` from every vertex that has one.

    Args:
        around: adjacency lists (`neighbours`).
        lengths_s: the length [s] of each link, by its index.
        switches: vertices that do not count as nodes passed.
        only_switches: allow ways through switches only.

    Returns:
        vertex -> (next vertex, index of the link there)
    """
    towards: dict[str, tuple[str, int]] = {}
    done: set[str] = set()
    heap: list[tuple[int, int, int, str]] = [(0, 0, 0, root)]
    best = {root: (0, 0, 0)}
    while heap:
        passed, distance, tie, vertex = heapq.heappop(heap)
        if vertex in done:
            continue
        done.add(vertex)
        passed += vertex != root and vertex not in switches
        for other, link in around.get(vertex, ()):
            candidate = (passed, distance + round(lengths_s[link] * TICKS_PER_S), tie + _tie(link))
            allowed = not only_switches or other in switches
            if allowed and other not in done and (other not in best or candidate < best[other]):
                best[other] = candidate
                towards[other] = (vertex, link)
                heapq.heappush(heap, (*candidate, other))
    return towards


@cache
def _tie(link: int) -> int:
    """A link's part of the number that decides between paths of equal length: no two paths have the same sum."""
    digest = hashlib.blake2b(link.to_bytes(8), digest_size=_HASH_BITS // 8).digest()
    return (link + 1 << _HASH_BITS) + int.from_bytes(digest)


class Ways:
    """The ways between nodes and servers, fixed at the start of the network: later changes of links do not affect them.

    Lengths are the same both ways, so one tree per server gives the ways to it and from it. Devices need no trees:
    there are many of them, and a tree is expensive.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._around = neighbours([link.ends for link in scenario.links])
        self._lengths_s = [length_s(*link.shapes) for link in scenario.links]
        self._switches = frozenset(scenario.switches)
        self._place_of = scenario.place_of
        self._servers = frozenset(server.name for server in scenario.servers)
        self._trees: dict[str, dict[str, tuple[str, int]]] = {}

    def hops(self, sender: str, receiver: str) -> list[tuple[str, int]]:
        """The hops from sender to receiver, at least one of them a server: (vertex, index of the link it sends on).

        There is no hop between nodes at one place.

        Raises:
            InputError: no way leads there.
        """
        sender, receiver = self._place_of.get(sender, sender), self._place_of.get(receiver, receiver)
        backwards = receiver not in self._servers
        root, vertex = (sender, receiver) if backwards else (receiver, sender)
        if root not in self._trees:
            self._trees[root] = tree_towards(root, self._around, self._lengths_s, self._switches)
        tree, way = self._trees[root], []
        while vertex != root:
            if vertex not in tree:
                raise InputError(f"no links lead from {sender} to {receiver}")
            following, link = tree[vertex]
            way.append((following if backwards else vertex, link))
            vertex = following
        return way[::-1] if backwards else way

    def links(self, sender: str, receiver: str) -> tuple[int, ...]:
        """Indices of the links from sender to receiver, at least one of them a server; raises as `hops`."""
        return tuple(link for _, link in self.hops(sender, receiver))


def routes(
    nodes: Sequence[str], switches: Set[str], ends: Sequence[tuple[str, str]], lengths_s: Sequence[float]
) -> dict[str, list[Route]]:
    """Each node's routes to every other node that it can reach; `lengths_s` by the link's index."""
    around = neighbours(ends)
    table: dict[str, list[Route]] = {node: [] for node in nodes}
    for destination in nodes:
        towards = tree_towards(destination, around, lengths_s, switches)
        for node in nodes:
            if node not in towards:
                continue
            vertex, link = towards[node]
            links = [link]
            while vertex in switches:
                vertex, link = towards[vertex]
                links.append(link)
            table[node].append(Route(destination, vertex, tuple(links)))
    return table


def forwarding(switches: Set[str], ends: Sequence[tuple[str, str]], lengths_s: Sequence[float]) -> list[Forwarding]:
    """Static switch tables: for every link between a node and a switch, each switch's way to that node's end.

    Decision 034: switches neither learn nor flood, and run no spanning tree
    (docs/decisions/034-static-switch-tables.md).
    """
    around = neighbours(ends)
    table = []
    for enter, pair in enumerate(ends):
        for switch, node in (pair, pair[::-1]):
            if switch not in switches or node in switches:
                continue
            table.append(Forwarding(switch, enter, enter))
            ways = tree_towards(switch, around, lengths_s, switches, only_switches=True)
            table += [Forwarding(other, enter, link) for other, (_, link) in ways.items()]
    return table
