"""The places where tasks waited: servers, links, receivers that did not answer, and this machine itself."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from node_agent.wire import Handover
from testbed.breakdown.parts import HopParts, TaskParts
from testbed.explain.explained_run import ExplainedRun
from testbed.explain.prices import link_price_s, server_price_s, spans_of
from testbed.explain.queues import Queues, Waits, queues_of
from testbed.record.task_line import TaskLine

PlaceKind = Literal["server", "link", "receiver", "machine"]
Key = tuple[PlaceKind, tuple[str, ...]]


@dataclass(slots=True)
class WaitingPlace:
    """A place where tasks waited; times are means over all counted tasks.

    Attributes:
        kind: "server": for service; "link": for a direction of a link; "receiver": for a node that did not answer or
            was down; "machine": for this machine, which emulates the network.
        name: of the server or receiver; sender and receiver of a link; empty for the machine.
        waited_s: waiting there [s].
        share: `waited_s` over the mean delay, 0 to 1.
        working_s: service at a server, transmission over a link [s]; 0 elsewhere.
        busy: share of the counted span in service or in transmission, 0 to 1; None elsewhere.
        saves_s: time that a task saves on average if the place is 10 % faster, by its replayed queue [s].
        price_s: the same by the queueing formulas with which DTO-EE prices load [s]; None if it was full for a while.
        repairs_s: of a link's waiting, the share that its queue does not explain: lost frames and jitter [s].
        retries_s: of a link's waiting, that for tasks whose sender gave up while they waited for the link [s].
        loses: true for a link that loses frames.
        tasks: counted tasks that passed.
        by_slot_s: waiting by the slot in which it began, summed over counted tasks [s].
    """

    kind: PlaceKind
    name: tuple[str, ...]
    waited_s: float = 0.0
    share: float = 0.0
    working_s: float = 0.0
    busy: float | None = None
    saves_s: float = 0.0
    price_s: float | None = None
    repairs_s: float = 0.0
    retries_s: float = 0.0
    loses: bool = False
    tasks: int = 0
    by_slot_s: dict[int, float] = field(default_factory=dict)


class _Places:
    """Adds up the waiting of the counted tasks by place."""

    def __init__(self, run: ExplainedRun, queues: Queues) -> None:
        self.found: dict[Key, WaitingPlace] = {}
        self._slot_s = run.scenario.slot_s
        self._queues = queues
        self._run = run

    def place(self, kind: PlaceKind, *name: str) -> WaitingPlace:
        """Return a place, made if it is new."""
        key = kind, name
        if key not in self.found:
            self.found[key] = WaitingPlace(kind, name)
        return self.found[key]

    def add(self, place: WaitingPlace, waited_s: float, at_s: float) -> None:
        """Add waiting that began at `at_s` [s]."""
        if waited_s > 0:
            place.waited_s += waited_s
            slot = int(max(0.0, at_s) / self._slot_s)
            place.by_slot_s[slot] = place.by_slot_s.get(slot, 0.0) + waited_s

    def task(self, task: TaskLine, split: TaskParts, waits_s: Sequence[Waits]) -> None:
        """Add the waiting of a task; `waits_s` is that of its replayed messages."""
        if split.late_s > 0:
            self.add(self.place("machine"), split.late_s, task.created_s)
        first = split.hops[0]
        earlier = [offer for offer in task.offers if offer.sent_s < first.sent_s]
        self._unanswered(task, (task.device,), earlier, first.sent_s)
        for number, (hop, line) in enumerate(zip(split.hops, task.hops, strict=True)):
            if hop.down_s:
                self._no_answer(hop.node, hop.down_s, hop.sent_s)
            self._link_wait(hop, waits_s[number])
            server = self.place("server", hop.node)
            server.tasks += 1
            server.working_s += hop.service_s
            self.add(server, hop.queueing_s, line.received_s)
            if hop.late_s > 0:
                self.add(self.place("machine"), hop.late_s, line.finished_s)
            way = (task.device, *(each.node for each in split.hops[: number + 1]))
            self._unanswered(task, way, line.failed, line.sent_s)
        self._way_back(task, split, waits_s[-1])

    def _unanswered(self, task: TaskLine, way: tuple[str, ...], handovers: Sequence[Handover], until_s: float) -> None:
        """Add handovers by the last node of `way` that came to nothing: each until the next, the last until `until_s`.

        A link is to blame if its queue held the message up for so long that the sender gave up; else the receiver.
        """
        for number, handover in enumerate(handovers):
            next_s = handovers[number + 1].sent_s if number + 1 < len(handovers) else until_s
            waits_s = self._queues.failed_s.get((task.id, handover), [])
            size_bytes = self._run.splitter.task_bytes(way, task.sample)
            links = self._run.splitter.links
            idle_s = links.transfer_s(way[-1], handover.receiver, size_bytes, handover.sent_s)
            if waits_s and handover.sent_s + idle_s + sum(wait_s for _, wait_s in waits_s) > next_s:
                slowest = min(links.legs(way[-1], handover.receiver), key=lambda leg: leg.rate_at(handover.sent_s))
                longest, wait_s = max(waits_s, key=lambda each: each[1])
                place = self.place("link", *(longest if wait_s > idle_s else slowest.ends))
                place.retries_s += next_s - handover.sent_s
                self.add(place, next_s - handover.sent_s, handover.sent_s)
            else:
                self._no_answer(handover.receiver, next_s - handover.sent_s, handover.sent_s)

    def _no_answer(self, receiver: str, waited_s: float, at_s: float) -> None:
        place = self.place("receiver", receiver)
        place.tasks += 1
        self.add(place, waited_s, at_s)

    def _way_back(self, task: TaskLine, split: TaskParts, waits_s: Waits) -> None:
        """Add what a result waited for links, beyond the time of idle ones."""
        nodes, sent_s = (task.device, *(hop.node for hop in split.hops)), task.hops[-1].sent_s
        size_bytes = self._run.splitter.result_bytes(nodes)
        idle_s = self._run.splitter.links.transfer_s(nodes[-1], task.device, size_bytes, sent_s)
        waited_s = max(0.0, split.return_s - idle_s)
        self._share_out(nodes[-1], task.device, waited_s, sent_s, waits_s)

    def _link_wait(self, hop: HopParts, waits_s: Waits) -> None:
        self._share_out(hop.sender, hop.node, hop.link_wait_s, hop.sent_s, waits_s)

    def _share_out(self, sender: str, receiver: str, waited_s: float, at_s: float, waits_s: Waits) -> None:
        """Share the waiting of a message out among the links that it crossed.

        Each link gets the waiting of its replayed queue. The rest is due to lost frames, if some link loses any, or to
        jitter, control messages and this machine.
        """
        legs = self._run.splitter.links.legs(sender, receiver)
        for leg in legs:
            self.place("link", *leg.ends).tasks += 1
        if waited_s <= 0 or not legs:
            return
        replayed_s = sum(wait_s for _, wait_s in waits_s)
        scale = min(1.0, waited_s / replayed_s) if replayed_s > 0 else 0.0
        for ends, wait_s in waits_s:
            self.add(self.place("link", *ends), scale * wait_s, at_s)
        left_s = max(0.0, waited_s - replayed_s)
        blamed = [leg for leg in legs if leg.lossy] or list(legs)
        for leg in blamed:
            place = self.place("link", *leg.ends)
            place.loses = leg.lossy
            place.repairs_s += left_s / len(blamed)
            self.add(place, left_s / len(blamed), at_s)


def places_of(run: ExplainedRun) -> list[WaitingPlace]:
    """Return all places where counted tasks were, the one with the longest waiting first."""
    queues = queues_of(run)
    places = _Places(run, queues)
    count, total_s, at = 0, 0.0, 0
    for task, split in run.counted:
        messages = len(split.hops) + 1
        places.task(task, split, queues.waits_s[at : at + messages])
        at += messages
        count += 1
        total_s += task.delay_s or 0.0
    spans = spans_of(run.scenario)
    busy_s: dict[str, float] = defaultdict(float)
    for line in run.busy:
        if run.scenario.warm_up_s < line.time_s <= run.scenario.duration_s:
            busy_s[line.node] += line.busy_s
    for place in places.found.values():
        place.waited_s /= count
        place.working_s /= count
        place.repairs_s /= count
        place.retries_s /= count
        place.share = place.waited_s * count / total_s if total_s else 0.0
        if place.kind == "server":
            server = queues.servers[place.name[0]]
            place.busy = min(1.0, busy_s[place.name[0]] / run.span_s)
            place.saves_s = server.saved_s / count
            price_s = server_price_s(server, spans)
            place.price_s = None if price_s is None else price_s / count
        elif place.kind == "link":
            link = queues.links[place.name[0], place.name[1]]
            place.working_s = link.sending_s / count
            place.busy = min(1.0, link.busy_s / run.span_s)
            place.saves_s = link.saved_s / count
            price_s = link_price_s(link, spans)
            place.price_s = None if price_s is None else price_s / count
            place.loses = place.loses or link.course.lossy
    return sorted(places.found.values(), key=lambda place: (-place.waited_s, place.kind, place.name))
