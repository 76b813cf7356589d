"""Estimators of a node, against figures worked out by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.core.estimators import ArrivalRate, LinkTime, ServiceTime, Stillness


def test_arrival_rate_starts_from_what_was_declared_and_follows_what_comes():
    rate = ArrivalRate(5.0, window_s=10.0)
    assert rate.per_s == 5.0
    for _ in range(20):
        rate.arrived(0.0)
    # 20 tasks in 10 s are 2 a second; one window has passed, so 1 - 1/e of the difference is taken.
    assert rate.update(10.0) == pytest.approx(5 + (1 - math.exp(-1)) * (2 - 5))
    before = rate.per_s
    # Nothing at all in the next 5 s.
    assert rate.update(15.0) == pytest.approx(before * math.exp(-0.5))


def test_arrivals_are_kept_while_no_time_passes():
    rate = ArrivalRate(4.0, window_s=1.0)
    assert rate.update(0.0) == 4.0
    rate.arrived(0.0)
    assert rate.update(0.0) == 4.0
    assert rate.update(1.0) == pytest.approx(4 + (1 - math.exp(-1)) * (1 - 4))
    assert rate.update(0.5) == rate.per_s  # a clock that runs back changes nothing


def test_a_device_that_comes_up_during_the_run_has_not_been_idle_before():
    rate = ArrivalRate(5.0, window_s=10.0)
    rate.begin(100.0)
    for _ in range(10):
        rate.arrived(0.0)
    assert rate.update(102.0) == pytest.approx(5.0)


@given(st.floats(0.1, 100), st.integers(1, 50), st.floats(0.1, 10))
def test_steady_arrivals_are_found(declared, per_step, step_s):
    rate = ArrivalRate(declared, window_s=4 * step_s)
    for number in range(1, 80):
        for _ in range(per_step):
            rate.arrived(0.0)
        rate.update(number * step_s)
    assert rate.per_s == pytest.approx(per_step / step_s, rel=1e-3, abs=1e-6 * declared)


def test_service_time_by_hand():
    service = ServiceTime(10.0)
    assert (service.rate_per_s(), service.variability) == (10.0, 0.0)
    service.observe(0.2)
    # The error is 0.1: mean 0.1 + 0.025, variance 3/4 (0 + 0.01/4).
    assert service.rate_per_s() == pytest.approx(1 / 0.125)
    assert service.variability == pytest.approx(0.001875 / 0.125**2)
    service.reset(0.5)
    assert (service.rate_per_s(), service.variability) == (2.0, 0.0)


def test_constant_service_has_no_variability_and_is_learnt_in_a_few_tasks():
    service = ServiceTime(10.0)
    for _ in range(8):
        service.observe(0.3)
    assert service.rate_per_s() == pytest.approx(1 / 0.3, rel=0.1)
    for _ in range(60):
        service.observe(0.3)
    assert service.rate_per_s() == pytest.approx(1 / 0.3)
    assert service.variability == pytest.approx(0, abs=1e-6)


def test_a_task_that_is_still_in_service_counts_when_it_takes_longer_than_usual():
    service = ServiceTime(10.0)
    assert service.rate_per_s(0.05) == 10.0
    assert service.rate_per_s(2.0) == 0.5
    assert service.rate_per_s() == 10.0


def test_variability_is_bounded():
    service = ServiceTime(1.0)
    service.observe(1e6)
    assert service.variability == pytest.approx(3.0, rel=1e-3)
    for _ in range(20):
        service.observe(1e-6)
    assert service.variability == 10.0
    service.reset(0.0)
    assert math.isfinite(service.rate_per_s())


def test_link_time_by_hand():
    link = LinkTime()
    assert link.transfer_s == 0.0
    link.observe_small(0.01)
    assert link.transfer_s == 0.01  # nothing better is known
    assert not link.fresh
    link.observe_task(0.05)
    assert link.fresh
    assert link.transfer_s == 0.05
    link.observe_task(0.10)
    assert link.transfer_s == pytest.approx(0.06)  # a fifth of the way
    link.fresh = False
    link.reset_task(0.02)
    assert not link.fresh  # a probe does not show that the link is in use
    assert link.transfer_s == 0.02
    link.observe_task(-0.5)  # an error, since clocks of one run never differ; costs must not become negative
    assert link.transfer_s == pytest.approx(0.016)


def test_link_rate_by_hand():
    link = LinkTime()
    assert link.byte_per_s == 0.0
    link.reset_rate(1e6)
    link.reset_rate(2e6)
    assert link.byte_per_s == 2e6
    link.observe_rate(1e6)
    assert link.byte_per_s == pytest.approx(1 / (0.7 / 2e6 + 0.3 / 1e6))


@pytest.mark.parametrize(("rate_per_s", "still_after_s"), [(100.0, 12.0), (1.0, 12.0), (0.5, 20.0), (0.01, 1000.0)])
def test_the_rarer_its_tasks_the_later_a_device_counts_as_still(rate_per_s, still_after_s):
    stillness = Stillness(window_s=12.0)
    assert not stillness.at_rest(7, rate_per_s, 100.0)
    assert not stillness.at_rest(7, 0.0, 100.0 + still_after_s - 0.1)  # the measured rate has decayed meanwhile
    assert stillness.at_rest(7, 0.0, 100.0 + still_after_s)
    assert not stillness.at_rest(8, rate_per_s, 101.0 + still_after_s)
