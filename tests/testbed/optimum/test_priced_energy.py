"""The optimum with a price of energy: plans, bounds and played figures count the same term as the summary of a run."""

import numpy as np
import pytest

from testbed.energy.hop_energy import HopEnergies
from testbed.optimum.bound import Optimum, bound_for
from testbed.optimum.flow_model import flow_model
from testbed.optimum.threshold_search import evaluate
from testbed.topology import load_topology_text
from tests.node_agent.dtoee.network import random_rows
from tests.testbed.energy.networks import TWO
from tests.testbed.simulated import simulate

PRICE = 0.1


@pytest.fixture(scope="module")
def scenario():
    return load_topology_text(TWO.replace("energy_price: 0 s/J", f"energy_price: {PRICE} s/J")).resolve()


@pytest.fixture(scope="module")
def model(scenario):
    return scenario.model.open()


@pytest.fixture(scope="module")
def optimum(scenario, model) -> Optimum:
    return bound_for(scenario, model)


def test_the_energy_of_a_plan_by_hand(scenario, model, optimum):
    (segment,) = optimum.segments
    profiles = model.profiles(scenario.model.cut, scenario.model.activation)
    energies = HopEnergies(scenario, profiles)
    served_per_s = {s.name: s.capacity_flop_per_s / profiles[s.stage - 1].flop for s in scenario.servers}
    shares = segment.plan["cam-1"]
    per_task_j = sum(share * energies.of("cam-1", name).of_task_j(served_per_s[name]) for name, share in shares.items())
    per_task_j += segment.exit_share[1] * energies.of("quick", "core").of_task_j(served_per_s["core"])
    idle_j = (10 + 2 + 20) / 12  # at 12 task/s
    assert segment.figures is not None
    assert segment.figures.energy_s == pytest.approx(PRICE * (per_task_j + idle_j), rel=1e-3)


def test_the_best_plan_uses_the_thrifty_server_and_the_figures_fit_together(optimum):
    (segment,) = optimum.segments
    figures = segment.figures
    assert figures is not None
    assert segment.plan["cam-1"]["thrifty"] > 0.95
    utility_s = 2 * figures.accuracy - figures.mean_delay_s - figures.energy_s
    assert figures.utility_s == pytest.approx(utility_s)
    assert figures.utility_s <= figures.utility_bound_s <= figures.utility_s + 0.01
    assert figures.lower_bound_s <= figures.mean_delay_s + 1e-9
    assert 0.05 < figures.mean_delay_s < 0.2  # energy is no part of it
    assert optimum.least_delay_s(figures.accuracy) is None


def test_no_plan_tried_at_random_is_better_than_the_bound(scenario, model, optimum):
    choice = scenario.model
    table, profiles = model.exit_table(choice.cut), model.profiles(choice.cut, choice.activation)
    flows = flow_model(scenario, profiles, table, priced=True)
    dice = np.random.default_rng(3)
    (segment,) = optimum.segments
    for seed in range(30):
        thresholds = tuple(dice.uniform(0.2, 1.0, len(names)) for names in flows.names[1:-1])
        plan = evaluate(flows, thresholds, random_rows(flows.network, seed))
        utility_s = 2 * plan.flows.accuracy - plan.mean_delay_s - flows.idle_energy_s
        assert (
            utility_s <= segment.figures.utility_bound_s + 0.02
        )  # the bound is for the plan's own arrivals and samples


def test_the_played_plan_is_close_to_a_run(tmp_path, optimum):
    text = TWO.replace("energy_price: 0 s/J", f"energy_price: {PRICE} s/J")
    run = simulate(tmp_path, text)
    assert optimum.played is not None
    assert optimum.played.utility_s == pytest.approx(run.summary["utility"], abs=0.03)


def test_without_a_price_energy_is_in_no_figure(model):
    bare = bound_for(load_topology_text(TWO).resolve(), model)
    assert bare.overall is not None
    assert bare.overall.energy_s == 0
    assert bare.least_delay_s(bare.overall.accuracy) == pytest.approx(bare.overall.mean_delay_s, rel=0.05)
