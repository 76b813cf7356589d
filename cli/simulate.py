"""`simulate`: run an experiment in virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.policy_help import PolicyCommand
from cli.run import common_options, finish, workload_options
from cli.shared_options import check_mode, model_options, override_options

if TYPE_CHECKING:
    from cli.watch import MonitorChoice
    from testbed.assertions import Assertion
    from testbed.run.plan import Plan
    from testbed.topology.overrides import Override


@click.command(name="simulate", cls=PolicyCommand, short_help="Run the same nodes in virtual time, without root.")
@click.argument("topology", type=click.Path(path_type=Path))
@workload_options
@model_options
@override_options
@common_options
def command(
    topology: Path,
    trace: Path | None,
    duration: float | None,
    seed: int | None,
    model: str | None,
    cut: tuple[int, ...] | None,
    criterion: str | None,
    overrides: tuple[Override, ...],
    policy: str | None,
    out: Path | None,
    monitor: MonitorChoice,
    debug: bool,
    with_optimum: bool,
    assertions: tuple[Assertion, ...],
    as_json: bool,
) -> int:
    """Simulate an experiment: the nodes of TOPOLOGY run their own code in virtual time; no root is needed.

    Answers of the sub-models come from a table that ships with the model. Links and servers follow the rates, delays
    and capacities of the topology exactly. The run directory has the same files as that of `run`. The same seed gives
    the same result. Ctrl-C ends the simulation early and keeps what was recorded.

    \b
    Examples:
      dtoee-testbed simulate topologies/quickstart.yaml
      dtoee-testbed simulate topologies/city.yaml --policy dto-ee:threshold=0.9
      dtoee-testbed simulate topologies/surge.yaml --duration "2 min" --optimum
    """
    check_mode(assertions, simulate=True)
    from dataclasses import replace

    from testbed.run.planning import plan_run

    plan = plan_run(
        topology, trace_path=trace, duration_s=duration, seed=seed, policy=policy, model=model, cut=cut,
        criterion=criterion, overrides=overrides, out=out,
    )  # fmt: skip
    plan = replace(plan, debug=debug, assertions=assertions)
    return carry_out(plan, monitor, with_optimum=with_optimum, as_json=as_json)


def carry_out(plan: Plan, monitor: MonitorChoice, *, with_optimum: bool, as_json: bool) -> int:
    """Simulate a plan under a monitor, print its summary and return the exit code."""
    from cli.watch import make_observer
    from testbed.simulation.simulator import Simulation

    with make_observer("plain" if monitor == "auto" else monitor) as observer:
        outcome = Simulation(plan, observer).run()
    return finish(outcome, with_optimum=with_optimum, as_json=as_json, assertions=plan.assertions)
