"""`sweep`: run policies at every point of a grid or sample of values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.many_runs import become_root, check_usage, listed_policies, policies_option, repeats_option, run_options
from cli.policy_help import PolicyCommand
from cli.shared_options import plain_override_options

if TYPE_CHECKING:
    from testbed.cells.cluster.choice import ClusterChoice
    from testbed.network.emulated import BackendChoice
    from testbed.sweep import Sweep
    from testbed.topology.overrides import Override

_PATH = click.Path(path_type=Path)


@click.command(name="sweep", cls=PolicyCommand, short_help="Run policies over a grid or sample of values.")
@click.argument("topology", type=_PATH)
@click.option(
    "--set",
    "values",
    multiple=True,
    required=True,
    metavar="KEY=V1,V2,...",
    help="A key of the topology and its values; may be given more than once, for all combinations. See above.",
)
@click.option(
    "--sample",
    type=click.IntRange(min=2),
    metavar="N",
    help="Draw N points as a Latin hypercube (drawn by the seed) instead of all combinations; lo..hi is then an "
    "interval.",
)
@policies_option("  [default: the topology's]", required=False)
@repeats_option("Number of workloads; every policy runs each at every point.")
@run_options(plain_override_options)
@click.option(
    "--include-unheld",
    is_flag=True,
    help="Also count live runs whose emulation did not hold (places with such runs are marked *).",
)
@click.option(
    "--plot",
    "plots",
    multiple=True,
    metavar="[KEY:]FIGURE",
    help="A picture to draw: a figure (mean, p95, accuracy, goodput, utility, lost, ...) against a key.  "
    "[default: mean and accuracy against the first key]",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print the content of sweep.json instead of a table; times in seconds."
)
def command(
    topology: Path, values: tuple[str, ...], sample: int | None, lists: tuple[str, ...], repeats: int, simulate: bool,
    duration: float | None, seed: int | None, model: str | None, cut: tuple[int, ...] | None, criterion: str | None,
    overrides: tuple[Override, ...], out: Path | None, jobs: int | None, cluster: ClusterChoice | None,
    backend: BackendChoice, require_fidelity: bool, include_unheld: bool, plots: tuple[str, ...], as_json: bool,
) -> int:  # fmt: skip
    """Run policies on TOPOLOGY at every point of a grid of values; draw figures against them.

    KEY follows the file, with dots: theta, slot, servers.near-1.capacity, devices.*.rate, links.west:near-1.delay,
    model.cut. load multiplies the tasks that all devices offer, and policy.threshold is a parameter of the policies;
    one without it runs unchanged.

    Values are YAML; commas outside brackets separate them. xFACTOR multiplies the topology's value. lo..hi:n is a grid
    of n values; lo..hi alone is the topology's own range, drawn by the seed.

    Repeat r (from 0) has seed + r at every point and for every policy. A run that fails does not end the sweep; the
    exit code is then 1. Ctrl-C keeps the complete runs. The same command with --out DIR runs only what is missing or
    failed, and may have more values or seeds.

    \b
    Examples:
      dtoee-testbed sweep topologies/quickstart.yaml --set load=x0.5..x1.5:5 -p dto-ee,ngto,uniform --simulate
      dtoee-testbed sweep topologies/quickstart.yaml --set theta=1s,3s --set 'model.cut=[2,3,5],[2,4,5]' --simulate
      dtoee-testbed sweep topologies/city.yaml --set load=x0.5..x1.2 --set theta=0.5..4s --sample 20 --simulate
    """
    check_usage(simulate=simulate, jobs=jobs)
    become_root(simulate=simulate, cluster=cluster)
    from cli.printing.many.progress_lines import comparing
    from testbed.sweep import sweep

    _check_usage(values, plots)
    with comparing() as progress:
        result = sweep(
            topology, values, listed_policies(lists), repeats=repeats,
            sample_points=sample, simulate=simulate, duration_s=duration, seed=seed, model=model, cut=cut,
            criterion=criterion, out=out, jobs=jobs, backend=backend, observer=progress,
            include_unheld=include_unheld, overrides=overrides, plots=plots, cluster=cluster,
        )  # fmt: skip
    return _finish(result, as_json=as_json, require_fidelity=require_fidelity)


def _finish(result: Sweep, *, as_json: bool, require_fidelity: bool) -> int:
    """Print a sweep and return the exit code. Raises EmulationBroken for runs that did not hold, if that is asked."""
    import json

    from cli.printing.many.comparison_lines import refuse_broken_runs
    from cli.printing.many.sweep_lines import print_failures, print_sweep
    from testbed.sweep import as_json as content_of

    if as_json:
        click.echo(json.dumps(content_of(result), indent=2))
    else:
        print_sweep(result)
    print_failures(result)
    if require_fidelity:
        refuse_broken_runs([row.run for row in result.rows])
    return 1 if result.failed else 0


def _check_usage(values: tuple[str, ...], plots: tuple[str, ...]) -> None:
    """Raise UsageError if the text of an option cannot be read, whatever the topology says."""
    from node_agent.errors import InputError
    from testbed.sweep.sweep_picture import parse_plot
    from testbed.sweep.sweeping import read_axes

    try:
        axes = read_axes(values)
        for text in plots:
            parse_plot(text, axes)
    except InputError as error:
        raise click.UsageError(f"{error} ({error.hint})") from None
