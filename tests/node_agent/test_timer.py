"""The deadline timer against the real clock."""

import os
import select
import statistics
import time

import pytest

from node_agent.timer import DeadlineTimer


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
        deadline_s = time.monotonic() + 0.0024  # between two milliseconds, which poll() could not keep
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
