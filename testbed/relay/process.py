"""The relay: delays the frames of every link in the middle namespace.

It runs as a file (`python -I -S .../relay/process.py`), so it imports only the standard library, its two siblings and
`node_agent.process.linux`, and nothing slow. Its standard input is a socket to the experiment, which sends JSON
messages. Each answer carries the number of its message, so that a late answer is not taken for the next. The relay ends
when that socket closes.

Frames arrive through a memory-mapped ring (PACKET_RX_RING) for every interface of the namespace: no system call per
received frame, and the kernel's own arrival time on each. So the relay may read an arrival late without delaying it.
When it is due (`line.py`), a frame is sent out of the link's other interface; a superframe of several segments leaves
when the last of them is due. The virtio header (PACKET_VNET_HDR) carries checksums and segmentation that the sender
left to its card.

Decision 039: close timers are merged, and each wake-up also sends frames that are due soon
(docs/decisions/039-merged-timers-in-the-relay.md).
Decision 040: frames are taken by a packet ring (docs/decisions/040-packet-ring-instead-of-nfqueue.md).
Decision 041: one heap holds the frames of all links (docs/decisions/041-one-heap-one-socket-sendmmsg.md).
"""

import contextlib
import errno
import gc
import heapq
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence

if not __package__:  # run as a file: find its own package by this file's path, whatever the environment says
    # Last on the path: as root, it must not import a module of the package's folder instead of the standard library's.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from node_agent.process.linux import end_with, exact_timers
from testbed.relay.frames import (
    LONGEST_FRAME_BYTES,
    RING_WORDS,
    SLOT_HEADER,
    SLOT_WORDS,
    STATUS_USER,
    VNET_HEADER_BYTES,
    Departures,
    Ring,
    on_the_wire,
    sending_socket,
)
from testbed.relay.line import Line, Shape

# Arrivals may stay unread as long as none of them can be due, but never longer than this.
LONGEST_REST_NS = 5_000_000
# A shorter rest is not worth a timer: wake for every arrival instead.
SHORTEST_REST_NS = 200_000
EARLY_NS = 100_000  # when awake, the relay also sends frames due within this time: a timer for them costs more
WAKE_NS = 40_000  # a timer fires this much before its frame is due ...
CLOSE_NS = 300_000  # ... unless the frame is due less than this after the last wake-up:
GATHER_NS = 80_000  # then the timer fires this much after the frame is due
CONTROL_EVERY_NS = 5_000_000
NO_ROOM = (errno.EAGAIN, errno.ENOBUFS)  # errors of a socket that has no room at present
TRY_AGAIN_NS = 500_000
LINES_A_PAGE = 32
STALL_NS = 20_000_000  # a frame this late shows that the relay did not run
MOST_STALLS = 64

Waiting = tuple[int, int, Line, bytes]  # due time, sequence number, line, frame


