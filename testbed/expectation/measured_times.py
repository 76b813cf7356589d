"""The basis of decisions: service and link times as nodes measured them, compared with those of an exact machine.

A node's estimators are fed once more, with the times that its tasks should have taken. A young estimate is thus
compared with one of the same age, and an estimate that follows a change slowly with one that is equally slow.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from node_agent.core.changes import WatchedServiceTime
from node_agent.core.estimators import LinkTime, ServiceTime
from node_agent.policies import make_policy
from node_agent.records import DecisionRecord
from testbed.expectation.deviation import CHANCE
from testbed.expectation.steps import Lateness
from testbed.expectation.world import ExactWorld, Path

MOST_AVERAGED = 5  # tasks; the last five weigh two thirds in a node's estimate of a link


@dataclass(frozen=True, slots=True)
class Measured:
    """The errors of the nodes in one slot, as shares of a task's price (links) and of the service time (speed).

    They are means over the nodes that decided, weighted by the rate of tasks that came to each. `worst` is the node
    with the largest weighted error.
    """

    slot: int
    links_off: float
    speed_off: float
    worst: str


def measured_off(world: ExactWorld, decisions: Iterable[DecisionRecord], late: Sequence[Lateness]) -> list[Measured]:
    """Return, by slot, the errors of the times on which decisions rested.

    Links that lose frames are left out: their times depend on which frames were lost. On links with jitter, the part
    that chance explains is subtracted.
    """
    ordered = sorted(late, key=lambda step: step.at_s)
    transfers: dict[Path, list[Lateness]] = defaultdict(list)
    services: dict[str, list[Lateness]] = defaultdict(list)
    for step in ordered:
        if step.step == "transfer":
            transfers[step.path[0], step.path[-1]].append(step)
        elif step.step == "service":
            services[step.path[0]].append(step)
    records = sorted(decisions, key=lambda record: record.time_s)
    paths = {(record.node, receiver) for record in records for receiver in record.link_s}
    idle_s = world.idle_s(path for path in paths if world.scatter_s(path) is not None)
    links = {path: _Link(world, path, transfers[path], idle_s.get(path)) for path in paths}
    speeds = {server.name: _Speed(world, server.name, services[server.name]) for server in world.scenario.servers}
    by_slot: dict[int, list[tuple[float, float, float, str]]] = defaultdict(list)
    for record in records:
        speed_off = speeds[record.node].off(record) if record.service_rate_per_s else 0.0
        by_slot[record.slot].append((record.arrival_rate_per_s, _links_off(record, links), speed_off, record.node))
    return [_measured(slot, each) for slot, each in sorted(by_slot.items())]


def _measured(slot: int, each: Sequence[tuple[float, float, float, str]]) -> Measured:
    total = sum(weight for weight, *_ in each) or 1.0
    return Measured(
        slot,
        links_off=sum(weight * links for weight, links, _, _ in each) / total,
        speed_off=sum(weight * speed for weight, _, speed, _ in each) / total,
        worst=max(each, key=lambda one: one[0] * (one[1] + one[2]))[3],
    )


def _links_off(record: DecisionRecord, links: dict[Path, "_Link"]) -> float:
    """Return the error of the link times as a share of a task's price, weighted by the offloading probabilities."""
    off = 0.0
    for receiver, measured_s in record.link_s.items():
        off_s = links[record.node, receiver].off_s(record, measured_s)
        share, price_s = record.offload.get(receiver, 0.0), record.prices.get(receiver)
        if share > 0 and price_s:
            off += share * off_s / price_s
    return off


