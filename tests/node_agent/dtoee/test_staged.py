"""The vectorised network against a walk of every sample along every link, and its prices against differences."""

from dataclasses import replace

import numpy as np
import pytest

from node_agent.dtoee.offloader import Scale, StepRule
from node_agent.dtoee.one_row import at_rest, restrict, shift
from node_agent.dtoee.receiver import Ahead, Load, cost_to_go, marginal_cost
from tests.node_agent.dtoee.network import (
    loop_evaluation,
    queue_by_definition,
    random_network,
    random_rows,
    spread_thresholds,
    uniform_rows,
    with_missing_links,
)
from tests.node_agent.dtoee.sweeps import Sweeps

KINDS = [
    pytest.param(load, kappa, queued, variability, id=f"load {load}, kappa {kappa}, queued {queued}, v {variability}")
    for load in (0.6, 0.9, 1.1)
    for kappa in (0.0, 50.0)
    for queued in (False, True)
    for variability in (0.0, 1.0)
]


class TestFlows:
    @pytest.mark.parametrize("seed", range(4))
    @pytest.mark.parametrize("queued", [False, True])
    @pytest.mark.parametrize("own_thresholds", [False, True])
    def test_cost_accuracy_and_rates_equal_a_walk(self, seed, queued, own_thresholds):
        network, thresholds = random_network(seed, load=0.9, variability=0.5, queued=queued, returns=True)
        network = with_missing_links(network, seed)
        rows = random_rows(network, seed)
        if own_thresholds:
            thresholds = spread_thresholds(network, seed)
        flows = network.flows(rows, thresholds)
        cost, accuracy, arrivals = loop_evaluation(network, rows, thresholds)
        assert network.cost_tasks(flows) == pytest.approx(cost, rel=1e-9)
        assert flows.accuracy == pytest.approx(accuracy, rel=1e-12)
        for found, expected in zip(flows.arrival_per_s, arrivals, strict=True):
            assert found == pytest.approx(expected)
        assert flows.exit_share.sum() == pytest.approx(1)
        assert network.objective_s(flows, 2.0) == pytest.approx(cost / network.total_rate_per_s - 2 * accuracy)

    def test_four_stages_with_a_threshold_for_every_server(self):
        network, _ = random_network(2, load=0.6, sizes=(9, 4, 3, 3, 2))
        rows, thresholds = random_rows(network, 1), spread_thresholds(network, 3)
        cost, accuracy, _ = loop_evaluation(network, rows, thresholds)
        flows = network.flows(rows, thresholds)
        assert (network.cost_tasks(flows), flows.accuracy) == pytest.approx((cost, accuracy), rel=1e-9)

    def test_accuracy_equals_tasks_drawn_one_by_one(self):
        network, _ = random_network(5, load=0.6, sizes=(6, 3, 3, 2))
        rows, thresholds = random_rows(network, 5), spread_thresholds(network, 5)
        rng, tasks = np.random.default_rng(1), 100_000
        sample = rng.integers(0, len(network.table), tasks)
        at = rng.choice(6, tasks, p=network.device_rate_per_s / network.total_rate_per_s)
        right, travelling = np.zeros(tasks), np.ones(tasks, bool)
        for h, tier in enumerate(network.tiers):
            draw = (np.cumsum(rows[h], axis=1)[at] < rng.uniform(size=tasks)[:, None]).sum(1)
            at = tier.receivers[at, np.minimum(draw, tier.receivers.shape[1] - 1)]
            last = h == network.stages - 1
            exits = travelling & (True if last else network.table.confidence[sample, h] >= thresholds[h][at])
            right[exits] = network.table.correct[sample[exits], h]
            travelling &= ~exits
            at = at.copy()
        assert network.flows(rows, thresholds).accuracy == pytest.approx(right.mean(), abs=4 * 0.5 / tasks**0.5)

    def test_a_server_without_tasks_has_the_remaining_ratio_of_its_stage(self):
        network, thresholds = random_network(1, load=0.5)
        rows = [row.copy() for row in network.speed_rows()]
        rows[0][:, 0] = 0
        flows = network.flows(tuple(rows), thresholds)
        assert flows.remaining[0][0] == pytest.approx(flows.remaining[0][1])


