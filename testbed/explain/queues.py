"""The queues of a run once more: how long tasks waited at each server and link, and how long if it were faster.

A queue that takes tasks in order obeys the recursion of Lindley ("The theory of queues with a single server", 1952):
service begins at max(arrival, end of the service before). Given the recorded arrivals, the recursion gives the waiting
of each task, and with shorter services that of a faster server. Arrivals stay as they were: policies that adapt would
send more tasks to a faster server.

Decision 109: the bottleneck is where tasks waited longest, and its replayed queue says what more of it would save
(docs/decisions/109-the-bottleneck.md).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from node_agent.wire import Handover
from testbed.breakdown.idle_links import LinkCourse, arrival_s, handed_on_s
from testbed.breakdown.rate_course import RateCourse
from testbed.explain.explained_run import ExplainedRun
from testbed.record.task_line import TaskLine, Way
from testbed.scenario import Scenario

MORE = 1.10  # times the capacity, or the rate: one unit more
Leg = tuple[str, str]  # sending and receiving end of a link
Waits = list[tuple[Leg, float]]  # of a message: (direction, waiting [s]) of each link that it crossed
LinkMessage = tuple[float, int, Waits | None, bool]


@dataclass(slots=True)
class ServerQueue:
    """The queue of a server.

    Attributes:
        course: its capacity over the run [FLOP/s].
        arrivals_s: when each task arrived [s].
        starts_s: when its service began [s].
        services_s: its service time, without the lateness of this machine [s].
        counts: true for the tasks whose delays count.
        saved_s: time that the counted tasks together save if the server is MORE times as fast [s].
    """

    course: RateCourse
    arrivals_s: list[float] = field(default_factory=list)
    starts_s: list[float] = field(default_factory=list)
    services_s: list[float] = field(default_factory=list)
    counts: list[bool] = field(default_factory=list)
    saved_s: float = 0.0


@dataclass(slots=True)
class LinkQueue:
    """The queue of one direction of a link.

    Attributes:
        course: its rate and delay over the run.
        messages: (entered [s], bytes, list for its waiting or None, counted) of each message with a task or a result.
        busy_s: time in which it sent messages, within the counted span [s].
        sending_s: transmission of the counted tasks and their results [s].
        sent: (entered [s], transmission [s]) of each message.
        saved_s: time that the counted tasks together save if the link is MORE times as fast [s].
    """

    course: LinkCourse
    messages: list[LinkMessage] = field(default_factory=list)
    busy_s: float = 0.0
    sending_s: float = 0.0
    sent: list[tuple[float, float]] = field(default_factory=list)
    saved_s: float = 0.0


@dataclass(slots=True)
class Queues:
    """The queues of a run.

    Attributes:
        servers: by name.
        links: by direction.
        waits_s: the waiting of each counted hop and way back.
        failed_s: that of the counted tasks' offers and handovers that came to nothing, by task id and handover.
    """

    servers: dict[str, ServerQueue]
    links: dict[Leg, LinkQueue]
    waits_s: list[Waits]
    failed_s: dict[tuple[int, Handover], Waits]


def queues_of(run: ExplainedRun) -> Queues:
    """Return the queues of a run.

    Hops in `waits_s` come in the order of the counted tasks: those of the first result's way, then the way back.
    """
    replay = _Replay(run)
    replay.fill()
    return replay.solve()


class _Replay:
    """Collects the tasks and messages of a run by server and link, and solves the queues."""

    def __init__(self, run: ExplainedRun) -> None:
        self._run = run
        self._links = run.splitter.links
        self._servers: dict[str, ServerQueue] = {}
        self._directions: dict[Leg, LinkQueue] = {}
        self._waits_s: list[Waits] = []
        self._failed_s: dict[tuple[int, Handover], Waits] = {}
        self._faster: dict[
            tuple[str, str, int, Leg], float
        ] = {}  # time that an idle path saves [s], if no link changes

    def fill(self) -> None:
        """Collect all services and messages."""
        served: dict[str, list[tuple[float, float, float, bool]]] = defaultdict(list)
        for task in self._run.tasks:
            if task.completed_s is None or not task.hops:
                continue
            counted = task.id in self._run.splits and task.created_s >= self._run.scenario.warm_up_s
            used = [offer for way in task.ways if (offer := task.offer_of(way)) is not None]
            for offer in task.offers:
                if offer not in used:
                    self._failed(task, (task.device,), offer, counts=counted)
            for way in task.ways:
                self._way(task, way, counts=counted and way is task.hops)
                for hop in way:
                    service_s = max(0.0, hop.finished_s - hop.started_s - max(hop.late_s, 0.0))
                    counts = counted and way is task.hops
                    served[hop.node].append((hop.started_s, hop.received_s, service_s, counts))
        capacities = _capacities(self._run.scenario)
        for name, each in served.items():
            queue = self._servers[name] = ServerQueue(capacities[name])
            for started_s, received_s, service_s, counts in sorted(each):
                queue.arrivals_s.append(received_s)
                queue.starts_s.append(started_s)
                queue.services_s.append(service_s)
                queue.counts.append(counts)

    def _way(self, task: TaskLine, way: Way, *, counts: bool) -> None:
        """Collect the messages of a way: the hops, the handovers that failed, and the result."""
        nodes = (task.device, *(hop.node for hop in way))
        offer = task.offer_of(way)
        sent_s = task.created_s + task.lateness_s if offer is None else offer.sent_s
        for number, hop in enumerate(way):
            size_bytes = self._run.splitter.task_bytes(nodes[: number + 1], task.sample)
            self._counted(nodes[number], hop.node, size_bytes, sent_s, counts=counts)
            for failed in hop.failed:
                self._failed(task, nodes[: number + 2], failed, counts=counts)
            sent_s = hop.sent_s
        self._counted(nodes[-1], task.device, self._run.splitter.result_bytes(nodes), sent_s, counts=counts)

    def _counted(self, sender: str, receiver: str, size_bytes: int, sent_s: float, *, counts: bool) -> None:
        waits_s: Waits | None = [] if counts else None
        if waits_s is not None:
            self._waits_s.append(waits_s)
        self._message(sender, receiver, size_bytes, sent_s, waits_s, counts=counts)

    def _failed(self, task: TaskLine, way: tuple[str, ...], handover: Handover, *, counts: bool) -> None:
        """Collect a handover of the last node of `way` that came to nothing."""
        size_bytes = self._run.splitter.task_bytes(way, task.sample)
        waits_s = self._failed_s.setdefault((task.id, handover), []) if counts else None
        self._message(way[-1], handover.receiver, size_bytes, handover.sent_s, waits_s, counts=False)

    def _message(
        self, sender: str, receiver: str, size_bytes: int, sent_s: float, waits_s: Waits | None, *, counts: bool
    ) -> None:
        legs = self._links.legs(sender, receiver)
        enter_s = self._run.splitter.leaves_s(receiver, sent_s)
        within = self._run.scenario.warm_up_s <= sent_s < self._run.scenario.duration_s
        for place, leg in enumerate(legs):
            queue = self._directions.get(leg.ends)
            if queue is None:
                queue = self._directions[leg.ends] = LinkQueue(leg)
            queue.messages.append((enter_s, size_bytes, waits_s, counts))
            sending_s = size_bytes / leg.rate_at(enter_s)
            queue.sent.append((enter_s, sending_s))
            if within:
                queue.busy_s += sending_s
            if counts:
                queue.sending_s += sending_s
                queue.saved_s += self._saved_s(sender, receiver, legs, place, size_bytes, sent_s)
            if place + 1 < len(legs):
                enter_s = handed_on_s(leg, legs[place + 1], size_bytes, enter_s)

    def _saved_s(
        self, sender: str, receiver: str, legs: Sequence[LinkCourse], place: int, size_bytes: int, sent_s: float
    ) -> float:
        """Return the time that idle links save if that at `place` is MORE times as fast [s]."""
        key = (sender, receiver, size_bytes, legs[place].ends)
        known = self._faster.get(key)
        if known is not None:
            return known
        faster = [leg.faster(MORE) if number == place else leg for number, leg in enumerate(legs)]
        saved_s = arrival_s(legs, size_bytes, sent_s) - arrival_s(faster, size_bytes, sent_s)
        if all(len(leg.times_s) == 1 for leg in legs):
            self._faster[key] = saved_s
        return saved_s

    def solve(self) -> Queues:
        """Return all queues, with their waiting and savings."""
        for server in self._servers.values():
            server.saved_s = _saved_at_server_s(server)
        for ends, link in self._directions.items():
            link.messages.sort(key=lambda message: message[0])
            as_it_was = _link_waits_s(link.course, link.messages)
            if_faster = _link_waits_s(link.course.faster(MORE), link.messages)
            for (_, _, waits_s, counts), wait_s, less_s in zip(link.messages, as_it_was, if_faster, strict=True):
                if waits_s is not None:
                    waits_s.append((ends, wait_s))
                if counts:
                    link.saved_s += wait_s - less_s
            link.messages = []
        return Queues(self._servers, self._directions, self._waits_s, self._failed_s)


def _capacities(scenario: Scenario) -> dict[str, RateCourse]:
    """Return the capacity of each server over the run [FLOP/s]."""
    courses = {server.name: RateCourse(server.capacity_flop_per_s) for server in scenario.servers}
    for event in scenario.events:
        for server, capacity_flop_per_s in event.capacities_flop_per_s.items():
            courses[server].change_rate(event.at_s, capacity_flop_per_s)
    return courses


def _saved_at_server_s(queue: ServerQueue) -> float:
    """Return how much earlier the services of the counted tasks end on a server that is MORE times as fast [s]."""
    course = queue.course
    faster = course.faster(MORE)
    end_s = faster_end_s = float("-inf")
    saved_s = 0.0
    for arrived_s, started_s, service_s, counts in zip(
        queue.arrivals_s, queue.starts_s, queue.services_s, queue.counts, strict=True
    ):
        work_flop = course.amount(started_s, started_s + service_s)
        end_s, _ = course.end_of(max(arrived_s, end_s), work_flop)
        faster_end_s, _ = faster.end_of(max(arrived_s, faster_end_s), work_flop)
        if counts:
            saved_s += end_s - faster_end_s
    return saved_s


def _link_waits_s(course: LinkCourse, messages: Sequence[LinkMessage]) -> list[float]:
    """Return how long each message waits for the transmitter [s], in the order of their entering."""
    free_s, waits_s = float("-inf"), []
    for enter_s, size_bytes, _, _ in messages:
        begin_s = max(enter_s, free_s)
        free_s, _ = course.end_of(begin_s, size_bytes)
        waits_s.append(begin_s - enter_s)
    return waits_s
