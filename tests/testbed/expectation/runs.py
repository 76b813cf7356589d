"""Simulated runs held against their own model."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from node_agent.models import load_bundle
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


def world_of(run_directory: Path, **shape: float) -> ExactWorld:
    """The exact world of a recorded run; with `shape`, of one whose links are different in that."""
    scenario = read_recorded(run_directory).scenario()
    links = tuple(replace(link, shape=replace(link.shape, **shape)) for link in scenario.links)
    return exact_world(replace(scenario, links=links))


def exact_world(scenario: Scenario) -> ExactWorld:
    """The exact world of a scenario."""
    warm = stated_costs(load_bundle(scenario.model.name), scenario.model)
    return ExactWorld(scenario, warm.profiles, warm.input_forms, timeouts(scenario, warm.input_forms))


def tasks_of(outcome: Outcome) -> list[TaskLine]:
    """The tasks of a run, in the order of their number."""
    return sorted(read_lines(outcome.run_directory / "tasks.jsonl", TaskLine), key=lambda task: task.id)


def delays_s(tasks: list[TaskLine]) -> np.ndarray:
    """Their delays, by number."""
    return np.array([task.completed_s - task.created_s for task in tasks])


def findings_of(
    folder: Path, text: str, *, service_time=paced, seed: int | None = None, hidden: str = ""
) -> tuple[Outcome, Findings]:
    """A simulated run, and what holding it against its expectation gave, as after a live run.

    `hidden` is appended to the topology that is simulated: its expectation does not know of it.
    """
    known = plan(folder / "known", text, seed=seed)
    simulation = Simulation(plan(folder, text + hidden, seed=seed), SilentObserver(), service_time=service_time)
    outcome = simulation.run()
    out, repeats = outcome.run_directory, simulation._bookkeeping.repeats
    world = exact_world(known.scenario) if hidden else world_of(out)
    known.release()
    findings = hold_against(
        world, out / "tasks.jsonl", out / "decisions.jsonl", repeats=repeats, stalls=(), relayed=True
    )
    return outcome, findings
