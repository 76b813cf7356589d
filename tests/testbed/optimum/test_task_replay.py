"""Plans played task by task, against theory and by hand."""

from dataclasses import replace

import numpy as np
import pytest

from node_agent.dtoee.exit_table import ExitTable
from node_agent.dtoee.staged import StagedNetwork
from testbed.optimum.flow_model import NO_PENALTY, FlowModel
from testbed.optimum.task_replay import SampleShares, play
from testbed.optimum.threshold_search import evaluate
from testbed.trace.workload import Arrival
from tests.node_agent.dtoee.network import complete_tier

ANSWERS = ExitTable(np.array([[0.9, 0.9], [0.1, 0.9]]), np.array([[True, False], [False, True]]))
WISH = {"warm_up_s": 0.0, "theta_s": 2.0, "seed": 1}


def chain(service=(4.0, 5.0), transfer=(0.01, 0.02), back=(0.001, 0.002), threshold=0.5, link=np.inf):
    """A plan for one device and two stages of one server each."""
    network = StagedNetwork(
        np.array([1.0]),
        tuple(complete_tier(np.array([[t]]), np.array([[link]])) for t in transfer),
        tuple(np.array([s]) for s in service),
        (np.zeros(1), np.zeros(1)),
        NO_PENALTY,
        ANSWERS,
    )
    model = FlowModel(network, (("d",), ("a",), ("b",)), tuple(np.array([[t]]) for t in back))
    return evaluate(model, (np.array([threshold]),), (np.ones((1, 1)), np.ones((1, 1))))


def test_by_hand():
    arrivals = [Arrival(0.0, "d", 0), Arrival(0.1, "d", 1)]
    played = play([(0.0, chain())], arrivals, ANSWERS, **WISH)
    first = 0.01 + 0.25 + 0.001  # leaves at stage 1
    second = 0.01 + 0.15 + 0.25 + 0.02 + 0.2 + 0.002  # waits for the first, then goes on
    assert played.mean_delay_s == pytest.approx((first + second) / 2)
    assert played.accuracy == 1.0
    assert played.utility_s == pytest.approx(2.0 - played.mean_delay_s)
    assert (played.tasks, played.times) == (2, 10)


def test_a_link_sends_one_task_after_the_other():
    arrivals = [Arrival(0.0, "d", 0), Arrival(0.01, "d", 0)]
    slow_link = chain(service=(1000.0, 1000.0), transfer=(0.25, 0.25), link=5.0, back=(0.0, 0.0))
    played = play([(0.0, slow_link)], arrivals, ANSWERS, **WISH)
    assert played.mean_delay_s == pytest.approx((0.251 + 0.251 + 0.19) / 2)


def test_a_plan_is_in_force_from_its_time_on():
    exits_late = chain(threshold=1.01)
    arrivals = [Arrival(0.0, "d", 0), Arrival(10.0, "d", 0)]
    played = play([(0.0, chain()), (5.0, exits_late)], arrivals, ANSWERS, **WISH)
    late = 0.01 + 0.25 + 0.02 + 0.2 + 0.002
    assert played.mean_delay_s == pytest.approx((0.261 + late) / 2)
    assert played.accuracy == 0.5
    # A node that a plan lacks keeps its earlier plan.
    renamed = replace(exits_late, model=replace(exits_late.model, names=(("e",), ("f",), ("g",))))
    assert play([(0.0, chain()), (5.0, renamed)], arrivals, ANSWERS, **WISH).mean_delay_s == pytest.approx(0.261)


def test_warm_up_and_no_tasks():
    arrivals = [Arrival(0.0, "d", 0), Arrival(10.0, "d", 1)]
    played = play([(0.0, chain())], arrivals, ANSWERS, warm_up_s=5.0, theta_s=2.0, seed=1)
    assert played.tasks == 1
    assert played.mean_delay_s == pytest.approx(0.01 + 0.25 + 0.02 + 0.2 + 0.002)
    assert play([(0.0, chain())], arrivals, ANSWERS, warm_up_s=11.0, theta_s=2.0, seed=1) is None
    assert play([(0.0, chain())], [], ANSWERS, **WISH) is None


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_against_m_d_1(load):
    rng = np.random.default_rng(4)
    times = np.sort(rng.uniform(0, 30_000 / (4 * load), 30_000))
    arrivals = [Arrival(float(time_s), "d", 0) for time_s in times]
    plan = chain(transfer=(0.0, 0.0), back=(0.0, 0.0))
    played = play([(0.0, plan)], arrivals, ANSWERS, **WISH)
    assert played.mean_delay_s == pytest.approx(0.25 * (1 + load / (2 * (1 - load))), rel=0.04)


def test_shares_are_kept():
    network = StagedNetwork(
        np.array([1.0]), (complete_tier(np.array([[0.0, 1.0]])),), (np.array([1e6, 1e6]),), (np.zeros(2),), NO_PENALTY,
        ExitTable(ANSWERS.confidence[:, 1:], ANSWERS.correct[:, 1:]),
    )  # fmt: skip
    model = FlowModel(network, (("d",), ("a", "b")), (np.zeros((2, 1)),))
    plan = evaluate(model, (), (np.array([[0.3, 0.7]]),))
    arrivals = [Arrival(float(time_s), "d", time_s % 2) for time_s in range(5000)]
    played = play([(0.0, plan)], arrivals, network.table, **WISH)
    assert played.mean_delay_s == pytest.approx(0.7, abs=0.01)
    assert played.accuracy == 0.5
    assert play([(0.0, plan)], arrivals, network.table, **WISH) == played


def test_each_sample_has_its_own_work_and_size():
    """By hand: the second sample works half as long at stage 1, twice as long at stage 2, and is half as large."""
    shares = SampleShares(work=[[1.5, 1.0], [0.5, 2.0]], size=[[1.5, 1.0], [0.5, 1.0]])
    slow_link = chain(transfer=(0.25, 0.02), link=5.0)
    arrivals = [Arrival(0.0, "d", 0), Arrival(10.0, "d", 1)]
    played = play([(0.0, slow_link)], arrivals, ANSWERS, **WISH, shares=shares)
    first = 0.2 * 1.5 + 0.05 + 0.25 * 1.5 + 0.001
    second = 0.2 * 0.5 + 0.05 + 0.25 * 0.5 + 0.2 + (0.02 - 0.2) + 0.2 * 2.0 + 0.002
    assert played.mean_delay_s == pytest.approx((first + second) / 2)
