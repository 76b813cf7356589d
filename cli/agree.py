"""`agree`: run a topology live and simulated, and compare the two."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.policy_help import PolicyCommand
from cli.quantity import DURATION_HELP, seconds
from cli.run import live_options
from cli.shared_options import all_runs_option, first_seed_option

if TYPE_CHECKING:
    from testbed.network.emulated import BackendChoice

_PATH = click.Path(path_type=Path)


@click.command(name="agree", cls=PolicyCommand, short_help="Run a topology live and simulated, and compare the two.")
@click.argument("topology", type=_PATH)
@click.option(
    "--policy",
    metavar="NAME[:KEY=VALUE,...]",
    help="Offloading policy: a name from the list below, or FILE.py:Class for your own.  [default: the topology's]",
)
@click.option("--duration", metavar="TIME", callback=seconds, help=DURATION_HELP)
@first_seed_option
@click.option(
    "-n",
    "--repeats",
    type=click.IntRange(min=1),
    metavar="N",
    default=1,
    show_default=True,
    help="Number of workloads. From 3 on, the 95 % intervals are over repeats; below, over blocks of tasks.",
)
@all_runs_option
@live_options
@click.option(
    "--json", "as_json", is_flag=True, help="Print the content of agree.json instead of tables; times in seconds."
)
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

    Compares delays, in all and step by step, accuracy, exits, losses and decisions, with 95 % intervals. The first
    lines say whether each live run held: one that did not says nothing about the simulation. Needs what `run` needs:
    root, or a kernel that allows user namespaces.

    Ctrl-C keeps the complete runs. The same command with --out DIR runs only what is missing.

    \b
    Example:
      dtoee-testbed agree topologies/quickstart.yaml -n 3
    """
    import json

    from testbed.host.rootless import ensure_root

    ensure_root()  # before anything heavy is loaded
    from cli.printing.agreement_lines import print_agreement
    from cli.printing.many.comparison_lines import refuse_broken_runs
    from cli.printing.many.progress_lines import comparing
    from testbed.agree import agree
    from testbed.agree import as_json as content_of

    with comparing() as progress:
        agreement = agree(
            topology, repeats=repeats, policy=policy, duration_s=duration, seed=seed, out=out, backend=backend,
            observer=progress,
        )  # fmt: skip
    if as_json:
        click.echo(json.dumps(content_of(agreement), indent=2, allow_nan=False))
    else:
        print_agreement(agreement)
    if require_fidelity:
        refuse_broken_runs([repeat.live for repeat in agreement.repeats])
    return 0
