"""The figures of a workload trace, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.printing.columns import print_table
from testbed.wording import counted, milliseconds, number, seconds, shortened

if TYPE_CHECKING:
    from testbed.trace.inspection.workload_summary import Summary, WorkloadRow

MOST_ROWS = 20
_MOST_LETTERS = 40
_WINDOW_S = 1.0  # of the dispersion by device


def print_workload(summary: Summary, form: str, *, keyed: bool) -> None:
    """Print the figures to standard output: all tasks, the devices with most of them, gaps, and burstiness.

    Args:
        summary: the figures.
        form: the format of the trace, as imports name it.
        keyed: the source states devices, users or functions.
    """
    from testbed.trace.inspection.workload_summary import top

    whole, rows = summary["all"], summary["devices"]
    own = form == "testbed"
    of = f" of {counted(len(rows), 'device')}" if keyed else ""
    used = f", {summary['samples']} different samples" if own else f", format {form}"
    tasks = f"{whole['tasks']} {'tasks' if own else 'requests'}"
    click.echo(f"{tasks}{of} in {number(summary['span_s'], '.1f')} s{used}")
    lines = [["device", "tasks", "tasks/s", "burstiness"]]
    shown = list(rows) if len(rows) <= MOST_ROWS else top(rows, MOST_ROWS)
    if keyed:
        lines += [_line(name, rows[name]) for name in shown]
        if len(rows) > len(shown):
            rest = whole["tasks"] - sum(rows[name]["tasks"] for name in shown)
            lines.append([f"{len(rows) - len(shown)} more", str(rest), "", ""])
    print_table([*lines, _line("all", whole)])
    gaps = summary["gaps"]
    if gaps["mean_s"] is not None:
        click.echo(
            f"gaps        mean {_gap(gaps['mean_s'])}, coefficient of variation {number(gaps['variation'], '.2f')}"
        )
        click.echo(f"peak        {summary['peak_per_s']:.4g} tasks/s over {summary['step_s']:.3g} s")
    measured = [f"{value:.2f} in {window} s" for window, value in summary["windows"].items() if value is not None]
    if measured:
        click.echo(f"burstiness  {', '.join(measured)}")
    click.echo(f"Burstiness is variance over mean of the tasks in a window, by device in {_WINDOW_S:g} s.")
    click.echo("For Poisson arrivals it is 1, as is the coefficient of variation.")


def _gap(time_s: float) -> str:
    """Format a mean gap [s] with three digits: `390 ms`, `3.93 s`; whole seconds above a thousand."""
    if time_s < 0.9995:
        return milliseconds(time_s, ".3g")
    return seconds(time_s, ".3g" if time_s < 999.5 else ".0f")


def _line(name: str, row: WorkloadRow) -> list[str]:
    return [
        shortened(name, _MOST_LETTERS),
        str(row["tasks"]),
        number(row["rate_per_s"], ".3f"),
        number(row["dispersion"], ".2f"),
    ]
