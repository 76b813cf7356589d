"""Thresholds and rows together: probes are exact, searches end where an exhaustive one does, moves lower U."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from node_agent.dtoee import thresholds as local
from node_agent.dtoee.offloader import StepRule
from node_agent.dtoee.solver import solve
from tests.node_agent.dtoee.joint import MoveRule, move, probe, search_uniform, server_scores
from tests.node_agent.dtoee.network import loop_evaluation, random_network, random_rows, spread_thresholds
from tests.node_agent.dtoee.sweeps import Sweeps

THETA_S = 2.0


@pytest.mark.parametrize("queued", [False, True])
def test_a_probe_is_the_exact_difference(queued):
    network, before = random_network(2, load=0.8, queued=queued, returns=True)
    rows, after = random_rows(network, 1), network.uniform_thresholds(0.6, 0.9)
    cost, accuracy = probe(network, rows, network.flows(rows, before), after)
    (old_cost, old_right, _), (new_cost, new_right, _) = (loop_evaluation(network, rows, c) for c in (before, after))
    assert cost == pytest.approx(new_cost - old_cost, rel=1e-8)
    assert accuracy == pytest.approx(new_right - old_right)


@pytest.mark.parametrize("back_s", [0.0, 0.5])
def test_predicted_moves_of_one_server_point_the_right_way(back_s):
    """Score against the true change of U, rows fixed, for every grid point near every server's threshold.

    If results take up to `back_s` to return, scores that ignore this are wrong for one move in six.
    """
    right, total = 0, 0
    for seed in range(4):
        network, _ = random_network(seed, load=0.6, sizes=(20, 5, 4, 4), rows=2000)
        rng = np.random.default_rng(seed)
        network = replace(network, return_s=tuple(rng.uniform(0, back_s, len(s)) for s in network.service_per_s))
        thresholds = spread_thresholds(network, seed)
        sweeps = Sweeps(network, network.speed_rows(), thresholds)
        now = network.objective_s(sweeps.flows, THETA_S)
        for index, chosen in enumerate(thresholds):
            points, found = server_scores(network, sweeps, index + 1, list(range(len(chosen))), THETA_S)
            for j, scores in enumerate(found):
                here = int(np.searchsorted(points, chosen[j]))
                for g in (here - 1, here + 1):
                    if 0 <= g < len(points):
                        other = [c.copy() for c in thresholds]
                        other[index][j] = points[g]
                        true = network.objective_s(network.flows(sweeps.rows, tuple(other)), THETA_S) - now
                        if abs(true) > 1e-5:
                            right += (true < 0) == (scores[g] < 0)
                            total += 1
    assert total > 50
    assert right >= 0.9 * total


@pytest.mark.slow
def test_the_search_reaches_the_exhaustive_best_pair_from_five_starts():
    network, _ = random_network(11, load=0.6, sizes=(8, 4, 3, 3), rows=1000)
    grids = [local.grid(network.table, h) for h in (1, 2)]
    best, rows = np.inf, None
    for values in itertools.product(*(grid.tolist() for grid in grids)):
        found = solve(network, network.uniform_thresholds(*values), rows=rows, relative_gap=1e-3, most_rounds=300)
        rows = found.rows
        best = min(best, network.objective_s(found.flows, THETA_S))
    first, second = grids
    corners = itertools.product((first[2], first[-2]), (second[2], second[-2]))
    starts = [(0.8, 0.8), *((float(a), float(b)) for a, b in corners)]
    for start in starts:
        found = search_uniform(network, start, THETA_S)
        assert found.objective_s <= best + 1e-3 * abs(best), start


def test_per_server_moves_do_at_least_as_well_as_the_best_pair():
    network, _ = random_network(3, load=0.5, sizes=(20, 5, 4, 4), rows=2000)
    uniform = search_uniform(network, (0.8, 0.8), THETA_S)
    sweeps = Sweeps(network, network.speed_rows(), network.uniform_thresholds(0.8, 0.8), StepRule(floor=1e-5))
    rule = MoveRule(THETA_S)
    for number in range(60):
        for _ in range(4):
            sweeps.round()
        move(sweeps, number, rule)
    for _ in range(100):
        sweeps.round()
    assert network.objective_s(sweeps.flows, THETA_S) <= uniform.objective_s + 0.01


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_some_steps_at_once_get_further_than_single_ones(load):
    """Mean objective over the rounds and at their end, with moves of one grid point and of several."""

    def played(most_steps: int) -> list[float]:
        network, _ = random_network(2, load=load, sizes=(20, 5, 4, 4), rows=1000)
        sweeps = Sweeps(network, network.speed_rows(), network.uniform_thresholds(0.8, 0.8))
        found = []
        for number in range(80):
            sweeps.round()
            sweeps.round()
            found.append(network.objective_s(sweeps.flows, THETA_S))
            move(sweeps, number, MoveRule(THETA_S, most_steps=most_steps))
        return found

    single, several = played(1), played(local.MOST_STEPS)
    assert np.mean(several) < np.mean(single) - 0.005
    assert several[-1] < single[-1] - 0.005