class Relay:
    """Moves frames from the ring, through their lines, to the interfaces at the other ends."""

    def __init__(self, control: socket.socket, ring: Ring, out: socket.socket, departures: Departures) -> None:
        """Relay frames from `ring`; `departures` sends through `out`, the socket shared by all lines."""
        self.control, self.ring, self.out, self.departures = control, ring, out, departures
        self.lines: dict[str, Line] = {}  # by the interface frames come in at
        self.by_index: dict[int, Line] = {}
        self.heap: list[Waiting] = []
        self.sequence = 0
        self.last_empty_ns = time.monotonic_ns()
        self.rest_ns = LONGEST_REST_NS
        self.truncated = 0
        self.stalls: list[tuple[int, int]] = []  # the longest spans in which this process did not run: begin, end
        self.realtime = False
        self.running = True

    # Frames

    def run(self) -> None:
        """Relay frames and answer messages until the control socket closes."""
        heap, words, clock = self.heap, self.ring.words, time.monotonic_ns
        either = [self.control, self.ring.socket]
        look_ns = woken_ns = clock()
        looked_at = self.sequence
        dense = False  # True if arrivals are closer together than `rest_ns`
        while self.running:
            if words[self.ring.at_word] & STATUS_USER:
                self.admit_arrivals()
            else:
                self.last_empty_ns = clock()
            if not heap:
                self.wait(either, None)
                continue
            now_ns = clock()
            due_ns = heap[0][0]
            if now_ns - due_ns > STALL_NS:
                self.note_stall(due_ns, now_ns)
            if due_ns - now_ns <= EARLY_NS:
                self.send_due(now_ns)
            else:
                wake_ns = due_ns + (GATHER_NS if due_ns - woken_ns < CLOSE_NS else -WAKE_NS)
                if dense and self.rest_ns >= SHORTEST_REST_NS:  # a change may have shortened the rest since
                    # A long rest also watches the control socket: a change of a link must not wait for its end.
                    rest_ns = min(wake_ns - now_ns, self.rest_ns - WAKE_NS)
                    if rest_ns < CONTROL_EVERY_NS // 4:
                        time.sleep(rest_ns * 1e-9)
                    else:
                        self.wait([self.control], rest_ns * 1e-9)
                else:
                    self.wait(either, (wake_ns - now_ns) * 1e-9)
                woken_ns = clock()
            if now_ns - look_ns > CONTROL_EVERY_NS:
                mean_gap_ns = (now_ns - look_ns) / (self.sequence - looked_at + 1)
                dense = mean_gap_ns < self.rest_ns
                look_ns, looked_at = now_ns, self.sequence
                self.wait([self.control], 0)

    def note_stall(self, from_ns: int, until_ns: int) -> None:
        """Note that a frame due at `from_ns` is sent only at `until_ns`: the relay did not run, or fell behind."""
        if self.stalls and from_ns <= self.stalls[-1][1]:
            self.stalls[-1] = min(from_ns, self.stalls[-1][0]), until_ns
            return
        self.stalls.append((from_ns, until_ns))
        if len(self.stalls) > MOST_STALLS:
            self.stalls.remove(min(self.stalls, key=lambda stall: stall[1] - stall[0]))

    def admit_arrivals(self) -> None:
        """Take every frame out of the ring, and give it its due time."""
        ring = self.ring
        words, memory, at_word = ring.words, ring.memory, ring.at_word
        unpack, by_index = SLOT_HEADER.unpack_from, self.by_index
        heap, push, sequence = self.heap, heapq.heappush, self.sequence
        now_ns = time.monotonic_ns()
        clock_offset_ns = time.time_ns() - now_ns
        earliest_ns = self.last_empty_ns
        while words[at_word] & STATUS_USER:
            at = at_word * 4
            length, captured, start, seconds, nanoseconds, index = unpack(memory, at)
            line = by_index.get(index)
            if length != captured:
                self.truncated += 1
            elif line is not None:
                # The stamp is wall-clock time. Even if the clock has just been set, the arrival lies between now and
                # the moment at which the ring was last seen empty.
                arrival_ns = seconds * 1_000_000_000 + nanoseconds - clock_offset_ns
                if not earliest_ns <= arrival_ns <= now_ns:
                    arrival_ns = now_ns if arrival_ns > now_ns else earliest_ns
                if length <= LONGEST_FRAME_BYTES:
                    due_ns = line.admit(arrival_ns, length)
                else:
                    due_ns = line.admit(arrival_ns, *on_the_wire(memory, at + start, length))
                if due_ns is not None:
                    sequence += 1
                    frame = memory[at + start - VNET_HEADER_BYTES : at + start + captured]
                    push(heap, (due_ns, sequence, line, frame))
            words[at_word] = 0
            at_word = (at_word + SLOT_WORDS) % RING_WORDS
        ring.at_word, self.sequence = at_word, sequence
        self.last_empty_ns = now_ns

    def send_due(self, now_ns: int) -> None:
        """Send the frames that are due, oldest first, at most Departures.MOST of them."""
        heap, pop = self.heap, heapq.heappop
        until_ns = now_ns + EARLY_NS
        due: list[Waiting] = []
        while heap and heap[0][0] <= until_ns and len(due) < Departures.MOST:
            frame = pop(heap)
            if frame[2].out is None:
                due.append(frame)
            else:
                self.send_alone(frame)
        if not due:
            return
        sent = self.departures.send([(line.destination, data) for _, _, line, data in due])
        now_ns = time.monotonic_ns()
        for due_ns, _, line, _ in due[:sent]:
            line.sent(now_ns - due_ns)
        if sent < len(due):
            self.send_singly(due[sent:])

    def send_singly(self, frames: Sequence[Waiting]) -> None:
        """Send these frames singly, after the kernel refused the first of them."""
        for frame in frames:
            due_ns, _, line, data = frame
            if line.out is not None:
                self.send_alone(frame)
                continue
            try:
                self.out.sendto(data, (line.interface, 0))
            except OSError as error:
                if error.errno in NO_ROOM:
                    line.out = self.another_socket()
                    self.send_alone(frame)
                    continue
                line.failed += 1
            line.sent(time.monotonic_ns() - due_ns)

    def another_socket(self) -> socket.socket:
        """Another socket for a line after the shared one had no room; the shared one if no more can be opened.

        The shared socket fills up in a user namespace, when frames wait in a queue behind a switch. Only the links that
        lead there may wait for it; other links must not.
        """
        try:
            return sending_socket()
        except OSError:
            return self.out

    def send_alone(self, frame: Waiting) -> None:
        """Send a line's frame after those that the kernel refused so far; an empty frame only tries those again."""
        due_ns, _, line, data = frame
        blocked = line.blocked
        if data:
            trying = bool(blocked)  # another attempt is already due
            blocked.append((due_ns, data))
            if trying:
                return
        assert line.out is not None
        while blocked:
            due_ns, data = blocked[0]
            try:
                line.out.sendto(data, (line.interface, 0))
            except OSError as error:
                if error.errno in NO_ROOM:
                    self.sequence += 1
                    heapq.heappush(self.heap, (time.monotonic_ns() + TRY_AGAIN_NS, self.sequence, line, b""))
                    return
                line.failed += 1
            blocked.popleft()
            line.sent(time.monotonic_ns() - due_ns)

    def wait(self, watched: list[socket.socket], timeout_s: float | None) -> None:
        """Sleep until one of the sockets is readable; answer if it is the control socket."""
        if self.control in select.select(watched, [], [], timeout_s)[0]:
            self.answer()

    # Control

    def answer(self) -> None:
        """Receive a message and answer it; the end of the connection ends the relay."""
        message = self.control.recv(1 << 16)
        if not message:
            self.running = False
            return
        number: object = None
        try:
            told = json.loads(message)
            number = told["number"]
            reply = self.obey(told)
        except (OSError, KeyError, TypeError, ValueError) as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        self.control.send(json.dumps({**reply, "number": number}).encode())

    def obey(self, message: Mapping[str, object]) -> dict[str, object]:
        """Carry out a message (add, change, statistics, lines or forget), and return the answer."""
        verb = message["verb"]
        if verb == "add":
            for each in _list(message["lines"]):
                self.add(each)
            return {}
        if verb == "change":
            self.change(self.lines[str(message["in"])], message)
            return {}
        if verb == "statistics":
            return self.statistics()
        if verb == "forget":
            self.stalls.clear()
            for line in self.lines.values():
                line.forget_lateness()
            return {}
        if verb == "lines":
            first = _int(message["first"])
            return {"lines": [line.counters() for line in list(self.lines.values())[first : first + LINES_A_PAGE]]}
        raise ValueError(f"unknown verb {verb}")

    def add(self, told: Mapping[str, object]) -> None:
        """Add a line: the interfaces where its frames come `in` and go `out`, its seed and its shape."""
        into, out = str(told["in"]), str(told["out"])
        line = Line(out, _int(told["seed"]))
        line.destination = self.departures.destination(out)
        self.lines[into] = line
        self.by_index[socket.if_nametoindex(into)] = line
        line.change(**_shape(told))
        self.rest_ns = min(self.rest_ns, line.least_rest_ns())

    def change(self, line: Line, shape: Mapping[str, object]) -> None:
        """Give a line another shape, and set the rest to the longest that all lines allow."""
        before_ns = line.least_rest_ns()
        line.change(**_shape(shape))
        if line.least_rest_ns() <= self.rest_ns:
            self.rest_ns = line.least_rest_ns()
        elif before_ns <= self.rest_ns:  # this line may have been the one with the shortest rest
            self.rest_ns = min([LONGEST_REST_NS, *(each.least_rest_ns() for each in self.lines.values())])

    def statistics(self) -> dict[str, object]:
        """The sums of all lines' counters, and those of the relay itself."""
        lines = self.lines.values()
        return {
            "frames": sum(line.frames for line in lines),
            "late": sum(line.late for line in lines),
            "worst_late_s": max((line.worst_late_ns for line in lines), default=0) * 1e-9,
            "lost": sum(line.lost for line in lines),
            "dropped": sum(line.overflowed + line.failed for line in lines)
            + self.ring.count_dropped()
            + self.truncated,
            "stalls_ns": self.stalls,
            "cpu_s": time.process_time(),
            "realtime": self.realtime,
        }


