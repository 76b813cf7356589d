"""The price of energy: a marginal cost of each hop, for rows, thresholds, exits and the choice for a task alike."""

import random
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from node_agent.core.config import HopPrice
from node_agent.core.offloading.neighbour import UNHEARD, Receiver
from node_agent.dtoee.receiver import Load, marginal_cost
from node_agent.dtoee.staged import Flows, Rows, StagedNetwork
from node_agent.policies import make_policy
from node_agent.policies.base import Candidate, KnownReceiver, Prospect
from node_agent.policies.exit_prices import price_now_s
from node_agent.wire import Report, decode, encode
from tests.node_agent.dtoee.network import random_network, random_rows

STEP = 1e-6


def random_energies(network: StagedNetwork, seed: int) -> tuple[np.ndarray, ...]:
    """The priced energy of a task on each hop, per tier (n, K) [s]."""
    dice = np.random.default_rng(seed)
    return tuple(dice.uniform(0, 0.2, tier.receivers.shape) for tier in network.tiers)


def cost_tasks(network: StagedNetwork, energies, flows: Flows) -> float:
    """The objective of all nodes for given thresholds: tasks in the network, and priced energy per second."""
    return network.cost_tasks(flows) + sum(
        float((energy_s * flow).sum()) for energy_s, flow in zip(energies, flows.link_per_s, strict=True)
    )


def prospects(network: StagedNetwork, energies, rows: Rows, flows: Flows) -> list[list[Prospect]]:
    """The knowledge of each node about its receivers, per tier, by the nodes' own recursion from the last stage."""
    found: list[list[Prospect]] = []
    reports: list[Report] = []
    for h in reversed(range(network.stages)):
        made = []
        for j, service in enumerate(network.service_per_s[h].tolist()):
            load = Load(
                float(flows.arrival_per_s[h][j]), service, float(network.variability[h][j]),
                float(flows.remaining[h][j]), float(network.return_s[h][j]),
            )  # fmt: skip
            ahead = (found[0][j].living(rows[h + 1][j])) if found else ((), None)
            cost = marginal_cost(load, network.overload, *ahead)
            made.append(msgspec.structs.replace(
                UNHEARD, marginal_s=cost.marginal_s, best_s=cost.best_s, local_s=cost.local_s, onward_s=cost.onward_s,
                curvature_s2=cost.curvature_s2, service_per_s=service,
            ))  # fmt: skip
        reports = made
        tier = network.tiers[h]
        found.insert(0, [
            Prospect(
                tuple(
                    KnownReceiver(f"{j}", True, reports[j], way_s, way_s, 0.0, 0.0, 0.0, energy_s)
                    for j, way_s, energy_s in zip(
                        receivers, tier.transfer_s[i].tolist(), energies[h][i].tolist(), strict=True
                    )
                ),
                False, float(flows.link_per_s[h][i].sum()),
            )
            for i, receivers in enumerate(tier.receivers.tolist())
        ])  # fmt: skip
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("load", [0.5, 0.9])
def test_the_price_is_the_gradient_of_delay_and_energy(seed, load):
    """A node's price of a receiver, times the flow that it divides, is the derivative by that entry of its row."""
    network, thresholds = random_network(seed, load=load, variability=0.4, sizes=(5, 3, 3, 2), returns=True)
    energies, rows = random_energies(network, seed), random_rows(network, seed)
    flows = network.flows(rows, thresholds)
    known = prospects(network, energies, rows, flows)
    for h, tier in enumerate(network.tiers):
        for i, k in np.ndindex(tier.receivers.shape):
            changed = []
            for sign in (1, -1):
                moved = [row.copy() for row in rows]
                moved[h][i, k] += sign * STEP
                changed.append(cost_tasks(network, energies, network.flows(tuple(moved), thresholds)))
            slope = (changed[0] - changed[1]) / (2 * STEP)
            leaving = flows.link_per_s[h][i].sum()
            assert leaving * known[h][i].delta_s[k] == pytest.approx(slope, rel=1e-4, abs=1e-6), (h, i, k)


