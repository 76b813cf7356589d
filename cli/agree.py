"""`agree`: a topology live and simulated, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.compare import say_how_to_go_on
from cli.quantity import DURATION_HELP, seconds
from cli.run import live_options

if TYPE_CHECKING:
    from testbed.network.emulated import BackendChoice

_PATH = click.Path(path_type=Path)


@click.command(name="agree", short_help="Run a topology live and simulated, and compare the two.")
@click.argument("topology", type=_PATH)
@click.option(
    "--policy", metavar="NAME[:KEY=VALUE,...]",
    help="Offloading policy, or file.py:Class for one of your own.  [default: the topology's]",
)
@click.option("--duration", metavar="TIME", callback=seconds, help=DURATION_HELP)
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), metavar="N",
    help="Random seed of the first repeat; they count up.  [default: the topology's]",
)
@click.option(
    "-n", "--repeats", type=click.IntRange(min=1), metavar="N", default=1, show_default="1",
    help="How many workloads. From three on, intervals are over repeats.",
)
@click.option("--out", type=_PATH, metavar="DIR", help="Where runs and results go.  [default: a new one under runs/]")
@live_options
@click.option("--json", "as_json", is_flag=True, help="Print the content of agree.json.")
def command(
    topology: Path,
    policy: str | None,
    duration: float | None,
    seed: int | None,
    repeats: int,
    out: Path | None,
    backend: BackendChoice,
    require_fidelity: bool,
    as_json: bool,
) -> int:
    """Run TOPOLOGY live and simulated on the same arrivals, and show how far the two are apart.

    Compares delays, where they arise step by step, accuracy, exits, losses and decisions, with 95 % intervals. Whether
    the live run held stands on top: one that did not says nothing about the simulation.

    Ctrl-C keeps the runs that are complete. The same command with --out DIR goes on where it stopped.
    """
    import json

    from testbed.host.rootless import ensure_root

    ensure_root()  # before anything heavy is loaded
    from cli.printing.agreement_lines import print_agreement
    from cli.printing.comparison_lines import make_progress, refuse_broken_runs
    from testbed.agree import agree
    from testbed.agree import as_json as content_of
    from testbed.compare import CompareInterrupted

    try:
        with make_progress() as progress:
            agreement = agree(
                topology,
                repeats=repeats,
                policy=policy,
                duration_s=duration,
                seed=seed,
                out=out,
                backend=backend,
                observer=progress,
            )
    except CompareInterrupted as interrupted:
        return say_how_to_go_on(interrupted)
    if as_json:
        click.echo(json.dumps(content_of(agreement), indent=2, allow_nan=False))
    else:
        print_agreement(agreement)
    if require_fidelity:
        refuse_broken_runs([repeat.live for repeat in agreement.repeats])
    return 0
