"""The relay with frames that are due and with changes of links, on sockets that can be made to fail."""

import errno
import json
import socket
import threading
import time

import pytest

from testbed.relay import process
from testbed.relay.frames import STATUS_USER, Departures
from testbed.relay.line import Line
from testbed.relay.process import EARLY_NS, LONGEST_REST_NS, TRY_AGAIN_NS, Relay

MS = 1_000_000
SHAPE = {"delay_ns": 10 * MS, "jitter_ns": 0, "loss": 0.0, "ns_per_byte": 0.0, "limit": 1000}


class EmptyRing:
    """A ring in which nothing ever arrives."""

    def __init__(self):
        self.words, self.at_word = [0], 0
        self.socket, self._other = socket.socketpair()

    def close(self):
        self.socket.close()
        self._other.close()

    def count_dropped(self):
        return 0


class Out:
    """A socket that refuses the next frames with these errors, and takes all later ones."""

    def __init__(self, *errors):
        self.errors, self.taken = list(errors), []

    def sendto(self, data, address):
        if self.errors and (error := self.errors.pop(0)):
            raise OSError(error, "refused")
        self.taken.append((address[0], data))


class Together:
    """Departures that take only `counts` frames of the next batches, and later batches whole."""

    def __init__(self, *counts):
        self.counts, self.taken = list(counts), []

    def destination(self, interface):
        return interface

    def send(self, frames):
        count = self.counts.pop(0) if self.counts else len(frames)
        self.taken += frames[:count]
        return count


@pytest.fixture
def made():
    """A function that makes relays with lines named a, b, c."""
    rings = []

    def make(out=None, together=None, control=None):
        rings.append(EmptyRing())
        relay = Relay(control, rings[-1], out or Out(), together or Together())
        for name in "abc":
            line = relay.lines[name] = Line(name, 1)
            line.destination = name
            relay.change(line, SHAPE)
        return relay

    yield make
    for ring in rings:
        ring.close()


def admit(relay, *names, due_ns=0, apart_ns=0):
    """Put frames 0, 1, ... on these lines into the heap."""
    for name in names:
        relay.lines[name].admit(0, 100)
        data = b"%d" % relay.sequence
        relay.heap.append((due_ns + relay.sequence * apart_ns, relay.sequence, relay.lines[name], data))
        relay.sequence += 1


def outcome(relay):
    """By line: frames still held, and frames refused permanently."""
    return {name: (line.held, line.failed) for name, line in relay.lines.items()}


def test_frames_that_are_due_together_leave_in_one_call(made):
    relay = made(out=Out(errno.EIO), together=Together())
    admit(relay, "a", "b", "a")
    relay.send_due(10)
    assert relay.departures.taken == [("a", b"0"), ("b", b"1"), ("a", b"2")]
    assert outcome(relay) == dict.fromkeys("abc", (0, 0))
    assert sum(relay.lines["a"].lateness) == 2


def test_what_one_call_leaves_over_leaves_singly_and_once(made):
    relay = made(together=Together(2))
    admit(relay, "a", "b", "c", "a", "b")
    relay.send_due(0)
    assert relay.departures.taken == [("a", b"0"), ("b", b"1")]
    assert relay.out.taken == [("c", b"2"), ("a", b"3"), ("b", b"4")]
    assert outcome(relay) == dict.fromkeys("abc", (0, 0))
    assert [sum(line.lateness) for line in relay.lines.values()] == [2, 2, 1]


def test_a_frame_that_can_never_leave_is_counted_once_and_holds_nobody_up(made):
    relay = made(out=Out(errno.ENXIO), together=Together(0))
    admit(relay, "a", "a", "b")
    relay.send_due(0)
    assert relay.out.taken == [("a", b"1"), ("b", b"2")]
    assert outcome(relay) == {"a": (0, 1), "b": (0, 0), "c": (0, 0)}
    assert relay.statistics()["dropped"] == 1


