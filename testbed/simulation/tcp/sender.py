"""The sending half of a TCP connection as in Linux: sends segments, and repeats lost ones.

Bytes are numbered from 0. RACK (RFC 8985) finds losses from selective acknowledgements, a probe finds losses at the
tail, a time-out finds the rest. The window shrinks in proportion to arrivals (RFC 6937) and grows by Reno's rules.
Times are emulated seconds. The kernel's constants are real seconds; they are divided by `time_scale`.
"""

import math
from collections.abc import Callable

from node_agent.errors import InvalidState
from testbed.simulation.tcp.clock import KernelTimer
from testbed.simulation.tcp.flight import Flight, Ranges, Segment
from testbed.simulation.tcp.reno import Reno
from testbed.simulation.tcp.round_trip import RoundTrip
from testbed.sizes import SEGMENT_BYTES
from testbed.virtual_time import Calendar

TIMER_SLACK_S = 0.002  # added to the waits for a probe and for reordering [real s]
DUPLICATES = 3  # after this number of segments beyond a gap, do not wait for reordering
CLOCK_S = 1e-6  # the kernel counts in microseconds


class Sender:
    """The stream of an end. `emit` sends a segment at once."""

    def __init__(
        self, agenda: Calendar, emit: Callable[[Segment], None], *, rtt_s: float, time_scale: float = 1.0
    ) -> None:
        """`rtt_s` is the round trip of the handshake [s]."""
        self._agenda = agenda
        self._emit = emit
        self._scale = time_scale
        self._timer = KernelTimer(agenda, self._fire, time_scale)
        self.window = Reno()
        self.flight = Flight()
        self.una = self.nxt = self.written = 0
        self._corked = False
        self.state = "open"
        self._high = 0  # next byte to send when the state was entered
        self._probe_high: int | None = None  # next byte to send at the last tail probe; None if no probe is open
        self._probe_repeats = False
        self._prior_cwnd = self._delivered = self._out = 0  # proportional reduction
        self._prior_ssthresh = 0.0
        self._spurious: int | None = None  # repetitions that may prove needless; None: nothing to undo
        self._in_doubt = False  # the last time-out may have been needless
        self._original_came = False  # acknowledged now: a segment sent once, before the time-out
        self._limited = False
        self._most_out, self._usage_end = 0, 0
        self._rack_sent_s, self._rack_end, self._rack_rtt_s = -math.inf, 0, 0.0
        self.rtt = RoundTrip(rtt_s, time_scale)

    # Sending

    def write(self, count: int, *, more: bool = False) -> None:
        """Write `count` bytes to the stream; with `more`, the application writes more at once.

        While frames wait in this node's own queue, the kernel holds back a partial segment, to fill it
        from the next write.
        """
        self.written += count
        self._corked = more
        self.push()

    def close(self) -> None:
        """Send nothing more, and repeat nothing."""
        self._timer.clear()
        self.flight.clear()
        self.nxt = self.una = self.written

    def validate(self, name: str) -> None:
        """Raise InvalidState unless the flight holds the unacknowledged bytes, and the window is at least 1."""
        if not 0 <= self.una <= self.nxt <= self.written or self.window.cwnd < 1:
            stream = f"{self.una} acknowledged, {self.nxt} sent, {self.written} written"
            raise InvalidState(name, f"{stream}, a window of {self.window.cwnd}")
        self.flight.validate(name, self.una, self.nxt)

    def push(self, *, most: int = 1 << 30) -> int:
        """Send the segments that the window allows, at most `most`; return their number."""
        sent, limited = 0, False
        while self.nxt < self.written and sent < most:
            if self._corked and self.written - self.nxt < SEGMENT_BYTES and self.flight and self.flight.tail.stuck():
                break
            if self.flight.in_network >= self.window.cwnd and most > 1:
                limited = True
                break
            self._send_new()
            sent += 1
        if sent:
            limited = limited or self.flight.in_network >= self.window.cwnd
        if sent or limited:
            self._note_usage(limited)
        if sent:
            self._out += sent
            if most > 1:
                self._schedule_probe(advancing=False)
        return sent

    def _send_new(self) -> None:
        segment = Segment(self.nxt, min(self.nxt + SEGMENT_BYTES, self.written))
        self.nxt = segment.end
        self.flight.segments.append(segment)
        self._transmit(segment)
        if len(self.flight) == 1 or self._timer.kind == "probe":
            self._rearm()

    def _transmit(self, segment: Segment) -> None:
        segment.sent_s = self._agenda.now_s
        self._emit(segment)

    def _repeat(self, segment: Segment) -> bool:
        """Send a segment again, unless it still waits in this node. True if it was sent."""
        if segment.stuck():
            return False
        self.flight.mark_again(segment)
        self._transmit(segment)
        return True

    def _note_usage(self, limited: bool) -> None:
        """Record if the window limited sending; it may grow only then."""
        if self.una >= self._usage_end or limited or (not self._limited and len(self.flight) > self._most_out):
            self._limited, self._most_out, self._usage_end = limited, len(self.flight), self.nxt

    @property
    def _is_limited(self) -> bool:
        return self._limited or (self.window.in_slow_start and self.window.cwnd < 2 * self._most_out)

    # Acknowledgements

    def acknowledge(
        self, ack: int, sacks: Ranges, echo_s: float | None, *, duplicate: bool = False, with_data: bool = False
    ) -> None:
        """Take an acknowledgement.

        Args:
            ack: the other end has all bytes before this one.
            sacks: it also has these bytes, beyond a gap.
            echo_s: when the segment was sent that it answers [s].
            duplicate: it reports a segment that had already arrived.
            with_data: it came with data, so its arrival alone means nothing.
        """
        if ack < self.una:
            return
        now_s = self._agenda.now_s
        self._original_came = False
        advanced = ack > self.una
        sacked = self.flight.sack(sacks, ack)
        acked = self.flight.acknowledge(ack)
        self.una = max(self.una, ack)
        sack_rtt_s = self._take(sacked)
        rtt_s = self._take(acked)
        if rtt_s is None and advanced and echo_s is not None:
            rtt_s = now_s - echo_s
        if rtt_s is None:
            rtt_s = sack_rtt_s
        if rtt_s is not None:
            self.rtt.sample(rtt_s, self.una, self.nxt)
        fresh = len(sacked) + len(acked)
        rearm = advanced or (
            sack_rtt_s is not None and bool(self.flight) and sack_rtt_s > now_s - self.flight.head.sent_s
        )
        if duplicate and self._spurious:
            self._spurious -= 1
        if self._probe_high is not None:
            self._answer_probe(ack, duplicate=duplicate, tells=advanced or fresh > 0 or with_data)
        if self._advance_state(fresh, advanced=advanced):
            rearm = False  # a timer for reordering runs
        if rearm:
            self._set_timer()
        if self.state == "recovery":
            self._reduce(fresh, advanced=advanced)
        elif acked and self._is_limited:
            self.window.acknowledged(fresh)
        self._repeat_lost()
        self.push()

    def _take(self, arrived: list[Segment]) -> float | None:
        """Update RACK with arrived segments; return the longest round trip of those sent once [s], or None."""
        once = [segment for segment in arrived if not segment.repeated]
        self._original_came |= any(segment.end <= self._high for segment in once)
        for segment in arrived:
            self._advance_rack(segment)
        return self._agenda.now_s - once[0].sent_s if once else None

    # States

    def _advance_state(self, fresh: int, *, advanced: bool) -> bool:
        """Enter and leave recovery; return True if a timer for reordering was set."""
        if self.state in ("recovery", "loss") and self.una >= self._high:
            if self.state == "recovery":
                self.window.cwnd = int(self.window.ssthresh)
            self._settle()
        needless = self.state == "loss" and self._in_doubt and self._original_came  # F-RTO (RFC 5682)
        if self._spurious is not None and (self._spurious == 0 or needless):
            self._undo()
        waits = self._find_lost() if fresh or advanced or self.flight.sacked else False
        if self.state == "loss":
            return waits
        if self.state != "recovery":
            if self.flight.lost:
                self._enter_recovery()
            else:
                self._settle()
        return waits

    def _settle(self) -> None:
        self.state = "open" if self.flight.is_orderly else "disorder"

    def _enter_recovery(self) -> None:
        self._note_for_undo()
        self._begin_reduction()
        self._high = self.nxt
        self.state = "recovery"

    def _note_for_undo(self) -> None:
        cwnd = self.window.cwnd
        self._prior_ssthresh = max(self.window.ssthresh, cwnd // 2 + cwnd // 4)
        needless = self.flight.again + (1 if self._probe_high is not None and self._probe_repeats else 0)
        self._spurious = needless or -1

    def _undo(self) -> None:
        """Undo the reduction of the window, because the other end's reports show that all repetitions were needless.

        Reports about tail probes count as well. That undoes some correct reductions, as it does in Linux.
        """
        self.window.cwnd = max(self.window.cwnd, self._prior_cwnd)
        self.window.ssthresh = max(self.window.ssthresh, self._prior_ssthresh)
        self._spurious = None
        if self.state == "loss":
            for segment in self.flight.to_repeat():
                self.flight.unmark_lost(segment)
        if self.state in ("loss", "recovery"):
            self._settle()

    def _begin_reduction(self) -> None:
        self._prior_cwnd = self.window.cwnd
        self._delivered = self._out = 0
        self._probe_high = None
        self.window.ssthresh = self.window.reduced()

    def _reduce(self, fresh: int, *, advanced: bool) -> None:
        """Set the window by proportional rate reduction (RFC 6937)."""
        if fresh <= 0:
            return
        self._delivered += fresh
        ssthresh, in_flight = int(self.window.ssthresh), self.flight.in_network
        room = ssthresh - in_flight
        if room < 0:
            count = -(-ssthresh * self._delivered // self._prior_cwnd) - self._out
        else:
            count = max(self._delivered - self._out, fresh)
            if advanced:
                count += 1
            count = min(room, count)
        self.window.cwnd = in_flight + max(count, 0 if self._out else 1)

    def _repeat_lost(self) -> None:
        for segment in self.flight.to_repeat():
            if self.flight.in_network >= self.window.cwnd or not self._repeat(segment):
                return
            self._count_repetition()
            self._out += 1
            if segment is self.flight.head and self._timer.kind != "reordering":
                self._timer.set("time-out", self.rtt.time_out_s)

    def _count_repetition(self) -> None:
        if self._spurious is not None:
            self._spurious = max(self._spurious, 0) + 1

    # RACK

    def _advance_rack(self, segment: Segment) -> None:
        rtt_s = self._agenda.now_s - segment.sent_s
        if segment.repeated and rtt_s < self.rtt.least_s - CLOCK_S:
            return  # it answers an earlier transmission
        self._rack_rtt_s = rtt_s
        self._rack_sent_s, self._rack_end = max((self._rack_sent_s, self._rack_end), (segment.sent_s, segment.end))

    def _find_lost(self) -> bool:
        """Mark segments as lost that were sent well before arrived ones; return True if a timer for others was set."""
        now_s, wait_s = self._agenda.now_s, 0.0
        window_s = self._reordering_s()
        for segment in self.flight.segments:
            if segment.sacked or (segment.lost and not segment.under_way_again):
                continue
            if (segment.sent_s, segment.end) >= (self._rack_sent_s, self._rack_end):
                continue
            left_s = self._rack_rtt_s + window_s - (now_s - segment.sent_s)
            if left_s <= CLOCK_S:
                self.flight.mark_lost(segment)
            else:
                wait_s = max(wait_s, left_s)
        if wait_s > 0:
            self._timer.set("reordering", wait_s + TIMER_SLACK_S / self._scale)
        return wait_s > 0

    def _reordering_s(self) -> float:
        if self.state in ("recovery", "loss") or self.flight.sacked >= DUPLICATES:
            return 0.0
        return min(self.rtt.least_s / 4, self.rtt.smoothed_s)

    # Timers

    def _set_timer(self) -> None:
        if not self._schedule_probe(advancing=True):
            self._rearm()

    def _due_s(self) -> float:
        """Return the time until the first segment's time-out [s]."""
        return self.flight.head.sent_s + self.rtt.time_out_s - self._agenda.now_s

    def _rearm(self) -> None:
        if not self.flight:
            self._timer.clear()
            return
        wait_s = self.rtt.time_out_s
        if self._timer.kind in ("reordering", "probe"):
            wait_s = max(self._due_s(), 0.0)
        self._timer.set("time-out", wait_s)

    def _schedule_probe(self, *, advancing: bool) -> bool:
        if not self.flight or self.state != "open":
            return False
        wait_s = 2 * self.rtt.smoothed_s
        wait_s += self.rtt.least_variance_s if len(self.flight) == 1 else TIMER_SLACK_S / self._scale
        due_s = self.rtt.time_out_s if advancing else self._due_s()
        self._timer.set("probe", min(wait_s, due_s) if due_s > 0 else wait_s)
        return True

    def _fire(self, kind: str) -> None:
        if not self.flight:
            return
        if kind == "probe":
            self._probe()
        elif kind == "reordering":
            self._find_lost()
            if self.flight.lost and self.state not in ("recovery", "loss"):
                self._enter_recovery()
                self.window.cwnd = self.flight.in_network + 1
            self._repeat_lost()
            if self._timer.kind != "time-out":
                self._rearm()
        else:
            self._time_out()

    def _probe(self) -> None:
        """Send a tail loss probe: a new segment, or the last one again."""
        if self._probe_high is not None:
            self._timer.set("time-out", max(self._due_s(), 0.0))
            return
        if self.nxt < self.written:
            self.push(most=1)
            self._probe_repeats = False
        elif self._repeat(self.flight.tail):
            self._probe_repeats = True
        else:
            self._timer.set("time-out", max(self._due_s(), 0.0))
            return
        self._probe_high = self.nxt
        self._timer.set("time-out", self.rtt.time_out_s)

    def _answer_probe(self, ack: int, *, duplicate: bool, tells: bool) -> None:
        assert self._probe_high is not None
        if ack < self._probe_high:
            return
        if not self._probe_repeats or duplicate:
            self._probe_high = None
        elif ack > self._probe_high:  # the repeated segment had been lost
            self._begin_reduction()
            self.window.cwnd = int(self.window.ssthresh)
        elif not tells:  # both copies arrived
            self._probe_high = None

    def _time_out(self) -> None:
        """Handle a time-out: mark segments as lost and begin again with a window of one."""
        now_s = self._agenda.now_s
        self._in_doubt = self.state not in ("recovery", "loss")
        if self._in_doubt or self.una >= self._high:
            self._note_for_undo()
            self._prior_cwnd = self.window.cwnd
            self.window.ssthresh = self.window.reduced()
        for number, segment in enumerate(self.flight.segments):
            if segment.sacked or (number and self._rack_rtt_s > now_s - segment.sent_s):
                continue
            self.flight.mark_lost(segment)
        self.window.cwnd = self.flight.in_network + 1
        self.state, self._high, self._probe_high = "loss", self.nxt, None
        head = self.flight.head
        if not head.under_way_again and self._repeat(head):
            self._count_repetition()
        self.rtt.back_off()
        self._timer.set("time-out", self.rtt.time_out_s)
