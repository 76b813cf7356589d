"""`replay`: a recorded run again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.run import carry_out, run_options

if TYPE_CHECKING:
    from cli.watch import MonitorChoice
    from testbed.network.emulated import BackendChoice


@click.command(name="replay", short_help="Run again what a run directory recorded.")
@click.argument("run_directory", type=click.Path(path_type=Path, file_okay=False), metavar="RUN_DIR")
@run_options
def command(
    run_directory: Path,
    policy: str | None,
    out: Path | None,
    monitor: MonitorChoice,
    backend: BackendChoice,
    as_json: bool,
) -> int:
    """Run again what RUN_DIR recorded: same arrivals, samples and events, optionally under another policy."""
    from testbed.experiment import require_root
    from testbed.planning import plan_replay

    require_root()
    plan = plan_replay(run_directory, policy=policy, out=out, backend=backend)
    return carry_out(plan, monitor, as_json=as_json)
