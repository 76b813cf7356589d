"""Counters of delay backends while links change, and late answers of the relay."""

import os
import signal

import pytest

from testbed.network.commands import NetworkError
from testbed.network.delays import relay_delay
from testbed.network.delays.netem_delay import DropCount
from testbed.network.delays.relay_delay import RelayDelay

from .scenarios import FAST, scenario


def test_drops_belong_to_the_shape_they_happened_under():
    count = DropCount(loses=False)
    assert count.so_far(3) == (0, 3)
    count.book(5, loses=True)
    assert count.so_far(12) == (7, 5)
    count.book(20, loses=False)
    assert count.so_far(21) == (15, 6)
    assert count.so_far(20) == (15, 5)


def test_the_kernels_counter_may_begin_again():
    count = DropCount(loses=True)
    count.book(2**32 - 2, loses=False)
    assert count.so_far(3) == (2**32 - 2, 5)


@pytest.mark.root
@pytest.mark.parametrize("backend", ["userspace"])
def test_an_answer_that_comes_too_late_is_not_taken_for_the_next(build, monkeypatch):
    network = build(scenario(["a", "b"], {("a", "b"): FAST}))
    relay = network._delay
    assert isinstance(relay, RelayDelay)
    pid = relay._process.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        monkeypatch.setattr(relay_delay, "ANSWER_TIMEOUT_S", 0.05)
        for _ in range(2):
            with pytest.raises(NetworkError, match="does not answer"):
                relay.forget_lateness()
        with pytest.raises(NetworkError, match="does not answer"):
            relay._ask({"verb": "change", "in": "nowhere"})  # the relay will refuse this too late
    finally:
        monkeypatch.undo()
        os.kill(pid, signal.SIGCONT)
    for _ in range(2):
        statistics = network.statistics()
        assert {link.ends for link in statistics.links} == {("a", "b"), ("b", "a")}
        assert statistics.relay_cpu_s > 0
