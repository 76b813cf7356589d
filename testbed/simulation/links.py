"""Links in virtual time: each direction is a transmitter that serves message after message, and a delay behind it.

- A message occupies the transmitter for its bytes / rate. The rate is that of a TCP transfer, as in `LinkShape`.
- Messages of one connection keep their order.
- Each segment draws its own delay (normal, with the jitter as deviation). A link keeps the order of its frames, as the
  emulated one does: the slowest segment of a message holds up the later ones and the messages behind.
- If a link of the route loses frames at any time of the run, the connection is simulated as TCP, packet by packet
  (`testbed.simulation.tcp`): lost packets are sent again, and hold up those behind.
- Control messages overtake messages that wait at a node or a switch, as in the emulated network. They wait for the
  frame in the transmitter, and messages that enter later are sent later by the control message's own time.
- Over several links a message travels in segments: the next link starts with the first one while the last still come.
- Between two nodes at one place a message takes no time.
- A change of rate or delay affects messages that wait for the transmitter or are in it. Those behind it are unaffected.

Decision 066: queues of simulated links are unbounded (docs/decisions/066-queues-without-bounds.md).
Decision 067: only lossy connections are simulated by packets (docs/decisions/067-packets-only-on-lossy-links.md).
"""

import math
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from node_agent.errors import InvalidState
from testbed.network.commands import bucket_bytes
from testbed.network.layout import scaled
from testbed.network.routes import Ways
from testbed.scenario import LinkShape, Scenario
from testbed.simulation.tcp.connection import Endpoint, Packet
from testbed.sizes import FRAME_BYTES, SEGMENT_BYTES
from testbed.virtual_time import Action, Calendar, Entry

ROUNDING_S = 1e-9  # tolerance of checks


class Connection:
    """A sequence of messages from one node to another on one channel. They arrive in the order of sending."""

    __slots__ = ("arrived", "last_s", "legs", "packets", "sender", "tcp", "urgent")

    def __init__(
        self, sender: str, legs: tuple["Direction", ...], arrived: Action, *, urgent: bool, packets: bool = False
    ) -> None:
        """Make a connection over `legs`, the directions of links from sender to receiver.

        `arrived` is called with each message when it arrives. `urgent` messages overtake others. With `packets`, the
        messages are packets of TCP, which need not keep their order.
        """
        self.sender = sender
        self.packets = packets
        self.tcp: TcpConnection | None = None  # carries the messages if the route loses frames
        self.urgent = urgent
        self.legs = legs
        self.arrived = arrived
        self.last_s = float("-inf")


class Transit:
    """A message on its way over one leg of its connection."""

    __slots__ = (
        "arrival_s", "begin_s", "connection", "end_s", "entry", "first_spread_s", "leg", "lost", "message", "overtook",
        "size_bytes", "spread_s",
    )  # fmt: skip

    def __init__(self, connection: Connection, size_bytes: float, message: object) -> None:
        self.connection = connection
        self.size_bytes = size_bytes
        self.message = message
        self.leg = 0
        self.entry: Entry | None = None  # its arrival in the agenda
        self.begin_s = self.end_s = self.arrival_s = 0.0  # begin and end of transmission; end of the delay
        self.first_spread_s = self.spread_s = 0.0  # deviation of this leg's delay: first segment, last segment
        self.lost = self.overtook = False  # on this leg

    @property
    def last_leg(self) -> bool:
        """True if the receiver is at the end of this leg."""
        return self.leg + 1 == len(self.connection.legs)


class Direction:
    """A direction of a link.

    For the whole run: `changes` is true if events change its shape, `jitters` if some shape has jitter, `lossy` if some
    shape loses frames. All connections over a lossy direction are TCP's.
    """

    __slots__ = (
        "bucket_s", "byte_per_s", "changes", "delay_s", "due_s", "free_s", "jitter_s", "jitters", "loss", "lossy",
        "time_scale", "transits", "urgent_due_s", "urgent_free_s",
    )  # fmt: skip

    def __init__(
        self, shape: LinkShape, *, changes: bool, jitters: bool = False, lossy: bool = False, time_scale: float = 1.0
    ) -> None:
        self.changes = changes
        self.jitters = jitters
        self.lossy = lossy
        self.time_scale = time_scale
        self.free_s = self.urgent_free_s = float("-inf")
        self.due_s = self.urgent_due_s = float("-inf")  # when the last frame leaves the delay: none overtakes it
        self.transits: deque[Transit] = deque()  # messages that a change may affect; only if `changes`
        self.take(shape)

    def take(self, shape: LinkShape) -> None:
        """Adopt a shape."""
        self.byte_per_s = shape.rate_mbit_per_s * 1e6 / 8
        self.delay_s = shape.delay_s
        self.jitter_s = shape.jitter_s
        self.loss = shape.loss
        self.bucket_s = bucket_s(shape, self.time_scale)

    def validate(self, name: str) -> None:
        """Raise InvalidState if a figure of the link is out of range, or a message ends before it begins."""
        figures = self.delay_s, self.jitter_s, self.loss, self.bucket_s
        if not (0 < self.byte_per_s < math.inf and min(figures) >= 0 and self.loss <= 1):
            raise InvalidState(name, f"{self.byte_per_s} byte/s; delay, jitter, loss, bucket: {figures}")
        times = [(one.begin_s, one.end_s, one.arrival_s) for one in self.transits]
        if any(not begin_s <= end_s + ROUNDING_S <= arrival_s + 2 * ROUNDING_S for begin_s, end_s, arrival_s in times):
            raise InvalidState(name, f"messages begin, end and arrive at {times}")


