"""`replay`: a recorded run again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.run import backend_option, carry_out, common_options

if TYPE_CHECKING:
    from cli.watch import MonitorChoice
    from testbed.network.emulated import BackendChoice


@click.command(name="replay", short_help="Run again what a run directory recorded.")
@click.argument("run_directory", type=click.Path(path_type=Path, file_okay=False), metavar="RUN_DIR")
@click.option("--simulate", is_flag=True, help="In virtual time, without root.")
@common_options
@backend_option
def command(
    run_directory: Path,
    simulate: bool,
    policy: str | None,
    out: Path | None,
    monitor: MonitorChoice,
    backend: BackendChoice,
    with_optimum: bool,
    as_json: bool,
) -> int:
    """Run again what RUN_DIR recorded: same arrivals, samples and events, optionally under another policy."""
    from testbed.experiment import require_root
    from testbed.planning import plan_replay

    if not simulate:
        require_root()
    plan = plan_replay(run_directory, policy=policy, out=out, backend=backend)
    if simulate:
        from cli.simulate import carry_out as simulate_plan

        return simulate_plan(plan, monitor, with_optimum=with_optimum, as_json=as_json)
    return carry_out(plan, monitor, with_optimum=with_optimum, as_json=as_json)
