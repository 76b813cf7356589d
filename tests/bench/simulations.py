"""Single simulated runs, as many at a time as there are processors."""

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_run
from testbed.simulation.simulator import Simulation

Item = TypeVar("Item")
Found = TypeVar("Found")


class Ask(NamedTuple):
    """A run; None leaves what the topology says."""

    topology: Path
    policy: str | None = None
    seed: int | None = None
    oracle: bool = False  # offloaders know every queue as it is


def summary_of(ask: Ask) -> Mapping[str, Any]:
    """The summary of one simulated run. RuntimeError if it did not come to its end."""
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_run(ask.topology, policy=ask.policy, seed=ask.seed, out=Path(folder) / "run")
        outcome = Simulation(plan, SilentObserver(), oracle=ask.oracle).run()
    if outcome.exit_reason != "completed" or outcome.summary is None:
        raise RuntimeError(f"the simulation of {ask.topology} was {outcome.exit_reason}")
    return outcome.summary


def summaries_of(asks: Sequence[Ask]) -> list[Mapping[str, Any]]:
    """The results of all runs, in their order."""
    return spread(summary_of, asks)


def spread(work: Callable[[Item], Found], items: Sequence[Item]) -> list[Found]:
    """`work` of each item, in their order, as many at a time as there are processors."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=spawn) as pool:
        return list(pool.map(work, items))
