"""The priced energy of a task on a hop, and what the price does to a network."""

import pytest

from node_agent.core.config import HopPrice
from node_agent.models import load_bundle
from testbed.energy.hop_energy import HopEnergies, hop_prices
from testbed.sizes import task_bytes
from testbed.topology import load_topology_text
from tests.testbed.energy.networks import CHAIN, TWO
from tests.testbed.simulated import simulate

PROFILES = load_bundle("glyphs").profiles((3, 5), "float16")


def priced(price: str) -> str:
    return TWO.replace("energy_price: 0 s/J", f"energy_price: {price}")


def test_a_hop_costs_its_bytes_and_its_service():
    energies = HopEnergies(load_topology_text(TWO).resolve(), PROFILES)
    hop = energies.of("cam-1", "quick")
    assert hop.link_j == pytest.approx(500e-9 * task_bytes(1, PROFILES[0].input_bytes))
    assert hop.of_task_j(40.0) == pytest.approx(hop.link_j + 50 / 40)


def test_the_price_makes_seconds_of_joules():
    prices = hop_prices(load_topology_text(priced("0.1 s/J")).resolve(), PROFILES)
    link_s = 0.1 * 50e-9 * task_bytes(2, PROFILES[1].input_bytes)
    assert prices["quick"] == prices["thrifty"] == {"core": HopPrice(pytest.approx(link_s), pytest.approx(4.0))}
    assert prices["cam-3"]["thrifty"].computing == pytest.approx(0.4)
    assert hop_prices(load_topology_text(TWO).resolve(), PROFILES) == {}


def test_an_own_processor_costs_what_computing_adds_and_no_bytes():
    text = CHAIN.replace("policy: dto-ee", "policy: dto-ee\nenergy_price: 1 s/J")
    profiles = load_bundle("glyphs").profiles((2, 3, 5), "float16")
    prices = hop_prices(load_topology_text(text).resolve(), profiles)
    assert prices["cam-1"]["cam-cpu-1"] == HopPrice(0.0, pytest.approx(0.8))
    assert prices["cam-1"]["post"].link_s > 0


def shares(outcome) -> tuple[float, float]:
    """Time in service of the thrifty server over that of both of stage 1, and that of the core [s]."""
    nodes = outcome.summary["energy"]["nodes"]
    quick_s, thrifty_s = nodes["quick"]["busy_s"], nodes["thrifty"]["busy_s"]
    return thrifty_s / (quick_s + thrifty_s), nodes["core"]["busy_s"]


@pytest.mark.parametrize("policy", ["dto-ee", "dto-ee-static", "dto-ee-2c"])
def test_a_higher_price_moves_tasks_to_the_thrifty_server_and_makes_them_leave_earlier(tmp_path, policy):
    found = [
        simulate(tmp_path / f"{number}", priced(price).replace("policy: dto-ee", f"policy: {policy}"))
        for number, price in enumerate(("0 s/J", "10 ms/J", "0.5 s/J"))
    ]
    thrifty, core = zip(*map(shares, found), strict=True)
    assert thrifty[0] < 0.3
    assert thrifty[0] < thrifty[1] < thrifty[2]
    assert thrifty[2] > 0.95
    assert core[2] < 0.3 * core[0]
    per_task_j = [each.summary["energy"]["per_task_j"] for each in found]
    assert per_task_j[0] > per_task_j[1] > per_task_j[2]


@pytest.mark.parametrize("policy", ["dto-ee", "dto-ee-static"])
def test_the_utility_with_the_term_is_higher_for_nodes_that_price_it(tmp_path, policy):
    gains = []
    for seed in (1, 2, 3):
        found = []
        for price in ("0 s/J", "0.1 s/J"):
            text = priced(price).replace("policy: dto-ee", f"policy: {policy}")
            found.append(simulate(tmp_path / f"{seed} {price[:3]}", text, seed=seed).summary)
        bare, aware = found
        assert aware["energy"]["price_s_per_j"] == 0.1
        mean_s = aware["delay_s"]["mean"]
        assert aware["utility"] == pytest.approx(2 * aware["accuracy"] - mean_s - 0.1 * aware["energy"]["per_task_j"])
        gains.append(aware["utility"] - (bare["utility"] - 0.1 * bare["energy"]["per_task_j"]))
    assert min(gains) > 0.05
