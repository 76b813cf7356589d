"""`frontier`: accuracy against delay, by policy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.many_runs import become_root, check_usage, listed_policies, policies_option, repeats_option, run_options
from cli.policy_help import PolicyCommand
from cli.quantity import seconds

if TYPE_CHECKING:
    from testbed.cells.cluster.choice import ClusterChoice
    from testbed.network.emulated import BackendChoice
    from testbed.topology.overrides import Override

_PATH = click.Path(path_type=Path)


def _listed(
    read: Callable[[click.Context, click.Parameter, str], float | None],
) -> Callable[[click.Context, click.Parameter, str | None], tuple[float, ...] | None]:
    """A callback that reads values separated by commas with `read`."""

    def callback(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, ...] | None:
        if value is None:
            return None
        found = [read(ctx, param, part.strip()) for part in value.split(",")]
        return tuple(each for each in found if each is not None)

    return callback


def _threshold(ctx: click.Context, param: click.Parameter, value: str) -> float:
    from testbed.units import QuantityError, parse_number

    try:
        return parse_number(value)
    except QuantityError:
        raise click.BadParameter(f"{value!r} is no number such as 0.8", ctx, param) from None


@click.command(name="frontier", cls=PolicyCommand, short_help="Trace accuracy against delay, by policy.")
@click.argument("topology", type=_PATH)
@policies_option(" The first is compared with every other one.")
@repeats_option("Number of seeds; every policy runs each at every value.")
@click.option(
    "--thetas",
    metavar="LIST",
    callback=_listed(seconds),
    help="Values of theta, for policies that adapt their thresholds: 1s,3s,9s.  [default: from an eighth of the "
    "topology's to its eightfold]",
)
@click.option(
    "--thresholds",
    metavar="LIST",
    callback=_listed(_threshold),
    help="Values of the threshold, for policies with a fixed one: 0.5,0.7,0.9.  [default: as many as --points, spread "
    "evenly over the model's scores]",
)
@click.option(
    "--points",
    type=click.IntRange(min=1),
    metavar="N",
    default=7,
    show_default=True,
    help="Number of values where --thetas or --thresholds is left out.",
)
@click.option(
    "--against",
    metavar="FIGURE",
    default="mean",
    show_default=True,
    help="Figure that should be small beside accuracy: mean, p95, and others that an unknown name lists.",
)
@click.option("--no-bound", is_flag=True, help="Leave out the bounds of `optimum`, which belong to the mean delay.")
@run_options()
@click.option("--include-unheld", is_flag=True, help="Also count live runs whose emulation did not hold.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the content of frontier.json instead of tables; times in seconds."
)
def command(
    topology: Path, lists: tuple[str, ...], repeats: int,
    thetas: tuple[float, ...] | None, thresholds: tuple[float, ...] | None, points: int,
    against: str,
    no_bound: bool,
    simulate: bool, duration: float | None, seed: int | None,
    model: str | None, cut: tuple[int, ...] | None, criterion: str | None,
    overrides: tuple[Override, ...],
    out: Path | None,
    jobs: int | None, cluster: ClusterChoice | None, backend: BackendChoice,
    require_fidelity: bool, include_unheld: bool, as_json: bool,
) -> int:  # fmt: skip
    """Trace the frontier of accuracy against mean delay for each policy, and compare policies at equal accuracy.

    Policies that adapt their thresholds run at several theta, policies with a fixed threshold at several thresholds,
    others once; all on the same seeds. Per seed, a monotone curve is laid through the points that no other point of the
    policy beats. Curves are compared over the range that both cover. The bound of `optimum` is drawn beside them.

    Ctrl-C keeps the complete runs. The same command with --out DIR runs only what is missing.

    \b
    Examples:
      dtoee-testbed frontier topologies/quickstart.yaml -p dto-ee,computing-first,ngto -n 3 --simulate
      dtoee-testbed frontier topologies/city.yaml -p dto-ee,fixed-threshold --against p95 --thetas 1s,4s --simulate
    """
    import json

    check_usage(simulate=simulate, jobs=jobs)
    become_root(simulate=simulate, cluster=cluster)
    from cli.printing.many.frontier_lines import print_frontier
    from cli.printing.many.frontier_progress import tracing
    from testbed.cells.batch import Options
    from testbed.frontier import FrontierAsk, frontier
    from testbed.frontier import as_json as content_of

    options = Options(simulate, duration, seed, model, cut, criterion, overrides, jobs, backend, cluster)
    policies = listed_policies(lists)
    ask = FrontierAsk(policies, repeats, against, points, thetas, thresholds, bounds=not no_bound)
    with tracing() as progress:
        found = frontier(topology, ask, options, out=out, observer=progress, include_unheld=include_unheld)
    if as_json:
        click.echo(json.dumps(content_of(found), indent=2))
    else:
        print_frontier(found)
    if require_fidelity:
        from cli.printing.many.comparison_lines import refuse_broken_runs

        refuse_broken_runs(found.rows)
    return 0