class _Link:
    """The time of a link that a node should have measured, slot by slot."""

    def __init__(self, world: ExactWorld, path: Path, transfers: Sequence[Lateness], idle_s: float | None) -> None:
        """Take `transfers` in the order of their arrival; `idle_s` is the time of a probe, None if unknown."""
        self._slot_s = world.scenario.slot_s
        self._scatter_s = world.scatter_s(path)
        self._idle_s = idle_s
        self._transfers = iter(transfers)
        self._next = next(self._transfers, None)
        self._estimate = LinkTime()
        self._averaged = 0  # tasks since the last probe; 0 if the estimate is from a probe
        self._known = False
        self._probe()

    def off_s(self, record: DecisionRecord, measured_s: float) -> float:
        """Return the error of a node's own estimate [s]; 0 if it cannot be known."""
        self._observe_until(begin_s := record.slot * self._slot_s)
        # No task in the slot before: the node sends a probe. A task that is under way then comes first, and counts.
        if not self._estimate.fresh and not (self._next is not None and self._next.sent_s < begin_s):
            self._probe()
        self._estimate.fresh = False
        self._observe_until(record.time_s)
        if not self._known or self._scatter_s is None:
            return 0.0
        chance_s = CHANCE * self._scatter_s * (2 / min(MOST_AVERAGED, max(1, self._averaged))) ** 0.5
        off_s: float = abs(measured_s - self._estimate.transfer_s) - chance_s
        return max(0.0, off_s)

    def _observe_until(self, at_s: float) -> None:
        while self._next is not None and self._next.at_s <= at_s:
            self._estimate.observe_task(self._next.expected_s)
            self._averaged += 1
            self._known = True
            self._next = next(self._transfers, None)

    def _probe(self) -> None:
        self._averaged, self._known = 0, self._idle_s is not None
        self._estimate = LinkTime()
        if self._idle_s is not None:
            self._estimate.reset_task(self._idle_s)


class _Speed:
    """The service time that a server should have measured, slot by slot."""

    def __init__(self, world: ExactWorld, server: str, services: Sequence[Lateness]) -> None:
        """Take `services` in the order of their ends."""
        self._world, self._server = world, server
        policy = world.scenario.policy
        continuous = make_policy(policy.name, policy.parameters, theta_s=world.scenario.theta_s).continuous
        self._estimator = WatchedServiceTime if continuous else ServiceTime  # as in `node_agent.core.server`
        self._services = iter(services)
        self._next = next(self._services, None)
        self._restarts_s = iter(world.restarts_s(server))
        self._restart_s = next(self._restarts_s, math.inf)
        self._begin()

    def _begin(self) -> None:
        """Estimate as a process does that has just come up."""
        self._estimate: ServiceTime = self._estimator(self._world.service_rate_per_s(self._server, 0.0))
        self._served = False  # True if it served a task since the last slot began

    def off(self, record: DecisionRecord) -> float:
        """Return the error of a server's own estimate, as a share of the service time."""
        self._observe_until(begin_s := record.slot * self._world.scenario.slot_s)
        usual_s = 1 / self._world.service_rate_per_s(self._server, begin_s)
        measures_itself = not self._served and not self._in_service_s(begin_s + usual_s)  # an idle server does
        in_time = begin_s + usual_s <= record.time_s
        self._served = False
        if measures_itself and in_time:
            self._estimate.reset(usual_s)
        self._observe_until(record.time_s)
        expected_per_s = self._estimate.rate_per_s(self._in_service_s(record.time_s))
        if measures_itself and not in_time:  # it counts from the next decision on
            self._estimate.reset(usual_s)
        return abs(expected_per_s / (record.service_rate_per_s or 1.0) - 1)

    def _in_service_s(self, at_s: float) -> float:
        """Return for how long the next task should have been in service at `at_s` [s]; 0 if it begins later."""
        if self._next is None:
            return 0.0
        return min(max(0.0, at_s - self._next.sent_s), self._next.expected_s)

    def _observe_until(self, at_s: float) -> None:
        while self._next is not None and self._next.at_s <= at_s:
            self._restart_until(self._next.at_s)
            self._estimate.observe(self._next.expected_s)
            self._served = True
            self._next = next(self._services, None)
        self._restart_until(at_s)

    def _restart_until(self, at_s: float) -> None:
        while self._restart_s <= at_s:
            self._begin()
            self._restart_s = next(self._restarts_s, math.inf)
