"""Simulated runs held against their own model."""

from pathlib import Path

import numpy as np

from node_agent.models import load_bundle
from testbed.expectation import ExactWorld
from testbed.live.agent_configs import stated_costs
from testbed.record.reading import read_lines, read_recorded
from testbed.record.task_line import TaskLine
from testbed.run.node_configs import timeouts
from testbed.run.plan import Outcome


def world_of(run_directory: Path) -> ExactWorld:
    """The exact world of a recorded run."""
    scenario = read_recorded(run_directory).scenario()
    warm = stated_costs(load_bundle(scenario.model.name), scenario.model)
    return ExactWorld(scenario, warm.profiles, warm.input_forms, timeouts(scenario, warm.input_forms))


def tasks_of(outcome: Outcome) -> list[TaskLine]:
    """The tasks of a run, in the order of their number."""
    return sorted(read_lines(outcome.run_directory / "tasks.jsonl", TaskLine), key=lambda task: task.id)


def delays_s(tasks: list[TaskLine]) -> np.ndarray:
    """Their delays, by number."""
    return np.array([task.completed_s - task.created_s for task in tasks])