class LinkWire:
    """The `Wire` that carries the packets of one way of a TCP connection over the links."""

    def __init__(self, links: "Links", connection: Connection) -> None:
        self._links = links
        self._connection = connection

    def carry(self, packet: Packet) -> Callable[[], bool]:
        """Send a packet. Return a function: True if the packet still waits in the sending node's queue."""
        transit = Transit(self._connection, packet.link_bytes, packet)
        self._links.enter(transit)
        first = self._connection.legs[0]
        return lambda: transit.leg == 0 and transit.end_s - first.bucket_s > self._links.now_s


class TcpConnection:
    """The TCP connection between two nodes on one channel; replaced when one of them goes down."""

    def __init__(self, make: Callable[[], dict[str, Endpoint]]) -> None:
        self._make = make
        self.at = make()  # ends by node

    def hang_up(self, gone: str) -> None:
        """Replace the connection because node `gone` went down. It receives nothing more; its sent messages arrive."""
        for name, endpoint in self.at.items():
            if name == gone:
                endpoint.receiver.close()
            else:
                endpoint.sender.close()
        self.at = self._make()


def _taken(ends: Mapping[str, Endpoint], name: str, packet: Packet) -> None:
    ends[name].take(packet)


def bucket_s(shape: LinkShape, time_scale: float) -> float:
    """Return the burst of a link's token bucket, in seconds of its rate. Frames are spaced out behind the delay."""
    bucket = bucket_bytes(scaled(shape, time_scale)) * SEGMENT_BYTES / FRAME_BYTES
    return bucket / (shape.rate_mbit_per_s * 1e6 / 8)


def _ever(scenario: Scenario, quality: Callable[[LinkShape], float]) -> set[frozenset[str]]:
    """Return the ends of the links whose `quality` is positive for some shape during the run."""
    shapes = [(link.ends, shape) for link in scenario.links for shape in link.shapes]
    shapes += [changed for event in scenario.events for changed in event.shapes.items()]
    return {frozenset(ends) for ends, shape in shapes if quality(shape) > 0}


def _standard_normal(seed: int) -> Iterator[float]:
    """Yield standard normal numbers, drawn in batches: single draws would dominate the cost of a link."""
    generator = np.random.Generator(np.random.PCG64(seed))
    while True:
        yield from generator.standard_normal(4096).tolist()


