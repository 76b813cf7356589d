"""Links in virtual time: each direction is a transmitter that serves message after message, and a delay behind it.

- The rate is what a TCP transfer gets, as in `LinkShape`: a message occupies the transmitter for its bytes / rate.
- The delay is drawn anew for every message (normal, by the jitter), but messages of one connection keep their order.
- Loss costs time, not messages: TCP repeats what was lost, and what comes behind on the same connection waits for it.
- Control messages overtake what waits at a node or a switch, as the emulated network lets them. They wait for the frame
  in the transmitter, and what they overtake is sent later by their own time if it comes after them.
- Over several links a message travels in segments: the next link starts on the first while the last are still coming.
- A change of rate or delay meets what waits for the transmitter or is in it; what has left it is under way already.

Decision: a queue has no end, because TCP's senders hold back what a full queue would drop; rejected: `queue_packets`,
which would need TCP's congestion control to mean anything.
"""

import random
from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np

from testbed.network.commands import SEGMENT_BYTES
from testbed.network.routes import Ways
from testbed.scenario import LinkShape, Scenario
from testbed.simulation.agenda import Action, Agenda, Entry

REPEAT_S = 0.2  # Linux's least time before it repeats the only segment under way


class Connection:
    """Messages from one node to another on one channel: they arrive in the order in which they were sent."""

    __slots__ = ("arrived", "last_s", "legs", "sender", "urgent")

    def __init__(self, sender: str, legs: tuple["Direction", ...], arrived: Action, *, urgent: bool) -> None:
        """`arrived` is called with each message when it has arrived; `urgent` ones overtake others."""
        self.sender = sender
        self.urgent = urgent
        self.legs = legs
        self.arrived = arrived
        self.last_s = float("-inf")


class Transit:
    """A message on its way over one leg of its connection."""

    __slots__ = ("arrival_s", "begin_s", "connection", "end_s", "entry", "leg", "message", "size_bytes", "spread_s")

    def __init__(self, connection: Connection, size_bytes: int, message: object) -> None:
        self.connection = connection
        self.size_bytes = size_bytes
        self.message = message
        self.leg = 0
        self.entry: Entry | None = None  # its arrival in the agenda
        self.begin_s = self.end_s = self.arrival_s = 0.0  # on the transmitter; behind the delay
        self.spread_s = 0.0  # of the delay of this leg: jitter, and repetitions

    @property
    def last_leg(self) -> bool:
        """Whether the receiver is at the end of this leg."""
        return self.leg + 1 == len(self.connection.legs)


class Direction:
    """One direction of a link. `changes`: its shape will change during the run."""

    __slots__ = (
        "byte_per_s", "changes", "delay_s", "free_s", "jitter_s", "loss", "spreads", "transits",
        "urgent_free_s",
    )  # fmt: skip

    def __init__(self, shape: LinkShape, *, changes: bool) -> None:
        self.changes = changes
        self.free_s = self.urgent_free_s = float("-inf")
        self.transits: deque[Transit] = deque()  # kept only where there are changes to meet them
        self.take(shape)

    def take(self, shape: LinkShape) -> None:
        """Have this shape from now on."""
        self.byte_per_s = shape.rate_mbit_per_s * 1e6 / 8
        self.delay_s = shape.delay_s
        self.jitter_s = shape.jitter_s
        self.loss = shape.loss
        self.spreads = bool(shape.jitter_s or shape.loss)


def _standard_normal(seed: int) -> Iterator[float]:
    """Numbers of mean 0 and deviation 1, drawn many at a time: one by one they cost more than the rest of a link."""
    generator = np.random.Generator(np.random.PCG64(seed))
    while True:
        yield from generator.standard_normal(4096).tolist()


