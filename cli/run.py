"""`run`: an experiment from a topology file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.quantity import seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from cli.watch import MonitorChoice
    from testbed.experiment import Plan
    from testbed.network.emulated import BackendChoice

_PATH = click.Path(path_type=Path)


def run_options(function: Callable[..., int]) -> Callable[..., int]:
    """Options that `run` and `replay` share."""
    options = [
        click.option("--policy", metavar="NAME", help="Offloading policy.  [default: the topology's]"),
        click.option("--out", type=_PATH, metavar="DIR", help="Run directory.  [default: a new one under runs/]"),
        click.option(
            "--monitor", type=click.Choice(["auto", "rich", "plain", "off"]), default="auto", show_default=True,
            help="How to watch: live view, plain lines, or not at all.",
        ),
        click.option(
            "--backend", type=click.Choice(["auto", "netem", "userspace"]), default="auto", show_default=True,
            help="What delays frames.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@click.command(name="run", short_help="Run an experiment from a topology file.")
@click.argument("topology", type=_PATH)
@click.option("--trace", type=_PATH, metavar="FILE", help="Workload trace.  [default: drawn from rates and seed]")
@click.option("--duration", metavar="TIME", callback=seconds, help="How long tasks arrive.  [default: the topology's]")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Random seed.  [default: the topology's]")
@run_options
def command(
    topology: Path,
    trace: Path | None,
    duration: float | None,
    seed: int | None,
    policy: str | None,
    out: Path | None,
    monitor: MonitorChoice,
    backend: BackendChoice,
    as_json: bool,
) -> int:
    """Run an experiment: build the network of TOPOLOGY, start an agent per node, replay a workload.

    Ctrl-C ends the run early and keeps what was recorded.
    """
    from testbed.experiment import require_root
    from testbed.planning import plan_run

    require_root()
    plan = plan_run(
        topology, trace_path=trace, duration_s=duration, seed=seed, policy=policy, out=out, backend=backend
    )
    return carry_out(plan, monitor, as_json=as_json)


def carry_out(plan: Plan, monitor: MonitorChoice, *, as_json: bool) -> int:
    """Run a plan under a monitor and print its summary; returns the exit code."""
    import json

    from cli.closing import print_summary
    from cli.watch import make_observer
    from testbed.experiment import Experiment

    with make_observer(monitor) as observer:
        outcome = Experiment(plan, observer).run()
    if outcome.summary is not None:
        if as_json:
            click.echo(json.dumps({**outcome.summary, "run_directory": str(outcome.run_directory)}, indent=2))
        else:
            print_summary(outcome.summary, outcome.run_directory)
    if outcome.exit_reason == "interrupted":
        click.echo(f"interrupted; what was recorded is in {outcome.run_directory}", err=True)
        return 130
    return 0