def _shape(told: Mapping[str, object]) -> Shape:
    return {
        "delay_ns": _int(told["delay_ns"]),
        "jitter_ns": _int(told["jitter_ns"]),
        "loss": float(str(told["loss"])),
        "ns_per_byte": float(str(told["ns_per_byte"])),
        "limit": _int(told["limit"]),
    }


def _int(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"not a whole number: {value!r}")
    return value


def _list(value: object) -> list[Mapping[str, object]]:
    if not isinstance(value, list):
        raise TypeError(f"not a list: {value!r}")
    return value


def become_punctual() -> bool:
    """Take real-time priority and exact timers where allowed; True if the priority was granted."""
    exact_timers()
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    except OSError:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, -20)
        return False
    return True


def main() -> None:
    """Entry point: standard input is the control socket."""
    control = socket.socket(fileno=0)
    end_with(os.getppid())
    realtime = become_punctual()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupted run still drains; it closes the control socket later
    out = sending_socket()
    relay = Relay(control, Ring(), out, Departures(out))
    relay.realtime = realtime
    gc.collect()
    gc.freeze()
    gc.disable()  # nothing here makes cycles, and a collection would delay frames
    control.send(b'{"number": 0}')  # reports the start, under a number that no question has
    relay.run()


if __name__ == "__main__":
    main()
