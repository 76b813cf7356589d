"""`compare`: run several policies on the same workloads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.delay_backend import backend_option
from cli.policy_help import PolicyCommand
from cli.quantity import DURATION_HELP, seconds
from cli.run import refuse_live_options
from cli.shared_options import (
    all_runs_option,
    check_mode,
    cluster_options,
    first_seed_option,
    model_options,
    override_options,
    policies_assert_option,
)

if TYPE_CHECKING:
    from testbed.assertions import Assertion
    from testbed.cells.cluster.choice import ClusterChoice
    from testbed.compare import Comparison
    from testbed.network.emulated import BackendChoice
    from testbed.topology.overrides import Override

_PATH = click.Path(path_type=Path)


@click.command(
    name="compare", cls=PolicyCommand, short_help="Run several policies on the same workloads and compare them."
)
@click.argument("topology", type=_PATH)
@click.option(
    "-p",
    "--policies",
    "lists",
    multiple=True,
    required=True,
    metavar="LIST",
    help="Policies, separated by commas; may be given more than once. Every other policy is compared with the first.",
)
@click.option(
    "-n",
    "--repeats",
    type=click.IntRange(min=1),
    metavar="N",
    default=5,
    show_default=True,
    help="Number of workloads; every policy runs each. Below 5, the 95 % intervals are too narrow.",
)
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
@click.option(
    "--include-unheld",
    is_flag=True,
    help="Also count live runs whose emulation did not hold (policies with such runs are marked *).",
)
@policies_assert_option
@click.option(
    "--json", "as_json", is_flag=True, help="Print the content of compare.json instead of tables; times in seconds."
)
def command(
    topology: Path,
    lists: tuple[str, ...],
    repeats: int,
    simulate: bool,
    duration: float | None,
    seed: int | None,
    model: str | None, cut: tuple[int, ...] | None, criterion: str | None,
    overrides: tuple[Override, ...],
    out: Path | None,
    jobs: int | None, cluster: ClusterChoice | None, backend: BackendChoice,
    require_fidelity: bool,
    include_unheld: bool,
    assertions: tuple[Assertion, ...],
    as_json: bool,
) -> int:  # fmt: skip
    """Run several policies on the same workloads of TOPOLOGY and compare delay, accuracy and utility.

    Repeat r (from 0) runs every policy with seed + r: same network, arrivals, samples and events. So chance affects all
    alike. Live runs follow one another, in an order that rotates over the policies; simulations run side by side.

    A policy is NAME, NAME:key=value,key=value or FILE.py:Class. After a comma, key=value belongs to the policy before
    it: dto-ee,fixed-threshold:threshold=0.7,ngto is a list of three policies. label=TEXT names a policy in the results:
    dto-ee:label=ours,threshold=0.7.

    Ctrl-C keeps the complete runs. The same command with --out DIR runs only what is missing.

    \b
    Examples:
      dtoee-testbed compare topologies/surge.yaml -p dto-ee,ngto --simulate
      dtoee-testbed compare topologies/quickstart.yaml -p dto-ee,uniform -n 3
    """
    if jobs is not None and not simulate:
        raise click.UsageError("--jobs needs --simulate: live runs go one after the other")
    check_mode(assertions, simulate=simulate)
    if simulate:
        refuse_live_options()
    elif cluster is None:
        from testbed.host.rootless import ensure_root

        ensure_root()  # before anything heavy is loaded
    from cli.printing.many.progress_lines import comparing
    from testbed.compare import compare

    policies = _policies(lists, assertions)
    with comparing() as progress:
        comparison = compare(
            topology, policies, repeats=repeats, simulate=simulate, duration_s=duration, seed=seed, model=model,
            cut=cut, criterion=criterion, out=out, jobs=jobs, backend=backend, observer=progress,
            include_unheld=include_unheld, overrides=overrides, assertions=assertions,
            cluster=cluster,
        )  # fmt: skip
    _finish(comparison, as_json=as_json, require_fidelity=require_fidelity)
    return 0


def _policies(lists: Sequence[str], assertions: Sequence[Assertion]) -> list[str]:
    """The policies of all lists. Raises UsageError if an assertion is on a policy that is not compared."""
    from node_agent.suggest import advice
    from testbed.cells.policy_specs import read_specs, split_policies

    policies = [policy for text in lists for policy in split_policies(text)]
    labels = [spec.label for spec in read_specs(policies)]
    for assertion in assertions:
        if assertion.policy is not None and assertion.policy not in labels:
            hint = advice(assertion.policy, labels)
            raise click.UsageError(f"--assert {assertion.text!r}: no policy {assertion.policy} is compared ({hint})")
    return policies


def _finish(comparison: Comparison, *, as_json: bool, require_fidelity: bool) -> None:
    """Print a comparison. Raises the errors of runs that did not hold, and of bounds that were missed."""
    import json

    from cli.printing.many.comparison_lines import print_comparison, refuse_broken_runs
    from testbed.assertions import refuse_missed
    from testbed.compare import as_json as content_of

    if as_json:
        click.echo(json.dumps(content_of(comparison), indent=2))
    else:
        print_comparison(comparison)
    if require_fidelity:
        refuse_broken_runs(comparison.rows)
    refuse_missed(comparison.assertions)
