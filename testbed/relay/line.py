"""One direction of one link: when its frames are due, and what became of them. Pure: no sockets, no clock."""

import random
import socket
from collections import deque
from typing import TypedDict

LATE_NS = 1_000_000
# Lateness is counted in octaves: below 4 us, below 8 us, and so on.
LATENESS_SHIFT = 12
LATENESS_OCTAVES = 24


class Shape(TypedDict):
    """How a line treats frames; `limit` of them may wait in it."""

    delay_ns: int
    jitter_ns: int
    loss: float
    ns_per_byte: float
    limit: int


class Line:
    """One direction of one link. A frame is due at

        max(arrival + delay + jitter, due time of the frame before it) + its bytes / rate

    which keeps the order and charges the transmission time once.
    """

    __slots__ = (
        "blocked",
        "bytes",
        "delay_ns",
        "destination",
        "failed",
        "frames",
        "held",
        "interface",
        "jitter_ns",
        "last_due_ns",
        "late",
        "lateness",
        "limit",
        "loss",
        "lost",
        "ns_per_byte",
        "out",
        "overflowed",
        "random",
        "worst_late_ns",
    )

    def __init__(self, interface: str, seed: int) -> None:
        """Frames leave by `interface`; loss and jitter are drawn from `seed`."""
        self.interface = interface
        self.destination = 0  # of its frames, as `Departures` knows it
        self.out: socket.socket | None = None  # one of its own, where that of all had no room
        self.blocked: deque[tuple[int, bytes]] = deque()  # when it was due, and the frame: the kernel does not take it
        self.random = random.Random(seed)
        self.last_due_ns = 0
        self.frames = self.bytes = self.lost = self.overflowed = self.failed = self.held = 0
        self.late = self.worst_late_ns = 0
        self.lateness = [0] * LATENESS_OCTAVES
        self.change(delay_ns=0, jitter_ns=0, loss=0.0, ns_per_byte=0.0, limit=1000)

    def change(self, *, delay_ns: int, jitter_ns: int, loss: float, ns_per_byte: float, limit: int) -> None:
        """Treat frames so from now on; those already admitted keep their due time, and none overtakes them."""
        self.delay_ns, self.jitter_ns, self.loss = delay_ns, jitter_ns, loss
        self.ns_per_byte, self.limit = ns_per_byte, limit

    def admit(self, arrival_ns: int, size_bytes: int, frames: int = 1) -> int | None:
        """When a frame of this size (or several, that travel as one) is due, or None if it is dropped."""
        if self.loss and self.random.random() < self.loss:
            self.lost += 1
            return None
        if self.held >= self.limit:
            self.overflowed += 1
            return None
        due_ns = arrival_ns + self.delay_ns
        if self.jitter_ns:
            due_ns = max(arrival_ns, due_ns + int(self.random.gauss(0.0, self.jitter_ns)))
        if due_ns < self.last_due_ns:  # noqa: PLR1730  # a call to max takes three times as long
            due_ns = self.last_due_ns
        self.last_due_ns = due_ns = due_ns + int(size_bytes * self.ns_per_byte)
        self.held += 1
        self.frames += frames
        self.bytes += size_bytes
        return due_ns

    def sent(self, late_ns: int) -> None:
        """A frame has been sent, so much after it was due (or, if negative, before)."""
        self.held -= 1
        if late_ns <= 0:
            self.lateness[0] += 1
            return
        self.lateness[min((late_ns >> LATENESS_SHIFT).bit_length(), LATENESS_OCTAVES - 1)] += 1
        if late_ns > LATE_NS:
            self.late += 1
        if late_ns > self.worst_late_ns:  # noqa: PLR1730
            self.worst_late_ns = late_ns

    def forget_lateness(self) -> None:
        """Count late frames, and how late they are, anew."""
        self.late = self.worst_late_ns = 0
        self.lateness = [0] * LATENESS_OCTAVES

    def counters(self) -> list[object]:
        """Frames, bytes, lost, dropped, late, worst lateness in ns, octaves of lateness without empty ones."""
        octaves = {octave: count for octave, count in enumerate(self.lateness) if count}
        dropped = self.overflowed + self.failed
        return [self.frames, self.bytes, self.lost, dropped, self.late, self.worst_late_ns, octaves]

    def least_rest_ns(self) -> int:
        """No frame that arrives from now on is due sooner than this."""
        return max(0, self.delay_ns - 5 * self.jitter_ns)
