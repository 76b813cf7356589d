"""Simulated runs held against their own model."""

from pathlib import Path

import numpy as np

from node_agent.models import load_bundle
from testbed.expectation import ExactWorld, PassedTask
from testbed.expectation.passage import decoder
from testbed.live.agent_configs import stated_costs
from testbed.record.reading import read_recorded
from testbed.run.node_configs import timeouts
from testbed.run.plan import Outcome


def world_of(run_directory: Path) -> ExactWorld:
    """The exact world of a recorded run."""
    scenario = read_recorded(run_directory).scenario()
    warm = stated_costs(load_bundle(scenario.model.name), scenario.model)
    return ExactWorld(scenario, warm.profiles, warm.input_forms, timeouts(scenario, warm.input_forms))


def tasks_of(outcome: Outcome) -> list[PassedTask]:
    """The tasks of a run, in the order of their number."""
    recorded = (outcome.run_directory / "tasks.jsonl").read_bytes().splitlines()
    return sorted((decoder.decode(line) for line in recorded), key=lambda task: task.id)


def delays_s(tasks: list[PassedTask]) -> np.ndarray:
    """Their delays, by number."""
    return np.array([task.completed_s - task.created_s for task in tasks])
