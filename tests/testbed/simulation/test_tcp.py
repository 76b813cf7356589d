"""TCP in virtual time, compared with times worked out by hand: a wire of 10 ms each way, and chosen losses."""

import pytest

from testbed.simulation.tcp.clock import fires_s
from testbed.simulation.tcp.connection import Endpoint
from testbed.simulation.tcp.reno import Reno
from testbed.virtual_time import Calendar

MS = 1e-3
SEGMENT = 1448
TICK_S = 4 * MS


class Pipe:
    """A direction of a wire. It loses the data packets with the numbers `lost` (with `acks`, packets without data)."""

    def __init__(self, agenda, delay_s, lost=(), acks=()):
        self.agenda, self.delay_s = agenda, delay_s
        self.lost, self.acks = set(lost), set(acks)
        self.sent: list[tuple[float, int, int]] = []
        self.answers: list[tuple[float, int]] = []
        self.target: Endpoint | None = None
        self.stuck = False

    def carry(self, packet):
        if packet.end > packet.seq:
            number, lost = len(self.sent), self.lost
            self.sent.append((self.agenda.now_s, packet.seq, packet.end))
        else:
            number, lost = len(self.answers), self.acks
            self.answers.append((self.agenda.now_s, packet.ack))
        if number not in lost:
            self.agenda.at(self.agenda.now_s + self.delay_s, self.target.take, packet)
        return lambda: self.stuck


class Wire:
    """A connection from here to there, and the messages that arrive there."""

    def __init__(self, *, delay_ms=10.0, lost=(), acks=(), time_scale=1.0, answer_bytes=0):
        self.agenda = Calendar()
        delay_s = delay_ms * MS
        self.there, self.back = Pipe(self.agenda, delay_s, lost), Pipe(self.agenda, delay_s, (), acks)
        options = {"rtt_s": 2 * delay_s, "time_scale": time_scale}
        self.source, self.target = (Endpoint(self.agenda, way, **options) for way in (self.there, self.back))
        self.source.peer, self.target.peer = self.target, self.source
        self.there.target, self.back.target = self.target, self.source
        self.arrived: dict[object, float] = {}
        self.answer_bytes = answer_bytes

    def send(self, size_bytes, name, at_s=0.0):
        self.agenda.at(at_s, lambda _: self.source.send(size_bytes, self._note, name), None)

    def _note(self, name):
        assert name not in self.arrived, "something arrived twice"
        self.arrived[name] = self.agenda.now_s
        if self.answer_bytes:
            self.target.send(self.answer_bytes, lambda _: None, None)

    def run(self, until_s=100.0):
        assert self.agenda.run(until_s, 1_000_000)
        assert not self.source.sender.flight
        return self.arrived


def within_a_tick(time_s, due_s):
    """A timer due at this time fires on one of the two ticks after it."""
    return due_s < time_s <= due_s + 2 * TICK_S + 1e-9


def test_without_losses_a_message_takes_the_delay():
    wire = Wire()
    wire.send(5 * SEGMENT, "message")
    assert wire.run() == pytest.approx({"message": 10 * MS})
    assert len(wire.there.sent) == 5


def test_a_lost_segment_with_three_behind_it_is_repeated_after_one_round_trip():
    wire = Wire(lost=[1])
    wire.send(5 * SEGMENT, "message")
    assert wire.run() == pytest.approx({"message": 30 * MS})
    assert wire.there.sent[5] == pytest.approx((20 * MS, SEGMENT, 2 * SEGMENT))


def test_with_fewer_behind_it_a_quarter_of_the_round_trip_is_waited_for_reordering():
    wire = Wire(lost=[2])
    wire.send(5 * SEGMENT, "message")
    assert within_a_tick(wire.run()["message"] - 10 * MS, (20 + 20 / 4 + 2) * MS)


def test_a_lost_tail_is_probed_after_two_round_trips():
    wire = Wire(lost=[4])
    wire.send(5 * SEGMENT, "message")
    # The acknowledgement of the fourth comes after 20 ms.
    assert within_a_tick(wire.run()["message"] - 10 * MS, (20 + 20 + 200) * MS)
    assert wire.there.sent[5][1:] == (4 * SEGMENT, 5 * SEGMENT)


def test_a_tail_of_two_is_probed_sooner():
    wire = Wire(lost=[3, 4], acks=[])
    wire.send(5 * SEGMENT, "message")
    arrived = wire.run()["message"]
    # The probe shows that the segment before it is missing as well.
    probed_s = wire.there.sent[5][0]
    assert within_a_tick(probed_s, (20 + 2 * 20 + 2) * MS)
    assert arrived == pytest.approx(probed_s + 30 * MS)


def test_a_lost_single_segment_waits_for_a_late_acknowledgement_too():
    wire = Wire(lost=[0])
    wire.send(1000, "message")
    assert within_a_tick(wire.run()["message"] - 10 * MS, 220 * MS)


