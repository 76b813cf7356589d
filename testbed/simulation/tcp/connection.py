"""A TCP connection between two nodes of a simulation, packet by packet."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from node_agent.errors import InvalidState
from testbed.simulation.tcp.flight import Segment
from testbed.simulation.tcp.receiver import Receiver
from testbed.simulation.tcp.sender import Sender
from testbed.sizes import FRAME_BYTES, SEGMENT_BYTES
from testbed.virtual_time import Action, Calendar

HEADERS_BYTES = FRAME_BYTES - SEGMENT_BYTES
RATE_SHARE = SEGMENT_BYTES / FRAME_BYTES  # a link's rate is what a transfer gets, not what frames take
WRITE_BYTES = 8192  # ZeroMQ hands a message over in a first part of at most this size, and the rest


@dataclass(slots=True)
class Packet:
    """A frame on the way: bytes `seq` to `end` (none: the same), and what it acknowledges."""

    seq: int
    end: int
    sent_s: float
    ack: int
    ranges: tuple[tuple[int, int], ...]
    echo_s: float | None
    duplicate: bool

    @property
    def link_bytes(self) -> float:
        """Bytes that count at a link's rate."""
        return (self.end - self.seq + HEADERS_BYTES) * RATE_SHARE


class Wire(Protocol):
    """Carries packets one way."""

    def carry(self, packet: Packet) -> Callable[[], bool]:
        """Send it on its way; returns what tells whether it still waits at the sender."""


class Endpoint:
    """One end of a connection; `peer` must be set before anything is sent."""

    def __init__(self, agenda: Calendar, wire: Wire, *, rtt_s: float, time_scale: float) -> None:
        """`rtt_s`: round trip of the path when nothing waits."""
        self._agenda = agenda
        self._wire = wire
        self.peer: Endpoint | None = None
        self.sender = Sender(agenda, self._emit, rtt_s=rtt_s, time_scale=time_scale)
        self.receiver = Receiver(agenda, self._answer, self._deliver, time_scale)
        self.sent: deque[tuple[int, Action, object]] = deque()  # messages: where they end, who gets them

    def send(self, size_bytes: int, arrived: Action, message: object) -> None:
        """Send a message; `arrived` is called with it at the other end."""
        sender = self.sender
        self.sent.append((sender.written + size_bytes, arrived, message))
        first_bytes = min(size_bytes, WRITE_BYTES)
        sender.write(first_bytes, more=size_bytes > first_bytes)
        if size_bytes > first_bytes:
            sender.write(size_bytes - first_bytes)

    def take(self, packet: Packet) -> None:
        """A packet has arrived here."""
        with_data = packet.end > packet.seq
        self.sender.acknowledge(
            packet.ack, packet.ranges, packet.echo_s, duplicate=packet.duplicate, with_data=with_data
        )
        if with_data:
            self.receiver.receive(packet.seq, packet.end, packet.sent_s)

    def _emit(self, segment: Segment) -> None:
        segment.stuck = self._wire.carry(self._packet(segment.seq, segment.end, duplicate=False))

    def _answer(self, duplicate: bool) -> None:
        nxt = self.sender.nxt
        self._wire.carry(self._packet(nxt, nxt, duplicate=duplicate))

    def _packet(self, seq: int, end: int, *, duplicate: bool) -> Packet:
        receiver = self.receiver
        receiver.acknowledging(with_data=end > seq)
        ranges = tuple(receiver.ranges)
        return Packet(seq, end, self._agenda.now_s, receiver.next, ranges, receiver.echo_s, duplicate)

    def _deliver(self, until: int) -> None:
        assert self.peer is not None
        sent = self.peer.sent
        while sent and sent[0][0] <= until:
            _, arrived, message = sent.popleft()
            arrived(message)

    def validate(self, name: str) -> None:
        """Raise InvalidState if one half contradicts itself, or the messages are not those written."""
        self.sender.validate(name)
        self.receiver.validate(name)
        ends = [end for end, _, _ in self.sent]
        if ends != sorted(set(ends)) or (ends and ends[-1] > self.sender.written):
            raise InvalidState(name, f"messages end at {ends}, but {self.sender.written} bytes are written")

    def close(self) -> None:
        """This end is gone: it sends, repeats and passes on nothing any more."""
        self.sender.close()
        self.receiver.close()
