"""`capacity`: the highest load at which an objective holds, by policy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.many_runs import become_root, check_usage, listed_policies, policies_option, repeats_option, run_options
from cli.policy_help import PolicyCommand
from cli.quantity import factor, share
from cli.shared_options import check_mode, objective_option

if TYPE_CHECKING:
    from testbed.assertions import Assertion
    from testbed.cells.cluster.choice import ClusterChoice
    from testbed.network.emulated import BackendChoice
    from testbed.topology.overrides import Override

_PATH = click.Path(path_type=Path)


@click.command(name="capacity", cls=PolicyCommand, short_help="Find the highest load at which an objective holds.")
@click.argument("topology", type=_PATH)
@objective_option
@policies_option(" The first is compared with every other one.")
@repeats_option("Number of seeds, on each of which a search is made.")
@click.option(
    "--from",
    "search_from",
    metavar="xFACTOR",
    callback=factor,
    default="x0.1",
    show_default=True,
    help="Lowest load of the search.",
)
@click.option(
    "--to",
    "search_to",
    metavar="xFACTOR",
    callback=factor,
    default="x10",
    show_default=True,
    help="Highest load of the search.",
)
@click.option(
    "--precision",
    metavar="SHARE",
    callback=share,
    default="2.5 %",
    show_default=True,
    help="How much the next load to be told apart is higher; a capacity is found to half of it on each seed.",
)
@run_options()
@click.option(
    "--json", "as_json", is_flag=True, help="Print the content of capacity.json instead of a table; times in seconds."
)
def command(
    topology: Path,
    objective: tuple[Assertion, ...],
    lists: tuple[str, ...],
    repeats: int,
    search_from: float, search_to: float, precision: float,
    simulate: bool, duration: float | None, seed: int | None,
    model: str | None, cut: tuple[int, ...] | None, criterion: str | None,
    overrides: tuple[Override, ...],
    out: Path | None,
    jobs: int | None, cluster: ClusterChoice | None, backend: BackendChoice,
    require_fidelity: bool, as_json: bool,
) -> int:  # fmt: skip
    """Find how many times the load of TOPOLOGY each policy can carry, so that an objective still holds.

    On every seed the load is doubled or halved until one load holds and one misses, and the distance between both is
    then halved until it is within the precision. The capacity is the mean over the seeds, with a 95 % interval. All
    policies have the same seeds. A bound on delay misses in a run that is overloaded or loses tasks.

    Ctrl-C keeps the complete runs. The same command with --out DIR repeats none of them.

    \b
    Examples:
      dtoee-testbed capacity topologies/quickstart.yaml --slo 'p95 < 1 s' -p dto-ee,computing-first -n 3 --simulate
      dtoee-testbed capacity topologies/city.yaml --slo 'mean < 0.4 s' --slo 'accuracy >= 0.85' -p dto-ee --simulate
    """
    import json

    check_usage(simulate=simulate, jobs=jobs)
    check_mode(objective, simulate=simulate, option="--slo")
    become_root(simulate=simulate, cluster=cluster)
    from cli.printing.many.capacity_lines import print_capacity
    from cli.printing.many.capacity_progress import searching
    from testbed.capacity import CapacityAsk, capacity
    from testbed.capacity import as_json as content_of
    from testbed.cells.batch import Options

    options = Options(simulate, duration, seed, model, cut, criterion, overrides, jobs, backend, cluster)
    policies = listed_policies(lists)
    ask = CapacityAsk(policies, objective, repeats, search_from, search_to, precision)
    with searching() as progress:
        found = capacity(topology, ask, options, out=out, observer=progress)
    if as_json:
        click.echo(json.dumps(content_of(found), indent=2))
    else:
        print_capacity(found)
    if require_fidelity:
        from cli.printing.many.comparison_lines import refuse_broken_runs

        refuse_broken_runs(found.probes)
    return 0
