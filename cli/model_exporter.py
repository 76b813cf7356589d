"""`model exporter`: print the script that writes a table of answers in a user's own environment."""

from __future__ import annotations

import click


@click.command()
def exporter() -> None:
    """Print a script that writes a table of your model's answers.

    Copy it into the environment where your model runs: it needs torch and numpy, and nothing of this package. The table
    has answers and confidences of each exit, and the work and the messages of each stage. A topology can name it as its
    model.

    \b
    Example:
      dtoee-testbed model exporter > export_table.py
    """
    from node_agent.models.answer_table import exporter_text

    click.echo(exporter_text(), nl=False)
