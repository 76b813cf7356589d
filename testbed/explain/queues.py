"""The queues of a run once more: how long tasks waited at each server and link, and how long if it were faster.

A queue that takes tasks in order obeys the recursion of Lindley ("The theory of queues with a single server", 1952):
service begins at max(arrival, end of the service before). Given the recorded arrivals, the recursion gives the waiting
of each task, and with shorter services that of a faster server. Arrivals stay as they were: policies that adapt would
send more tasks to a faster server.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from testbed.breakdown.idle_links import LinkCourse, arrival_s, handed_on_s
from testbed.explain.explained_run import ExplainedRun

MORE = 1.10  # times the capacity, or the rate: one unit more
Leg = tuple[str, str]  # sending and receiving end of a link


@dataclass(slots=True)
class ServerQueue:
    """The queue of a server.

    Attributes:
        arrivals_s: when each task arrived [s].
        services_s: its service time, without the lateness of this machine [s].
        counts: true for the tasks whose delays count.
        saved_s: time that the counted tasks together save if the server is MORE times as fast [s].
    """

    arrivals_s: list[float] = field(default_factory=list)
    services_s: list[float] = field(default_factory=list)
    counts: list[bool] = field(default_factory=list)
    saved_s: float = 0.0


@dataclass(slots=True)
class LinkQueue:
    """The queue of one direction of a link.

    Attributes:
        course: its rate and delay over the run.
        messages: (entered [s], bytes, number of the hop or None) of each message with a task or a result.
        busy_s: time in which it sent messages, within the counted span [s].
        sending_s: transmission of the counted tasks and their results [s].
        tasks: number of messages with a task in the counted span.
        saved_s: time that the counted tasks together save if the link is MORE times as fast [s].
    """

    course: LinkCourse
    messages: list[tuple[float, int, int | None]] = field(default_factory=list)
    busy_s: float = 0.0
    sending_s: float = 0.0
    tasks: int = 0
    saved_s: float = 0.0


@dataclass(slots=True)
class Queues:
    """The queues of a run.

    Attributes:
        servers: by name.
        links: by direction.
        waits_s: for each counted hop and way back, (direction, waiting) of each link that it crossed [s].
    """

    servers: dict[str, ServerQueue]
    links: dict[Leg, LinkQueue]
    waits_s: list[list[tuple[Leg, float]]]


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
        self._servers: dict[str, ServerQueue] = defaultdict(ServerQueue)
        self._directions: dict[Leg, LinkQueue] = {}
        self._hops = 0
        self._faster: dict[
            tuple[str, str, int, Leg], float
        ] = {}  # time that an idle path saves [s], if no link changes

    def fill(self) -> None:
        """Collect all services and messages."""
        warm_up_s = self._run.scenario.warm_up_s
        served: dict[str, list[tuple[float, float, float, bool]]] = defaultdict(list)
        for task in self._run.tasks:
            split = self._run.splits.get(task.id)
            if task.completed_s is None or not task.hops:
                continue
            counted = split is not None and task.created_s >= warm_up_s
            for way in task.ways:
                counts = counted and way is task.hops
                nodes = (task.device, *(hop.node for hop in way))
                offer = task.offer_of(way)
                sent_s = task.created_s + task.lateness_s if offer is None else offer.sent_s
                for number, hop in enumerate(way):
                    size_bytes = self._run.splitter.task_bytes(nodes[: number + 1], task.sample)
                    self._message(nodes[number], hop.node, size_bytes, sent_s, counts=counts, is_task=True)
                    for failed in hop.failed:
                        further = self._run.splitter.task_bytes(nodes[: number + 2], task.sample)
                        self._message(hop.node, failed.receiver, further, failed.sent_s, counts=False, is_task=True)
                    service_s = max(0.0, hop.finished_s - hop.started_s - max(hop.late_s, 0.0))
                    served[hop.node].append((hop.started_s, hop.received_s, service_s, counts))
                    sent_s = hop.sent_s
                size_bytes = self._run.splitter.result_bytes(nodes)
                self._message(nodes[-1], task.device, size_bytes, sent_s, counts=counts, is_task=False)
            used = {id(offer) for way in task.ways if (offer := task.offer_of(way)) is not None}
            size_bytes = self._run.splitter.task_bytes((task.device,), task.sample)
            for offer in task.offers:
                if id(offer) not in used:
                    self._message(task.device, offer.receiver, size_bytes, offer.sent_s, counts=False, is_task=True)
        for name, each in served.items():
            queue = self._servers[name]
            for _, received_s, service_s, counts in sorted(each):
                queue.arrivals_s.append(received_s)
                queue.services_s.append(service_s)
                queue.counts.append(counts)

    def _message(
        self, sender: str, receiver: str, size_bytes: int, sent_s: float, *, counts: bool, is_task: bool
    ) -> None:
        hop = None
        if counts:
            hop = self._hops
            self._hops += 1
        legs = self._links.legs(sender, receiver)
        enter_s = self._run.splitter.leaves_s(receiver, sent_s)
        within = self._run.scenario.warm_up_s <= sent_s < self._run.scenario.duration_s
        for place, leg in enumerate(legs):
            queue = self._directions.get(leg.ends)
            if queue is None:
                queue = self._directions[leg.ends] = LinkQueue(leg)
            queue.messages.append((enter_s, size_bytes, hop))
            sending_s = size_bytes / leg.rate_at(enter_s)
            if within:
                queue.busy_s += sending_s
                queue.tasks += is_task
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
        waits_s: list[list[tuple[Leg, float]]] = [[] for _ in range(self._hops)]
        for ends, link in self._directions.items():
            link.messages.sort(key=lambda message: message[0])
            as_it_was = _link_waits_s(link.course, link.messages)
            if_faster = _link_waits_s(link.course.faster(MORE), link.messages)
            for (_, _, hop), wait_s, less_s in zip(link.messages, as_it_was, if_faster, strict=True):
                if hop is not None:
                    waits_s[hop].append((ends, wait_s))
                    link.saved_s += wait_s - less_s
            link.messages = []
        return Queues(dict(self._servers), self._directions, waits_s)


def _saved_at_server_s(queue: ServerQueue) -> float:
    """Return how much earlier the services of the counted tasks end on a server that is MORE times as fast [s]."""
    end_s = faster_end_s = float("-inf")
    saved_s = 0.0
    for arrived_s, service_s, counts in zip(queue.arrivals_s, queue.services_s, queue.counts, strict=True):
        end_s = max(arrived_s, end_s) + service_s
        faster_end_s = max(arrived_s, faster_end_s) + service_s / MORE
        if counts:
            saved_s += end_s - faster_end_s
    return saved_s


def _link_waits_s(course: LinkCourse, messages: Sequence[tuple[float, int, int | None]]) -> list[float]:
    """Return how long each message waits for the transmitter [s], in the order of their entering."""
    free_s, waits_s = float("-inf"), []
    for enter_s, size_bytes, _ in messages:
        begin_s = max(enter_s, free_s)
        free_s, _ = course.sent_at(begin_s, size_bytes)
        waits_s.append(begin_s - enter_s)
    return waits_s
