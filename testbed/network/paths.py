"""Which ways through the network are worth probing, and what their links ask of a frame."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from testbed.network.commands import spacing_bit_per_s
from testbed.network.layout import NetworkPlan
from testbed.scenario import LinkShape
from testbed.sizes import ETHERNET_BYTES


def direction(link: int, *, back: bool) -> int:
    """The number of a link's direction: its own index from its first end to the second, the complement of it back."""
    return ~link if back else link


@dataclass(frozen=True, slots=True)
class Path:
    """The way from a node to a neighbour: `ends` are the node, the switches between, the neighbour.

    `directions` are those of its links, as `direction` numbers them; left out, all lead from first to second end.
    """

    ends: tuple[str, ...]
    links: tuple[int, ...]  # indices of the plan's links, in order
    directions: tuple[int, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if not self.directions:
            object.__setattr__(self, "directions", self.links)

    def delay_s(self, shapes: Mapping[int, LinkShape]) -> float:
        """The mean one-way delay of the links, without transmission."""
        return sum(shapes[way].delay_s for way in self.directions)

    def jitter_s(self, shapes: Mapping[int, LinkShape]) -> float:
        """The standard deviation of the whole path's delay."""
        return float(sum(shapes[way].jitter_s ** 2 for way in self.directions) ** 0.5)

    def transmission_s(self, packet_bytes: int, shapes: Mapping[int, LinkShape]) -> float:
        """How long the links need to send a lone IP packet of this size, one after the other."""
        return sum((packet_bytes + ETHERNET_BYTES) * 8 / spacing_bit_per_s(shapes[way]) for way in self.directions)

    def rate_mbit_per_s(self, shapes: Mapping[int, LinkShape]) -> float:
        """The least rate on the way."""
        return min(shapes[way].rate_mbit_per_s for way in self.directions)

    def loss(self, shapes: Mapping[int, LinkShape]) -> float:
        """The share of frames that the topology wants lost."""
        return 1 - math.prod(1 - shapes[way].loss for way in self.directions)

    def lossy(self, shapes: Mapping[int, LinkShape]) -> bool:
        """Whether a frame may get lost as the topology asks."""
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
    """Few of these paths that pass over each of their links in each direction at least once.

    Behind one switch about as many as there are nodes, not all pairs of them.
    """
    paths = list(paths)
    chosen: dict[int, Path] = {}
    covered: set[tuple[int, str]] = set()  # link, and the end it is entered at
    for wanted in (all, any):  # first those that are new in every link, then what they left
        for index, path in enumerate(paths):
            steps = list(zip(path.links, path.ends, strict=False))
            if wanted(step not in covered for step in steps):
                chosen[index] = path
                covered.update(steps)
    return [chosen[index] for index in sorted(chosen)]
