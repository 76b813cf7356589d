import itertools
import statistics

import pytest

from testbed.network.relay import ETHERNET_BYTES, Line

MS = 1_000_000
FRAME = 1000 + ETHERNET_BYTES  # an IP packet of 1000 bytes


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
