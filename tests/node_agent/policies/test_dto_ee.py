"""The flagship's choice for a task: the planned receiver, unless another one is surely cheaper at its present queue."""

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.dtoee.queueing import server_cost
from node_agent.policies import make_policy
from node_agent.policies.base import Candidate
from tests.node_agent.policies.test_policies import prospect
from tests.node_agent.virtual import World, broad

IDLE = Candidate(
    share=0.5, link_s=0.01, backlog=0.0, service_per_s=10.0, onward_delay_s=0.0, work_s=0.0, age_s=0.01,
    link_marginal_s=0.01, arrival_per_s=5.0, onward_marginal_s=0.1,
)  # fmt: skip
DICE = random.Random(1)


def pick(*candidates, **parameters):
    return make_policy("dto-ee", parameters).pick(candidates, DICE)


def test_the_price_by_hand():
    assert IDLE.price_s == pytest.approx(0.01 + 0.15 + 0.1)  # d(0) = x + W, W = 0.05 s at half load
    assert replace(IDLE, work_s=0.3).price_s == pytest.approx(0.01 + 0.15 + 0.6 + 0.1)  # 1 / (1 - rho) = 2
    assert replace(IDLE, work_error_s=0.04).price_error_s == pytest.approx(0.08)


def test_the_cheaper_queue_gets_the_task():
    busy = replace(IDLE, work_s=0.2)
    assert (pick(busy, IDLE), pick(IDLE, busy), pick(busy, busy)) == (1, 0, 0)
    far = replace(IDLE, link_s=0.6, link_marginal_s=0.6)
    assert (pick(busy, far), pick(far, busy)) == (0, 1)
    costly = replace(IDLE, onward_marginal_s=0.7)  # its own receivers are dear
    assert pick(busy, costly) == 0


def test_doubt_leaves_the_task_to_the_plan():
    busy = replace(IDLE, work_s=0.2, backlog=2.0)  # 0.4 s dearer, of which others bear 0.2 s: counts as 0.3 s
    doubtful = [replace(each, work_error_s=0.3) for each in (busy, IDLE)]  # 0.45 s each, 0.64 s together
    assert pick(*doubtful) == 0
    assert pick(*doubtful, doubt=0.45) == 1
    assert pick(busy, doubtful[1]) == 1


def test_prices_that_have_expired_leave_the_task_to_the_plan():
    busy = replace(IDLE, work_s=5.0)
    assert pick(busy, replace(IDLE, current=False)) == 0
    assert pick(replace(busy, current=False), IDLE) == 0


@given(st.floats(0, 0.95), st.floats(0, 10), st.floats(0.05, 10), st.floats(0.1, 100))
def test_a_queue_as_long_as_in_the_mean_has_the_plans_price(load, variability, arrival_variability, rate):
    mean_s = load * (arrival_variability + variability) / (2 * rate * (1 - load))
    each = replace(
        IDLE, work_s=mean_s, arrival_per_s=load * rate, service_per_s=rate, variability=variability,
        arrival_variability=arrival_variability,
    )  # fmt: skip
    slope_s = server_cost(load * rate, rate, variability, arrival_variability).slope_s
    assert each.price_s == pytest.approx(0.01 + slope_s + 0.1)


def test_the_row_reacts_to_a_service_rate_at_once():
    policy, row = make_policy("dto-ee"), np.array([0.5, 0.3, 0.2])
    rates, loads = [20.0, 20.0, 20.0], [10.0, 6.0, 4.0]
    calm = policy.react(row, prospect(marginal_s=[0.1] * 3, service_per_s=rates, arrival_per_s=loads))
    assert calm == pytest.approx([1 / 3] * 3, abs=1e-3)
    slow = policy.react(row, prospect(marginal_s=[0.1] * 3, service_per_s=[20.0 / 3, 20.0, 20.0], arrival_per_s=loads))
    assert slow.sum() == pytest.approx(1)
    assert slow[0] < calm[0] / 2
    assert make_policy("dto-ee-static").react(row, prospect()) is row


@pytest.mark.slow
@pytest.mark.parametrize("report_every", [0.02, 60.0])
def test_old_knowledge_is_no_worse_than_none(report_every):
    """Fifty devices before two servers at 3/4 load: the cheapest queue by old reports would draw all of them."""
    servers, devices = {"s1": (1, 40.0), "s2": (1, 20.0)}, {f"d{i}": 0.9 for i in range(50)}
    delays_s = []
    for policy, parameters in (("dto-ee-static", {}), ("dto-ee", {"report_every": report_every})):
        world = World(servers, devices, policy=policy, parameters=parameters, seed=1, debug=False, link_s=broad)
        world.run(40.0)
        delays_s.append(world.mean_delay_s())
    plan_s, aware_s = delays_s
    assert aware_s < (1.03 if report_every > 1 else 0.95) * plan_s
