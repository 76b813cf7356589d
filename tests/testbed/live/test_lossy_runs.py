"""Whole runs over links that lose and jitter frames: their verdicts, and simulation and bound side by side."""

import json
from dataclasses import replace

import pytest

from cli.optimum import optimum_lines
from cli.printing.summary_lines import render_summary
from node_agent.models import load_bundle
from testbed.optimum.bound import bound_for
from testbed.topology import load_topology
from tests.testbed import simulated

TEXT = """
name: {name}
model: {{name: glyphs, cut: [2, 3, 5], activation: float16}}
policy: computing-first
slot: 3 s
duration: {duration}
devices:
  cam: {{rate: 4 /s}}
servers:
  near: {{stage: 1, capacity: 0.4 GFLOP/s}}
  hub: {{stage: 2, capacity: 0.3 GFLOP/s}}
  core: {{stage: 3, capacity: 0.6 GFLOP/s}}
links:
  - {{from: cam, to: near, rate: 20 Mbit/s, delay: 5 ms}}
  - {{from: near, to: hub, rate: 50 Mbit/s, delay: 20 ms, {what}}}
  - {{from: hub, to: core, rate: 50 Mbit/s, delay: 20 ms, {what}}}
"""


def text(what, *, duration="30 s"):
    return TEXT.format(name="troubled", what=what, duration=duration)


def summary_of(folder, what, **options):
    return simulated.simulate(folder, text(what, **options)).summary


def test_a_simulation_beyond_the_validated_range_says_so(tmp_path):
    within = summary_of(tmp_path / "within", "loss: 3 %, jitter: 2 ms", duration="5 s")
    assert within["fidelity"]["links_outside_validation"] == []
    assert "not validated" not in render_summary(within, tmp_path)
    beyond = summary_of(tmp_path / "beyond", "loss: 8 %", duration="5 s")
    assert beyond["fidelity"]["links_outside_validation"] == ["loss 8 % (near - hub)"]
    assert "not validated against live runs for these links: loss 8 % (near - hub)" in render_summary(beyond, tmp_path)
    kept = json.loads((tmp_path / "beyond" / "run" / "summary.json").read_text())
    assert kept["fidelity"]["links_outside_validation"] == ["loss 8 % (near - hub)"]


def test_so_does_the_bound(tmp_path):
    topology = tmp_path / "topology.yaml"
    topology.write_text(text("jitter: 20 ms", duration="5 s"))
    scenario = load_topology(topology).resolve()
    found = bound_for(scenario, load_bundle(scenario.model.name))
    assert found.links_outside_validation == ("jitter 20 ms (near - hub)",)
    assert found.as_dict()["links_outside_validation"] == ["jitter 20 ms (near - hub)"]
    assert ("", "not validated against live runs for these links: jitter 20 ms (near - hub)") in optimum_lines(found)
    assert not any("not validated" in line for _, line in optimum_lines(replace(found, links_outside_validation=())))


@pytest.mark.parametrize("what", ["loss: 2 %", "jitter: 5 ms"])
def test_the_plans_played_agree_with_a_simulation_of_the_same_plan(tmp_path, what):
    """Every task has a single way and the threshold is fixed, so plan and policy do the same."""
    topology = tmp_path / "topology.yaml"
    topology.write_text(text(what, duration="120 s").replace("computing-first", "computing-first:threshold=0.8"))
    scenario = load_topology(topology).resolve()
    played = bound_for(scenario, load_bundle(scenario.model.name), thresholds=[0.8]).played
    run = simulated.simulate(tmp_path / "run", topology.read_text(), seed=scenario.seed).summary
    assert played is not None
    assert played.mean_delay_s == pytest.approx(run["delay_s"]["mean"], rel=0.06)
