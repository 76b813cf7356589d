"""Columns for people: tables and labelled lines, drawn on a terminal, aligned text elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Sequence

import click

Lines = Sequence[Sequence[str]]  # cells by row and column; the first row of a table holds its heads
FIRST = (0,)
LABEL_WIDTH = 11


def print_table(lines: Lines, *, title: str = "", left: Collection[int] = FIRST) -> None:
    """Print a table to standard output, with an empty line after it.

    Columns in `left` (by number, from 0) are aligned to the left, the others to the right. On a terminal, cells that do
    not fit are folded; elsewhere lines may be of any length.
    """
    if not sys.stdout.isatty():
        click.echo("\n".join([*([title] if title else []), *aligned(lines, left=left), ""]))
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    heading = Text(title, style="bold") if title else None
    table = Table(title=heading, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for place, head in enumerate(lines[0]):
        table.add_column(head, justify="left" if place in left else "right", overflow="fold")
    for line in lines[1:]:
        table.add_row(*map(Text, line))
    Console().print(table)


def aligned(lines: Lines, *, left: Collection[int] = FIRST) -> list[str]:
    """The rows as text, each column as wide as its widest cell; `left` as in `print_table`."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place in left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def print_lines(lines: Iterable[tuple[str, str]]) -> None:
    """Print (label, text) by line to standard output; labels are bold on a terminal."""
    for label, text in lines:
        click.echo(click.style(f"{label:<{LABEL_WIDTH}}", bold=True) + text, color=colour())


def colour() -> bool | None:
    """The argument `color` of click: False if NO_COLOR is set, else None, which means on a terminal only."""
    return False if os.environ.get("NO_COLOR") else None
