"""`cluster`: keys for machines that carry out runs together."""

from __future__ import annotations

from pathlib import Path

import click


@click.group(name="cluster", short_help="Make the keys of a cluster of machines.")
def command() -> None:
    """Prepare a Dask cluster, on which compare, sweep, frontier and capacity carry out their runs."""


@command.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--days",
    type=click.IntRange(min=1),
    metavar="N",
    default=365,
    show_default=True,
    help="How long the certificates are valid.",
)
def keys(directory: Path, days: int) -> None:
    """Make keys and certificates for one cluster in DIR, readable by their owner only.

    The scheduler needs ca.pem, scheduler.pem and scheduler-key.pem. Workers need ca.pem, worker.pem and worker-key.pem.
    To start runs, name a folder that holds ca.pem, client.pem and client-key.pem with --keys. A person who has any of
    the private keys can run any code on the workers. The key that signed the certificates is never written: to shut
    somebody out, make new keys.

    \b
    Example:
      dtoee-testbed cluster keys ~/edge-keys
      dask scheduler --protocol tls --port 8786 --no-dashboard --tls-ca-file ~/edge-keys/ca.pem \\
        --tls-cert ~/edge-keys/scheduler.pem --tls-key ~/edge-keys/scheduler-key.pem
    """
    from testbed.cells.cluster.keys import make_keys

    for file in make_keys(directory, days=days):
        click.echo(file)
    click.echo("note: move them to the other machines by a safe way, such as scp; docs/cluster.md says which", err=True)
