"""A line, one direction of one link: due times of its frames, and their counters. Pure: no sockets, no clock."""

import random
import socket
from collections import deque
from typing import TypedDict

LATE_NS = 1_000_000
# Lateness is counted in octaves, by powers of two: below 4 us, below 8 us, below 16 us ...
LATENESS_SHIFT = 12
LATENESS_OCTAVES = 24


class Shape(TypedDict):
    """Delay, jitter, loss and rate of a line; at most `limit` frames may wait in it."""

    delay_ns: int
    jitter_ns: int
    loss: float
    ns_per_byte: float
    limit: int


class Line:
    """A direction of a link. A frame is due at

        max(arrival + delay + jitter, due time of the frame before it) + its bytes / rate

    which keeps the order and counts the transmission time once.
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
        self.destination = 0  # of its frames: an address of `Departures.destination`
        self.out: socket.socket | None = None  # a socket of its own, after the shared one had no room
        self.blocked: deque[tuple[int, bytes]] = deque()  # due times and frames that the kernel refused so far
        self.random = random.Random(seed)
        self.last_due_ns = 0
        self.frames = self.bytes = self.lost = self.overflowed = self.failed = self.held = 0
        self.late = self.worst_late_ns = 0
        self.lateness = [0] * LATENESS_OCTAVES
        self.change(delay_ns=0, jitter_ns=0, loss=0.0, ns_per_byte=0.0, limit=1000)

    def change(self, *, delay_ns: int, jitter_ns: int, loss: float, ns_per_byte: float, limit: int) -> None:
        """Use this shape for later frames; admitted ones keep their due time, and none overtakes them."""
        self.delay_ns, self.jitter_ns, self.loss = delay_ns, jitter_ns, loss
        self.ns_per_byte, self.limit = ns_per_byte, limit

    def admit(self, arrival_ns: int, size_bytes: int, frames: int = 1) -> int | None:
        """Admit a frame, or a superframe of several `frames`; return the time [ns] when it is due, None if dropped.

        Args:
            arrival_ns: when it arrived (CLOCK_MONOTONIC).
            size_bytes: bytes of all its frames, headers included.
        """
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
        """Count a frame that was sent `late_ns` after it was due (negative: before)."""
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
        """Restart the counts of late frames and of lateness."""
        self.late = self.worst_late_ns = 0
        self.lateness = [0] * LATENESS_OCTAVES

    def counters(self) -> list[object]:
        """Frames, bytes, lost, dropped, late, worst lateness [ns], frames by octave of lateness without empty ones."""
        octaves = {octave: count for octave, count in enumerate(self.lateness) if count}
        dropped = self.overflowed + self.failed
        return [self.frames, self.bytes, self.lost, dropped, self.late, self.worst_late_ns, octaves]

    def least_rest_ns(self) -> int:
        """The least time [ns] until a frame that arrives from now on is due."""
        return max(0, self.delay_ns - 5 * self.jitter_ns)
