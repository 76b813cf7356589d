"""Rounds of DTO-EE against a general solver on the flow programme, which does not use the recursion."""

from dataclasses import replace
from time import process_time

import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint, minimize
from scipy.sparse import csc_matrix

from node_agent.dtoee import solver
from node_agent.dtoee.offloader import StepRule
from node_agent.dtoee.queueing import link_cost, overload_penalty, queue_cost
from node_agent.dtoee.solver import solve
from tests.node_agent.dtoee.network import random_network, random_rows, uniform_rows
from tests.node_agent.dtoee.sweeps import Sweeps

RULE = StepRule(floor=1e-6)  # to come near the optimum itself: the default floor keeps rows a little away


class FlowProgramme:
    """Least cost over link flows x >= 0 that conserve tasks, with gradient and Hessian."""

    def __init__(self, network, remaining) -> None:
        self.network = network
        self.remaining = remaining
        self.shapes = [tier.receivers.shape for tier in network.tiers]
        self.ends = np.cumsum([a * b for a, b in self.shapes])
        lines, self.target, self.arrivals = [], [], []
        for h, (count, _) in enumerate(self.shapes):
            for i in range(count):
                line = np.zeros(self.ends[-1])
                self.part(line, h)[i] = 1
                if h:
                    line -= remaining[h - 1][i] * self.arrivals[h - 1][i]
                lines.append(line)
                self.target.append(network.device_rate_per_s[i] if h == 0 else 0.0)
            into = []
            for j in range(len(network.service_per_s[h])):
                line = np.zeros(self.ends[-1])
                self.part(line, h)[network.tiers[h].receivers == j] = 1
                into.append(line)
            self.arrivals.append(np.array(into))
        self.conserve = np.array(lines)

    def part(self, x, h):
        begin = self.ends[h - 1] if h else 0
        return x[begin : self.ends[h]].reshape(self.shapes[h])

    def evaluate(self, x):
        """Cost, gradient and Hessian."""
        cost, gradient, hessian = 0.0, np.zeros(len(x)), np.zeros((len(x), len(x)))
        for h, tier in enumerate(self.network.tiers):
            link = link_cost(self.part(x, h), tier.transfer_s, tier.link_rate_per_s)
            cost += link.tasks.sum()
            self.part(gradient, h)[:] += link.slope_s
            at = np.arange(self.ends[h - 1] if h else 0, self.ends[h])
            hessian[at, at] += np.broadcast_to(link.curvature_s2, self.shapes[h]).ravel()
            into, service, overload = self.arrivals[h], self.network.service_per_s[h], self.network.overload
            queue = queue_cost(into @ x, service, self.network.variability[h])
            penalty = overload_penalty(into @ x, service, overload.rho_max, overload.kappa_s2)
            cost += (queue.tasks + penalty.tasks).sum()
            gradient += (queue.slope_s + penalty.slope_s) @ into
            if self.network.return_s is not None:
                back = ((1 - self.remaining[h]) * self.network.return_s[h]) @ into
                cost, gradient = cost + back @ x, gradient + back
            hessian += into.T @ ((queue.curvature_s2 + penalty.curvature_s2)[:, None] * into)
        return cost, gradient, hessian

    def least(self, start) -> float:
        # Slightly inside the bounds, where the solver's barrier begins.
        found = minimize(
            lambda x: self.evaluate(x)[:2], start, jac=True, hess=lambda x: csc_matrix(self.evaluate(x)[2]),
            method="trust-constr", bounds=Bounds(0, np.inf, keep_feasible=False),
            constraints=LinearConstraint(csc_matrix(self.conserve), self.target, self.target),
            options={"maxiter": 400, "gtol": 1e-7, "xtol": 1e-9, "barrier_tol": 1e-7, "sparse_jacobian": True},
        )  # fmt: skip
        assert np.abs(self.conserve @ found.x - self.target).max() < 1e-6
        assert found.x.min() > -1e-9
        return float(found.fun)


def check_against_trust_constr(seed: int, load: float, queued: bool, back_s: float = 0.0) -> None:
    network, thresholds = random_network(seed, load=load, queued=queued)
    if back_s:
        rng = np.random.default_rng(seed)
        network = replace(network, return_s=tuple(rng.uniform(0, back_s, len(s)) for s in network.service_per_s))
    sweeps = Sweeps(network, network.speed_rows(), thresholds, RULE)
    programme = FlowProgramme(network, sweeps.flows.remaining)
    start = np.concatenate([link.ravel() for link in sweeps.flows.link_per_s])
    least = programme.least(start)
    for _ in range(800):
        cost = network.cost_tasks(sweeps.flows)
        assert cost - least <= sweeps.gap_s * network.total_rate_per_s + 1e-6 * least, "the certificate is violated"
        sweeps.round()
    cost = network.cost_tasks(sweeps.flows)
    assert cost == pytest.approx(least, rel=1e-3)
    found = solve(network, thresholds, relative_gap=1e-4)
    assert 0 <= found.gap_s <= 1e-4 * found.delay_s
    assert found.delay_s * network.total_rate_per_s == pytest.approx(least, rel=3e-4)


@pytest.mark.parametrize("queued", [False, True])
@pytest.mark.parametrize("load", [0.4, 0.7])
def test_rounds_reach_the_optimum_of_a_general_solver(load, queued):
    check_against_trust_constr(100, load, queued)


