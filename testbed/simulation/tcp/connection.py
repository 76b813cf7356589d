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
RATE_SHARE = SEGMENT_BYTES / FRAME_BYTES  # a link's rate counts the bytes of a transfer, not those of frames
WRITE_BYTES = 8192  # ZeroMQ writes a message in two parts: at most this size, and the rest


@dataclass(slots=True)
class Packet:
    """A frame on its way.

    Attributes:
        seq: the first byte that it carries.
        end: the byte after the last one; equal to `seq` if it carries none.
        sent_s: when it was sent [s].
        ack: it acknowledges all bytes before this one.
        ranges: bytes beyond a gap that it acknowledges selectively.
        echo_s: when the segment was sent that it answers [s] (TCP's time stamp).
        duplicate: true if it reports a segment that had already arrived.
    """

    seq: int
    end: int
    sent_s: float
    ack: int
    ranges: tuple[tuple[int, int], ...]
    echo_s: float | None
    duplicate: bool

    @property
    def link_bytes(self) -> float:
        """Size that counts at a link's rate [bytes]."""
        return (self.end - self.seq + HEADERS_BYTES) * RATE_SHARE


class Wire(Protocol):
    """Carries packets one way."""

    def carry(self, packet: Packet) -> Callable[[], bool]:
        """Send a packet. Return a function: True if the packet still waits in the sending node."""


class Endpoint:
    """An end of a connection. Set `peer` before anything is sent."""

    def __init__(self, agenda: Calendar, wire: Wire, *, rtt_s: float, time_scale: float) -> None:
        """`rtt_s` is the round trip of the path without queueing [s]."""
        self._agenda = agenda
        self._wire = wire
        self.peer: Endpoint | None = None
        self.sender = Sender(agenda, self._emit, rtt_s=rtt_s, time_scale=time_scale)
        self.receiver = Receiver(agenda, self._answer, self._deliver, time_scale)
        self.sent: deque[tuple[int, Action, object]] = deque()  # messages: last byte, action, argument

    def send(self, size_bytes: int, arrived: Action, message: object) -> None:
        """Send a message; `arrived(message)` is called when it is whole at the other end."""
        sender = self.sender
        self.sent.append((sender.written + size_bytes, arrived, message))
        first_bytes = min(size_bytes, WRITE_BYTES)
        sender.write(first_bytes, more=size_bytes > first_bytes)
        if size_bytes > first_bytes:
            sender.write(size_bytes - first_bytes)

    def take(self, packet: Packet) -> None:
        """Take a packet that has arrived at this end."""
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
        """Raise InvalidState if a half contradicts itself, or the messages do not match the bytes written."""
        self.sender.validate(name)
        self.receiver.validate(name)
        ends = [end for end, _, _ in self.sent]
        if ends != sorted(set(ends)) or (ends and ends[-1] > self.sender.written):
            raise InvalidState(name, f"messages end at {ends}, but {self.sender.written} bytes are written")

    def close(self) -> None:
        """Close this end: it neither sends nor repeats nor delivers anything more."""
        self.sender.close()
        self.receiver.close()
