"""Simulated runs compared with their own model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from node_agent.models.data_types import ActivationFormat
from node_agent.models.interface import Model
from testbed.expectation import ExactWorld, Findings, hold_against
from testbed.live.agent_configs import stated_costs
from testbed.record.reading import read_lines, read_recorded
from testbed.record.task_line import TaskLine
from testbed.run.node_configs import timeouts
from testbed.run.observer import SilentObserver
from testbed.run.plan import Outcome
from testbed.scenario import Scenario
from testbed.simulation.processor import paced
from testbed.simulation.simulator import Simulation
from tests.testbed.simulated import plan


def world_of(run_directory: Path, model: Model | None = None, **shape: Any) -> ExactWorld:
    """Return the exact world of a recorded run; `shape` replaces these properties of all links.

    `model` is by default that of the scenario.
    """
    scenario = read_recorded(run_directory).scenario()
    links = tuple(replace(link, shape=replace(link.shape, **shape)) for link in scenario.links)
    return exact_world(replace(scenario, links=links), model)


def exact_world(scenario: Scenario, model: Model | None = None) -> ExactWorld:
    """Return the exact world of a scenario; `model` is by default that of the scenario."""
    model = model or scenario.model.open()
    warm, patience = stated_costs(model, scenario.model), timeouts(scenario, model.input_forms(*_cut(scenario)))
    return ExactWorld(scenario, warm.profiles, warm.input_forms, patience, model.sample_costs(*_cut(scenario)))


def _cut(scenario: Scenario) -> tuple[tuple[int, ...], ActivationFormat]:
    return scenario.model.cut, scenario.model.activation


def tasks_of(outcome: Outcome) -> list[TaskLine]:
    """Return the tasks of a run, sorted by number."""
    return sorted(read_lines(outcome.run_directory / "tasks.jsonl", TaskLine), key=lambda task: task.id)


def delays_s(tasks: list[TaskLine]) -> np.ndarray:
    """Return the delays [s] of completed tasks, by number."""
    return np.array([task.completed_s - task.created_s for task in tasks if task.completed_s is not None])


def findings_of(
    folder: Path,
    text: str,
    *,
    service_time=paced,
    seed: int | None = None,
    hidden: str = "",
    model: Model | None = None,
) -> tuple[Outcome, Findings]:
    """Simulate a run, and compare it with its expectation, as after a live run.

    `hidden` is appended to the topology that is simulated; the expectation does not know it. `model` is by default that
    of the topology.
    """
    known = plan(folder / "known", text, seed=seed)
    simulation = Simulation(plan(folder, text + hidden, model, seed=seed), SilentObserver(), service_time=service_time)
    outcome = simulation.run()
    assert simulation._bookkeeping is not None
    out, repeats = outcome.run_directory, simulation._bookkeeping.repeats
    world = exact_world(known.scenario, model) if hidden else world_of(out, model)
    known.release()
    findings = hold_against(
        world, out / "tasks.jsonl", out / "decisions.jsonl", repeats=repeats, stalls=(), relayed=True
    )
    return outcome, findings
