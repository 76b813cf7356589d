"""`replay`: repeat a recorded run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.policy_help import PolicyCommand
from cli.run import carry_out, common_options, live_options, refuse_live_options
from cli.shared_options import check_mode

if TYPE_CHECKING:
    from cli.watch import MonitorChoice
    from testbed.assertions import Assertion
    from testbed.network.emulated import BackendChoice


@click.command(name="replay", cls=PolicyCommand, short_help="Run again what a run directory recorded.")
@click.argument("run_directory", type=click.Path(path_type=Path, file_okay=False), metavar="RUN_DIR")
@click.option("--simulate", is_flag=True, help="Replay in virtual time instead of live: no root, and much faster.")
@common_options
@live_options
def command(
    run_directory: Path,
    simulate: bool,
    policy: str | None,
    out: Path | None,
    monitor: MonitorChoice,
    backend: BackendChoice,
    require_fidelity: bool,
    debug: bool,
    with_optimum: bool,
    assertions: tuple[Assertion, ...],
    as_json: bool,
) -> int:
    """Run again what RUN_DIR recorded: same arrivals, samples and events, optionally under another policy.

    Topology and trace come from RUN_DIR, which is not changed; the result is a new run directory. Without --simulate it
    needs what `run` needs: root, or a kernel that allows user namespaces.

    \b
    Examples:
      dtoee-testbed replay runs/first
      dtoee-testbed replay runs/first --policy ngto --simulate
    """
    check_mode(assertions, simulate=simulate)
    if simulate:
        refuse_live_options()
    if not simulate:
        from testbed.host.rootless import ensure_root

        ensure_root()  # before anything heavy is loaded
    from dataclasses import replace

    from testbed.run.planning import plan_replay

    plan = plan_replay(run_directory, policy=policy, out=out, backend=backend)
    plan = replace(plan, debug=debug, assertions=assertions)
    if simulate:
        from cli.simulate import carry_out as simulate_plan

        return simulate_plan(plan, monitor, with_optimum=with_optimum, as_json=as_json)
    plan = replace(plan, require_fidelity=require_fidelity)
    return carry_out(plan, monitor, with_optimum=with_optimum, as_json=as_json)
