"""A simulation that notes the true parts of every task: what the links, the nodes and the processors really did."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

from node_agent.core.events import ComputeFinished, Received
from node_agent.wire import Task, Tensor
from testbed.expectation.world import ExactNetwork
from testbed.scenario import Event, LinkShape, Scenario
from testbed.simulation.links import Connection, Links, Transit
from testbed.simulation.processor import Processor
from testbed.virtual_time import Action


@dataclass
class TrueHop:
    """The way of one message with a task over the links."""

    sent_s: float  # it entered the links
    size_bytes: int
    waited_s: float = 0.0  # before transmitters, over all links of the way
    arrived_s: float | None = None


@dataclass
class Truth:
    """All that the probes noted: messages by (task, sender, receiver), services as (begin, end) by server."""

    hops: dict[tuple[int, str, str], list[TrueHop]] = field(default_factory=lambda: defaultdict(list))
    services: dict[str, set[tuple[float, float]]] = field(default_factory=lambda: defaultdict(set))


class WatchedTransit(Transit):
    """A message on its way that knows its hop."""

    __slots__ = ("entered_s", "hop")
    entered_s: float
    hop: TrueHop | None


class WatchedLinks(Links):
    """Links that note when messages wait and when they move."""

    truth: Truth

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._receivers: dict[int, str] = {}
        self._under_way: dict[int, TrueHop] = {}

    def connect(self, sender: str, receiver: str, arrived: Action, *, urgent: bool = False) -> Connection:
        def seen(message: object) -> None:
            if (hop := self._under_way.pop(id(message), None)) is not None:
                hop.arrived_s = self.now_s
            arrived(message)

        connection = super().connect(sender, receiver, seen, urgent=urgent)
        self._receivers[id(connection)] = receiver
        return connection

    def send(self, connection: Connection, size_bytes: int, message: object) -> None:
        hop = None
        if isinstance(message, Received) and isinstance(message.message, Task):
            hop = self._under_way[id(message)] = TrueHop(self.now_s, size_bytes)
            key = message.message.task_id, connection.sender, self._receivers[id(connection)]
            self.truth.hops[key].append(hop)
        if connection.tcp is not None or not connection.legs:
            super().send(connection, size_bytes, message)
            return
        transit = WatchedTransit(connection, size_bytes, message)
        transit.hop = hop
        self.enter(transit)  # also messages that `Links.send` computes without a transit

    def enter(self, transit: Transit) -> None:
        if isinstance(transit, WatchedTransit):
            transit.entered_s = self.now_s
        super().enter(transit)

    def _arrive(self, transit: Transit) -> None:
        if isinstance(transit, WatchedTransit) and transit.hop is not None:
            transit.hop.waited_s += transit.begin_s - transit.entered_s
        super()._arrive(transit)


class WatchedProcessor(Processor):
    """A processor that notes its services."""

    truth: Truth

    def start(self, tensor: Tensor, finished: Callable[[ComputeFinished], None]) -> None:
        began_s = self._agenda.now_s

        def seen(answer: ComputeFinished) -> None:
            self.truth.services[self._server].add((began_s, self._agenda.now_s))
            finished(answer)

        super().start(tensor, seen)


@contextmanager
def probes() -> Iterator[Truth]:
    """Within this context, a simulation reports to these probes."""
    truth = Truth()
    links = type("Links", (WatchedLinks,), {"truth": truth})
    processor = type("Processor", (WatchedProcessor,), {"truth": truth})
    with (
        mock.patch("testbed.simulation.simulator.Links", links),
        mock.patch("testbed.simulation.simulator.Processor", processor),
    ):
        yield truth


def without_chance(scenario: Scenario) -> Scenario:
    """The scenario with links that lose and jitter nothing."""

    def calm(shape: LinkShape) -> LinkShape:
        return replace(shape, jitter_s=0.0, loss=0.0)

    links = tuple(
        replace(link, shape=calm(link.shape), down_shape=None if link.down_shape is None else calm(link.down_shape))
        for link in scenario.links
    )
    events = tuple(_calm(event, calm) if event.shapes else event for event in scenario.events)
    return replace(scenario, links=links, events=events)


def _calm(event: Event, calm: Callable[[LinkShape], LinkShape]) -> Event:
    return replace(event, shape=calm(event.shape))  # type: ignore[attr-defined, call-arg]


def alone_s(scenario: Scenario, sender: str, receiver: str, hop: TrueHop) -> float:
    """The time [s] of a message that is the only one on the simulated links, with nothing left to chance."""
    network = ExactNetwork(without_chance(scenario))
    arrivals: list[float] = []
    network.send_at(hop.sent_s, (sender, receiver), hop.size_bytes, arrivals.append)
    network.run()
    return arrivals[0] - hop.sent_s