class Links:
    """All links of a scenario, and who is connected over which of them."""

    def __init__(self, scenario: Scenario, agenda: Agenda, changing: Sequence[frozenset[str]]) -> None:
        """`changing`: the ends of the links that events will change."""
        self._agenda = agenda
        self._random = random.Random(f"{scenario.seed}/links")
        self._normal = _standard_normal(scenario.seed).__next__
        self._ways = Ways(scenario)
        marked = set(changing)
        self._directions: dict[tuple[int, str], Direction] = {
            (index, end): Direction(shape, changes=frozenset(link.ends) in marked)
            for index, link in enumerate(scenario.links)
            for end, shape in zip(link.ends, link.shapes, strict=True)
        }
        numbered = list(enumerate(scenario.links))
        self._number = {frozenset(link.ends): index for index, link in reversed(numbered)}

    def connect(self, sender: str, receiver: str, arrived: Action, *, urgent: bool = False) -> Connection:
        """A connection along the route that the emulated network would take; `urgent` messages overtake others.

        Raises:
            InputError: no way leads there.
        """
        legs = tuple(self._directions[link, vertex] for vertex, link in self._ways.hops(sender, receiver))
        return Connection(sender, legs, arrived, urgent=urgent)

    def send(self, connection: Connection, size_bytes: int, message: object) -> None:
        """Send a message of so many bytes now."""
        now_s = self._agenda.now_s
        leg = connection.legs[0]
        if leg.changes or len(connection.legs) > 1 or (connection.urgent and leg.free_s > now_s):
            self._enter(Transit(connection, size_bytes, message))
            return
        begin_s = leg.free_s if leg.free_s > now_s else now_s
        leg.free_s = end_s = begin_s + size_bytes / leg.byte_per_s
        arrival_s = end_s + leg.delay_s
        if leg.spreads:
            spread_s = self._spread_s(leg, size_bytes) if leg.loss else leg.jitter_s * self._normal()
            arrival_s = max(end_s, arrival_s + spread_s)
        if arrival_s > connection.last_s:
            connection.last_s = arrival_s
        else:
            arrival_s = connection.last_s
        self._agenda.at(arrival_s, connection.arrived, message)

    def _enter(self, transit: Transit) -> None:
        """The message has come to the transmitter of its present leg."""
        leg = transit.connection.legs[transit.leg]
        transit.spread_s = self._spread_s(leg, transit.size_bytes)
        now_s = self._agenda.now_s
        if leg.changes:
            while leg.transits and leg.transits[0].arrival_s <= now_s:
                leg.transits.popleft()
            leg.transits.append(transit)
        if transit.connection.urgent and leg.free_s > now_s:
            self._overtake(leg, transit)
            return
        transit.begin_s = max(leg.free_s, now_s)
        self._transmit(leg, transit, transit.begin_s, transit.size_bytes)
        leg.free_s = transit.end_s

    def _overtake(self, leg: Direction, transit: Transit) -> None:
        """An urgent message goes next, once the frame in the transmitter is out."""
        now_s = self._agenda.now_s
        frame_s = min(leg.free_s - now_s, SEGMENT_BYTES / leg.byte_per_s)
        transit.begin_s = max(now_s + frame_s, leg.urgent_free_s)
        free_s = leg.free_s + transit.size_bytes / leg.byte_per_s
        self._transmit(leg, transit, transit.begin_s, transit.size_bytes)
        leg.urgent_free_s, leg.free_s = transit.end_s, max(free_s, transit.end_s)

    def _transmit(self, leg: Direction, transit: Transit, from_s: float, left_bytes: float) -> None:
        """From `from_s` on, `left_bytes` of the message are still to be transmitted."""
        if transit.entry is not None:
            self._agenda.strike(transit.entry)  # a change moves it
        transit.end_s = from_s + left_bytes / leg.byte_per_s
        delay_s = max(0.0, leg.delay_s + transit.spread_s)
        transit.arrival_s = transit.end_s + delay_s
        if transit.last_leg:
            connection = transit.connection
            connection.last_s = transit.arrival_s = max(transit.arrival_s, connection.last_s)
            transit.entry = self._agenda.at(transit.arrival_s, self._arrive, transit)
            return
        onward = transit.connection.legs[transit.leg + 1]
        segment_bytes = min(transit.size_bytes, SEGMENT_BYTES)
        first_s = transit.begin_s + segment_bytes / leg.byte_per_s + delay_s
        # Not before the moment from which the next link, without pausing, ends as the last segment comes.
        unhurried_s = transit.arrival_s - (transit.size_bytes - segment_bytes) / onward.byte_per_s
        transit.entry = self._agenda.at(max(first_s, unhurried_s), self._arrive, transit)

    def _arrive(self, transit: Transit) -> None:
        transit.entry = None
        if transit.last_leg:
            transit.connection.arrived(transit.message)
            return
        leg = transit.connection.legs[transit.leg]
        if transit in leg.transits:
            leg.transits.remove(transit)  # a change no longer meets what the next link has begun on
        transit.leg += 1
        self._enter(transit)

    def change(self, ends: tuple[str, str], shape: LinkShape, *, sender: str | None = None) -> None:
        """A link takes a new shape, or what one of its ends sends; its ends must have been named as changing."""
        link = self._number[frozenset(ends)]
        for end in ends if sender is None else (sender,):
            self._change(self._directions[link, end], shape)

    def _change(self, leg: Direction, shape: LinkShape) -> None:
        """What is still to be sent keeps its order and its gaps, counted in bytes."""
        now_s, old_byte_per_s = self._agenda.now_s, leg.byte_per_s
        waiting = [transit for transit in leg.transits if transit.end_s > now_s]
        on_their_way = [transit for transit in leg.transits if now_s >= transit.end_s]
        leg.take(shape)
        stretch = old_byte_per_s / leg.byte_per_s
        leg.free_s = now_s + max(0.0, leg.free_s - now_s) * stretch
        leg.urgent_free_s = now_s + max(0.0, leg.urgent_free_s - now_s) * stretch
        for transit in waiting:  # their time of arrival no longer holds what comes behind
            if transit.last_leg:
                transit.connection.last_s = float("-inf")
        for transit in on_their_way:
            if transit.last_leg:
                transit.connection.last_s = max(transit.connection.last_s, transit.arrival_s)
        for transit in sorted(waiting, key=lambda transit: transit.end_s):
            from_s = max(transit.begin_s, now_s)
            left_bytes = (transit.end_s - from_s) * old_byte_per_s
            from_s = now_s + (from_s - now_s) * stretch
            if transit.begin_s >= now_s:  # not in the transmitter yet
                transit.begin_s = from_s
            self._transmit(leg, transit, from_s, left_bytes)

    def _spread_s(self, leg: Direction, size_bytes: int) -> float:
        """What jitter adds to the delay (or takes off it), and what repetitions add."""
        spread_s = 0.0
        if leg.jitter_s:
            spread_s = leg.jitter_s * self._normal()
        if not leg.loss:
            return spread_s
        segments = -(-size_bytes // SEGMENT_BYTES)
        late = 1 - (1 - leg.loss) ** segments
        # A lost last segment is noticed after two round trips; the only one under way waits for a late answer, too.
        wait_s = 4 * leg.delay_s + (REPEAT_S if segments == 1 else 0.0)
        while self._random.random() < late:
            spread_s += wait_s
            wait_s = 2 * max(wait_s, REPEAT_S)
            late = leg.loss  # of the segment that is repeated
        return spread_s