class Links:
    """All links of a scenario, and the connections over them."""

    def __init__(self, scenario: Scenario, agenda: Calendar, changing: Sequence[frozenset[str]]) -> None:
        """`changing` holds the ends of the links that events will change."""
        self._agenda = agenda
        self._random = random.Random(f"{scenario.seed}/links")
        self._normal = _standard_normal(scenario.seed).__next__
        self._ways = Ways(scenario)
        self._time_scale = scenario.time_scale
        self._tcp: dict[tuple[frozenset[str], bool], TcpConnection] = {}
        marked = set(changing)
        lossy = _ever(scenario, lambda shape: shape.loss)
        jitters = _ever(scenario, lambda shape: shape.jitter_s)
        self._directions: dict[tuple[int, str], Direction] = {
            (index, end): Direction(
                shape, changes=frozenset(link.ends) in marked, jitters=frozenset(link.ends) in jitters,
                lossy=frozenset(link.ends) in lossy, time_scale=scenario.time_scale,
            )
            for index, link in enumerate(scenario.links)
            for end, shape in zip(link.ends, link.shapes, strict=True)
        }  # fmt: skip
        numbered = list(enumerate(scenario.links))
        self._number = {frozenset(link.ends): index for index, link in reversed(numbered)}

    def connect(self, sender: str, receiver: str, arrived: Action, *, urgent: bool = False) -> Connection:
        """Connect two nodes along the route of the emulated network.

        `arrived` is called with each message when it arrives. `urgent` messages overtake others.

        Raises:
            InputError: no route leads to the receiver.
        """
        legs = self._legs(sender, receiver)
        connection = Connection(sender, legs, arrived, urgent=urgent)
        if any(leg.lossy for leg in (*legs, *self._legs(receiver, sender))):
            key = frozenset((sender, receiver)), urgent
            if key not in self._tcp:
                self._tcp[key] = TcpConnection(lambda: self._endpoints(sender, receiver, urgent=urgent))
            connection.tcp = self._tcp[key]
        return connection

    @property
    def now_s(self) -> float:
        """The present time [emulated s]."""
        return self._agenda.now_s

    def _legs(self, sender: str, receiver: str) -> tuple[Direction, ...]:
        return tuple(self._directions[link, vertex] for vertex, link in self._ways.hops(sender, receiver))

    def _endpoints(self, one: str, other: str, *, urgent: bool) -> dict[str, Endpoint]:
        """The two ends of a new TCP connection."""
        legs = {one: self._legs(one, other), other: self._legs(other, one)}
        rtt_s = sum(leg.delay_s for each in legs.values() for leg in each)
        ends: dict[str, Endpoint] = {}
        for name, peer in ((one, other), (other, one)):
            arrived = partial(_taken, ends, peer)
            wire = LinkWire(self, Connection(name, legs[name], arrived, urgent=urgent, packets=True))
            ends[name] = Endpoint(self._agenda, wire, rtt_s=rtt_s, time_scale=self._time_scale)
        ends[one].peer, ends[other].peer = ends[other], ends[one]
        return ends

    def hang_up(self, node: str) -> None:
        """Replace the TCP connections of a node that has gone down."""
        for (ends, _), connection in self._tcp.items():
            if node in ends:
                connection.hang_up(node)

    def send(self, connection: Connection, size_bytes: int, message: object) -> None:
        """Send a message of `size_bytes` now."""
        if connection.tcp is not None:
            connection.tcp.at[connection.sender].send(size_bytes, connection.arrived, message)
            return
        now_s = self._agenda.now_s
        if not connection.legs:  # both nodes are at one place
            self._agenda.at(now_s, connection.arrived, message)
            return
        leg = connection.legs[0]
        if leg.changes or leg.jitters or len(connection.legs) > 1 or (connection.urgent and leg.free_s > now_s):
            self.enter(Transit(connection, size_bytes, message))
            return
        begin_s = leg.free_s if leg.free_s > now_s else now_s
        leg.free_s = end_s = begin_s + size_bytes / leg.byte_per_s
        arrival_s = end_s + leg.delay_s
        if arrival_s > connection.last_s:
            connection.last_s = arrival_s
        else:
            arrival_s = connection.last_s
        self._agenda.at(arrival_s, connection.arrived, message)

    def enter(self, transit: Transit) -> None:
        """Put a message into the transmitter of its present leg, or into the queue before it."""
        leg = transit.connection.legs[transit.leg]
        if leg.loss:
            transit.lost = self._random.random() < leg.loss
        now_s = self._agenda.now_s
        if leg.changes:
            while leg.transits and leg.transits[0].arrival_s <= now_s:
                leg.transits.popleft()
            leg.transits.append(transit)
        if transit.connection.urgent and leg.free_s > now_s:
            self._overtake(leg, transit)
            return
        transit.begin_s = max(leg.free_s, now_s)
        if leg.jitters:
            self._jitter(leg, transit)
        self._transmit(leg, transit, transit.begin_s, transit.size_bytes)
        leg.free_s = transit.end_s

    def _overtake(self, leg: Direction, transit: Transit) -> None:
        """Send an urgent message next, after the frame in the transmitter."""
        now_s = self._agenda.now_s
        frame_s = min(leg.free_s - now_s, SEGMENT_BYTES / leg.byte_per_s)
        transit.begin_s, transit.overtook = max(now_s + frame_s, leg.urgent_free_s), True
        if leg.jitters:
            self._jitter(leg, transit)
        free_s = leg.free_s + transit.size_bytes / leg.byte_per_s
        self._transmit(leg, transit, transit.begin_s, transit.size_bytes)
        leg.urgent_free_s, leg.free_s = transit.end_s, max(free_s, transit.end_s)

    def _transmit(self, leg: Direction, transit: Transit, from_s: float, left_bytes: float) -> None:
        """Enter the end of a transmission that has `left_bytes` left at `from_s` [s], and what follows it."""
        if transit.entry is not None:
            self._agenda.strike(transit.entry)  # a change of the link moves it
        transit.end_s = from_s + left_bytes / leg.byte_per_s
        transit.arrival_s = transit.end_s + max(0.0, leg.delay_s + transit.spread_s)
        if transit.lost:
            return
        if transit.last_leg:
            connection = transit.connection
            connection.last_s = transit.arrival_s = max(transit.arrival_s, connection.last_s)
            transit.entry = self._agenda.at(transit.arrival_s, self._arrive, transit)
            return
        if transit.connection.packets:
            transit.entry = self._agenda.at(transit.arrival_s, self._arrive, transit)
            return
        onward = transit.connection.legs[transit.leg + 1]
        segment_bytes = min(transit.size_bytes, SEGMENT_BYTES)
        first_s = transit.begin_s + segment_bytes / leg.byte_per_s + max(0.0, leg.delay_s + transit.first_spread_s)
        # If the next link is faster, start so late there that it does not run out of segments.
        unhurried_s = transit.arrival_s - (transit.size_bytes - segment_bytes) / onward.byte_per_s
        transit.entry = self._agenda.at(max(first_s, unhurried_s), self._arrive, transit)

    def _jitter(self, leg: Direction, transit: Transit) -> None:
        """Draw a delay for each segment of a message whose transmission begins at `begin_s`.

        As in the relay (`testbed.relay.line`) and in netem, a segment leaves when three things are over: its delay, the
        departure of the segment ahead, and then the transmission of its own bytes.
        """
        if transit.lost:
            return
        normal, jitter_s, delay_s, bucket_s = self._normal, leg.jitter_s, leg.delay_s, leg.bucket_s
        now_s, end_s, left_bytes = self._agenda.now_s, transit.begin_s, transit.size_bytes
        due_s = leg.urgent_due_s if transit.overtook else leg.due_s
        first_s = None
        while left_bytes > 0:
            segment_s = min(left_bytes, SEGMENT_BYTES) / leg.byte_per_s
            left_bytes -= SEGMENT_BYTES
            end_s += segment_s
            released_s = max(now_s, end_s - bucket_s)
            due_s = max(released_s + max(0.0, delay_s + jitter_s * normal()), due_s) + segment_s
            if first_s is None:
                first_s = due_s - end_s
        assert first_s is not None
        transit.first_spread_s, transit.spread_s = first_s - delay_s, due_s - end_s - delay_s
        if transit.overtook:
            leg.urgent_due_s = due_s
        leg.due_s = max(leg.due_s, due_s)

    def _arrive(self, transit: Transit) -> None:
        transit.entry = None
        if transit.last_leg:
            transit.connection.arrived(transit.message)
            return
        leg = transit.connection.legs[transit.leg]
        if transit in leg.transits:
            leg.transits.remove(transit)  # a change of this leg no longer affects it
        transit.leg += 1
        transit.first_spread_s, transit.spread_s, transit.lost, transit.overtook = 0.0, 0.0, False, False
        self.enter(transit)

    def change(self, ends: tuple[str, str], shape: LinkShape, *, sender: str | None = None) -> None:
        """Give a link a new shape; with a `sender`, only what that end sends. The link must be in `changing`."""
        link = self._number[frozenset(ends)]
        for end in ends if sender is None else (sender,):
            self._change(self._directions[link, end], shape)

    def validate(self) -> None:
        """Raise InvalidState if the state of a link or of a TCP connection contradicts itself."""
        for (link, end), direction in self._directions.items():
            direction.validate(f"link {link} from {end}")
        for (ends, urgent), connection in self._tcp.items():
            for name, endpoint in connection.at.items():
                endpoint.validate(f"{'urgent ' if urgent else ''}connection of {name} among {sorted(ends)}")

    def _change(self, leg: Direction, shape: LinkShape) -> None:
        """Change the shape. Messages not sent yet keep their order and their gaps, counted in bytes."""
        now_s, old_byte_per_s = self._agenda.now_s, leg.byte_per_s
        waiting = [transit for transit in leg.transits if transit.end_s > now_s]
        on_their_way = [transit for transit in leg.transits if now_s >= transit.end_s]
        leg.take(shape)
        stretch = old_byte_per_s / leg.byte_per_s
        leg.free_s = now_s + max(0.0, leg.free_s - now_s) * stretch
        leg.urgent_free_s = now_s + max(0.0, leg.urgent_free_s - now_s) * stretch
        leg.due_s = leg.urgent_due_s = max((transit.arrival_s for transit in on_their_way), default=float("-inf"))
        for transit in waiting:  # their old times of arrival no longer hold up messages behind
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
