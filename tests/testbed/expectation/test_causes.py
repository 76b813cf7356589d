"""The causes that late steps and known stalls point to: relay, agent or link."""

import pytest

from testbed.expectation.causes import RELAY, Stall, causes_of
from testbed.expectation.steps import Lateness


def late(step, path, at_s, late_s, *, task=0, sent_s=0.0, size_bytes=0):
    return Lateness(task, step, path, at_s, late_s, sent_s, size_bytes)


def named(steps, stalls=(), *, relayed=True, time_scale=1.0):
    return [cause.name for cause in causes_of(steps, stalls, time_scale=time_scale, relayed=relayed)]


def test_a_quiet_machine_has_no_causes():
    assert not named([late("transfer", ("a", "b"), 1.0, 0.0015), late("service", ("b",), 2.0, -0.5)])


def test_what_is_late_at_a_node_is_its_agents():
    steps = [late("service", ("b",), 9.0, 1.0, task=3), late("queue", ("b",), 9.2, 0.1, task=4),
             late("sending", ("c",), 5.0, 0.2), late("offering", ("d",), 5.0, 0.1)]  # fmt: skip
    causes = causes_of(steps, (), time_scale=1.0, relayed=True)
    assert [cause.name for cause in causes] == ["the agent of b", "the agent of c", "the agent of d"]
    assert causes[0].late_s == pytest.approx(1.1)
    assert (causes[0].tasks, causes[0].from_s, causes[0].until_s) == (2, 8.0, 9.2)


def test_a_cause_was_when_nearly_all_of_its_lateness_was():
    steps = [late("transfer", ("a", "b"), 8.0 + k, 2.0, task=k) for k in range(3)]
    early = late("transfer", ("a", "b"), 0.4, 0.02, task=9)
    (cause,) = causes_of([early, *steps], (), time_scale=1.0, relayed=True)
    assert (cause.from_s, cause.until_s, cause.tasks) == (6.0, 10.0, 4)
    assert cause.late_s == pytest.approx(6.02)
    (alone,) = causes_of([early], (), time_scale=1.0, relayed=True)
    assert (alone.from_s, alone.until_s) == (pytest.approx(0.38), 0.4)


def test_a_late_message_is_the_links_unless_a_process_is_known_to_have_stood_still():
    steps = [late("transfer", ("a", "b"), 8.8, 1.5)]
    assert named(steps) == ["the link from a to b"]
    assert named(steps, [Stall("b", 7.0, 8.8)]) == ["the agent of b"]
    assert named(steps, [Stall("a", 7.0, 8.8)]) == ["the agent of a"]
    assert named(steps, [Stall("c", 7.0, 8.8)]) == ["the link from a to b"]
    assert named(steps, [Stall(RELAY, 7.5, 8.8)]) == ["the relay"]
    assert named(steps, [Stall(RELAY, 7.5, 8.8)], relayed=False) == ["the link from a to b"]
    assert named(steps, [Stall("b", 1.0, 2.0)]) == ["the link from a to b"], "that was long before"


def test_messages_that_come_late_together_name_the_process_they_all_passed():
    to_one = [late("transfer", ("a", "x"), 3.000, 0.4), late("return", ("b", "x"), 3.004, 0.3)]
    assert named(to_one) == ["the agent of x"]
    to_many = [late("transfer", (f"s{k}", f"r{k}"), 3.0 + 0.001 * k, 0.4) for k in range(4)]
    assert named(to_many) == ["the relay"]
    assert len(named(to_many, relayed=False)) == 4
    apart = [late("transfer", (f"s{k}", f"r{k}"), 3.0 + k, 0.4) for k in range(4)]
    assert len(named(apart)) == 4


def test_lateness_weighs_less_at_a_larger_time_scale():
    step = late("transfer", ("a", "b"), 1.0, 0.0015)
    assert not named([step])
    assert named([step], time_scale=2.0) == ["the link from a to b"], "1.5 ms are 3 ms of real time"


def test_a_slow_link_tells_its_rate():
    # 25,000 bytes every second; each message is sent before the one before has arrived.
    steps = [late("transfer", ("a", "b"), 1.0 + k, 0.5 * k + 0.1, task=k, sent_s=0.1 * k, size_bytes=25_000)
             for k in range(6)]  # fmt: skip
    (cause,) = causes_of(steps, (), time_scale=1.0, relayed=True)
    assert cause.carried_mbit_per_s == pytest.approx(0.2)
    (cause,) = causes_of(steps[:2], (), time_scale=1.0, relayed=True)
    assert cause.carried_mbit_per_s is None


def test_a_message_that_crosses_no_link_is_late_by_its_receiver():
    """Between a device and its own processor nothing else lies."""
    steps = [late("transfer", ("d", "d-cpu"), 3.0 + k, 0.4, task=k) for k in range(3)]
    steps += [late("return", ("d-cpu", "d"), 3.001, 0.3), late("transfer", ("d-cpu", "hub"), 9.0, 0.2)]
    causes = causes_of(
        steps, (), time_scale=1.0, relayed=True, legs=lambda path: (path,) if "hub" in path else ()
    )  # fmt: skip
    assert [(cause.name, pytest.approx(cause.late_s)) for cause in causes] == [
        ("the agent of d-cpu", 1.2), ("the agent of d", 0.3), ("the link from d-cpu to hub", 0.2),
    ]  # fmt: skip
