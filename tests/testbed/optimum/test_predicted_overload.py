"""Prediction of overload before a run."""

import pytest

from node_agent.models import load_bundle
from testbed.optimum.predicted_overload import predicted_overloads
from testbed.simulation.transfers import _simulated
from testbed.topology import load_topology

TEXT = """
name: lossy
model: {{name: glyphs, cut: [2, 3, 5], activation: float16}}
policy: computing-first
slot: 3 s
duration: 6 s
devices:
  cam: {{rate: 4 /s}}
servers:
  near: {{stage: 1, capacity: 0.4 GFLOP/s}}
  hub: {{stage: 2, capacity: 0.3 GFLOP/s}}
  core: {{stage: 3, capacity: 0.6 GFLOP/s}}
links:
  - {{from: cam, to: near, rate: 20 Mbit/s, delay: 5 ms, loss: {loss} %}}
  - {{from: near, to: hub, rate: 50 Mbit/s, delay: 20 ms, loss: {other} %}}
  - {{from: hub, to: core, rate: 50 Mbit/s, delay: 20 ms}}
"""


def overloads(folder, loss, other=0.0):
    topology = folder / "topology.yaml"
    topology.write_text(TEXT.format(loss=loss, other=other))
    scenario = load_topology(topology).resolve()
    return list(predicted_overloads(scenario, load_bundle(scenario.model.name)))


def bounded(folder, first, second, core="0.6"):
    """The sentences on two devices, `cam` and `eye`, with these rates and bounds; `near` serves 28 tasks/s."""
    text = TEXT.format(loss=0, other=0).replace("  cam: {rate: 4 /s}", f"  cam: {first}\n  eye: {second}")
    topology = folder / "topology.yaml"
    topology.write_text(text.replace("from: cam", "from: [cam, eye]").replace("0.6 GFLOP/s", f"{core} GFLOP/s"))
    scenario = load_topology(topology).resolve()
    return list(predicted_overloads(scenario, load_bundle(scenario.model.name)))


def test_where_all_devices_have_a_bound_they_refuse(tmp_path):
    (said,) = bounded(tmp_path, "{rate: 25 /s, delay_bound: 1 s}", "{rate: 25 /s, delay_bound: 1 s}")
    assert said.startswith("devices will refuse tasks: even if all of them leave at the first exit, the busiest")
    assert "179 % of the time" in said


def test_one_without_a_bound_that_fits_makes_no_pile(tmp_path):
    (said,) = bounded(tmp_path, "{rate: 4 /s}", "{rate: 46 /s, delay_bound: 1 s}")
    assert said.startswith("devices will refuse tasks: even if all")


def test_one_without_a_bound_that_does_not_fit_piles_up(tmp_path):
    (said,) = bounded(tmp_path, "{rate: 46 /s}", "{rate: 4 /s, delay_bound: 1 s}")
    assert said.startswith("tasks will pile up: even if all")


def test_at_the_threshold_it_is_the_same(tmp_path):
    (refused,) = bounded(tmp_path, "{rate: 4 /s}", "{rate: 23 /s, delay_bound: 1 s}", core="0.2")
    assert refused.startswith("devices will refuse tasks at a threshold of 0.8, where the busiest server")
    (piled,) = bounded(tmp_path, "{rate: 25 /s}", "{rate: 2 /s, delay_bound: 1 s}", core="0.2")
    assert piled.startswith("tasks will pile up at a threshold of 0.8, where the busiest server")
    assert bounded(tmp_path, "{rate: 4 /s}", "{rate: 4 /s, delay_bound: 1 s}") == []


@pytest.mark.parametrize("loss", [35, 40, 90])
def test_a_link_that_loses_nearly_everything_is_overloaded(tmp_path, loss):
    (said,) = overloads(tmp_path, loss)
    assert "tasks will pile up: even if all of them leave at the first exit" in said


def test_lossy_links_are_not_simulated_to_predict_overload(tmp_path):
    before = _simulated.cache_info().misses
    assert overloads(tmp_path, 2.3, 1.7) == []
    assert _simulated.cache_info().misses == before
