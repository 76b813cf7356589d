"""The variability of arrivals under a plan: closed forms, laws, and plans that are played task by task."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.optimum.arrivals import LEAST, WINDOW, bursts, departing, drawn, poisson, variability
from testbed.optimum.settling import Settling
from testbed.optimum.task_replay import play
from testbed.optimum.threshold_search import evaluate
from testbed.trace.workload import Arrival
from tests.testbed.optimum.flow_models import random_model, random_rows

SMOOTH, RANDOM = Settling("smooth", poisson), Settling("random", poisson)


def plan_of(seed: int, **options):
    """Return a plan with random rows, thresholds .7, for a random model."""
    model = random_model(seed, **options)
    rows = random_rows(model, np.random.default_rng(seed))
    thresholds = model.network.uniform_thresholds(*[0.7] * (model.network.stages - 1))
    return evaluate(model, thresholds, rows)


def played_s(plan, draws: str, *, tasks: int = 60_000) -> float:
    """Return the mean delay of a plan [s] against Poisson arrivals of its devices."""
    network, rng = plan.model.network, np.random.default_rng(9)
    duration_s = tasks / network.total_rate_per_s
    arrivals = []
    for name, rate_per_s in zip(plan.model.names[0], network.device_rate_per_s, strict=True):
        times_s = rng.uniform(0, duration_s, rng.poisson(rate_per_s * duration_s))
        arrivals += [Arrival(t, name, int(rng.integers(len(network.table)))) for t in times_s.tolist()]
    arrivals.sort(key=lambda arrival: arrival.time_s)
    found = play([(0.0, plan)], arrivals, network.table, warm_up_s=5.0, theta_s=2.0, seed=1, draws=draws)
    return found.mean_delay_s


def test_random_draws_of_poisson_streams_are_poisson():
    plan = plan_of(1)
    first, *deeper = variability(plan.model.network, plan.flows, plan.rows, "random")
    assert first == pytest.approx(np.ones(len(first)))
    assert all((stage < 1).all() for stage in deeper)  # behind servers of constant speed


def test_smooth_draws_are_more_even_than_random_ones_everywhere():
    plan = plan_of(2)
    stages = [variability(plan.model.network, plan.flows, plan.rows, draws) for draws in ("smooth", "random")]
    for smooth, drawn_at_random in zip(*stages, strict=True):
        assert (smooth < drawn_at_random - 1e-3).any()
        assert (smooth <= drawn_at_random + 1e-9).all()
        assert (smooth > 0).all()


def test_an_idle_server_counts_as_poisson():
    plan = plan_of(3, density=1.0)
    rows = (np.where(plan.model.network.tiers[0].receivers == 1, 0.0, 0.5), *plan.rows[1:])
    idle = evaluate(plan.model, plan.thresholds, rows)
    assert idle.flows.arrival_per_s[0][1] == 0
    assert variability(plan.model.network, idle.flows, rows, "smooth")[0][1] == 1.0


@given(st.floats(0, 1), st.floats(0.001, 50), st.floats(0, 3))
def test_a_draw_of_everything_changes_nothing_and_few_tasks_are_as_random_as_one(share, mean, spread):
    whole = drawn(np.ones(1), np.array([mean]), np.array([spread * mean]), "smooth")
    assert whole == pytest.approx(spread * mean)
    smooth, chance = (drawn(np.array([share]), np.array([mean]), np.array([mean]), d)[0] for d in ("smooth", "random"))
    assert smooth <= chance + 1e-12
    few = drawn(np.array([share]), np.array([1e-6]), np.array([1e-6]), "smooth")[0]
    assert few == pytest.approx(share * 1e-6, rel=1e-4)


def test_every_other_task_of_a_poisson_stream_has_half_the_variability_over_long_windows():
    assert drawn(np.array([0.5]), np.array([1e4]), np.array([1e4]), "smooth")[0] / 5e3 == pytest.approx(0.5, rel=1e-3)


def test_departures_go_from_the_service_to_the_arrivals_as_the_window_grows():
    parts = [departing(window) for window in np.geomspace(1e-7, 1e5, 80)]
    assert parts[0] == 0.0
    assert all(0 <= low <= high <= 1 for low, high in pairwise(parts))
    assert departing(1e3 + 1e-6) == pytest.approx(departing(1e3), abs=1e-6)


def test_bursts_are_poisson_over_short_windows_and_spread_over_long_ones():
    rates = np.array([1.0, 2.0])
    assert bursts(rates, 1e-6) == pytest.approx(np.ones(2), abs=1e-4)
    # Rate 3 for a fifth of the time, else 1/2: variance 1 over rate squared; relaxation time 1.6 s.
    assert bursts(rates, 1e6) == pytest.approx(1 + 2 * 1.6 * rates, rel=1e-3)
    assert poisson(rates, 3.0).tolist() == [1, 1]


def test_windows_are_those_of_each_server():
    """One device with one server at each stage: the second one gets what the first passes on in its own window."""
    model = random_model(5, sizes=(1, 1, 1), density=1.0)
    rows = (np.ones((1, 1)), np.ones((1, 1)))
    plan = evaluate(model, model.network.uniform_thresholds(0.7), rows)
    (first,), (second,) = variability(model.network, plan.flows, rows, "smooth")
    assert first == pytest.approx(1.0)
    (s1,), (s2,) = model.network.service_per_s
    (phi1,), (phi2,) = plan.flows.arrival_per_s
    window_s, goes_on = WINDOW / (s2 - phi2), phi2 / phi1
    part = departing((1 - phi1 / s1) ** 2 * s1 * window_s)
    assert second == pytest.approx(goes_on * part + 1 - goes_on, rel=0.01)


@pytest.mark.parametrize("kind", [SMOOTH, RANDOM], ids=["smooth", "random"])
@pytest.mark.parametrize("load", [0.6, 0.85])
def test_the_model_predicts_what_is_played_better_than_with_poisson_arrivals(kind, load):
    model = random_model(7, load=load, sizes=(12, 4, 3, 3))
    found = kind.plan(model, [0.9, 0.9], None)
    assert all((stage >= LEAST).all() for stage in found.model.network.arrival_variability)
    with_poisson_s = evaluate(model, found.thresholds, found.rows).mean_delay_s
    true_s = played_s(found, kind.draws)
    # Tasks at few servers of constant speed in a row wait even less than any variability says.
    assert abs(found.mean_delay_s - true_s) < 0.12 * true_s
    assert abs(found.mean_delay_s - true_s) < 0.6 * abs(with_poisson_s - true_s)


def test_a_settled_plan_has_the_arrivals_that_it_causes():
    model = random_model(4, load=0.75)
    found = SMOOTH.plan(model, [0.7, 0.7], None)
    assert SMOOTH.agrees(found)
    assert not SMOOTH.agrees(plan_of(4, load=0.75))  # Poisson arrivals
    caused = variability(found.model.network, found.flows, found.rows, "smooth")
    for used, own, phi in zip(found.model.network.arrival_variability, caused, found.flows.arrival_per_s, strict=True):
        busy = phi > 0.2 * phi.max()
        assert used[busy] == pytest.approx(own[busy], rel=0.15)


def test_evenness_is_worth_something():
    """The best smooth plan has less delay, played, than the best random one."""
    model = random_model(6, load=0.8)
    smooth, chance = (kind.plan(model, [0.7, 0.7], None) for kind in (SMOOTH, RANDOM))
    assert smooth.mean_delay_s < chance.mean_delay_s
    assert played_s(smooth, "smooth") < 0.97 * played_s(chance, "random")
    assert math.isfinite(smooth.solver_gap_s)