def test_time_outs_double_until_something_arrives():
    wire = Wire(lost=range(5))
    wire.send(1000, "message")
    wire.run()
    gaps = [later[0] - sooner[0] for sooner, later in zip(wire.there.sent[:5], wire.there.sent[1:6], strict=True)]
    # The probe, a time-out after it, and then each twice as late as the one before; long ones fire more coarsely.
    for gap, due, slack in zip(gaps, (220, 220, 440, 880, 1760), (8, 8, 36, 36, 36), strict=True):
        assert due * MS < gap <= (due + slack) * MS


def test_a_time_out_begins_again_with_one_segment():
    wire = Wire(lost=range(11))  # all of the first window, and the probe
    wire.send(40 * SEGMENT, "message")
    wire.run()
    times = [time_s for time_s, _, _ in wire.there.sent[11:]]
    assert times[1] >= times[0] + 20 * MS - 1e-9
    assert wire.source.sender.window.ssthresh == 5


def test_what_comes_behind_waits_and_the_order_is_kept():
    wire = Wire(lost=[0])
    for number in range(4):
        wire.send(1000, number, at_s=number * MS)
    arrived = wire.run()
    assert list(arrived) == [0, 1, 2, 3]
    # Three acknowledgements of later segments show that the first is missing.
    assert arrived[0] == pytest.approx((3 + 20 + 10) * MS)
    assert arrived[3] == arrived[0]


def test_slow_start_takes_a_big_message_over_a_long_wire_in_rounds():
    wire = Wire(delay_ms=60.0)
    wire.send(46 * SEGMENT, "message")
    # Ten at once, twice as many after each round trip: 10, 20, 16.
    assert wire.run() == pytest.approx({"message": (60 + 2 * 120) * MS})


def test_the_window_stays_open_while_nothing_is_sent():
    wire = Wire(delay_ms=60.0)
    wire.send(46 * SEGMENT, "first")
    wire.send(46 * SEGMENT, "second", at_s=20.0)
    arrived = wire.run()
    assert arrived["second"] - 20.0 < arrived["first"]


def test_losses_make_later_messages_slower():
    wire = Wire(lost=[1, 12, 23, 34])
    for number in range(5):
        wire.send(10 * SEGMENT, number, at_s=float(number))
    arrived = wire.run()
    assert wire.source.sender.window.cwnd < 10
    assert arrived[4] - 4.0 >= 30 * MS - 1e-9  # two rounds, though nothing was lost


def test_a_lost_acknowledgement_costs_a_repetition_and_no_time():
    wire = Wire(acks=[0])
    wire.send(1000, "message")
    assert wire.run() == pytest.approx({"message": 10 * MS})
    assert len(wire.there.sent) == 2
    assert wire.source.sender.window.cwnd == 10


def test_an_answer_acknowledges_at_once_and_a_silent_receiver_when_it_has_read():
    for answer_bytes in (0, 60):
        wire = Wire(answer_bytes=answer_bytes)
        for number in range(40):
            wire.send(1000, number, at_s=0.1 * number)
        wire.run()
        assert len(wire.there.sent) == 40
        assert wire.source.sender.rtt.smoothed_s == pytest.approx(20 * MS, rel=0.01)


def test_what_has_not_left_the_node_is_not_repeated():
    wire = Wire(lost=[0])
    wire.there.stuck = True
    wire.send(1000, "message")
    wire.agenda.at(10.0, lambda _: setattr(wire.there, "stuck", False), None)
    arrived_s = wire.run()["message"]
    assert 10.0 < arrived_s < 12.1  # a time-out is never longer than two seconds
    assert len(wire.there.sent) == 2


def test_the_kernels_times_are_real_ones():
    wire = Wire(lost=[0], time_scale=2.0)
    wire.send(1000, "message")
    assert 120 * MS < wire.run()["message"] - 10 * MS <= 124 * MS + 1e-9


@pytest.mark.parametrize(
    ("now_s", "after_s", "due_s"),
    [(0.0, 0.010, 0.016), (0.0, 0.004, 0.008), (0.003, 0.004, 0.008), (0.0, 0.256, 0.288), (0.001, 0.300, 0.320)],
)
def test_timers_fire_on_ticks_and_late_ones_on_coarse_ticks(now_s, after_s, due_s):
    assert fires_s(now_s, after_s) == pytest.approx(due_s)


def test_a_loss_halves_the_window_and_leaves_two_segments():
    reno = Reno()
    reno.cwnd = 101
    assert reno.reduced() == 50
    reno.cwnd = 2
    assert reno.reduced() == 2


def test_the_window_doubles_up_to_its_threshold_and_then_grows_by_one_a_round():
    reno = Reno()
    reno.ssthresh = 24
    sizes = []
    for _ in range(5):
        for _ in range(reno.cwnd):
            reno.acknowledged(1)
        sizes.append(reno.cwnd)
    assert sizes == [20, 24, 25, 26, 27]
