"""`frontier`: accuracy against delay, by policy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.delay_backend import backend_option
from cli.policy_help import PolicyCommand
from cli.quantity import DURATION_HELP, seconds
from cli.run import refuse_live_options
from cli.shared_options import all_runs_option, cluster_options, first_seed_option, model_options, override_options

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
@click.option(
    "-p",
    "--policies",
    "lists",
    multiple=True,
    required=True,
    metavar="LIST",
    help="Policies, separated by commas; may be given more than once. The first is compared with every other one.",
)
@click.option(
    "-n",
    "--repeats",
    type=click.IntRange(min=1),
    metavar="N",
    default=5,
    show_default=True,
    help="Number of seeds; every policy runs each at every value. Below 5, the 95 % intervals are too narrow.",
)
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
@click.option("--simulate", is_flag=True, help="Run in virtual time instead of live: no root, and much faster.")
@click.option("--duration", metavar="TIME", callback=seconds, help=DURATION_HELP)
@first_seed_option
@model_options
@override_options
@all_runs_option
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="K",
    help="Number of simulations that run at the same time.  [default: the number of cores]",
)
@cluster_options
@backend_option("What delays frames in live runs:")
@click.option(
    "--require-fidelity",
    is_flag=True,
    help="End with exit code 5 if the verdict on any live run is `broken` or `unknown`.",
)
@click.option("--include-unheld", is_flag=True, help="Also count live runs whose emulation did not hold.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the content of frontier.json instead of tables; times in seconds."
)
def command(
    topology: Path,
    lists: tuple[str, ...],
    repeats: int,
    thetas: tuple[float, ...] | None, thresholds: tuple[float, ...] | None, points: int,
    against: str,
    no_bound: bool,
    simulate: bool,
    duration: float | None,
    seed: int | None,
    model: str | None, cut: tuple[int, ...] | None, criterion: str | None,
    overrides: tuple[Override, ...],
    out: Path | None,
    jobs: int | None, cluster: ClusterChoice | None, backend: BackendChoice,
    require_fidelity: bool,
    include_unheld: bool,
    as_json: bool,
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

    if jobs is not None and not simulate:
        raise click.UsageError("--jobs needs --simulate: live runs go one after the other")
    if simulate:
        refuse_live_options()
    elif cluster is None:
        from testbed.host.rootless import ensure_root

        ensure_root()  # before anything heavy is loaded
    from cli.printing.many.frontier_lines import print_frontier
    from cli.printing.many.frontier_progress import tracing
    from testbed.cells.batch import Options
    from testbed.cells.policy_specs import split_policies
    from testbed.frontier import FrontierAsk, frontier
    from testbed.frontier import as_json as content_of

    options = Options(simulate, duration, seed, model, cut, criterion, overrides, jobs, backend, cluster)
    policies = [policy for text in lists for policy in split_policies(text)]
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
