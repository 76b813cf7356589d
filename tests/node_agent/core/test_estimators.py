"""Estimators of a node, against figures worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.core.estimators import ArrivalRate, ArrivalVariability, LinkTime, ServiceTime, Stillness
from tests.node_agent.core import waiting


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


def variability_of(times_s, service_per_s=10.0) -> ArrivalVariability:
    """Return an estimator that has seen arrivals at `times_s`."""
    estimator = ArrivalVariability()
    for time_s in times_s:
        estimator.arrived(float(time_s), service_per_s)
        estimator.validate()
    return estimator


def poisson(per_s: float, begin_s: float, end_s: float, seed: int = 1):
    """Return the times of a Poisson stream [s]."""
    rng = np.random.default_rng(seed)
    return np.sort(rng.uniform(begin_s, end_s, rng.poisson(per_s * (end_s - begin_s))))


def mean_variability(times_s, service_per_s=10.0) -> float:
    """Return the mean of the estimates after the first 500 arrivals."""
    estimator, seen = ArrivalVariability(), []
    for time_s in times_s:
        estimator.arrived(float(time_s), service_per_s)
        seen.append(estimator.variability)
    return float(np.mean(seen[500:]))


def test_without_arrivals_and_after_a_few_a_stream_counts_as_poisson():
    assert ArrivalVariability().variability == 1.0
    assert variability_of([0.0, 0.1, 0.2]).variability == 1.0


@pytest.mark.parametrize("load", [0.3, 0.6, 0.9])
def test_a_poisson_stream_has_variability_one(load):
    assert mean_variability(poisson(10 * load, 0, 3000)) == pytest.approx(1.0, abs=0.08)


def test_an_even_stream_has_almost_none_and_groups_have_their_size():
    assert variability_of(np.arange(3000) / 7).variability == pytest.approx(ArrivalVariability.LEAST, abs=0.05)
    groups = np.repeat(poisson(2.0, 0, 3000), 3)  # three tasks at once: variance 3^2 m over mean 3 m
    assert mean_variability(groups) == pytest.approx(3.0, rel=0.15)


def test_the_fourth_task_of_a_poisson_stream_has_a_quarter_over_long_windows():
    """Every fourth task: the variance of the number tends to a quarter of its mean as the window grows."""
    quarter = poisson(4 * 8.0, 0, 3000)[::4]
    assert mean_variability(quarter) == pytest.approx(0.25, abs=0.06)


def test_a_change_of_the_rate_is_no_lasting_variability():
    before = variability_of(poisson(3.0, 0, 300)).variability
    both = np.concatenate([poisson(3.0, 0, 300), poisson(8.0, 300, 420, seed=2)])
    after = variability_of(both).variability
    assert abs(after - before) < 0.5
    assert variability_of(np.concatenate([both, poisson(8.0, 420, 800, seed=3)])).variability < 1.35


def test_a_pause_begins_the_count_anew():
    seen = poisson(6.0, 0, 300)
    before = variability_of(seen).variability
    paused = variability_of([*seen, 5000.0, 5000.1])
    assert paused.variability == pytest.approx(before, abs=0.1)


@given(st.lists(st.floats(0, 50), max_size=200), st.floats(0.01, 1e3))
def test_any_arrivals_give_a_variability_within_its_bounds(between_s, service_per_s):
    estimator = variability_of(np.cumsum(between_s), service_per_s)
    assert ArrivalVariability.LEAST <= estimator.variability <= ArrivalVariability.MOST


@pytest.mark.parametrize(("draws", "load"), [("random", 0.8), ("smooth", 0.5), ("smooth", 0.8)])
def test_it_predicts_the_wait_better_than_the_times_between_arrivals(draws, load):
    """In a network of three stages; the decision's table has more of these figures."""
    servers = waiting.network((20, 6, 3, 2), load, draws, seed=3, duration_s=600.0)
    missed = waiting.error(servers, waiting.estimated)
    assert missed < 0.25
    assert missed < 0.75 * waiting.error(servers, lambda _: 1.0)
    if draws == "smooth":
        assert missed < 0.8 * waiting.error(servers, waiting.intervals)
