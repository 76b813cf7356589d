"""The exact world with which a run is compared: its links, its servers' capacities, the sizes of its messages."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import pairwise

from node_agent.core.config import Timeouts
from node_agent.exit_criteria import CRITERIA
from node_agent.models.data_types import SubModelProfile
from node_agent.models.interface import SampleCosts
from node_agent.wire import Handover, InputForm
from testbed.network.routes import Ways
from testbed.scenario import Event, LinkShape, Scenario
from testbed.simulation.links import Connection, Links
from testbed.sizes import passed_result_bytes, passed_task_bytes
from testbed.virtual_time import Calendar

FOREVER_S = 1e12
APART_S = 1e3  # time between two messages that must not wait for each other
ACTIONS_AT_ONCE = 100_000
SLOW_SHARE = 0.5  # share of a wait; a message expected later than this may not be answered in time
Path = tuple[str, str]  # sender, receiver
Seen = Callable[[float], None]  # called with the time of a message's arrival


class ExactWorld:
    """The scenario of a run as an exact machine would emulate it."""

    def __init__(
        self,
        scenario: Scenario,
        profiles: Sequence[SubModelProfile],
        forms: Sequence[InputForm],
        timeouts: Timeouts,
        sample_costs: SampleCosts | None = None,
    ) -> None:
        """Prepare capacities, outages and links over the run.

        Args:
            scenario: the scenario of the run.
            profiles: the costs of the sub-models; stage h is at index h - 1.
            forms: the inputs of the sub-models; stage h is at index h - 1.
            timeouts: the nodes' timeouts.
            sample_costs: the costs of each sample; None if all samples cost the same.
        """
        self.scenario = scenario
        self.timeouts = timeouts
        self._forms = forms
        self._stage = {server.name: server.stage for server in scenario.servers}
        self._work_flop = [float(profile.flop) for profile in profiles]
        self._sample_costs = sample_costs
        self._capacities = {server.name: [(float("-inf"), server.capacity_flop_per_s)] for server in scenario.servers}
        self._down: dict[str, list[tuple[float, float]]] = {}
        for event in scenario.events:
            for server, capacity in event.capacities_flop_per_s.items():
                self._capacities[server].append((event.at_s, capacity))
            for node, up in event.switched.items():
                self._note_switch(event.at_s, node, up=up)
        changes = [change for event in scenario.events for change in event.shapes.items()]
        shaped = [(link.ends, shape) for link in scenario.links for shape in link.shapes] + changes
        shapes = [shape for _, shape in shaped]
        self._changing = {frozenset(ends) for ends, _ in changes}
        self._shapes: dict[frozenset[str], list[LinkShape]] = {}  # by the ends of a link, all its shapes in the run
        for ends, shape in shaped:
            self._shapes.setdefault(frozenset(ends), []).append(shape)
        # With loss or jitter, expected delays are random; with loss, an offer may fail.
        self.is_random = any(shape.loss or shape.jitter_s for shape in shapes)
        self.loses = any(shape.loss for shape in shapes)
        # Cached by way; a run has few different ways.
        carries_answers = not CRITERIA[scenario.model.criterion].of_one_exit
        self._task_bytes = cache(partial(passed_task_bytes, carries_answers=carries_answers))
        self.result_bytes = cache(passed_result_bytes)
        self._ways = Ways(scenario)
        self.legs = cache(self._legs)

    def _note_switch(self, at_s: float, node: str, *, up: bool) -> None:
        spans = self._down.setdefault(node, [])
        if not up:
            spans.append((at_s, FOREVER_S))
        elif spans and spans[-1][1] == FOREVER_S:
            spans[-1] = (spans[-1][0], at_s)

    def is_down(self, node: str, from_s: float, until_s: float) -> bool:
        """True if the scenario has the node down at some time from `from_s` to `until_s`."""
        return any(from_s < end_s and until_s > begin_s for begin_s, end_s in self._down.get(node, ()))

    def restarts_s(self, node: str) -> list[float]:
        """Return the times at which the scenario has the node come up [s], rising."""
        return [end_s for _, end_s in self._down.get(node, ()) if end_s < FOREVER_S]

    def taken_s(self, node: str, arrival_s: float) -> float:
        """Return the time [s] at which a node takes a message that arrives at `arrival_s`: then, or once it is up."""
        return next((end_s for begin_s, end_s in self._down.get(node, ()) if begin_s <= arrival_s < end_s), arrival_s)

    def _legs(self, path: Path) -> tuple[Path, ...]:
        """Return the links, as (from, to), that lead from a sender to a receiver."""
        vertices = [vertex for vertex, _ in self._ways.hops(*path)]
        return tuple(pairwise((*vertices, path[1])))

    def scatter_s(self, path: Path) -> float | None:
        """Return the standard deviation [s] of a message's time by jitter; None if a link of the path loses frames."""
        shapes = [self._shapes[frozenset(leg)] for leg in self.legs(path)]
        if any(shape.loss for each in shapes for shape in each):
            return None
        return math.hypot(*(max(shape.jitter_s for shape in each) for each in shapes))

    def idle_s(self, paths: Iterable[Path]) -> dict[Path, float]:
        """Return the time [s] that a task takes over each path with nothing else on the links.

        Paths with a link that changes during the run are left out.
        """
        network = ExactNetwork(replace(self.scenario, events=()))
        found: dict[Path, float] = {}
        for number, path in enumerate(paths):
            if any(frozenset(leg) in self._changing for leg in self.legs(path)):
                continue
            sent_s = number * APART_S
            size_bytes = self.task_bytes((path[0],) * (self._stage.get(path[0], 0) + 1))
            network.send_at(sent_s, path, size_bytes, partial(_note, found, path, sent_s))
        network.run()
        return found

    def had_to_fail(self, sender: str, handover: Handover, until_s: float, arrival_s: float) -> bool:
        """True if a handover that was given up at `until_s` could fail in the exact world, too.

        That is so if links lose frames, if an end was down, or if `arrival_s`, its expected arrival, was late.
        """
        if self.loses or any(self.is_down(node, handover.sent_s, until_s) for node in (sender, handover.receiver)):
            return True
        return arrival_s - handover.sent_s > SLOW_SHARE * (until_s - handover.sent_s)

    def had_to_fail_somewhere(self, from_s: float, until_s: float, took_s: float) -> bool:
        """True if a task that a server took over may have had no result in time in the exact world, too.

        That is so if links lose frames, if a node was down, or if the task was just slow. `took_s` is the time that the
        task took when it was offered again.
        """
        down = any(self.is_down(node, from_s, until_s) for node in self._down)
        return self.loses or down or took_s > SLOW_SHARE * (until_s - from_s)

    def service_rate_per_s(self, server: str, at_s: float) -> float:
        """Return the tasks per second that a server serves at its capacity at time `at_s`."""
        capacity = next(each for from_s, each in reversed(self._capacities[server]) if from_s <= at_s)
        return capacity / self._work_flop[self._stage[server] - 1]

    def served_by_s(self, server: str, from_s: float, sample: int) -> float:
        """Return the time [s] at which the service of a sample ends that begins at `from_s`; capacities may change."""
        left_flop, now_s = self._flop(self._stage[server], sample), from_s
        capacities = self._capacities[server]
        for (_, capacity), (until_s, _) in pairwise(capacities):
            if now_s < until_s:
                if now_s + left_flop / capacity <= until_s:
                    return now_s + left_flop / capacity
                left_flop -= (until_s - now_s) * capacity
                now_s = until_s
        return now_s + left_flop / capacities[-1][1]

    def _flop(self, stage: int, sample: int) -> float:
        """Return the work of a stage on a sample [FLOP]."""
        costs = self._sample_costs
        return self._work_flop[stage - 1] if costs is None else float(costs.flop[sample, stage - 1])

    def task_bytes(self, way: tuple[str, ...], sample: int | None = None) -> int:
        """Return the bytes of a task that the last node of `way` sends on; `way` starts with the device.

        Without a `sample`, the task has the usual size.
        """
        stage, costs = len(way), self._sample_costs
        form = self._forms[stage - 1]
        if costs is None or sample is None:
            return self._task_bytes(way, form.usual)
        return self._task_bytes(way, form.sized(int(costs.length[sample, stage - 1])))


