"""The flow into a server: the offers of its offloaders, and their sum."""

from collections.abc import ItemsView
from typing import NamedTuple

from node_agent.errors import InvalidState
from node_agent.wire import FlowPath, Offer

LEAST_FLOW_PER_S = 1e-9  # weight of devices that offer nothing, so that a mean over them exists


class Inflow(NamedTuple):
    """The sum of the offers of a server's offloaders."""

    arrival_per_s: float  # planned arrival rate [task/s]
    paths: tuple[FlowPath, ...]  # that rate by path: rate [task/s], thresholds passed on the way here
    done: bool  # no device upstream needs a further round
    last: bool  # no further offer comes in this slot
    return_s: float  # mean time of a result to the devices that announced one, weighted by their flows [s]


class Offers:
    """The last offer of each offloader that has made one."""

    def __init__(self, stage: int) -> None:
        """`stage` is that of the server, from 1."""
        self._stage = stage
        self._offers: dict[str, Offer] = {}
        self._sum: Inflow | None = None  # cached; None after a change

    def __len__(self) -> int:
        return len(self._offers)

    def items(self) -> ItemsView[str, Offer]:
        """Pairs of an offloader and its last offer."""
        return self._offers.items()

    def get(self, peer: str) -> Offer | None:
        """Return the last offer of an offloader, if it has made one."""
        return self._offers.get(peer)

    def take(self, peer: str, offer: Offer) -> None:
        """Take an offer in place of the one before."""
        self._offers[peer], self._sum = offer, None

    def drop(self, peer: str) -> None:
        """Forget the offer of an offloader that is silent."""
        self._offers.pop(peer, None)
        self._sum = None

    @property
    def inflow(self) -> Inflow:
        """The sum of the offers."""
        if self._sum is None:
            self._sum = self._added()
        return self._sum

    def _added(self) -> Inflow:
        arrival_per_s, done, last = 0.0, True, True
        returning, measured = 0.0, 0.0
        merged: dict[tuple[float, ...], float] = {}
        for offer in self._offers.values():
            arrival_per_s += offer.flow_per_s
            done, last = done and offer.done, last and offer.last
            if offer.return_s is not None:
                weight = offer.flow_per_s + LEAST_FLOW_PER_S
                returning, measured = returning + weight * offer.return_s, measured + weight
            for flow, passed in offer.paths:
                if len(passed) == self._stage - 1:
                    merged[passed] = merged.get(passed, 0.0) + flow
        paths = tuple([(flow, passed) for passed, flow in merged.items()])
        return_s = returning / measured if measured else 0.0
        return Inflow(arrival_per_s, paths, done, last, return_s)

    def validate(self) -> None:
        """Raise InvalidState if the sum that is kept is not the sum of the offers."""
        if self._sum is not None and self._sum != (inflow := self._added()):
            raise InvalidState("rounds", f"the offers announce {inflow}, but {self._sum} is kept")