def cost_by_shares(network, rows, remaining, rates):
    """Cost [task] with remaining ratios given per server, link by link."""
    cost, leaving = 0.0, rates
    for h, service in enumerate(network.service_per_s):
        tier, phi = network.tiers[h], np.zeros(len(service))
        for (i, k), j in np.ndenumerate(tier.receivers):
            flow = leaving[i] * rows[h][i, k]
            phi[j] += flow
            cost += flow * tier.transfer_s[i, k]
            rate = tier.link_rate_per_s[i, k]
            if np.isfinite(rate):
                cost += queue_by_definition(flow, rate, 0.0) - flow / rate
        for j, s in enumerate(service):
            cost += queue_by_definition(phi[j], s, network.variability[h][j])
            cost += network.overload.kappa_s2 / 2 * max(0.0, phi[j] - network.overload.rho_max * s) ** 2
            cost += phi[j] * (1 - remaining[h][j]) * network.return_s[h][j]
        leaving = phi * remaining[h]
    return cost


def difference(function, step):
    return (function(step) - function(-step)) / (2 * step)


@pytest.mark.parametrize(("load", "kappa", "queued", "variability"), KINDS)
class TestDerivatives:
    def network(self, load, kappa, queued, variability):
        network, thresholds = random_network(
            int(load * 10), load=load, kappa_s2=kappa, queued=queued, variability=variability, returns=True,
            sizes=(8, 5, 4, 4),
        )  # fmt: skip
        rows = random_rows(network, 3)
        flows = network.flows(rows, thresholds)
        return network, rows, flows, network.prices(rows, flows)

    def test_probabilities(self, load, kappa, queued, variability):
        network, rows, flows, prices = self.network(load, kappa, queued, variability)
        for h, row in enumerate(rows):
            for i, k in ((0, 0), (row.shape[0] - 1, row.shape[1] - 1)):

                def moved(step, h=h, i=i, k=k):
                    changed = [r.copy() for r in rows]
                    changed[h][i, k] += step
                    return cost_by_shares(network, changed, flows.remaining, network.device_rate_per_s)

                expected = flows.leaving_per_s[h][i] * prices.delta_s[h][i, k]
                assert difference(moved, 1e-6) == pytest.approx(expected, rel=1e-5)

    def test_remaining_ratios(self, load, kappa, queued, variability):
        network, rows, flows, prices = self.network(load, kappa, queued, variability)
        for h in range(network.stages - 1):

            def moved(step, h=h):
                changed = [share.copy() for share in flows.remaining]
                changed[h][0] += step
                return cost_by_shares(network, rows, changed, network.device_rate_per_s)

            gain = prices.stages[h].onward_s[0] - network.return_s[h][0]
            assert difference(moved, 1e-6) == pytest.approx(flows.arrival_per_s[h][0] * gain, rel=1e-5)

    def test_generation_rates(self, load, kappa, queued, variability):
        network, rows, flows, prices = self.network(load, kappa, queued, variability)

        def moved(step):
            rates = network.device_rate_per_s.copy()
            rates[2] += step
            return cost_by_shares(network, rows, flows.remaining, rates)

        assert difference(moved, 1e-6) == pytest.approx(prices.device_marginal_s[2], rel=1e-5)

    def test_curvature_is_bounded_by_what_receivers_report(self, load, kappa, queued, variability):
        network, rows, flows, prices = self.network(load, kappa, queued, variability)

        def arriving(extra):
            """More flow straight into server 0 of stage 1: along one row, its link's own curvature aside."""
            changed = [r.copy() for r in rows]
            changed[0][0, 0] += extra / network.device_rate_per_s[0]
            return cost_by_shares(network, changed, flows.remaining, network.device_rate_per_s)

        step = 1e-3
        second = (arriving(step) - 2 * arriving(0.0) + arriving(-step)) / step**2
        link = np.broadcast_to(prices.link_curvature_s2[0], rows[0].shape)[0, 0]
        assert second <= (prices.stages[0].curvature_s2[0] + link) * 1.01