def test_a_line_without_room_waits_alone_and_in_order(made, monkeypatch):
    own = Out(errno.ENOBUFS, errno.EAGAIN)
    monkeypatch.setattr(process, "sending_socket", lambda: own)
    relay = made(out=Out(errno.ENOBUFS), together=Together(0))
    admit(relay, "a", "b", "a")
    relay.send_due(0)
    assert relay.out.taken == [("b", b"1")]
    assert own.taken == []
    assert outcome(relay) == {"a": (2, 0), "b": (0, 0), "c": (0, 0)}
    admit(relay, "a", "c")  # while the first two wait
    relay.heap.sort()
    relay.send_due(0)
    assert relay.departures.taken == [("c", b"%d" % (relay.sequence - 1))]
    while relay.heap:  # without room again, then with it
        relay.send_due(relay.heap[0][0])
    assert [data for _, data in own.taken[:2]] == [b"0", b"2"]
    assert len(own.taken) == 3
    assert outcome(relay) == dict.fromkeys("abc", (0, 0))
    assert relay.heap == []
    assert sum(relay.lines["a"].lateness) == 3


def test_a_line_without_room_tries_again_soon_and_only_once_at_a_time(made, monkeypatch):
    monkeypatch.setattr(process, "sending_socket", lambda: Out(*[errno.EAGAIN] * 5))
    relay = made(out=Out(errno.EAGAIN), together=Together(0))
    admit(relay, "a", "a", "a")
    relay.send_due(0)
    assert len(relay.heap) == 1
    assert relay.heap[0][0] - time.monotonic_ns() <= TRY_AGAIN_NS


def test_where_no_more_sockets_can_be_had_the_line_goes_on_with_that_of_all(made, monkeypatch):
    def none():
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(process, "sending_socket", none)
    relay = made(out=Out(errno.ENOBUFS), together=Together(0))
    admit(relay, "a")
    relay.send_due(0)
    assert relay.out.taken == [("a", b"0")]
    assert outcome(relay)["a"] == (0, 0)


def test_no_call_takes_more_than_there_is_room_for(made):
    relay = made()
    admit(relay, *("abc" * Departures.MOST))
    relay.send_due(0)
    assert len(relay.departures.taken) == Departures.MOST
    assert len(relay.heap) == 2 * Departures.MOST


def test_a_frame_that_is_due_soon_goes_with_one_that_leaves(made):
    relay = made()
    admit(relay, "a", "b", "c", due_ns=5 * MS, apart_ns=EARLY_NS - 1)
    relay.send_due(5 * MS)
    assert [destination for destination, _ in relay.departures.taken] == ["a", "b"]


class Leaving(Together):
    """Departures that record by how much frames left early, and end the relay after the last."""

    def __init__(self, due_ns):
        super().__init__()
        self.due_ns, self.early_ns, self.relay = due_ns, [], None

    def send(self, frames):
        now_ns = time.monotonic_ns()
        self.early_ns += [self.due_ns[data] - now_ns for _, data in frames]
        self.relay.running = len(self.early_ns) < len(self.due_ns)
        return super().send(frames)


def test_no_frame_leaves_earlier_than_it_may(made):
    begin_ns = time.monotonic_ns()
    due_ns = {b"%d" % number: begin_ns + number * 5 * MS for number in range(20)}
    ours, theirs = socket.socketpair()
    relay = made(together=Leaving(due_ns), control=theirs)
    relay.departures.relay = relay
    admit(relay, *["a"] * len(due_ns), due_ns=begin_ns, apart_ns=5 * MS)
    with ours, theirs:
        relay.run()
    assert [data for _, data in relay.departures.taken] == list(due_ns)
    assert max(relay.departures.early_ns) <= EARLY_NS


