"""The receiving half of a TCP connection as in Linux: delivers bytes in order, and acknowledges them."""

from collections.abc import Callable

from node_agent.errors import InvalidState
from testbed.simulation.tcp.clock import KernelTimer
from testbed.sizes import SEGMENT_BYTES
from testbed.virtual_time import Calendar

DELAYED_S = 0.04  # how long an acknowledgement may wait [real s]
QUICK = 16  # immediate acknowledgements at the start, and after a segment that had already arrived


class Receiver:
    """Puts a stream in order. `answer` sends a pure acknowledgement, `deliver` takes bytes that are in order.

    `answer` is called with True if a segment had already arrived. `deliver` is called with the number of bytes in order
    so far. It may send data back at once, which acknowledges, too.
    """

    def __init__(
        self, agenda: Calendar, answer: Callable[[bool], None], deliver: Callable[[int], None], time_scale: float = 1.0
    ) -> None:
        self._agenda = agenda
        self._answer = answer
        self._deliver = deliver
        self._delayed_s = DELAYED_S / time_scale
        self._timer = KernelTimer(agenda, self._fire, time_scale)
        self.next = 0
        self._told = 0  # the last acknowledgement
        self.ranges: list[tuple[int, int]] = []  # bytes beyond a gap
        self.echo_s: float | None = None
        self._last_s = float("-inf")
        self._interactive = False  # this end sends data, too, so acknowledgements can wait for it
        self._quick = QUICK

    def receive(self, seq: int, end: int, sent_s: float) -> None:
        """Take a segment with the bytes `seq` to `end`, sent at `sent_s` [s]."""
        if seq <= self._told:
            self.echo_s = sent_s
        if end <= self.next:
            self._interactive, self._quick = False, QUICK
            self._answer(True)
            return
        gap = bool(self.ranges)
        if seq > self.next:
            self._keep(seq, end)
            self._answer(False)
            return
        self._last_s = self._agenda.now_s
        self.next = end
        while self.ranges and self.ranges[0][0] <= self.next:
            self.next = max(self.next, self.ranges.pop(0)[1])
        quick = self._quick > 0 and not self._interactive
        if gap or quick or self.next - self._told > SEGMENT_BYTES:
            self._answer(False)
        self._deliver(self.next)
        if self._told == self.next:
            return
        if end - seq < SEGMENT_BYTES and not self._interactive:
            self._answer(False)
        elif not self._timer.kind:
            self._timer.set("delayed", self._delayed_s)

    def acknowledging(self, *, with_data: bool) -> None:
        """Note that a packet is being sent: it acknowledges all bytes in order."""
        self._told = self.next
        self._timer.clear()
        self._quick = max(0, self._quick - 1)
        if with_data and self._agenda.now_s - self._last_s < self._delayed_s:
            self._interactive = True

    def validate(self, name: str) -> None:
        """Raise InvalidState if the ranges beyond a gap are out of order, or too much is acknowledged."""
        bounds = [self.next, *(bound for each in self.ranges for bound in each)]
        if bounds != sorted(set(bounds)) or self._told > self.next:
            raise InvalidState(name, f"{self._told} acknowledged, {self.next} in order, beyond it {self.ranges}")

    def close(self) -> None:
        """Deliver nothing more."""
        self._timer.clear()
        self._deliver = _nothing

    def _keep(self, seq: int, end: int) -> None:
        self.ranges.append((seq, end))
        self.ranges.sort()
        merged = [self.ranges[0]]
        for begin, until in self.ranges[1:]:
            if begin <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(merged[-1][1], until)
            else:
                merged.append((begin, until))
        self.ranges = merged

    def _fire(self, _: str) -> None:
        self._interactive = False
        self._answer(False)


def _nothing(_: int) -> None:
    """Deliver to nobody."""
