"""`clean`: remove what killed runs left behind, and nothing else."""

from __future__ import annotations

import json
from dataclasses import asdict

import click


@click.command(name="clean", short_help="Remove what an interrupted run left behind.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print JSON: `removed`, `closed` (run directories marked as killed) and `live_runs`.",
)
def command(as_json: bool) -> None:
    """Remove the processes, control groups and temporary directories of runs whose process is dead.

    Touches only what such a run wrote into its ledger, and no run that is still alive. Run directories stay; their
    manifests then say that the run was killed. A second call finds nothing to do. Root cleans root's runs, other users
    their own.
    """
    from testbed.host.ledger import live_runs, sweep
    from testbed.record.killed_runs import close_killed

    closed = close_killed()
    removed = sweep()
    live = live_runs()
    if as_json:
        report = {
            "schema": 1,
            "removed": [asdict(each) for each in removed],
            "closed": [str(path) for path in closed],
            "live_runs": live,
        }
        click.echo(json.dumps(report, indent=2))
        return
    for each in removed:
        click.echo(f"removed {each.kind} {each.name} (run {each.run_id})")
    for path in closed:
        click.echo(f"closed {path}: its run was killed")
    for run_id in live:
        click.echo(f"left alone: run {run_id} still lives", err=True)
    if not removed:
        click.echo("nothing to clean", err=True)
