"""Options of the commands that carry out many runs, and the checks before the first run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from cli.delay_backend import backend_option
from cli.quantity import DURATION_HELP, seconds
from cli.run import refuse_live_options
from cli.shared_options import (
    Function,
    all_runs_option,
    cluster_options,
    first_seed_option,
    model_options,
    override_options,
    together,
)

if TYPE_CHECKING:
    from testbed.cells.cluster.choice import ClusterChoice

LISTED = "Policies, separated by commas; may be given more than once."


def policies_option(what: str, *, required: bool = True) -> Callable[[Function], Function]:
    """The option --policies, which the command receives as `lists`; `what` ends its help."""
    return click.option(
        "-p", "--policies", "lists", multiple=True, required=required, metavar="LIST", help=f"{LISTED}{what}"
    )


def repeats_option(what: str) -> Callable[[Function], Function]:
    """The option --repeats; `what` begins its help."""
    return click.option(
        "-n", "--repeats", type=click.IntRange(min=1), metavar="N", default=5, show_default=True,
        help=f"{what} Below 5, the 95 % intervals are too narrow.",
    )  # fmt: skip


def run_options(
    overrides: Callable[[Callable[..., object]], Callable[..., object]] = override_options,
) -> Callable[[Function], Function]:
    """The options of all runs, from --simulate to --require-fidelity; `overrides` adds those that replace values."""
    return together(
        click.option("--simulate", is_flag=True, help="Run in virtual time instead of live: no root, and much faster."),
        click.option("--duration", metavar="TIME", callback=seconds, help=DURATION_HELP),
        first_seed_option,
        model_options,
        overrides,
        all_runs_option,
        click.option(
            "--jobs", type=click.IntRange(min=1), metavar="K",
            help="Number of simulations that run at the same time.  [default: the number of cores]",
        ),
        cluster_options,
        backend_option("What delays frames in live runs:"),
        click.option(
            "--require-fidelity", is_flag=True,
            help="End with exit code 5 if the verdict on any live run is `broken` or `unknown`.",
        ),
    )  # fmt: skip


def check_usage(*, simulate: bool, jobs: int | None) -> None:
    """Raise UsageError if an option belongs to the other kind of runs."""
    if jobs is not None and not simulate:
        raise click.UsageError("--jobs needs --simulate: live runs go one after the other")
    if simulate:
        refuse_live_options()


def become_root(*, simulate: bool, cluster: ClusterChoice | None) -> None:
    """Become root for live runs of this machine, by starting anew if need be. Call this before anything heavy loads."""
    if not simulate and cluster is None:
        from testbed.host.rootless import ensure_root

        ensure_root()


def listed_policies(lists: Sequence[str]) -> list[str]:
    """The policies of all lists, in order."""
    from testbed.cells.policy_specs import split_policies

    return [policy for text in lists for policy in split_policies(text)]