def test_an_energy_is_a_cost_like_a_transfer_for_the_whole_network_at_once():
    """The bound adds it to the transfer times of the staged network."""
    network, thresholds = random_network(4, load=0.7, sizes=(5, 3, 2), returns=True, queued=True)
    energies, rows = random_energies(network, 4), random_rows(network, 4)
    tiers = tuple(
        replace(tier, transfer_s=tier.transfer_s + energy_s)
        for tier, energy_s in zip(network.tiers, energies, strict=True)
    )
    flows = network.flows(rows, thresholds)
    priced = replace(network, tiers=tiers)
    assert priced.cost_tasks(flows) == pytest.approx(cost_tasks(network, energies, flows))


def test_a_receiver_costs_its_bytes_and_its_service_at_the_speed_that_it_reports():
    slow = Receiver("a", price=HopPrice(0.01, 2.0), report=msgspec.structs.replace(UNHEARD, service_per_s=4.0))
    assert slow.energy_s == pytest.approx(0.01 + 2.0 / 4)
    slow.report = msgspec.structs.replace(slow.report, service_per_s=20.0)
    assert slow.energy_s == pytest.approx(0.01 + 2.0 / 20)
    assert Receiver("a").energy_s == 0.0


def test_all_prices_of_a_receiver_include_it():
    report = msgspec.structs.replace(UNHEARD, marginal_s=0.3, best_s=0.2, remaining_ratio=0.5, onward_energy_s=0.04)
    known = [KnownReceiver(name, True, report, 0.1, 0.1, 0.0, 0.0, 0.0, energy_s)
             for name, energy_s in (("a", 0.0), ("b", 0.2))]  # fmt: skip
    prospect, row = Prospect(tuple(known), False, 1.0), np.array([0.5, 0.5])
    assert prospect.delta_s.tolist() == pytest.approx([0.4, 0.6])
    assert prospect.mean_price_s(row) == pytest.approx(0.5)
    assert prospect.mean_energy_s(row) == pytest.approx(0.1 + 0.04)
    assert prospect.living(row)[1].best_s == pytest.approx((0.3, 0.5))
    onward = prospect.onward(row)
    assert onward.link_marginal_s.tolist() == pytest.approx([0.1, 0.3])
    assert onward.onward_energy_s.tolist() == pytest.approx([0.08, 0.08])  # of a task that goes on from there
    heavier = onward.weighing_energy(1.5)
    assert heavier.link_marginal_s.tolist() == pytest.approx([0.1, 0.4])
    assert (heavier.onward_s - onward.onward_s).tolist() == pytest.approx([0.04, 0.04])
    assert prospect.mean_delay_s(row) == pytest.approx(0.1 + 1.0)  # energy is no delay


THRIFTY = Candidate(
    share=0.5, link_s=0.01, backlog=0.0, service_per_s=10.0, onward_delay_s=0.0, work_s=0.0, age_s=0.01,
    link_marginal_s=0.01, arrival_per_s=5.0, onward_marginal_s=0.1,
)  # fmt: skip
HUNGRY = replace(THRIFTY, energy_s=0.3)


@pytest.mark.parametrize("policy", ["dto-ee", "dto-ee-2c"])
def test_a_task_goes_to_the_thrifty_one_of_two_that_are_equally_quick(policy):
    chosen = [make_policy(policy).pick((HUNGRY, THRIFTY), random.Random(seed)) for seed in range(20)]
    assert sum(chosen) >= (20 if policy == "dto-ee" else 10)  # both draws of 2c may fall on the first
    busy = replace(THRIFTY, work_s=1.0, backlog=10.0)
    assert make_policy("dto-ee").pick((HUNGRY, busy), random.Random(1)) == 0


def test_energy_counts_whole_beside_the_task_s_own_delay():
    assert HUNGRY.price_s - THRIFTY.price_s == pytest.approx(0.3)
    assert price_now_s(HUNGRY) - price_now_s(THRIFTY) == pytest.approx(0.3)
    beyond = replace(THRIFTY, onward_energy_s=0.2, onward_marginal_s=0.3)
    assert beyond.own_cost_s - THRIFTY.own_cost_s == pytest.approx(0.2)
    assert beyond.price_s - THRIFTY.price_s == pytest.approx(0.2)


def test_reports_of_runs_without_a_price_are_as_long_as_before():
    bare, aware = UNHEARD, msgspec.structs.replace(UNHEARD, onward_energy_s=0.25)
    assert b"onward_energy_s" not in encode(bare)[0]
    assert (decode(encode(bare))[0].beyond_energy_s, decode(encode(aware))[0].beyond_energy_s) == (0.0, 0.25)
