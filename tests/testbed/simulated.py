"""Whole simulated runs for tests: from a topology's text to the files of its run directory."""

import json
from dataclasses import replace
from pathlib import Path

from node_agent.models.interface import Model
from testbed.run.observer import SilentObserver
from testbed.run.plan import Outcome, Plan
from testbed.run.planning import plan_run
from testbed.simulation.processor import paced
from testbed.simulation.simulator import Simulation

QUICKSTART = Path(__file__).parents[2] / "topologies" / "quickstart.yaml"


def plan(folder: Path, text: str, model: Model | None = None, **options) -> Plan:
    """A plan of a topology's text, with its run directory inside `folder`; it checks itself after each event.

    `model` is by default that of the topology.
    """
    folder.mkdir(parents=True, exist_ok=True)
    topology = folder / "topology.yaml"
    topology.write_text(text)
    made = replace(plan_run(topology, out=folder / "run", **options), debug=True)
    return made if model is None else replace(made, model=model)


def simulate(folder: Path, text: str, service_time=paced, observer=None, **options) -> Outcome:
    """Simulate a topology's text; `service_time` is as in `Simulation`."""
    return Simulation(plan(folder, text, **options), observer or SilentObserver(), service_time=service_time).run()


def lines(outcome: Outcome, name: str) -> list[dict]:
    """The lines of one of a run's files."""
    return [json.loads(line) for line in (outcome.run_directory / name).read_text().splitlines()]
