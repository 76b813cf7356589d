"""The ways through the network that are probed, and the time, rate and loss of frames on them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from testbed.network.commands import spacing_bit_per_s
from testbed.network.layout import NetworkPlan
from testbed.scenario import LinkShape
from testbed.sizes import ETHERNET_BYTES


def direction(link: int, *, back: bool) -> int:
    """The number of a link's direction: the link's index from its first end to the second, its complement back."""
    return ~link if back else link


@dataclass(frozen=True, slots=True)
class Path:
    """The way from a node to a neighbour: `ends` are the node, the switches between, the neighbour.

    `directions` are the numbers of its links' directions (`direction`); by default all lead from first to second end.
    """

    ends: tuple[str, ...]
    links: tuple[int, ...]  # indices of the plan's links, in order
    directions: tuple[int, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if not self.directions:
            object.__setattr__(self, "directions", self.links)

    def delay_s(self, shapes: Mapping[int, LinkShape]) -> float:
        """The mean one-way delay [s] of the links, without transmission."""
        return sum(shapes[way].delay_s for way in self.directions)

    def jitter_s(self, shapes: Mapping[int, LinkShape]) -> float:
        """The standard deviation [s] of the whole path's delay."""
        return float(sum(shapes[way].jitter_s ** 2 for way in self.directions) ** 0.5)

    def transmission_s(self, packet_bytes: int, shapes: Mapping[int, LinkShape]) -> float:
        """The time [s] that the links need to transmit a lone IP packet of this size, one link after the other."""
        return sum((packet_bytes + ETHERNET_BYTES) * 8 / spacing_bit_per_s(shapes[way]) for way in self.directions)

    def rate_mbit_per_s(self, shapes: Mapping[int, LinkShape]) -> float:
        """The least rate [Mbit/s] on the way."""
        return min(shapes[way].rate_mbit_per_s for way in self.directions)

    def loss(self, shapes: Mapping[int, LinkShape]) -> float:
        """The share of frames (0..1) that the topology's loss takes."""
        return 1 - math.prod(1 - shapes[way].loss for way in self.directions)

    def lossy(self, shapes: Mapping[int, LinkShape]) -> bool:
        """True if a link of the path loses frames."""
        return any(shapes[way].loss > 0 for way in self.directions)


def neighbour_paths(plan: NetworkPlan) -> list[Path]:
    """Every way from a node to a node with no other node between."""
    found = []
    for node, table in plan.routes.items():
        for route in table:
            if route.destination == route.next_hop:
                ends, ways = [node], []
                for link in route.links:
                    first, second = plan.links[link].ends
                    ways.append(direction(link, back=second == ends[-1]))
                    ends.append(second if first == ends[-1] else first)
                found.append(Path(tuple(ends), route.links, tuple(ways)))
    return found


def covering(paths: Iterable[Path]) -> list[Path]:
    """Few of these paths, which together pass over each of their links in each direction at least once.

    Behind one switch these are about as many as there are nodes, not all pairs of nodes.
    """
    paths = list(paths)
    chosen: dict[int, Path] = {}
    covered: set[tuple[int, str]] = set()  # link, and the end where frames enter it
    for wanted in (all, any):  # first paths that are new in every link, then those that are new in any
        for index, path in enumerate(paths):
            steps = list(zip(path.links, path.ends, strict=False))
            if wanted(step not in covered for step in steps):
                chosen[index] = path
                covered.update(steps)
    return [chosen[index] for index in sorted(chosen)]
