"""The mathematics against its definitions: derivatives, optimality, accounting of exits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, minimize

from node_agent.dtoee import thresholds
from node_agent.dtoee.offloader import RowState, StepRule, published, restrict, shift
from node_agent.dtoee.queueing import RHO_EXTENSION, overload_penalty, queue_cost
from node_agent.dtoee.receiver import cost_to_go
from tests.node_agent.dtoee.network import StagedNetwork
from tests.node_agent.virtual import synthetic_table


class TestQueueCost:
    def test_known_queues(self):
        assert queue_cost(5.0, 10.0, 0.0).tasks == pytest.approx(0.75)  # M/D/1
        assert queue_cost(5.0, 10.0, 1.0).tasks == pytest.approx(1.0)  # M/M/1: rho / (1 - rho)
        assert queue_cost(5.0, 10.0, 1.0).slope_s == pytest.approx(10 / 25)  # s / (s - phi)^2

    @given(st.floats(0, 1.6), st.floats(0.5, 50), st.floats(0, 3))
    def test_derivatives_are_those_of_the_cost(self, load, service, variability):
        phi, step = load * service, 1e-5 * service
        if abs(load - RHO_EXTENSION) < 1e-3:  # a difference across the joint mixes the two branches
            return
        low, here, high = (queue_cost(max(0, phi + d), service, variability) for d in (-step, 0, step))
        width = phi + step - max(0, phi - step)
        assert (high.tasks - low.tasks) / width == pytest.approx(float(here.slope_s), rel=1e-3)
        assert (high.slope_s - low.slope_s) / width == pytest.approx(float(here.curvature_s2), rel=1e-2)

    def test_extension_is_smooth_at_the_joint_and_finite_beyond(self):
        joint = RHO_EXTENSION * 10
        below, above = queue_cost(joint - 1e-9, 10.0, 1.0), queue_cost(joint + 1e-9, 10.0, 1.0)
        for name in ("tasks", "slope_s", "curvature_s2"):
            assert getattr(below, name) == pytest.approx(float(getattr(above, name)), rel=1e-5)
        assert np.isfinite(queue_cost(100.0, 10.0, 1.0).tasks)

    def test_penalty_starts_at_the_limit(self):
        assert overload_penalty(9.0, 10.0, 0.9, 10.0).tasks == 0
        assert overload_penalty(9.5, 10.0, 0.9, 10.0).slope_s == pytest.approx(5.0)


class TestMarginalCost:
    @pytest.mark.parametrize("load", [0.6, 0.9, 1.1])
    @pytest.mark.parametrize("variability", [0.0, 1.0])
    @pytest.mark.parametrize("seed", range(3))
    def test_gradient_equals_finite_differences(self, load, variability, seed):
        network = StagedNetwork.random(seed, load=load, variability=variability)
        rows, step = network.speed_rows(), 1e-6
        reports, arrivals = network.backward(rows), network.arrivals(rows)
        leaving = network.device_rate
        for h, row in enumerate(rows):
            for i in (0, row.shape[0] - 1):
                for j in (0, row.shape[1] - 1):
                    moved = [r.copy() for r in rows]
                    moved[h][i, j] += step
                    higher = network.cost(moved)
                    moved[h][i, j] -= 2 * step
                    found = (higher - network.cost(moved)) / (2 * step)
                    expected = leaving[i] * (network.link_s[h][i, j] + reports[h][j].marginal_s)
                    assert found == pytest.approx(expected, rel=1e-5)
            leaving = arrivals[h] * network.remaining[h]

    def test_cost_of_remaining_is_the_onward_cost(self):
        network = StagedNetwork.random(4, load=0.7, variability=1.0)
        rows, step = network.speed_rows(), 1e-6
        reports, arrivals = network.backward(rows), network.arrivals(rows)
        higher, lower = list(network.remaining), list(network.remaining)
        higher[0] += step
        lower[0] -= step
        found = (network.cost(rows, higher) - network.cost(rows, lower)) / (2 * step)
        expected = sum(phi * report.onward_s for phi, report in zip(arrivals[0], reports[0], strict=True))
        assert found == pytest.approx(expected, rel=1e-5)

    def test_curvature_bounds_the_second_derivative_along_a_row(self):
        for seed in range(10):
            network = StagedNetwork.random(seed, load=0.7, variability=1.0, kappa_s2=0.0)
            rows, step = network.speed_rows(), 1e-3
            bound = network.backward(rows)[0][0].curvature_s2
            before = network.device_rate.copy()
            costs = []
            for change in (-step, 0.0, step):
                # All of the change arrives at server 0 of stage 1.
                network.device_rate = before
                moved = [r.copy() for r in rows]
                moved[0][0, 0] += change / before[0]
                costs.append(network.cost(moved))
            assert (costs[0] - 2 * costs[1] + costs[2]) / step**2 <= bound * 1.01


RULE = StepRule(floor=1e-4)  # near the optimum itself; the default floor costs up to 0.4 %


def iterate(network: StagedNetwork, rounds: int, rule: StepRule = RULE):
    """Synchronous sweeps of DTO-R and DTO-O; yields cost and certified gap (both in tasks) of every round."""
    states = [[RowState.at_rest(row, rule) for row in rows] for rows in network.speed_rows()]
    for _ in range(rounds):
        rows = [np.array([state.row for state in stage]) for stage in states]
        reports = network.backward(rows)
        gap = 0.0
        for h, stage in enumerate(states):
            for i, state in enumerate(stage):
                downstream = network.downstream(h, i, reports[h])
                if h == 0:
                    mean, best = cost_to_go(state.row, downstream)
                    gap += network.device_rate[i] * (mean - best)
                alive = np.ones(len(state.row), dtype=bool)
                stage[i] = shift(state, downstream.link_s + downstream.marginal_s, alive, rule)
        yield network.cost(rows), gap


def optimum(network: StagedNetwork) -> float:
    """The least cost over link flows, by a general solver that knows nothing of the recursion."""
    shapes = [link.shape for link in network.link_s]
    sizes = [a * b for a, b in shapes]
    total = sum(sizes)
    matrix, target = [], []
    for h, (a, _) in enumerate(shapes):
        for i in range(a):
            line = np.zeros(total)
            line[sum(sizes[:h]) + i * shapes[h][1] : sum(sizes[:h]) + (i + 1) * shapes[h][1]] = 1
            if h:
                into = np.arange(shapes[h - 1][0]) * shapes[h - 1][1] + i
                line[sum(sizes[: h - 1]) + into] = -network.remaining[h - 1]
            matrix.append(line)
            target.append(network.device_rate[i] if h == 0 else 0.0)

    def evaluate(x):
        cost, gradient = 0.0, np.empty(total)
        for h, (a, b) in enumerate(shapes):
            flow = x[sum(sizes[:h]) : sum(sizes[: h + 1])].reshape(a, b)
            queue = queue_cost(flow.sum(0), network.service[h], network.variability)
            penalty = overload_penalty(
                flow.sum(0), network.service[h], network.overload.rho_max, network.overload.kappa_s2
            )
            cost += queue.tasks.sum() + penalty.tasks.sum() + (flow * network.link_s[h]).sum()
            slope = network.link_s[h] + queue.slope_s + penalty.slope_s
            gradient[sum(sizes[:h]) : sum(sizes[: h + 1])] = slope.ravel()
        return cost, gradient

    rows, leaving, start = network.speed_rows(), network.device_rate, []
    for h, row in enumerate(rows):
        start.append((leaving[:, None] * row).ravel())
        leaving = (leaving @ row) * network.remaining[h]
    result = minimize(
        evaluate, np.concatenate(start), jac=True, method="SLSQP", bounds=[(0, None)] * total,
        constraints=LinearConstraint(np.array(matrix), target, target), options={"maxiter": 400, "ftol": 1e-10},
    )
    assert result.success, result.message
    return float(result.fun)


class TestOffloader:
    @pytest.mark.parametrize("seed", range(4))
    @pytest.mark.parametrize("load", [0.4, 0.7])
    def test_distributed_sweeps_reach_the_centralised_optimum(self, seed, load):
        network = StagedNetwork.random(seed, load=load, variability=0.0, sizes=(8, 4, 3, 3))
        cost, gap = list(iterate(network, 800))[-1]
        best = optimum(network)
        assert cost <= best * 1.001
        assert cost - best <= gap + 1e-6 * best  # the certificate is never violated

    def test_certificate_bounds_every_round(self):
        network = StagedNetwork.random(9, load=0.7, variability=1.0, sizes=(8, 4, 3, 3))
        best = optimum(network)
        for cost, gap in iterate(network, 60):
            assert cost - best <= gap + 1e-6 * best

    @given(
        st.lists(st.floats(0.01, 10), min_size=2, max_size=8), st.integers(0, 2**32 - 1), st.booleans()
    )
    def test_rows_stay_on_the_simplex(self, delta, seed, stale):
        rng = np.random.default_rng(seed)
        row = rng.dirichlet(np.ones(len(delta)))
        alive = rng.uniform(size=len(delta)) < 0.7
        alive[rng.integers(len(delta))] = True
        rule = StepRule()
        state = RowState.at_rest(row, rule)
        for _ in range(5):
            state = shift(state, np.array(delta), alive, rule, stale=stale)
            assert state.row.sum() == pytest.approx(1)
            assert (state.row[~alive] == 0).all()
            assert (state.row[alive] >= rule.floor / 2).all()

    def test_cheaper_receiver_gains(self):
        state = RowState.at_rest(np.array([0.5, 0.5]), StepRule())
        after = shift(state, np.array([0.1, 0.2]), np.array([True, True]), StepRule())
        assert after.row[0] > 0.5

    def test_stale_prices_take_a_short_step_without_momentum(self):
        rule = StepRule(first_step=2.0)
        state = RowState(np.array([0.5, 0.5]), np.array([1.0, -1.0]), np.zeros(2), 2.0)
        fresh = shift(state, np.array([0.2, 0.1]), np.array([True, True]), rule)
        stale = shift(state, np.array([0.2, 0.1]), np.array([True, True]), rule, stale=True)
        assert abs(stale.row[0] - 0.5) < abs(fresh.row[0] - 0.5) or stale.row[0] < 0.5
        assert np.abs(stale.velocity).max() <= rule.stale_step / 3 + 1e-9

    def test_published_row_drops_what_only_the_floor_keeps(self):
        row = restrict(np.array([0.7, 0.3, 0.0]), np.array([True, True, True]), 1e-4)
        assert published(row, 1e-4).tolist() == pytest.approx([0.7, 0.3, 0.0], abs=1e-6)


class TestThresholds:
    table = synthetic_table(3)

    def exact(self, c1: float, c2: float) -> tuple[float, float, float]:
        """Remaining ratio of stages 1 and 2, and accuracy, counted task by task."""
        first = second = right = 0
        for confidence, correct in zip(self.table.confidence, self.table.correct, strict=True):
            if confidence[0] >= c1:
                right += correct[0]
                continue
            first += 1
            if confidence[1] >= c2:
                right += correct[1]
                continue
            second += 1
            right += correct[2]
        return first / len(self.table.confidence), second / first, right / len(self.table.confidence)

    @pytest.mark.parametrize(("c1", "c2"), [(0.5, 0.7), (0.8, 0.8), (0.9, 0.4)])
    def test_ratios_and_accuracy_equal_a_count(self, c1, c2):
        first, second, accuracy = self.exact(c1, c2)
        everything = thresholds.row_weights(self.table, [(3.0, ())])
        assert thresholds.remaining_ratio(self.table, 1, everything, c1) == pytest.approx(first)
        onward = thresholds.continue_paths(self.table, [(3.0, ())], c1)
        assert sum(flow for flow, _ in onward) == pytest.approx(3 * first)
        weights = thresholds.row_weights(self.table, onward)
        assert thresholds.remaining_ratio(self.table, 2, weights, c2) == pytest.approx(second)
        assert thresholds.accuracy_onward(self.table, 1, everything, [(1.0, (c1, c2))]) == pytest.approx(accuracy)

    def test_move_score_equals_the_exact_change_when_costs_are_linear(self):
        """With price-taking receivers the prediction must be the difference of the objective itself."""
        c, moved, c2, phi, theta = 0.6, 0.7, 0.8, 5.0, 2.0
        link, local, onward_cost = np.array([0.02]), np.array([0.05]), np.array([0.2])
        onward = thresholds.Onward(
            np.array([1.0]), link, local, onward_cost, np.array([0.0]), (((1.0, (c2,)),),)
        )
        weights = thresholds.row_weights(self.table, [(phi, ())])
        score = thresholds.move_score(self.table, 1, weights, phi, onward, (c, moved), theta)

        def objective(c1: float) -> float:
            first, second, accuracy = self.exact(c1, c2)
            return phi * first * (0.02 + 0.05 + second * 0.2) - theta * phi * accuracy

        assert score == pytest.approx(objective(moved) - objective(c), rel=1e-9)

    def test_paths_of_receivers_are_mixed(self):
        mixed = thresholds.paths_from(0.5, np.array([0.25, 0.75]), [[(1.0, (0.8,))], [(1.0, (0.9,))]])
        assert sorted(mixed) == [(0.25, (0.5, 0.8)), (0.75, (0.5, 0.9))]

    def test_best_move_follows_the_exchange_rate(self):
        table = synthetic_table(3, rows=20_000)  # enough rows for a grid step to show its trend
        onward = thresholds.Onward(
            np.array([1.0]), np.array([0.05]), np.array([0.05]), np.array([0.0]), np.array([0.0]), (((1.0, ()),),)
        )

        def move(theta: float) -> float:
            return thresholds.best_move(
                table, 2, [(4.0, (0.9,))], 4.0, onward, 0.8, theta_s=theta, eps_s=1e-4
            )

        assert move(0.0) < 0.8  # accuracy is worth nothing: let more out
        assert move(100.0) > 0.8