def test_a_change_under_dense_traffic_does_not_end_the_relay(made, monkeypatch):
    """The change lets frames be due at once, while the relay rests between arrivals."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    begin_ns = time.monotonic_ns()
    due_ns = {b"%d" % number: begin_ns + number * 3 * MS for number in range(200)}
    relay = made(together=Leaving(due_ns), control=theirs)
    relay.departures.relay = relay
    admit(relay, *["a"] * len(due_ns), due_ns=begin_ns, apart_ns=3 * MS)

    def arrive():
        relay.sequence += 50
        relay.ring.words[0] = 0

    monkeypatch.setattr(relay, "admit_arrivals", arrive)
    relay.ring.words[0] = STATUS_USER
    sleep, slept_s = time.sleep, []

    def rest(span_s):
        slept_s.append(span_s)
        relay.ring.words[0] = STATUS_USER  # a frame has arrived meanwhile
        sleep(span_s)

    monkeypatch.setattr(process.time, "sleep", rest)
    relay.change(relay.lines["b"], {**SHAPE, "delay_ns": MS})
    answers = []

    def change():
        while not slept_s and thread_may_go_on.is_set():
            sleep(0.001)
        change = {"verb": "change", "in": "b", **SHAPE, "delay_ns": 2 * MS, "jitter_ns": MS // 2, "number": 5}
        ours.send(json.dumps(change).encode())
        answers.append(ours.recv(1000))

    thread_may_go_on = threading.Event()
    thread_may_go_on.set()
    changing = threading.Thread(target=change)
    changing.start()
    with ours, theirs:
        try:
            relay.run()
        finally:
            thread_may_go_on.clear()
            changing.join(10)
    assert answers == [b'{"number": 5}']
    assert slept_s  # the relay rested
    assert min(slept_s) >= 0
    assert len(relay.departures.taken) == len(due_ns)


def test_rests_are_as_long_as_all_lines_allow(made):
    relay = made()
    assert relay.rest_ns == LONGEST_REST_NS
    relay.change(relay.lines["a"], {**SHAPE, "delay_ns": 2 * MS})
    relay.change(relay.lines["b"], {**SHAPE, "delay_ns": 3 * MS})
    assert relay.rest_ns == 2 * MS
    relay.change(relay.lines["a"], SHAPE)
    assert relay.rest_ns == 3 * MS
    relay.change(relay.lines["b"], {**SHAPE, "delay_ns": 4 * MS, "jitter_ns": MS})
    assert relay.rest_ns == 0


def test_many_lines_are_added_in_time_that_grows_with_their_number(made, monkeypatch):
    asked = []

    class Asked(Line):
        def least_rest_ns(self):
            asked.append(self)
            return super().least_rest_ns()

    monkeypatch.setattr(process, "Line", Asked)
    monkeypatch.setattr(process.socket, "if_nametoindex", lambda name: int(name[1:]))
    relay = made()
    shapes = [{**SHAPE, "delay_ns": (5 - number % 4) * MS} for number in range(300)]
    lines = [{"in": f"i{number}", "out": "a", "seed": 1, **shape} for number, shape in enumerate(shapes)]
    assert relay.obey({"verb": "add", "lines": lines}) == {}
    assert relay.rest_ns == 2 * MS
    assert len(asked) <= 2 * len(lines)


def test_every_answer_carries_the_number_of_its_question(made):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    relay = made(control=theirs)
    questions = [{"verb": "forget"}, {"verb": "statistics"}, {"verb": "dance"}, {"verb": "change", "in": "nowhere"}]
    with ours, theirs:
        for number, question in enumerate(questions, start=7):
            ours.send(json.dumps({**question, "number": number}).encode())
            relay.answer()
        ours.send(b"[1, 2")
        relay.answer()
        answers = [json.loads(ours.recv(1 << 16)) for _ in range(len(questions) + 1)]
    assert [answer["number"] for answer in answers] == [7, 8, 9, 10, None]
    assert [("error" in answer) for answer in answers] == [False, False, True, True, True]
    assert "frames" in answers[1]
