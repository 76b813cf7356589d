import itertools
import statistics
import struct

import pytest

from testbed.network.delays.relay_delay import quantile_s
from testbed.relay.frames import VNET_HEADER_BYTES, on_the_wire
from testbed.relay.line import LATE_NS, Line

MS = 1_000_000
FRAME = 1000


def line(**changes):
    shape = {"delay_ns": 10 * MS, "jitter_ns": 0, "loss": 0.0, "ns_per_byte": 0.0, "limit": 1000} | changes
    made = Line("l0b", seed=3)
    made.change(**shape)
    return made


def test_a_frame_is_due_after_delay_and_transmission():
    assert line(ns_per_byte=800.0).admit(5 * MS, FRAME) == 15 * MS + 800_000  # 10 Mbit/s


def test_frames_that_arrive_together_leave_at_the_rate_of_the_link():
    slow = line(ns_per_byte=800.0)
    due = [slow.admit(0, FRAME) for _ in range(5)]
    assert [later - earlier for earlier, later in itertools.pairwise(due)] == [800_000] * 4


def test_frames_already_spaced_are_not_delayed_further():
    spaced = line(ns_per_byte=800.0)
    assert [spaced.admit(i * 800_000, FRAME) - i * 800_000 for i in range(5)] == [10 * MS + 800_000] * 5


def test_jitter_has_its_deviation_and_keeps_the_order():
    shaky = line(jitter_ns=2 * MS, limit=10**6)
    waits = [shaky.admit(i * 50 * MS, 100) - i * 50 * MS for i in range(4000)]
    assert statistics.mean(waits) == pytest.approx(10 * MS, rel=0.02)
    assert statistics.stdev(waits) == pytest.approx(2 * MS, rel=0.05)
    dense = [shaky.admit(10**12 + i * 1000, 100) for i in range(1000)]
    assert dense == sorted(dense)


def test_loss_drops_its_share_and_counts_it():
    lossy = line(loss=0.2, limit=10**6)
    arrived = sum(lossy.admit(i, 100) is not None for i in range(10_000))
    assert 7800 < arrived < 8200
    assert lossy.lost == 10_000 - arrived == 10_000 - lossy.frames


def test_the_queue_is_bounded():
    short = line(limit=3)
    assert [short.admit(0, 100) is None for _ in range(5)] == [False, False, False, True, True]
    assert short.overflowed == 2
    short.held -= 1
    assert short.admit(0, 100) is not None


def test_a_shorter_delay_lets_no_frame_overtake():
    changed = line(delay_ns=50 * MS)
    first = changed.admit(0, 100)
    changed.change(delay_ns=1 * MS, jitter_ns=0, loss=0.0, ns_per_byte=0.0, limit=1000)
    assert changed.admit(1 * MS, 100) == first == 50 * MS
    assert changed.admit(60 * MS, 100) == 61 * MS


def test_the_same_seed_draws_the_same_delays():
    def draws(seed):
        made = Line("l0b", seed)
        made.change(delay_ns=10 * MS, jitter_ns=MS, loss=0.1, ns_per_byte=0.0, limit=10**6)
        return [made.admit(i * 50 * MS, 100) for i in range(100)]

    assert draws(1) == draws(1) != draws(2)


def test_lateness_is_forgotten_and_nothing_else():
    slow = line()
    for late_ns in (0, 3 * MS):
        slow.admit(0, 100)
        slow.sent(late_ns)
    slow.forget_lateness()
    assert slow.counters() == [2, 200, 0, 0, 0, 0, {}]
    slow.admit(0, 100)
    slow.sent(5_000)
    assert slow.counters() == [3, 300, 0, 0, 0, 5_000, {1: 1}]


def superframe(segments, segment_bytes=1448, last_bytes=1448):
    """A virtio header and a superframe: Ethernet, IP, TCP with time stamps, and the segments' data."""
    tcp = bytearray(32)
    tcp[12] = 8 << 4
    data = bytes(14 + 20) + bytes(tcp) + bytes((segments - 1) * segment_bytes + last_bytes)
    return struct.pack("=BBHHHH", 1, 1, 999, segment_bytes, 34, 16) + data


@pytest.mark.parametrize(("segments", "last_bytes"), [(2, 1448), (8, 1448), (8, 1), (10, 700)])
def test_a_superframe_counts_as_the_frames_it_stands_for(segments, last_bytes):
    text = superframe(segments, last_bytes=last_bytes)
    expected = (segments - 1) * 1514 + 66 + last_bytes, segments
    assert on_the_wire(text, VNET_HEADER_BYTES, len(text) - VNET_HEADER_BYTES) == expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (1 | 0x80, (3 * 1514, 3)),  # TCP with congestion notification
        (4, (3 * 1514, 3)),
        (5, (14 + 20 + 32 + 3 * 1448 + 3 * 42, 4)),  # UDP: 8 bytes of header, so 24 more of data
        (3, (14 + 20 + 32 + 3 * 1448, 1)),
    ],
)
def test_superframes_are_told_apart_by_their_kind(kind, expected):
    text = bytearray(superframe(3))
    text[1] = kind
    assert on_the_wire(bytes(text), VNET_HEADER_BYTES, len(text) - VNET_HEADER_BYTES) == expected


def test_a_superframe_is_due_with_its_last_segment():
    one_by_one, together = line(ns_per_byte=800.0), line(ns_per_byte=800.0)
    last = [one_by_one.admit(0, 1514) for _ in range(8)][-1]
    assert together.admit(0, 8 * 1514, 8) == last
    assert (together.frames, together.bytes) == (one_by_one.frames, one_by_one.bytes) == (8, 8 * 1514)


def test_lateness_is_counted_in_octaves():
    slow = line()
    for late_ns in (-50_000, 0, 3_000, 5_000, LATE_NS + 1, 3 * MS, 10**12):
        slow.admit(0, 100)
        slow.sent(late_ns)
    frames, _, _, _, late, worst_ns, octaves = slow.counters()
    assert (frames, late, worst_ns, sum(octaves.values())) == (7, 3, 10**12, 7)
    assert octaves[0] == 3
    assert slow.held == 0
    for share, true_ns in ((0.1, 0), (0.55, 5_000), (0.8, 3 * MS)):
        found_s = quantile_s(octaves, share, worst_ns * 1e-9)
        assert true_ns / 2 <= found_s * 1e9 <= max(4096, 2 * true_ns)
    assert quantile_s({}, 0.5, 0.0) is None
