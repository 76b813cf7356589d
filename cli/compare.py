"""`compare`: several policies on the same workloads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.quantity import DURATION_HELP, seconds
from cli.run import refuse_live_options

if TYPE_CHECKING:
    from testbed.compare import CompareInterrupted
    from testbed.network.emulated import BackendChoice

_PATH = click.Path(path_type=Path)


@click.command(name="compare", short_help="Run several policies on the same workloads and compare them.")
@click.argument("topology", type=_PATH)
@click.option(
    "-p", "--policies", "lists", multiple=True, required=True, metavar="LIST",
    help="Policies, separated by commas; may be given more than once. The others are held against the first.",
)
@click.option(
    "-n", "--repeats", type=click.IntRange(min=1), metavar="N", default=5, show_default="5",
    help="How many workloads, each run by every policy.",
)
@click.option("--simulate", is_flag=True, help="In virtual time instead of live: no root, and much faster.")
@click.option("--duration", metavar="TIME", callback=seconds, help=DURATION_HELP)
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), metavar="N",
    help="Random seed of the first repeat; they count up.  [default: the topology's]",
)
@click.option("--out", type=_PATH, metavar="DIR", help="Where runs and results go.  [default: a new one under runs/]")
@click.option(
    "--jobs", type=click.IntRange(min=1), metavar="K",
    help="Simulations at a time.  [default: as many as there are cores]",
)
@click.option(
    "--backend", type=click.Choice(["auto", "netem", "userspace"]), default="auto", show_default=True,
    help="What delays frames in live runs.",
)
@click.option(
    "--require-fidelity", is_flag=True, help="End with exit code 5 if the emulation broke in any of the live runs."
)
@click.option(
    "--include-unheld", is_flag=True, help="Count live runs, too, whose emulation did not hold (marked *)."
)
@click.option("--json", "as_json", is_flag=True, help="Print the content of compare.json.")
def command(
    topology: Path,
    lists: tuple[str, ...],
    repeats: int,
    simulate: bool,
    duration: float | None,
    seed: int | None,
    out: Path | None,
    jobs: int | None,
    backend: BackendChoice,
    require_fidelity: bool,
    include_unheld: bool,
    as_json: bool,
) -> int:
    """Run several policies on the same workloads of TOPOLOGY and compare delay, accuracy and utility.

    Repeat r runs every policy with seed + r: same network, arrivals, samples and events, so that differences between
    policies stand out of what chance does to all of them alike. Live runs go one after the other, in an order that
    rotates over the policies; simulated ones go side by side.

    A policy is a NAME, NAME:key=value,key=value or FILE.py:Class. A comma before key= goes on with the parameters of
    the same policy: dto-ee,fixed-threshold:threshold=0.7,ngto are three. label=TEXT is how the results call it:
    dto-ee:label=ours,threshold=0.7.

    Ctrl-C keeps the runs that are complete. The same command with --out DIR goes on where it stopped.
    """
    import json

    if jobs is not None and not simulate:
        raise click.UsageError("--jobs needs --simulate: live runs go one after the other")
    if simulate:
        refuse_live_options()
    if not simulate:
        from testbed.host.rootless import ensure_root

        ensure_root()  # before anything heavy is loaded
    from cli.printing.comparison_lines import make_progress, print_comparison, refuse_broken_runs
    from testbed.compare import CompareInterrupted, compare, split_policies
    from testbed.compare import as_json as content_of

    policies = [policy for text in lists for policy in split_policies(text)]
    try:
        with make_progress() as progress:
            comparison = compare(
                topology,
                policies,
                repeats=repeats,
                simulate=simulate,
                duration_s=duration,
                seed=seed,
                out=out,
                jobs=jobs,
                backend=backend,
                observer=progress,
                include_unheld=include_unheld,
            )
    except CompareInterrupted as interrupted:
        return say_how_to_go_on(interrupted)
    if as_json:
        click.echo(json.dumps(content_of(comparison), indent=2))
    else:
        print_comparison(comparison)
    if require_fidelity:
        refuse_broken_runs(comparison.rows)
    return 0


def say_how_to_go_on(interrupted: CompareInterrupted) -> int:
    """What to do about runs that were interrupted, on standard error; returns the exit code."""
    click.echo(str(interrupted), err=True)
    click.echo(f"hint: to go on, give the same command with --out {interrupted.directory}", err=True)
    return interrupted.exit_code