class TestNodesAndNetwork:
    @pytest.mark.parametrize("queued", [False, True])
    @pytest.mark.parametrize("update", ["momentum", "gallager"])
    def test_a_vectorised_round_equals_node_by_node_calls(self, queued, update):
        """Prices, gap and steps of every node alone, as the nodes of a live network compute them."""
        network, thresholds = random_network(3, load=0.8, variability=0.3, queued=queued, returns=True)
        rule = StepRule(update=update)
        sweeps = Sweeps(network, network.speed_rows(), thresholds, rule)
        plans = [[(restrict(row, [True] * len(row), rule.floor), at_rest(len(row), rule)) for row in rows]
                 for rows in network.speed_rows()]  # fmt: skip
        for _ in range(5):
            rows = tuple(np.array([row for row, _ in tier]) for tier in plans)
            flows = network.flows(rows, thresholds)
            reports, gap = {}, 0.0
            for h in reversed(range(-1, network.stages)):
                for j in range(len(network.device_rate_per_s if h < 0 else network.service_per_s[h])):
                    below = None
                    if h < network.stages - 1:
                        tier, flow = network.tiers[h + 1], flows.link_per_s[h + 1][j]
                        link = tier.cost(flows.link_per_s[h + 1])
                        met = [reports[h + 1, k] for k in tier.receivers[j]]
                        bent = np.broadcast_to(link.curvature_s2, rows[h + 1].shape)[j]
                        slope = link.slope_s[j].tolist()
                        below = Ahead(
                            [t + r.marginal_s for t, r in zip(slope, met, strict=True)],
                            [t + r.best_s for t, r in zip(slope, met, strict=True)],
                            [curved + r.curvature_s2 for curved, r in zip(bent.tolist(), met, strict=True)],
                        )
                        scale = Scale(float(flow.sum()), [len(plans[h + 1]) * curved for curved in below.curvature_s2])
                        row, momentum = plans[h + 1][j]
                        plans[h + 1][j] = shift(row, momentum, below.delta_s, [True] * len(row), rule, scale=scale)
                    if h < 0:
                        mean, best = cost_to_go(rows[0][j], below)
                        gap += network.device_rate_per_s[j] * (mean - best) / network.total_rate_per_s
                    else:
                        load = Load(
                            float(flows.arrival_per_s[h][j]), float(network.service_per_s[h][j]),
                            float(network.variability[h][j]), float(flows.remaining[h][j]),
                            float(network.return_s[h][j]),
                        )  # fmt: skip
                        row = rows[h + 1][j].tolist() if below is not None else []
                        reports[h, j] = marginal_cost(load, network.overload, row, below)
            assert sweeps.gap_s == pytest.approx(gap, rel=1e-9)
            assert sweeps.prices.stages[0].marginal_s[0] == pytest.approx(reports[0, 0].marginal_s, rel=1e-12)
            sweeps.round()
            for tier, moved in zip(plans, sweeps.rows, strict=True):
                assert moved == pytest.approx(np.array([row for row, _ in tier]), rel=1e-9)

    def test_missing_links_carry_nothing(self):
        network, thresholds = random_network(6, load=0.5)
        network = with_missing_links(network, 6)
        sweeps = Sweeps(network, uniform_rows(network), thresholds)
        for _ in range(30):
            sweeps.round()
        for row, tier in zip(sweeps.rows, network.tiers, strict=True):
            assert (row[~tier.exists] == 0).all()
            assert row.sum(-1) == pytest.approx(1)

    def test_stages_that_do_not_match_are_refused(self):
        network, _ = random_network(1, load=0.5)
        with pytest.raises(ValueError, match="one per stage"):
            replace(network, tiers=network.tiers[:2])
