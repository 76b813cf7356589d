"""The profile of a task adds up to the task's time, and counts nested parts once."""

import time
from types import SimpleNamespace

import pytest

from tests.bench.city import parts
from tests.bench.city.parts import REST, PartClock


class Clock:
    """A clock that the test moves."""

    def __init__(self, monkeypatch):
        self.now_us = 0
        monkeypatch.setattr(time, "perf_counter_ns", lambda: self.now_us * 1000)

    def wait(self, us):
        self.now_us += us


def test_nested_parts_count_once_and_the_rest_is_what_no_part_has(monkeypatch):
    monkeypatch.setattr(parts, "WARM_UP_TASKS", 2)
    real = Clock(monkeypatch)
    node = SimpleNamespace(send=lambda: real.wait(5))
    part_clock = PartClock()
    part_clock.watch("sending", node, "send")
    node.handle = lambda: (real.wait(3), node.send(), node.send())
    part_clock.watch("handling", node, "handle")
    for number in range(2 + 4 + 1):
        part_clock.task()
        real.wait(100 if number < 2 else 7)  # slow before the counts begin
        node.handle()
    assert part_clock.times_us() == pytest.approx({"handling": 3, "sending": 10, REST: 7})


def test_too_few_tasks_are_no_profile():
    part_clock = PartClock()
    part_clock.task()
    with pytest.raises(RuntimeError, match="too few"):
        part_clock.times_us()
