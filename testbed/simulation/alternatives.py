"""Simulations of one topology with other activation formats and exit criteria."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from node_agent.errors import TestbedError
from node_agent.models.data_types import ActivationFormat
from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_run
from testbed.simulation.simulator import Simulation


def mean_delays(
    topology: Path, model: str, cut: Sequence[int], choices: Sequence[tuple[ActivationFormat, str]]
) -> list[dict[str, Any]]:
    """Simulate a topology for each choice of activation format and exit criterion; nothing is kept.

    Formats change the sizes of messages. The answers are those with float32 in every simulation.

    Returns:
        For each choice: activation, criterion, mean_delay_s, p95_delay_s, accuracy (0..1), exit_share (by stage),
        offered and refused (numbers of tasks), goodput (0..1).

    Raises:
        InputError: the topology cannot be used with this model and cut.
        TestbedError: a simulation did not come to its end.
    """
    rows = []
    for activation, criterion in choices:
        plan = plan_run(topology, model=model, cut=cut, criterion=criterion, make_directory=False)
        scenario = replace(plan.scenario, model=replace(plan.scenario.model, activation=activation))
        with TemporaryDirectory() as folder:
            outcome = Simulation(replace(plan, scenario=scenario, run_directory=Path(folder)), SilentObserver()).run()
        summary = outcome.summary
        if summary is None or outcome.exit_reason != "completed":
            raise TestbedError(f"the simulation of {topology} ended early: {outcome.exit_reason}")
        delay: Any = summary["delay_s"]
        share: Any = summary["exit_share"]
        tasks: Any = summary["tasks"]
        rows.append(
            {
                "activation": activation,
                "criterion": criterion,
                "mean_delay_s": delay["mean"],
                "p95_delay_s": delay["p95"],
                "accuracy": summary["accuracy"],
                "exit_share": list(share.values()),
                "offered": tasks["offered"],
                "refused": tasks["refused"],
                "goodput": summary["goodput"],
            }
        )
    return rows
