"""Single nodes: the cost of a queue, a row's step, a threshold's move."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_agent.dtoee import one_row, thresholds
from node_agent.dtoee.offloader import FLOOR, MOST_ON_FLOORS, Momentum, Scale, StepRule, published, restrict
from node_agent.dtoee.queueing import (
    RHO_EXTENSION,
    link_cost,
    link_marginal_s,
    measured_link_marginal_s,
    overload_penalty,
    queue_cost,
    server_cost,
    server_sojourn_s,
    sojourn_s,
    transmission_s,
)
from tests.node_agent.dtoee.moves import accuracy_onward, best_move, move_score
from tests.node_agent.dtoee.network import exit_table
from tests.node_agent.dtoee.sweeps import at_rest, shift


class TestQueueCost:
    def test_known_queues(self):
        assert queue_cost(5.0, 10.0, 0.0).tasks == pytest.approx(0.75)  # M/D/1
        assert queue_cost(5.0, 10.0, 1.0).tasks == pytest.approx(1.0)  # M/M/1: rho / (1 - rho)
        assert queue_cost(5.0, 10.0, 1.0).slope_s == pytest.approx(10 / 25)  # s / (s - phi)^2

    def test_even_arrivals_wait_less_and_bursts_more(self):
        """Kingman: the wait is (a + v) / 2 of that of M/M/1."""
        assert queue_cost(5.0, 10.0, 0.0, 0.0).tasks == pytest.approx(0.5)  # D/D/1: no wait
        assert queue_cost(5.0, 10.0, 0.0, 0.5).tasks == pytest.approx(0.5 + 0.5 * 0.25)
        assert queue_cost(5.0, 10.0, 1.0, 3.0).tasks == pytest.approx(0.5 + 2 * 0.5)
        assert float(sojourn_s(5.0, 10.0, 0.0, 0.5)) == pytest.approx(0.1 + 0.025)

    @given(st.floats(0, 20), st.floats(0.5, 50), st.floats(0, 3))
    def test_poisson_arrivals_cost_what_pollaczek_and_khinchine_say_to_the_last_digit(self, phi, service, variability):
        inside = min(phi, RHO_EXTENSION * service)
        beyond, slack = phi - inside, service - inside
        tasks = inside / service + (1 + variability) * inside * inside / (2 * service * slack)
        slope = 1 / service + (1 + variability) * inside * (2 * service - inside) / (2 * service * slack * slack)
        curvature = (1 + variability) * service / (slack * slack * slack)
        expected = (
            tasks + slope * beyond + curvature * beyond * beyond / 2, slope + curvature * beyond, curvature
        )  # fmt: skip
        assert server_cost(phi, service, variability) == expected
        assert queue_cost(phi, service, variability) == expected

    @given(st.floats(0, 1.6), st.floats(0.5, 50), st.floats(0, 3), st.floats(0.05, 10))
    def test_derivatives_are_those_of_the_cost(self, load, service, variability, arrival_variability):
        phi, step = load * service, 1e-5 * service
        if abs(load - RHO_EXTENSION) < 1e-3:  # a difference across the joint mixes the two branches
            return
        both = variability, arrival_variability
        low, here, high = (queue_cost(max(0, phi + d), service, *both) for d in (-step, 0, step))
        assert here.curvature_s2 > 0  # convex
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


class TestLinkCost:
    def test_a_link_that_does_not_queue_costs_its_transfer_time(self):
        cost = link_cost(np.array([0.0, 7.0]), 0.1)
        assert cost.tasks.tolist() == pytest.approx([0, 0.7])
        assert cost.slope_s.tolist() == [0.1, 0.1]
        assert cost.curvature_s2.tolist() == [0, 0]

    @given(st.floats(0, 1.4), st.floats(0.5, 50), st.floats(0, 0.1))
    def test_a_queueing_link_is_a_deterministic_server_behind_a_delay(self, load, rate, propagation):
        link, queue = link_cost(load * rate, propagation + 1 / rate, rate), queue_cost(load * rate, rate, 0.0)
        assert float(link.tasks) == pytest.approx(float(queue.tasks) + propagation * load * rate)
        assert float(link.slope_s) == pytest.approx(float(queue.slope_s) + propagation)
        assert float(link.curvature_s2) == pytest.approx(float(queue.curvature_s2))

    @given(st.floats(0, 0.95), st.floats(0.5, 50), st.floats(0, 0.1))
    def test_transmission_is_recovered_from_what_a_node_measures(self, load, rate, propagation):
        flow = load * rate
        measured = propagation + float(sojourn_s(flow, rate, 0.0))
        found = transmission_s(measured, propagation, flow)
        assert float(found) == pytest.approx(1 / rate, rel=1e-6)
        planned = 1.3 * flow
        marginal = float(link_cost(planned, propagation + 1 / rate, rate).slope_s)
        assert float(link_marginal_s(propagation, found, planned)) == pytest.approx(marginal, rel=1e-3)

    def test_a_task_faster_than_a_small_message_takes_no_time(self):
        assert transmission_s([0.01, 0.02], 0.02, 5.0).tolist() == [0, 0]
        assert link_marginal_s(0.02, 0.0, 5.0) == 0.02


class TestPlainNumbers:
    """Nodes compute with plain numbers the same results as the whole network with arrays."""

    @given(st.floats(0, 30), st.floats(1, 20), st.floats(0, 3), st.floats(0, 10))
    def test_the_cost_of_a_server(self, phi, service, of_service, of_arrivals):
        variability = of_service, of_arrivals
        assert server_cost(phi, service, *variability) == pytest.approx(
            [float(figure) for figure in queue_cost(phi, service, *variability)], rel=1e-12
        )
        sojourn = float(sojourn_s(phi, service, *variability))
        assert server_sojourn_s(phi, service, *variability) == pytest.approx(sojourn, rel=1e-12)

    @given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 50), st.floats(0, 50))
    def test_the_price_of_a_link(self, task_s, small_s, flow, planned):
        expected = link_marginal_s(small_s, transmission_s(task_s, small_s, flow), planned)
        assert measured_link_marginal_s(task_s, small_s, flow, planned) == pytest.approx(float(expected), rel=1e-12)

    @given(st.integers(1, 12), st.integers(0, 2**32 - 1), st.sampled_from(["momentum", "heavy ball", "gallager"]))
    def test_the_step_of_a_row(self, count, seed, kind):
        rng = np.random.default_rng(seed)
        rule = StepRule(update="gallager" if kind == "gallager" else "momentum", look_ahead=kind == "momentum")
        row = rng.dirichlet(np.ones(count))
        many, carried = row[None], at_rest(row[None], rule)
        one, of_one = row.tolist(), one_row.at_rest(count, rule)
        for _ in range(12):
            alive = rng.uniform(size=count) < 0.8
            alive[rng.integers(count)] = True
            delta, curvature, leaving = rng.uniform(0.1, 1, count), rng.uniform(0, 1, count), float(rng.uniform(0, 3))
            stale = bool(rng.uniform() < 0.3)
            scale = Scale(np.array([leaving]), curvature[None])
            many, carried = shift(many, carried, delta[None], alive[None], rule, stale=stale, scale=scale)
            scale = Scale(leaving, curvature.tolist())
            one, of_one = one_row.shift(one, of_one, delta.tolist(), alive.tolist(), rule, stale=stale, scale=scale)
            assert one == pytest.approx(many[0].tolist(), rel=1e-9)
        assert of_one.velocity == pytest.approx(carried.velocity[0].tolist(), rel=1e-9)
        assert of_one.step == pytest.approx(float(carried.step[0]))


class TestOffloader:
    @given(st.lists(st.floats(0.01, 10), min_size=2, max_size=8), st.integers(0, 2**32 - 1), st.booleans())
    def test_rows_stay_on_the_simplex(self, delta, seed, stale):
        rng = np.random.default_rng(seed)
        row = rng.dirichlet(np.ones(len(delta)))
        alive = rng.uniform(size=len(delta)) < 0.7
        alive[rng.integers(len(delta))] = True
        rule = StepRule()
        moved, momentum = row.tolist(), one_row.at_rest(len(row), rule)
        for _ in range(5):
            moved, momentum = one_row.shift(moved, momentum, delta, alive.tolist(), rule, stale=stale)
            after = np.array(moved)
            assert after.sum() == pytest.approx(1)
            assert (after[~alive] == 0).all()
            assert (after[alive] >= rule.floor / 2).all()

    def test_cheaper_receiver_gains(self):
        still = one_row.at_rest(2, StepRule())
        assert one_row.shift([0.5, 0.5], still, [0.1, 0.2], [True, True], StepRule())[0][0] > 0.5

    def test_stale_prices_take_a_short_step_without_momentum(self):
        rule = StepRule(first_step=2.0)
        row, momentum = [0.5, 0.5], Momentum([1.0, -1.0], [0.0, 0.0], 2.0)
        fresh, _ = one_row.shift(row, momentum, [0.2, 0.1], [True, True], rule)
        stale, carried = one_row.shift(row, momentum, [0.2, 0.1], [True, True], rule, stale=True)
        # The prices are a third above and below their mean; the velocity of before does not count.
        to_the_first = 1 / (1 + np.exp(2 * rule.stale_step / 3))
        assert stale == pytest.approx([to_the_first, 1 - to_the_first])
        assert carried.velocity == pytest.approx([-rule.stale_step / 3, rule.stale_step / 3])
        assert fresh[0] < stale[0] - 0.1

    def test_a_batch_of_rows_steps_as_each_row_alone(self):
        rng = np.random.default_rng(5)
        rows, alive = rng.dirichlet(np.ones(4), 6), rng.uniform(size=(6, 4)) < 0.8
        alive[:, 0] = True
        stale = np.array([False, True] * 3)
        for kind in ("momentum", "gallager"):
            rule = StepRule(update=kind)
            batch, momenta = rows, at_rest(rows, rule)
            single = [(row.tolist(), one_row.at_rest(4, rule)) for row in rows]
            for _ in range(12):
                delta, curvature, leaving = rng.uniform(0.1, 1, (6, 4)), rng.uniform(0, 1, (6, 4)), rng.uniform(0, 3, 6)
                batch, momenta = shift(batch, momenta, delta, alive, rule, stale=stale, scale=Scale(leaving, curvature))
                for i, (row, momentum) in enumerate(single):
                    scale = Scale(float(leaving[i]), curvature[i].tolist())
                    living, old = alive[i].tolist(), bool(stale[i])
                    single[i] = one_row.shift(row, momentum, delta[i].tolist(), living, rule, stale=old, scale=scale)
            assert batch.tolist() == [pytest.approx(row) for row, _ in single]
            assert published(batch, 0.05).tolist() == [
                pytest.approx(published(np.array(row), 0.05).tolist()) for row, _ in single
            ]

    def test_gallager_moves_to_the_cheapest_by_what_curvature_allows(self):
        rule = StepRule(update="gallager", first_step=1.0, floor=1e-6)
        scale = Scale(2.0, [1.0, 1.0, 4.0])
        after, _ = one_row.shift(
            [0.5, 0.3, 0.2], one_row.at_rest(3, rule), [1.0, 1.4, 3.0], [True] * 3, rule, scale=scale
        )
        assert after == pytest.approx([0.5 + 0.1 + 0.2, 0.3 - 0.4 / 4, 0.0], abs=1e-5)

    def test_gallager_needs_a_scale(self):
        rule = StepRule(update="gallager")
        rows = np.full((1, 2), 0.5)
        with pytest.raises(ValueError, match="scale"):
            shift(rows, at_rest(rows, rule), np.ones((1, 2)), np.ones((1, 2), bool), rule)
        with pytest.raises(ValueError, match="scale"):
            one_row.shift([0.5, 0.5], one_row.at_rest(2, rule), [1.0, 1.0], [True, True], rule)

    def test_floors_take_a_tenth_of_a_row_at_most(self):
        """Rows of 240 receivers, which floors of 0.2 % alone would fill by half."""
        rows = np.random.default_rng(1).dirichlet(np.full(240, 0.1), 20)
        kept = restrict(rows, np.ones(rows.shape, bool), FLOOR)
        assert (np.abs(kept - rows).sum(-1) / 2 < MOST_ON_FLOORS).all()
        assert kept.min() > MOST_ON_FLOORS / 240 / (1 + MOST_ON_FLOORS) - 1e-9
        rows = np.random.default_rng(1).dirichlet(np.ones(240), 20)
        assert (np.abs(published(rows, FLOOR) - rows).sum(-1) / 2 < 0.04).all()

    def test_only_living_receivers_share_the_floors(self):
        rows = np.random.default_rng(2).dirichlet(np.full(240, 0.1), 2)
        alive = np.zeros(rows.shape, bool)
        alive[0, ::60], alive[1, ::2] = True, True
        kept = restrict(rows, alive, FLOOR)
        for row, mask, one in zip(rows, alive, kept, strict=True):
            assert one[mask].tolist() == restrict(row[mask], np.ones(mask.sum(), bool), FLOOR).tolist()
            found, expected = published(one, FLOOR), published(one[mask], FLOOR)
            assert found[mask].tolist() == pytest.approx(expected.tolist())
            assert (found[~mask] == 0).all()

    def test_receivers_without_a_price_leave_the_row_as_it_is(self):
        rows, rule = np.array([[0.7, 0.3], [0.5, 0.5]]), StepRule()
        many, one = (rows, at_rest(rows, rule)), ([0.7, 0.3], one_row.at_rest(2, rule))
        for _ in range(3):
            many = shift(*many, np.zeros(rows.shape), np.ones(rows.shape, bool), rule)
            one = one_row.shift(*one, [0.0, 0.0], [True, True], rule)
        assert many[0] == pytest.approx(rows)
        assert one[0] == pytest.approx([0.7, 0.3])

    def test_published_row_drops_what_only_the_floor_keeps(self):
        row = restrict(np.array([0.7, 0.3, 0.0]), np.array([True, True, True]), 1e-4)
        assert published(row, 1e-4).tolist() == pytest.approx([0.7, 0.3, 0.0], abs=1e-6)


class TestThresholds:
    table = exit_table(3)

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
        return first / len(self.table.confidence), second / max(1, first), right / len(self.table.confidence)

    @pytest.mark.parametrize(("c1", "c2"), [(0.5, 0.7), (0.8, 0.8), (0.9, 0.4)])
    def test_ratios_and_accuracy_equal_a_count(self, c1, c2):
        first, second, accuracy = self.exact(c1, c2)
        everything = thresholds.row_weights(self.table, [(3.0, ())])
        assert thresholds.remaining_ratio(self.table, 1, [(3.0, ())], c1) == pytest.approx(first)
        onward = thresholds.continue_paths(self.table, [(3.0, ())], c1)
        assert sum(flow for flow, _ in onward) == pytest.approx(3 * first)
        assert thresholds.remaining_ratio(self.table, 2, onward, c2) == pytest.approx(second)
        assert accuracy_onward(self.table, 1, everything, [(1.0, (c1, c2))]) == pytest.approx(accuracy)

    @given(st.integers(0, 2**32 - 1))
    @settings(max_examples=30)
    def test_the_remaining_ratio_of_mixed_paths_is_that_of_their_rows(self, seed):
        rng = np.random.default_rng(seed)
        points, c = thresholds.grid(self.table, 1), float(rng.uniform())
        paths = [(float(rng.uniform(0, 5)), (float(rng.choice(points)),)) for _ in range(4)]
        weights = thresholds.row_weights(self.table, paths)
        expected = weights[self.table.confidence[:, 1] < c].sum()
        assert thresholds.remaining_ratio(self.table, 2, paths, c) == pytest.approx(expected)

    def test_where_nothing_arrives_all_rows_count(self):
        share = (self.table.confidence[:, 1] < 0.7).mean()
        for paths in ([], [(0.0, (0.8,))], [(3.0, (0.0,))]):
            assert thresholds.remaining_ratio(self.table, 2, paths, 0.7) == pytest.approx(share)

    def test_move_score_equals_the_exact_change_when_costs_are_linear(self):
        """With price-taking receivers the prediction must be the difference of the objective itself."""
        c, moved, c2, phi, theta = 0.6, 0.7, 0.8, 5.0, 2.0
        link, local, onward_cost = np.array([0.02]), np.array([0.05]), np.array([0.2])
        own_return, return_there = 0.3, 0.1
        onward = thresholds.Onward(
            np.array([1.0]), link, local, onward_cost, np.array([0.0]), (((1.0, (c2,)),),),
            np.array([return_there]), own_return,
        )  # fmt: skip
        weights = thresholds.row_weights(self.table, [(phi, ())])
        score = move_score(self.table, 1, weights, phi, onward, (c, moved), theta)

        def objective(c1: float) -> float:
            first, second, accuracy = self.exact(c1, c2)
            onwards = 0.02 + 0.05 + second * 0.2 + (1 - second) * return_there
            return phi * (first * onwards + (1 - first) * own_return) - theta * phi * accuracy

        assert score == pytest.approx(objective(moved) - objective(c), rel=1e-9)
        best = thresholds.best_jump(
            self.table, 1, [(phi, ())], phi, onward, c, theta_s=theta, eps_s=0.0, most_steps=None
        )
        assert best == min(thresholds.grid(self.table, 1), key=objective)  # all points tried

    def test_scores_of_the_whole_grid_equal_those_of_single_moves(self):
        onward = thresholds.Onward(
            np.array([0.3, 0.7]), np.array([0.02, 0.03]), np.array([0.05, 0.04]), np.array([0.2, 0.3]),
            np.array([0.01, 0.02]), (((0.5, (0.8,)), (0.5, (0.6,))), ((1.0, (0.8,)),)),
            np.array([0.1, 0.4]), 0.2,
        )  # fmt: skip
        weights, points = thresholds.row_weights(self.table, [(4.0, ())]), thresholds.grid(self.table, 1)
        single = {float(c): move_score(self.table, 1, weights, 4.0, onward, (0.7, float(c)), 2.0) for c in points}
        best = min(single, key=lambda c: single[c])

        def jump(steps: int | None, eps: float = 0.0) -> float:
            return thresholds.best_jump(
                self.table, 1, [(4.0, ())], 4.0, onward, 0.7, theta_s=2.0, eps_s=eps, most_steps=steps
            )

        assert jump(None) == best
        assert jump(None, eps=-single[best] / 4.0 * 1.01) == 0.7
        assert jump(1) == best_move(self.table, 1, [(4.0, ())], 4.0, onward, 0.7, theta_s=2.0, eps_s=0.0)

    @given(st.integers(0, 2**32 - 1))
    @settings(max_examples=30)
    def test_a_jump_of_one_step_is_the_better_neighbour(self, seed):
        rng = np.random.default_rng(seed)
        stage = int(rng.integers(1, 3))
        points = [thresholds.grid(self.table, h) for h in (1, 2)]
        last = [((1.0, ()),)] * 3
        paths = [tuple((0.5, (float(c),)) for c in rng.choice(points[1], 2, replace=False)) for _ in range(3)]
        onward = thresholds.Onward(
            rng.dirichlet(np.ones(3)), *rng.uniform(0.01, 0.3, (3, 3)), rng.uniform(0, 0.1, 3),
            tuple(paths if stage == 1 else last), rng.uniform(0, 0.3, 3), float(rng.uniform(0, 0.3)),
        )  # fmt: skip
        arriving = [(4.0, tuple(float(rng.choice(points[0])) for _ in range(stage - 1)))]
        now, theta, eps = float(rng.choice(points[stage - 1])), float(rng.uniform(0, 3)), float(rng.choice([0, 5e-4]))
        found = thresholds.best_jump(
            self.table, stage, arriving, 4.0, onward, now, theta_s=theta, eps_s=eps, most_steps=1
        )
        assert found == best_move(self.table, stage, arriving, 4.0, onward, now, theta_s=theta, eps_s=eps)

    def test_paths_of_receivers_are_mixed(self):
        mixed = thresholds.paths_from(0.5, [0.25, 0.75], [[(1.0, (0.8,))], [(1.0, (0.9,))]])
        assert sorted(mixed) == [(0.25, (0.5, 0.8)), (0.75, (0.5, 0.9))]

    def test_a_move_follows_the_exchange_rate(self):
        table = exit_table(3, rows=20_000)  # enough rows for a grid step to show its trend
        onward = thresholds.Onward(
            np.array([1.0]), np.array([0.05]), np.array([0.05]), np.array([0.0]), np.array([0.0]), (((1.0, ()),),)
        )

        def move(theta: float) -> float:
            return thresholds.best_jump(table, 2, [(4.0, (0.9,))], 4.0, onward, 0.8, theta_s=theta, eps_s=1e-4)

        assert move(0.0) < 0.8  # accuracy is worth nothing: let more out
        assert move(100.0) > 0.8

    def test_a_long_way_back_from_here_keeps_tasks_and_one_from_there_lets_them_out(self):
        def move(own_return_s: float, return_s: float) -> float:
            onward = thresholds.Onward(
                np.array([1.0]), np.array([0.05]), np.array([0.05]), np.array([0.0]), np.array([0.0]), (((1.0, ()),),),
                np.array([return_s]), own_return_s,
            )  # fmt: skip
            return thresholds.best_jump(self.table, 2, [(4.0, (0.9,))], 4.0, onward, 0.8, theta_s=1.0, eps_s=1e-4)

        assert move(5.0, 0.0) > 0.8 > move(0.0, 5.0)
        assert move(5.0, 5.0) == move(0.0, 0.0)
