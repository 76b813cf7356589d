"""A live run and a simulation of it count the same energy, and find the same battery empty at the same time."""

import json
from pathlib import Path

import pytest

from node_agent.records import DEVICE_DOWN
from testbed.live.experiment import Experiment
from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_run
from testbed.simulation.simulator import Simulation

pytestmark = [pytest.mark.root, pytest.mark.company, pytest.mark.usefixtures("leaves_nothing")]

TEXT = """
name: powered
model: {name: glyphs, cut: [2, 5], activation: float16}
policy: {name: fixed-threshold, parameters: {threshold: 0.8}}
slot: 3 s
duration: 12 s
warm_up: 1 s
seed: 5
devices:
  cam: {count: 2, rate: 4 /s, power: {idle: 1 W}, battery: 40 J}
  bell: {rate: 4 /s, runs: 1, capacity: 0.1 GFLOP/s, power: {idle: 0.5 W, busy: 1.5 W}, battery: 7.5 J}
servers:
  near: {stage: 1, capacity: 0.4 GFLOP/s, power: {idle: 2 W, busy: 6 W}}
  core: {stage: 2, capacity: 0.6 GFLOP/s, power: {idle: 4 W, busy: 9 W}}
switches: [access]
links:
  - {from: [cam, bell], to: access, rate: 20 Mbit/s, delay: 5 ms, energy: lte}
  - {from: access, to: [near, core], rate: 50 Mbit/s, delay: 1 ms, energy: {up: 1 W, down: 100 nJ/byte}}
  - {from: near, to: core, rate: 50 Mbit/s, delay: 2 ms, energy: 50 nJ/byte}
offload: {bell: [core]}
"""


def lines(folder: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def emptied(folder: Path) -> dict[str, float]:
    return {e["node"]: e["time_s"] for e in lines(folder, "events.jsonl") if e["kind"] == "battery-empty"}


def test_live_and_simulated_energy_agree(tmp_path):
    topology = tmp_path / "topology.yaml"
    topology.write_text(TEXT)
    live = Experiment(plan_run(topology, out=tmp_path / "live"), SilentObserver()).run()
    simulated = Simulation(plan_run(topology, out=tmp_path / "simulated"), SilentObserver()).run()
    found, expected = live.summary["energy"], simulated.summary["energy"]

    (at_s,), (expected_s,) = (emptied(run.run_directory).values() for run in (live, simulated))
    assert emptied(live.run_directory).keys() == {"bell"}
    assert at_s == pytest.approx(expected_s, abs=0.7)
    assert found["batteries"]["bell"] == {"capacity_j": 7.5, "left_j": 0.0, "empty_s": at_s}
    late = [task for task in lines(live.run_directory, "tasks.jsonl")
            if task["device"] == "bell" and task["created_s"] > at_s]  # fmt: skip
    assert late
    assert all((task["status"], task["reason"]) == ("lost", DEVICE_DOWN) for task in late)

    for name in ("cam-1", "cam-2", "near", "core"):
        assert found["nodes"][name]["idle_j"] == pytest.approx(expected["nodes"][name]["idle_j"], rel=1e-6), name
    for part in ("idle_j", "computing_j", "transfer_j", "total_j"):
        assert found[part] == pytest.approx(expected[part], rel=0.1), part
    assert found["per_task_j"] == pytest.approx(expected["per_task_j"], rel=0.1)

    last = {line["node"]: line["energy_j"] for line in lines(live.run_directory, "energy.jsonl")}
    totals = {name: node["total_j"] for name, node in found["nodes"].items()} | found["links"]
    assert last == pytest.approx(totals)
