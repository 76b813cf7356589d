"""`clean`: remove what interrupted runs left behind, and nothing else."""

from __future__ import annotations

import json
from dataclasses import asdict

import click


@click.command(name="clean", short_help="Remove what an interrupted run left behind.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """Remove the processes, interfaces, control groups and directories of runs whose owner is dead.

    Only what such a run wrote into its ledger is touched; runs that still live are left alone. Safe to repeat.
    """
    import os

    from node_agent.errors import EnvironmentLacking
    from testbed.ledger import live_runs, sweep

    if os.geteuid() != 0:
        raise EnvironmentLacking("clean needs root, as the runs did", hint="run as root, for example with sudo")
    removed = sweep()
    live = live_runs()
    if as_json:
        click.echo(
            json.dumps({"schema": 1, "removed": [asdict(each) for each in removed], "live_runs": live}, indent=2)
        )
        return
    for each in removed:
        click.echo(f"removed {each.kind} {each.name} (run {each.run_id})")
    for run_id in live:
        click.echo(f"left alone: run {run_id} still lives", err=True)
    if not removed:
        click.echo("nothing to clean", err=True)
