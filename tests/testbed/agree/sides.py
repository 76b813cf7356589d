"""Two simulated runs in place of a live and a simulated one, in the directories of an agreement."""

import json
from pathlib import Path

from testbed.agree.repeats import sides_of
from testbed.cells.cell import Cell, RunSettings
from testbed.cells.policy_specs import PolicySpec
from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_run
from testbed.simulation.processor import paced
from testbed.simulation.simulator import Simulation
from tests.testbed import small

# A policy by which tasks take the same ways, however fast servers are measured.
UNIFORM = small.SMALL.replace("policy: dto-ee", "policy: uniform").replace("duration: 8 s", "duration: 24 s")


def slower(factor):
    """A service time under which near-1 takes `factor` times as long."""
    return lambda server, paced_s: factor * paced_s if server == "near-1" else paced_s


def make_repeat(folder: Path, text: str, *, seed=1, live=paced, simulated=paced, verdict="held", **options):
    """Simulate both sides of a repeat below `folder`; return the cell, and the plan of one side."""
    folder.mkdir(parents=True, exist_ok=True)
    topology = folder / "topology.yaml"
    topology.write_text(text)
    settings = RunSettings(topology, "", 8.0, simulate=False, backend="auto")
    cell = Cell(PolicySpec("", "x", None, "x", "x"), 0, seed, folder / f"seed-{seed}", settings)
    for side, service_time in zip(sides_of(cell), (live, simulated), strict=True):
        plan = plan_run(topology, out=side.path, seed=seed, **options)
        Simulation(plan, SilentObserver(), service_time=service_time).run()
    summary = sides_of(cell)[0].path / "summary.json"
    content = json.loads(summary.read_text())
    content["fidelity"] = {"verdict": verdict, "reasons": [] if verdict == "held" else ["it was late"]}
    summary.write_text(json.dumps(content))
    return cell, plan
