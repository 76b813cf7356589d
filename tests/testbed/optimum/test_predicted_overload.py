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


@pytest.mark.parametrize("loss", [35, 40, 90])
def test_a_link_that_loses_nearly_everything_is_overloaded(tmp_path, loss):
    (said,) = overloads(tmp_path, loss)
    assert "tasks will pile up: even if all of them leave at the first exit" in said


def test_lossy_links_are_not_simulated_to_predict_overload(tmp_path):
    before = _simulated.cache_info().misses
    assert overloads(tmp_path, 2.3, 1.7) == []
    assert _simulated.cache_info().misses == before
