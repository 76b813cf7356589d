"""The price of a known queue: the plan's price in the mean, a true marginal cost, and the plan again as it ages."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.dtoee.queue_state import mean_wait_s, state_price_s, work_after_s
from node_agent.dtoee.queueing import RHO_EXTENSION, server_cost

RATE = 10.0  # task/s
# Mean service times of 1 / RATE: constant (M/D/1), exponential (M/M/1), and hyperexponential (M/G/1).
SERVICES = {
    "M/D/1": (0.0, lambda _, n: np.full(n, 1 / RATE)),
    "M/M/1": (1.0, lambda dice, n: dice.exponential(1 / RATE, n)),
    "M/G/1": (2.0, lambda dice, n: np.where(dice.random(n) < 1 / 3, 2.0, 0.5) * dice.exponential(1 / RATE, n)),
}


def found(arrival_per_s, services, dice, start_s=0.0):
    """The unfinished work that each of the tasks finds, if they arrive at random (Lindley)."""
    gaps = dice.exponential(1 / arrival_per_s, len(services))
    work_s, all_s = start_s, []
    for gap_s, service_s in zip(gaps.tolist(), services.tolist(), strict=True):
        work_s = max(0.0, work_s - gap_s)
        all_s.append(work_s)
        work_s += service_s
    return np.array(all_s)


def variability_of(services):
    return services.var() / services.mean() ** 2


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize("load", [0.3, 0.7])
def test_the_mean_price_over_the_stationary_queue_is_the_plans_price(name, load):
    variability, draw = SERVICES[name]
    dice = np.random.default_rng(7)
    services = draw(dice, 400_000)
    assert variability_of(services) == pytest.approx(variability, abs=0.05)
    works_s = found(load * RATE, services, dice)
    prices = [state_price_s(work_s, load * RATE, RATE, variability) for work_s in works_s[1000:].tolist()]
    assert np.mean(prices) == pytest.approx(server_cost(load * RATE, RATE, variability).slope_s, rel=0.03)


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize("work_s", [0.0, 0.3])
def test_the_price_is_the_delay_that_one_more_task_causes(name, work_s):
    """Two queues with the same arrivals and services, of which one has served one more task."""
    variability, draw = SERVICES[name]
    dice, load, runs = np.random.default_rng(3), 0.5, 4000
    caused = []
    for own_s in draw(dice, runs):
        seed = int(dice.integers(2**32))
        services = draw(dice, 60)
        without, after = (
            found(load * RATE, services, np.random.default_rng(seed), start_s) for start_s in (work_s, work_s + own_s)
        )
        caused.append(work_s + own_s + (after - without).sum())
    error = 4 * np.std(caused) / np.sqrt(runs)
    assert np.mean(caused) == pytest.approx(state_price_s(work_s, load * RATE, RATE, variability), abs=error)


@pytest.mark.parametrize(
    ("load", "start_s", "elapsed_s"),
    [
        (0.5, 0.0, 0.3),
        (0.5, 0.0, 2.0),
        (0.5, 0.4, 0.1),
        (0.5, 0.4, 0.4),
        (0.5, 0.4, 1.0),
        (0.8, 0.2, 0.3),
        (0.8, 0.6, 1.0),
    ],
)
def test_the_work_after_a_time_is_that_of_a_queue_with_random_arrivals(load, start_s, elapsed_s):
    dice, runs = np.random.default_rng(5), 20_000
    numbers = dice.poisson(load * RATE * elapsed_s, runs)
    ends = []
    for number in numbers.tolist():
        work_s, then_s = start_s, 0.0
        for at_s in np.sort(dice.uniform(0, elapsed_s, number)).tolist():
            work_s, then_s = max(0.0, work_s - (at_s - then_s)) + 1 / RATE, at_s
        ends.append(max(0.0, work_s - (elapsed_s - then_s)))
    # The Brownian motion is an approximation: within a tenth of a service time.
    assert work_after_s(start_s, elapsed_s, load * RATE, RATE) == pytest.approx(np.mean(ends), abs=0.015)


WORK = st.floats(0, 100)
LOAD = st.floats(0, 0.95)
VARIED = st.tuples(st.floats(0, 10), st.floats(0.05, 10))


@given(WORK, LOAD, VARIED)
def test_fresh_knowledge_is_itself_and_old_knowledge_is_the_plan(work_s, load, varied):
    assert work_after_s(work_s, 0.0, load * RATE, RATE, *varied) == work_s
    old_s = work_after_s(work_s, 1e6, load * RATE, RATE, *varied)
    assert old_s == pytest.approx(mean_wait_s(load * RATE, RATE, *varied), rel=1e-6, abs=1e-9)
    price_s = state_price_s(old_s, load * RATE, RATE, *varied)
    assert price_s == pytest.approx(server_cost(load * RATE, RATE, *varied).slope_s, rel=1e-6)


@given(WORK, st.floats(0, 1000), st.floats(0, 3), VARIED)
def test_work_is_never_negative_and_a_longer_queue_stays_longer(work_s, elapsed_s, load, varied):
    after_s, longer_s = (
        work_after_s(start_s, elapsed_s, load * RATE, RATE, *varied) for start_s in (work_s, work_s + 0.1)
    )
    assert 0 <= after_s < float("inf")
    assert longer_s >= after_s - 1e-6


def test_without_other_arrivals_the_work_falls_by_a_second_a_second():
    assert [work_after_s(0.5, time_s, 0.0, RATE) for time_s in (0.2, 0.5, 9.0)] == pytest.approx([0.3, 0.0, 0.0])


@given(WORK, VARIED)
def test_the_price_is_continuous_where_the_cost_is_extended(work_s, varied):
    edge = RHO_EXTENSION * RATE
    below, above = (state_price_s(work_s, edge * factor, RATE, *varied) for factor in (1 - 1e-9, 1 + 1e-9))
    assert above == pytest.approx(below, rel=1e-5)
    assert state_price_s(work_s, 3 * RATE, RATE, *varied) > above