def _note(found: dict[Path, float], path: Path, sent_s: float, arrival_s: float) -> None:
    found[path] = arrival_s - sent_s


class ExactNetwork:
    """The links of a scenario, with their events, in virtual time."""

    def __init__(self, scenario: Scenario, *, draw: int = 0) -> None:
        """Start with idle links; `draw` is the number of the draw of loss and jitter."""
        self.agenda = Calendar(now_s=-FOREVER_S)
        changes = [event for event in scenario.events if event.shapes]
        seeded = replace(scenario, seed=scenario.seed + 7919 * draw)
        self._links = Links(seeded, self.agenda, [frozenset(ends) for change in changes for ends in change.shapes])
        self._connections: dict[Path, Connection] = {}
        for change in changes:
            self.agenda.at(change.at_s, self._change, change)

    def _change(self, change: Event) -> None:
        for ends, shape in change.shapes.items():
            self._links.change(ends, shape, sender=ends[0])

    def send_at(self, at_s: float, path: Path, size_bytes: int, seen: Seen) -> None:
        """Send a message at the future time `at_s`; `seen` is called with the time of its arrival."""
        self.agenda.at(at_s, self._send, _SizedMessage(path, size_bytes, seen))

    def send(self, path: Path, size_bytes: int, seen: Seen) -> None:
        """Send a message now; `seen` is called with the time of its arrival."""
        self._send(_SizedMessage(path, size_bytes, seen))

    def _send(self, message: "_SizedMessage") -> None:
        connection = self._connections.get(message.path)
        if connection is None:
            connection = self._connections[message.path] = self._links.connect(*message.path, self._arrived)
        self._links.send(connection, message.size_bytes, message)

    def _arrived(self, message: "_SizedMessage") -> None:
        message.seen(self.agenda.now_s)

    def run(self) -> None:
        """Run until all messages have arrived."""
        while not self.agenda.run(FOREVER_S, ACTIONS_AT_ONCE):
            pass


@dataclass(frozen=True, slots=True)
class _SizedMessage:
    path: Path
    size_bytes: int
    seen: Seen
