"""Runs of samples that differ in work and size, compared with the model's own costs and with queueing theory."""

import numpy as np
import pytest

from testbed.optimum.flow_model import flow_model
from testbed.record.run_directory import read_manifest
from testbed.sizes import largest_task_bytes, task_bytes
from tests.testbed import small
from tests.testbed.simulated import lines, plan, simulate
from tests.testbed.varying import VaryingGlyphs

SERVICE_PER_S, LOAD, TASKS = 100.0, 0.5, 20_000
ONE_QUEUE = """
name: queue
model: {{name: glyphs, cut: [5]}}
policy: uniform
slot: {duration} s
duration: {duration} s
warm_up: 20 s
seed: 5
devices: {{cam: {{rate: {rate} /s}}}}
servers: {{only: {{stage: 1, capacity: {capacity} FLOP/s}}}}
links: [{{from: cam, to: only, rate: 100 Gbit/s, delay: 0 ms}}]
"""


@pytest.fixture(scope="module")
def model():
    return VaryingGlyphs()


def test_samples_state_the_work_of_the_tasks_that_were_served(tmp_path, model):
    outcome = simulate(tmp_path, small.SMALL, model=model)
    costs = model.sample_costs((3, 5), "float32").flop
    wanted = {"near-1": 0.0, "near-2": 0.0, "core": 0.0}
    for task in lines(outcome, "tasks.jsonl"):
        for stage, hop in enumerate(task["hops"]):
            wanted[hop["node"]] += costs[task["sample"], stage]
    stated = dict.fromkeys(wanted, 0.0)
    for sample in lines(outcome, "timeseries.jsonl"):
        if sample["node"] in stated:
            stated[sample["node"]] += sample["work_flop"]
        else:
            assert sample["work_flop"] == 0
    assert min(wanted.values()) > 0
    assert stated == pytest.approx(wanted)


def test_the_manifest_states_means(tmp_path, model):
    outcome = simulate(tmp_path, small.SMALL, model=model)
    profiles, costs = model.profiles((3, 5), "float32"), model.sample_costs((3, 5), "float32")
    stated = read_manifest(outcome.run_directory)["sub_models"]
    assert [stage["flop"] for stage in stated] == [profile.flop for profile in profiles]
    assert [stage["flop"] for stage in stated] == pytest.approx(costs.flop.mean(axis=0))
    assert [stage["input_bytes"] for stage in stated] == pytest.approx(costs.length.mean(axis=0) * (2, 64), rel=1e-3)


def test_the_largest_task_decides_about_the_range_of_validated_links(tmp_path):
    """Texts of 1,200 tokens are short enough; activations of 1,200 rows of 64 bytes are not, though their mean is."""
    model, lossy = VaryingGlyphs(), small.SMALL.replace("ms}", "ms, loss: 1 %}")
    told = simulate(tmp_path, lossy, model=model).summary["fidelity"]["links_outside_validation"]
    assert told == ["messages of 75 KiB"]
    assert largest_task_bytes(model.input_forms((3, 5), "float32")) == task_bytes(2, 1200 * 64)


def one_queue(folder, model):
    """Return the plan of one queue at LOAD with Poisson arrivals."""
    (profile,) = model.profiles((5,), "float32")
    rate = LOAD * SERVICE_PER_S
    text = ONE_QUEUE.format(duration=TASKS / rate, rate=rate, capacity=SERVICE_PER_S * profile.flop)
    return plan(folder, text, model), text, profile


def test_one_server_is_an_m_g_1_queue(tmp_path, model):
    """Simulation and flow model agree with Pollaczek and Khinchine: E[T] = s (1 + load (1 + v) / (2 (1 - load)))."""
    planned, text, profile = one_queue(tmp_path / "plan", model)
    assert profile.variability > 0.25
    expected_s = (1 + LOAD * (1 + profile.variability) / (2 * (1 - LOAD))) / SERVICE_PER_S
    network = flow_model(planned.scenario, [profile], model.exit_table((5,))).network
    flows = network.flows((np.ones((1, 1)),), ())
    assert network.mean_delay_s(flows) == pytest.approx(expected_s + network.tiers[0].transfer_s[0, 0], rel=1e-6)
    outcome = simulate(tmp_path / "run", text, model=model)
    assert outcome.summary["tasks"]["lost"] == 0
    assert outcome.summary["delay_s"]["mean"] == pytest.approx(expected_s, rel=0.02)
    steady_s = (1 + LOAD / (2 * (1 - LOAD))) / SERVICE_PER_S
    assert expected_s > 1.08 * steady_s, "constant work would be told apart"
