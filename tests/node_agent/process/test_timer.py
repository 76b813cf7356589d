"""The deadline timer against the real clock."""

import os
import select
import statistics
import time

import pytest

from node_agent.process.timer import DeadlineTimer, Timers

pytestmark = pytest.mark.timing


@pytest.fixture
def timer():
    made = DeadlineTimer()
    yield made
    made.close()


def readable(timer, timeout_s=0.0):
    return bool(select.select([timer], [], [], timeout_s)[0])


def test_wakes_at_the_deadline_and_not_before(timer):
    lateness_s = []
    for _ in range(40):
        deadline_s = time.monotonic() + 0.0024  # not a whole millisecond, so poll() could not keep it
        timer.arm(deadline_s)
        assert readable(timer, 1.0)
        lateness_s.append(time.monotonic() - deadline_s)
    assert min(lateness_s) >= 0
    assert statistics.median(lateness_s) < 0.0006


def test_stays_readable_until_it_is_armed_again(timer):
    timer.arm(time.monotonic() + 0.01)
    assert not readable(timer)
    assert readable(timer, 1.0)
    assert readable(timer)
    timer.arm(time.monotonic() + 10)
    assert not readable(timer, 0.02)


@pytest.mark.parametrize("past_s", [0.0, -5.0, 1e-9])
def test_a_deadline_in_the_past_is_due_at_once(timer, past_s):
    timer.arm(past_s)
    assert readable(timer, 0.1)


def test_none_disarms(timer):
    timer.arm(time.monotonic() + 0.01)
    timer.arm(None)
    assert not readable(timer, 0.05)
    timer.arm(time.monotonic() + 0.01)
    assert readable(timer, 1.0)


def test_close_gives_the_descriptor_back():
    timer = DeadlineTimer()
    fd = timer.fileno()
    os.fstat(fd)
    timer.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_timers_fall_due_in_order_of_their_times_and_once():
    timers = Timers()
    assert timers.next_s() is None
    for key, at_s in ((("b",), 2.0), (("a", 1), 1.0), (("a", 2), 1.0)):
        timers.set(key, at_s)
    assert timers.next_s() == 1.0
    assert timers.pop(0.9) is None
    assert [timers.pop(2.0) for _ in range(4)] == [(1.0, ("a", 1)), (1.0, ("a", 2)), (2.0, ("b",)), None]
    assert timers.next_s() is None


@pytest.mark.parametrize("again_s", [0.5, 3.0])
def test_a_timer_that_is_set_again_counts_once_at_its_new_time(again_s):
    timers = Timers()
    timers.set(("a",), 1.0)
    timers.set(("a",), again_s)
    assert timers.next_s() == again_s
    assert [timers.pop(9.0), timers.pop(9.0)] == [(again_s, ("a",)), None]


def test_a_cancelled_timer_does_not_fall_due_and_may_be_set_again():
    timers = Timers()
    timers.set(("a",), 1.0)
    timers.cancel(("a",))
    timers.cancel(("never set",))
    assert timers.next_s() is None
    assert timers.pop(9.0) is None
    timers.set(("a",), 2.0)
    assert timers.pop(9.0) == (2.0, ("a",))
    timers.set(("a",), 1.0)
    timers.clear()
    assert timers.next_s() is None
