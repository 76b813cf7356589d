"""The simulator compared with queueing theory, and with an independent queueing simulator."""

import random

import numpy as np
import pytest

from node_agent.models import load_bundle
from tests.testbed.simulated import lines, plan, simulate

WORK_FLOP = load_bundle("glyphs").profiles((5,), "float32")[0].flop
# The links cost nothing: the server causes the whole delay.
ONE_QUEUE = """
name: queue
model: {{name: glyphs, cut: [5]}}
policy: uniform
slot: {duration} s
duration: {duration} s
warm_up: 20 s
seed: 5
devices: {{cam: {{count: 5, rate: {device_rate} /s}}}}
servers: {{only: {{stage: 1, capacity: {capacity} FLOP/s}}}}
links: [{{from: cam, to: only, rate: 100 Gbit/s, delay: 0 ms}}]
"""
SERVICE_PER_S = 100.0


def one_queue(load: float, tasks: int) -> str:
    rate = load * SERVICE_PER_S
    return ONE_QUEUE.format(duration=tasks / rate, device_rate=rate / 5, capacity=SERVICE_PER_S * WORK_FLOP)


@pytest.mark.parametrize(("load", "tasks"), [(0.3, 20_000), pytest.param(0.6, 60_000, marks=pytest.mark.slow)])
def test_steady_service_is_an_m_d_1_queue(tmp_path, load, tasks):
    outcome = simulate(tmp_path, one_queue(load, tasks))
    expected_s = (1 + load / (2 * (1 - load))) / SERVICE_PER_S
    assert outcome.summary["tasks"]["lost"] == 0
    assert outcome.summary["delay_s"]["mean"] == pytest.approx(expected_s, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("load", [0.3, 0.5])
def test_exponential_service_is_an_m_m_1_queue(tmp_path, load):
    chance = random.Random(11)
    outcome = simulate(tmp_path, one_queue(load, 80_000), lambda _, mean_s: chance.expovariate(1 / mean_s))
    expected_s = 1 / (SERVICE_PER_S * (1 - load))
    assert outcome.summary["delay_s"]["mean"] == pytest.approx(expected_s, rel=0.02)
    # The sojourn time in an M/M/1 queue is exponential itself.
    assert outcome.summary["delay_s"]["p95"] == pytest.approx(expected_s * np.log(20), rel=0.03)


@pytest.mark.slow
def test_a_link_is_a_queue_too(tmp_path):
    """1 KiB and its header over 1 Mbit/s: another M/D/1 queue, whose service is the transmission."""
    text = ONE_QUEUE.format(duration=800, device_rate=60, capacity=1e6 * WORK_FLOP).replace("count: 5", "count: 1")
    outcome = simulate(tmp_path, text.replace("100 Gbit/s, delay: 0 ms", "1 Mbit/s, delay: 3 ms"))
    tasks = lines(outcome, "tasks.jsonl")
    there_s = np.array([task["hops"][0]["received_s"] - task["created_s"] for task in tasks])
    shortest_s = there_s.min() - 0.003
    assert shortest_s == pytest.approx(1100 * 8e-6, rel=0.03)
    load = 60 * shortest_s
    assert there_s.mean() == pytest.approx(0.003 + shortest_s * (1 + load / (2 * (1 - load))), rel=0.02)


NETWORK = """
name: network
model: {name: glyphs, cut: [2, 3, 5]}
policy: {name: computing-first, parameters: {threshold: 0.8}}
slot: 1000 s
duration: 1500 s
warm_up: 30 s
seed: 3
devices: {cam: {count: 4, rate: 5 /s}}
servers:
  near-1: {stage: 1, capacity: 0.30 GFLOP/s}
  near-2: {stage: 1, capacity: 0.15 GFLOP/s}
  mid-1: {stage: 2, capacity: 0.17 GFLOP/s}
  mid-2: {stage: 2, capacity: 0.08 GFLOP/s}
  core-1: {stage: 3, capacity: 0.20 GFLOP/s}
  core-2: {stage: 3, capacity: 0.12 GFLOP/s}
links:
  - {from: cam, to: [near-1, near-2], rate: 100 Gbit/s, delay: 0 ms}
  - {from: [near-1, near-2], to: [mid-1, mid-2], rate: 100 Gbit/s, delay: 0 ms}
  - {from: [mid-1, mid-2], to: [core-1, core-2], rate: 100 Gbit/s, delay: 0 ms}
"""


@pytest.mark.slow
def test_a_network_behaves_as_another_simulator_says(tmp_path):
    """Six queues in three stages, the same rates, routing and exit probabilities, simulated by Ciw."""
    import ciw

    wanted = plan(tmp_path / "plan", NETWORK)
    scenario, cut = wanted.scenario, (2, 3, 5)
    flop = [profile.flop for profile in wanted.model.profiles(cut, "float32")]
    service_per_s = np.array([server.capacity_flop_per_s / flop[server.stage - 1] for server in scenario.servers])
    confidence = wanted.model.scores(cut).confidence
    goes_on = [np.mean(confidence[:, 0] < 0.8), np.mean(confidence[confidence[:, 0] < 0.8, 1] < 0.8)]
    # computing-first spreads by service rate.
    shares = [service_per_s[pair] / service_per_s[pair].sum() for pair in (slice(0, 2), slice(2, 4), slice(4, 6))]
    routing = np.zeros((6, 6))
    for stage, pair in ((0, slice(2, 4)), (1, slice(4, 6))):
        routing[2 * stage : 2 * stage + 2, pair] = goes_on[stage] * shares[stage + 1]

    ciw.seed(8)
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(20 * share) for share in shares[0]] + [None] * 4,
        service_distributions=[ciw.dists.Deterministic(1 / rate) for rate in service_per_s],
        number_of_servers=[1] * 6,
        routing=routing.tolist(),
    )
    rival = ciw.Simulation(network)
    rival.simulate_until_max_time(1500)
    began, ended = {}, {}
    for record in rival.get_all_records():
        began[record.id_number] = min(record.arrival_date, began.get(record.id_number, np.inf))
        ended[record.id_number] = max(record.exit_date, ended.get(record.id_number, 0))
    rival_s = np.mean([ended[number] - began[number] for number in began if began[number] > 30])

    outcome = simulate(tmp_path / "ours", NETWORK)
    ours = outcome.summary
    assert ours["tasks"]["lost"] == 0
    assert ours["exit_share"]["1"] == pytest.approx(1 - goes_on[0], abs=0.01)
    assert ours["exit_share"]["3"] == pytest.approx(goes_on[0] * goes_on[1], abs=0.01)
    assert ours["delay_s"]["mean"] == pytest.approx(rival_s, rel=0.03)
