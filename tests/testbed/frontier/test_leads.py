"""The estimate at equal accuracy and at equal cost, on synthetic policies whose frontiers are known."""

import numpy as np
import pytest

from testbed.frontier.leads import lead
from tests.testbed.frontier.test_curve import knee

SEEDS = 20
DENSE = np.linspace(0.78, 0.89, 7)
TOWARDS_THE_KNEE = 0.905 - np.geomspace(0.125, 0.015, 7)  # as equal ratios of theta spread them


def policy(chance, accuracy, *, quicker=0.0, shared=None, own_accuracy=0.0015, own_cost=0.01, seeds=SEEDS):
    """Points by seed of a policy with the frontier `knee`, whose costs are lower by the share `quicker`.

    `shared` holds, per seed, a shift of all accuracies and a factor on all costs that policies have in common.
    """
    shared = [(0.0, 1.0)] * seeds if shared is None else shared
    return {
        seed: (
            accuracy + shift + chance.normal(0, own_accuracy, len(accuracy)),
            (1 - quicker) * factor * knee(accuracy) * np.exp(chance.normal(0, own_cost, len(accuracy))),
        )
        for seed, (shift, factor) in enumerate(shared)
    }


def workloads(chance, seeds=SEEDS):
    """What the workload of each seed does to all policies alike."""
    return [(chance.normal(0, 0.01), float(np.exp(chance.normal(0, 0.1)))) for _ in range(seeds)]


def test_the_interval_of_equal_frontiers_holds_zero_in_95_percent():
    chance = np.random.default_rng(1)
    held = {"reduction": 0, "gain": 0}
    times = 200
    for _ in range(times):
        shared = workloads(chance)
        found = lead("other", policy(chance, DENSE, shared=shared), policy(chance, DENSE, shared=shared), by_ratio=True)
        reduction, gain = found.at_equal_accuracy.reduction, found.at_equal_cost.gain
        held["reduction"] += reduction.low <= 0 <= reduction.high
        held["gain"] += gain.low <= 0 <= gain.high
    # A percentile bootstrap of 20 is a little narrow; 0.95 +- 4 standard errors of 200 draws.
    assert all(0.88 <= count / times <= 0.99 for count in held.values())


@pytest.mark.parametrize("other", [DENSE, TOWARDS_THE_KNEE])
def test_ten_percent_quicker_is_found(other):
    chance = np.random.default_rng(2)
    shared = workloads(chance)
    found = lead(
        "other", policy(chance, DENSE, quicker=0.1, shared=shared), policy(chance, other, shared=shared), by_ratio=True
    )
    reduction = found.at_equal_accuracy.reduction
    assert reduction.mean == pytest.approx(0.1, abs=0.012)
    assert reduction.high - reduction.low < 0.015
    assert found.trouble == ""
    assert found.at_equal_cost.gain.mean > 0


def test_points_of_accuracy_at_equal_cost_are_found():
    """Two points more accurate at each cost."""
    chance = np.random.default_rng(3)
    first = {seed: (accuracy + 0.02, cost) for seed, (accuracy, cost) in policy(chance, DENSE, own_accuracy=0).items()}
    found = lead("other", first, policy(np.random.default_rng(4), DENSE, own_accuracy=0), by_ratio=True)
    assert found.at_equal_cost.gain.mean == pytest.approx(0.02, abs=0.001)
    assert found.at_equal_cost.low == pytest.approx(knee(0.78), rel=0.03)
    assert found.at_equal_cost.high == pytest.approx(knee(0.89), rel=0.05)


def test_chance_that_a_seed_shares_cancels():
    def width(shared):
        chance = np.random.default_rng(5)
        found = lead("other", policy(chance, DENSE, quicker=0.1, shared=shared), policy(chance, DENSE, shared=shared),
                     by_ratio=True)  # fmt: skip
        return found.at_equal_accuracy.reduction.high - found.at_equal_accuracy.reduction.low

    calm, wild = width(None), width(workloads(np.random.default_rng(6)))
    assert wild < 1.5 * calm
    # Without pairs, the factors alone would move the ratio of two seeds by 14 %.
    assert wild < 0.02


def test_the_place_of_the_points_hardly_moves_the_estimate():
    """Equal frontiers, without chance: points towards the knee, or few of them, against evenly spaced ones."""

    def exact(accuracy):
        return {0: (accuracy, knee(accuracy))}

    few = np.linspace(0.78, 0.89, 5)
    for accuracy in (TOWARDS_THE_KNEE, few):
        found = lead("other", exact(accuracy), exact(DENSE), by_ratio=True)
        assert abs(found.at_equal_accuracy.reduction.mean) < 0.01
        assert found.at_equal_accuracy.reduction.low is None  # of a single seed


def test_points_that_are_beaten_do_not_count():
    chance = np.random.default_rng(7)
    first, other = policy(chance, DENSE, quicker=0.1), policy(chance, DENSE)
    beaten = {seed: (np.append(a, 0.8), np.append(c, 5.0)) for seed, (a, c) in first.items()}
    assert lead("other", beaten, other, by_ratio=True) == lead("other", first, other, by_ratio=True)


def test_ranges_that_do_not_overlap_give_no_figure():
    chance = np.random.default_rng(8)
    low, high = policy(chance, np.linspace(0.6, 0.65, 5)), policy(chance, np.linspace(0.8, 0.88, 5))
    found = lead("other", low, high, by_ratio=True)
    assert found.at_equal_accuracy is None
    assert "the accuracies reached do not overlap on 20 of 20 seeds" in found.trouble
    assert lead("other", low, {99: high[0]}, by_ratio=True).trouble == "no seed on which both have a point"


def test_a_single_point_is_compared_at_its_accuracy():
    chance = np.random.default_rng(9)
    point = {seed: (np.array([0.85]), np.array([2 * knee(0.85)])) for seed in range(SEEDS)}
    found = lead("one point", policy(chance, DENSE), point, by_ratio=True)
    assert found.at_equal_accuracy.reduction.mean == pytest.approx(0.5, abs=0.01)
    assert found.at_equal_accuracy.low == found.at_equal_accuracy.high == pytest.approx(0.85)


def test_costs_that_may_be_zero_are_compared_by_their_difference():
    first = {seed: (np.array([0.7, 0.8, 0.9]), np.array([0.0, 2.0, 6.0])) for seed in range(3)}
    other = {seed: (np.array([0.7, 0.8, 0.9]), np.array([1.0, 3.0, 7.0])) for seed in range(3)}
    found = lead("other", first, other, by_ratio=False)
    assert found.at_equal_accuracy.reduction is None
    assert found.at_equal_accuracy.difference.mean == pytest.approx(1.0)
