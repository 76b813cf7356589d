"""`compare`: run several policies on the same workloads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.many_runs import become_root, check_usage, listed_policies, policies_option, repeats_option, run_options
from cli.policy_help import PolicyCommand
from cli.shared_options import check_mode, policies_assert_option

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
@policies_option(" Every other policy is compared with the first.")
@repeats_option("Number of workloads; every policy runs each.")
@run_options()
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
    check_usage(simulate=simulate, jobs=jobs)
    check_mode(assertions, simulate=simulate)
    become_root(simulate=simulate, cluster=cluster)
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
    from testbed.cells.policy_specs import read_specs

    policies = listed_policies(lists)
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
