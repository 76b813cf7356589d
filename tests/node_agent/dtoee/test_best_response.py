"""The best response of a row: D' inverts, prices become equal, and all offloaders together reach the optimum."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.dtoee.best_response import Priced, arrivals_at, best_response
from node_agent.dtoee.queueing import server_cost

FLOOR = 0.002
RECEIVERS = st.lists(
    st.builds(
        Priced, st.just(True), st.floats(0, 1), st.floats(0.1, 12), st.floats(2, 20), st.floats(0, 3), st.floats(0.1, 3)
    ),
    min_size=2, max_size=6,
)  # fmt: skip


@given(st.floats(0, 3), st.floats(0.5, 50), st.floats(0, 5), st.floats(0.05, 5))
def test_the_arrivals_at_a_marginal_time_have_that_marginal_time(load, rate, variability, arrival_variability):
    slope_s = server_cost(load * rate, rate, variability, arrival_variability).slope_s
    found = arrivals_at(slope_s, rate, variability, arrival_variability)
    assert found == pytest.approx(load * rate, rel=1e-6, abs=1e-6 * rate)


def test_a_server_that_is_too_dear_without_load_gets_nothing():
    assert arrivals_at(0.09, 10.0) == arrivals_at(-1.0, 10.0) == 0.0


def prices_of(row, start, receivers):
    return [
        known.other_s
        + server_cost(known.arrival_per_s * p / p0, known.service_per_s, *known[4:]).slope_s
        for p, p0, known in zip(row, start, receivers, strict=True)
    ]  # fmt: skip


@given(RECEIVERS, st.data())
def test_receivers_that_get_more_than_the_floor_cost_the_same_and_none_is_cheaper(receivers, data):
    raw = np.array([data.draw(st.floats(0.05, 1)) for _ in receivers])
    start = (raw / raw.sum()).tolist()
    row = best_response(start, receivers, 1e-9)
    assert sum(row) == pytest.approx(1)
    prices = prices_of(row, start, receivers)
    used = [price for price, p in zip(prices, row, strict=True) if 1e-6 < p < 1 - 1e-6]
    if used:
        assert max(used) == pytest.approx(min(used), rel=1e-3)
        assert min(prices) >= min(used) * (1 - 1e-3)


def test_at_the_optimum_nothing_moves_and_a_slow_server_loses_its_share_at_once():
    start = [0.5, 0.3, 0.2]
    # Prices are equal by the choice of the way there.
    rates, phi = (20.0, 12.0, 8.0), (9.0, 5.4, 3.6)
    other = [1.0 - server_cost(load, rate).slope_s for load, rate in zip(phi, rates, strict=True)]
    calm = [Priced(True, *known, 0.0) for known in zip(other, phi, rates, strict=True)]
    assert best_response(start, calm, FLOOR) == pytest.approx(start, abs=1e-6)
    slowed = [calm[0]._replace(service_per_s=20.0 / 3), *calm[1:]]
    row = best_response(start, slowed, FLOOR)
    assert row[0] < start[0] / 2
    assert row[1] / start[1] > 1
    # Some time later its rate is back.
    assert best_response(start, calm, FLOOR)[0] > row[0]


def test_offloaders_that_respond_alike_reach_the_optimum_together_and_do_not_swing():
    """Ten offloaders with the same row: the loads that follow have equal prices, so a second response moves nothing."""
    start, rates, phi = [0.4, 0.4, 0.2], (7.0, 12.0, 10.0), [6.0, 6.0, 3.0]
    receivers = [Priced(True, 0.05, load, rate, 0.0) for load, rate in zip(phi, rates, strict=True)]
    row = best_response(start, receivers, FLOOR)
    then = [
        known._replace(arrival_per_s=known.arrival_per_s * p / p0)
        for known, p, p0 in zip(receivers, row, start, strict=True)
    ]
    assert best_response(row, then, FLOOR) == pytest.approx(row, abs=1e-4)
    grid = np.linspace(0.01, 0.98, 98)
    cost = {
        (a, b): sum(server_cost(15 * p, rate).tasks for p, rate in zip((a, b, 1 - a - b), rates, strict=True))
        for a in grid for b in grid if a + b < 0.995
    }  # fmt: skip
    best = min(cost, key=cost.get)
    assert row[:2] == pytest.approx(best, abs=0.011)


def test_the_dead_get_nothing_and_every_living_receiver_keeps_its_floor():
    receivers = [
        Priced(True, 0.0, 5.0, 10.0, 0.0),
        Priced(True, 9.0, 5.0, 10.0, 0.0),
        Priced(False, 0.0, 5.0, 10.0, 0.0),
    ]
    row = best_response([0.5, 0.3, 0.2], receivers, FLOOR)
    assert row[2] == 0
    assert row[1] == pytest.approx(FLOOR, rel=0.01)
    assert sum(row) == pytest.approx(1)