@pytest.mark.parametrize("queued", [False, True])
def test_results_on_their_way_back_are_part_of_the_optimum_and_its_certificate(queued):
    check_against_trust_constr(101, 0.6, queued, back_s=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("queued", [False, True])
@pytest.mark.parametrize("load", [0.4, 0.55, 0.7])
@pytest.mark.parametrize("seed", range(10))
def test_rounds_reach_the_optimum_on_sixty_networks(seed, load, queued):
    check_against_trust_constr(seed, load, queued)


def test_the_solver_needs_no_coupling_between_receivers(monkeypatch):
    """The solver's method for stages of more than `MOST_COUPLED` receivers."""
    network, thresholds = random_network(6, load=0.6)
    best = solve(network, thresholds, relative_gap=1e-4)
    monkeypatch.setattr(solver, "MOST_COUPLED", 0)
    found = solve(network, thresholds, relative_gap=1e-3)
    assert 0 <= found.gap_s <= 1e-3 * found.delay_s
    assert found.delay_s == pytest.approx(best.delay_s, rel=1.1e-3)


class TestConvexity:
    def costs_of_midpoints(self, in_flows: bool) -> int:
        """Number of pairs of plans, of 300, where the cost of the midpoint lies above the mean of their costs."""
        violated = 0
        for seed in range(3):
            network, thresholds = random_network(seed, load=0.7, variability=1.0, sizes=(4, 3, 3), kappa_s2=0.0)
            for pair in range(100):
                plans = [network.flows(random_rows(network, 2 * pair + k), thresholds) for k in (0, 1)]
                ends = np.mean([network.cost_tasks(plan) for plan in plans])
                if in_flows:
                    links = [(a + b) / 2 for a, b in zip(plans[0].link_per_s, plans[1].link_per_s, strict=True)]
                    rows = [link / link.sum(-1, keepdims=True) for link in links]
                else:
                    pairs = (random_rows(network, 2 * pair), random_rows(network, 2 * pair + 1))
                    rows = [(a + b) / 2 for a, b in zip(*pairs, strict=True)]
                violated += network.cost_tasks(network.flows(tuple(rows), thresholds)) > ends * (1 + 1e-9)
        return violated

    def test_convex_in_flows_but_not_in_probabilities(self):
        assert self.costs_of_midpoints(in_flows=True) == 0
        assert self.costs_of_midpoints(in_flows=False) > 0


class TestUpdates:
    def test_gallagers_rule_finds_the_same_optimum(self):
        network, thresholds = random_network(7, load=0.55, sizes=(8, 4, 3, 3))
        best = solve(network, thresholds, relative_gap=1e-5).delay_s
        rule = replace(RULE, update="gallager", first_step=1.0)
        sweeps = Sweeps(network, network.speed_rows(), thresholds, rule)
        for _ in range(800):
            sweeps.round()
        assert sweeps.delay_s == pytest.approx(best, rel=1e-3)

    @pytest.mark.parametrize("load", [0.7, 0.8])
    def test_stale_prices_do_not_diverge(self, load):
        network, thresholds = random_network(2, load=load, sizes=(50, 6, 5, 4), spread=4)
        sweeps = Sweeps(network, network.speed_rows(), thresholds, StepRule())
        start, before = sweeps.delay_s, sweeps.prices
        for _ in range(300):
            before, used = sweeps.prices, before
            sweeps.round(prices=used)
            assert sweeps.delay_s <= start * 1.02
        assert sweeps.delay_s <= start * 0.99

    def test_rows_may_miss_rounds(self):
        network, thresholds = random_network(3, load=0.7)
        best, rng = solve(network, thresholds).delay_s, np.random.default_rng(1)
        sweeps = Sweeps(network, network.speed_rows(), thresholds, RULE)
        for _ in range(300):
            sweeps.round([rng.uniform(size=len(row)) < 0.5 for row in sweeps.rows])
        assert sweeps.delay_s <= best * 1.01

    @pytest.mark.parametrize("load", [0.9, 1.1])
    def test_overload_stays_finite_and_improves(self, load):
        network, thresholds = random_network(4, load=load)
        sweeps = Sweeps(network, uniform_rows(network), thresholds)
        start = sweeps.delay_s
        for _ in range(100):
            sweeps.round()
        assert np.isfinite(sweeps.delay_s)
        assert sweeps.delay_s < start
        assert sweeps.delay_s <= solve(network, thresholds, relative_gap=1e-3).delay_s * 1.05

    def test_a_warm_start_needs_few_rounds(self):
        network, thresholds = random_network(5, load=0.65, sizes=(50, 6, 5, 4), spread=4)
        rng = np.random.default_rng(1)
        after = replace(network, device_rate_per_s=network.device_rate_per_s * rng.uniform(0.8, 1.2, 50))
        sweeps = Sweeps(network, solve(network, thresholds).rows, thresholds, StepRule(floor=1e-4))
        sweeps.enter(after)
        for _ in range(6):
            sweeps.round()
        assert sweeps.delay_s <= solve(after, thresholds).delay_s * 1.01


@pytest.mark.timing
def test_a_large_network_takes_a_round_in_less_than_a_second():
    network, thresholds = random_network(1, load=0.7, sizes=(99_000, 334, 333, 333), links=8)
    sweeps = Sweeps(network, network.speed_rows(), thresholds)
    before, began = sweeps.delay_s, process_time()
    for _ in range(10):
        sweeps.round()
    assert process_time() - began < 10.0  # ten rounds
    assert sweeps.delay_s < before
