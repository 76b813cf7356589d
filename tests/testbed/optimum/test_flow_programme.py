"""The flow programme against brute force and finite differences; bounds against all plans tried."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from node_agent.dtoee.staged import StagedNetwork
from testbed.optimum.flow_model import NO_PENALTY, FlowModel
from testbed.optimum.flow_programme import FlowProgramme
from testbed.optimum.threshold_search import (
    ThresholdSearch,
    best_flows,
    evaluate,
    grid_of,
    is_overloaded,
    threshold_choices,
)
from tests.node_agent.dtoee.network import complete_tier, uniform_rows
from tests.node_agent.virtual import synthetic_table
from tests.testbed.optimum.flow_models import random_model, random_rows

THRESHOLDS = (0.5, 0.6)


def programme_of(model, rows, thresholds=THRESHOLDS):
    flows = model.network.flows(rows, model.network.uniform_thresholds(*thresholds))
    network = model.with_returns(flows, rows)
    return FlowProgramme(network, flows.remaining), network, flows


def linked(network, flows):
    return np.concatenate([f[tier.exists] for f, tier in zip(flows.link_per_s, network.tiers, strict=True)])


class TestProgramme:
    @pytest.mark.parametrize("seed", range(3))
    def test_value_and_derivatives(self, seed):
        model = random_model(seed, load=0.9)
        programme, network, flows = programme_of(model, random_rows(model, np.random.default_rng(seed)))
        flow = linked(network, flows)
        assert programme.mean_delay_s(flow) == pytest.approx(network.mean_delay_s(flows), rel=1e-12)
        gradient, hessian = programme.gradient_s(flow), programme.hessian_s(flow).toarray()
        assert np.array_equal(hessian, hessian.T)
        for link in range(len(flow)):
            step = np.zeros(len(flow))
            step[link] = 1e-5
            slope = (programme.mean_delay_s(flow + step) - programme.mean_delay_s(flow - step)) / 2e-5
            assert gradient[link] == pytest.approx(slope, rel=1e-6)
            curved = (programme.gradient_s(flow + step) - programme.gradient_s(flow - step)) / 2e-5
            assert hessian[link] == pytest.approx(curved, rel=1e-4, abs=1e-7)

    def test_against_brute_force(self):
        """With two devices and two servers a stage, compare with the best of a fine grid over four probabilities."""
        network = StagedNetwork(
            device_rate_per_s=np.array([2.0, 3.0]),
            tiers=(
                complete_tier(np.array([[0.01, 0.05], [0.06, 0.02]]), np.full((2, 2), 40.0)),
                complete_tier(np.array([[0.02, 0.05], [0.03, 0.01]])),
            ),
            service_per_s=(np.array([4.0, 6.0]), np.array([5.0, 2.5])),
            variability=(np.zeros(2), np.ones(2)),
            overload=NO_PENALTY,
            table=synthetic_table(2),
        )
        thresholds = network.uniform_thresholds(0.6)
        start = uniform_rows(network)
        flows = network.flows(start, thresholds)
        rows = FlowProgramme(network, flows.remaining).solve(flows, start)
        found = network.mean_delay_s(network.flows(rows, thresholds))
        points = np.linspace(0, 1, 11)
        best = min(
            network.mean_delay_s(
                network.flows(
                    (np.array([[a, 1 - a], [b, 1 - b]]), np.array([[c, 1 - c], [d, 1 - d]])), thresholds, flows.cells
                )
            )
            for a, b, c, d in product(points, points, points, points)
        )
        assert found <= best + 1e-9
        assert found == pytest.approx(best, rel=0.02)

    @pytest.mark.parametrize("load", [0.5, 0.8, 0.95])
    @pytest.mark.parametrize("seed", range(5))
    def test_two_solvers_agree_and_the_recursion_certifies_both(self, seed, load):
        model = random_model(seed, load=load, sizes=(12, 4, 3, 3))
        thresholds, rows = model.network.uniform_thresholds(*THRESHOLDS), model.network.speed_rows()
        by_scipy = best_flows(model, thresholds, rows, times=1, independent=True)
        by_rounds = best_flows(model, thresholds, rows, times=1)
        assert by_scipy.mean_delay_s == pytest.approx(by_rounds.mean_delay_s, rel=1e-3)
        for plan in (by_scipy, by_rounds):
            assert 0 <= plan.solver_gap_s < 5e-4 * plan.mean_delay_s
            assert [row.sum(axis=1) for row in plan.rows] == [pytest.approx(np.ones(len(row))) for row in plan.rows]
            assert all((row[~tier.exists] == 0).all() for row, tier in zip(plan.rows, model.network.tiers, strict=True))

    def test_least_utilisation(self):
        network = StagedNetwork(
            device_rate_per_s=np.array([6.0]),
            tiers=(complete_tier(np.zeros((1, 2)), np.array([[np.inf, 2.0]])),),
            service_per_s=(np.array([10.0, 10.0]),),
            variability=(np.zeros(2),),
            overload=NO_PENALTY,
            table=synthetic_table(1),
        )
        assert FlowProgramme(network, (np.zeros(2),)).least_utilisation() == pytest.approx(0.5)  # 5 and 1 of the 6


class TestBounds:
    @pytest.mark.parametrize("seed", range(6))
    def test_no_plan_is_below_them(self, seed):
        rng = np.random.default_rng(seed)
        model = random_model(seed, load=rng.uniform(0.3, 0.7))
        grid = grid_of(model.network.table, [np.array([0.2, 0.5, 0.8, 1.01])] * 2)
        search = ThresholdSearch(model, grid, 2.0)
        assert search.run() is not None
        for _ in range(60):
            thresholds = tuple(rng.choice(grid.choices[h], len(model.names[h + 1])) for h in range(2))
            plan = evaluate(model, thresholds, random_rows(model, rng, rng.choice([1.0, 10.0])))
            for theta_s in (0.0, 0.5, 2.0, 10.0):
                assert plan.objective_s(theta_s) >= search.bound_s(theta_s) - 1e-9
        for chosen, bound_s in zip(grid.combinations, search.delay_bound_s, strict=True):
            rows = random_rows(model, rng, 3.0)
            plan = evaluate(model, model.network.uniform_thresholds(*chosen), rows)
            assert plan.mean_delay_s >= bound_s - 1e-9 or not np.isfinite(bound_s)

    @pytest.mark.parametrize("seed", range(4))
    def test_they_are_tight_where_results_need_no_time(self, seed):
        model = random_model(seed, sizes=(6, 3, 3, 2))
        model = replace(model, return_s=tuple(0 * back for back in model.return_s))
        plan = best_flows(model, model.network.uniform_thresholds(*THRESHOLDS), independent=True)
        remaining = np.array([ratio[0] for ratio in plan.flows.remaining])
        assert plan.tangent.delay_s(remaining) == pytest.approx(plan.mean_delay_s, rel=1e-4)
        assert plan.mean_delay_s - plan.tangent.delay_s(remaining) == pytest.approx(plan.solver_gap_s, abs=1e-7)


class TestSearch:
    @pytest.mark.parametrize("theta_s", [0.1, 1.0, 5.0])
    @pytest.mark.parametrize("seed", range(3))
    def test_against_all_combinations(self, seed, theta_s):
        model = random_model(seed, load=0.7)
        grid = grid_of(model.network.table, [np.array([0.2, 0.4, 0.6, 0.8, 1.01])] * 2)
        search = ThresholdSearch(model, grid, theta_s)
        found = search.run()
        every = [best_flows(model, model.network.uniform_thresholds(*chosen)) for chosen in grid.combinations]
        best = min(plan.objective_s(theta_s) for plan in every)
        assert found.objective_s(theta_s) == pytest.approx(best, abs=2e-4)
        uniform_bound_s = (search.delay_bound_s - theta_s * grid.accuracy).min()
        assert search.bound_s(theta_s) <= uniform_bound_s + 1e-9 <= best + 2e-9
        assert len(search.solved) < len(every)

    def test_servers_by_themselves_are_no_worse(self):
        for seed in range(3):
            model = random_model(seed, load=0.9, sizes=(8, 4, 4, 2))
            search = ThresholdSearch(model, grid_of(model.network.table, threshold_choices(model.network.table)), 1.0)
            uniform = search.run()
            refined = search.refine(uniform)
            assert search.bound_s(1.0) <= refined.objective_s(1.0) <= uniform.objective_s(1.0)
            again = evaluate(model, refined.thresholds, refined.rows)
            assert again.objective_s(1.0) == refined.objective_s(1.0)

    def test_overload(self):
        never = np.array([1.01])
        model = random_model(1, load=1.3)
        search = ThresholdSearch(model, grid_of(model.network.table, [never, never]), 1.0)
        assert search.run() is None
        assert not search.solved  # known without solving any point
        assert search.least_utilisation() > 1
        # With exits some plans serve all tasks: the search avoids overload, however much accuracy is worth.
        first, *deeper = model.network.service_per_s
        model = replace(model, network=replace(model.network, service_per_s=(3 * first, *deeper)))
        search = ThresholdSearch(model, grid_of(model.network.table, [np.array([0.3, 1.01])] * 2), 1e6)
        plan = search.run()
        assert plan is not None
        assert plan.busiest < 1
        assert np.isinf(search.delay_bound_s[-1])

    def test_overload_of_what_a_device_can_reach(self):
        """The stage has enough capacity, but not the only server with a link to the second device."""
        tier = complete_tier(np.full((2, 2), 0.01))
        exists = np.array([[True, False], [False, True]])
        network = StagedNetwork(
            np.array([1.0, 2.0]), (replace(tier, exists=exists),), (np.array([9.0, 1.5]),), (np.zeros(2),), NO_PENALTY,
            synthetic_table(1),
        )  # fmt: skip
        model = FlowModel(network, (("a", "b"), ("c", "d")), (np.zeros((2, 2)),))
        search = ThresholdSearch(model, grid_of(network.table, []), 1.0)
        assert search.run() is None
        assert is_overloaded(search.solved[0])
        assert search.least_utilisation() == pytest.approx(2 / 1.5)

    def test_many_stages_get_fewer_quantiles(self):
        for stages in (2, 3, 4, 5):
            choices = threshold_choices(synthetic_table(stages))
            assert np.prod([len(values) for values in choices]) <= 1000
            assert all({0.7, 0.8, 0.9, 1.01} <= set(values.tolist()) for values in choices)

    def test_one_stage_has_no_threshold(self):
        model = random_model(2, sizes=(4, 3))
        search = ThresholdSearch(model, grid_of(model.network.table, []), 1.0)
        plan = search.run()
        assert plan.thresholds == ()
        assert search.refine(plan).mean_delay_s == plan.mean_delay_s
        assert search.bound_s(0.0) <= plan.mean_delay_s
