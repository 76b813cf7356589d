"""A sweep as a table on standard output, and its failures on standard error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.printing.columns import Lines, print_table
from cli.printing.many.comparison_lines import estimated
from testbed.wording import counted

if TYPE_CHECKING:
    from testbed.compare import PolicyFigures
    from testbed.sweep import Sweep, SweepPoint

MOST_FAILURES = 5  # shown one by one; sweep.json has all


def print_sweep(sweep: Sweep) -> None:
    """Print the table of a sweep: drawn on a terminal, aligned text elsewhere."""
    keys = [key for key in sweep.keys if len(set(key.stated)) > 1] or list(sweep.keys)
    print_table(point_lines(sweep, [key.key for key in keys]), left=range(len(keys) + (len(sweep.policies) > 1)))
    for note in sweep.notes:
        click.echo(f"note: {note}")
    click.echo(f"files: {sweep.directory}")
    pictures = [name for name in sweep.pictures if name.endswith(".png")]
    if pictures:
        click.echo(f"pictures: {', '.join(pictures)} (and .svg)")


def print_failures(sweep: Sweep) -> None:
    """Print the runs that failed to standard error, each with its error."""
    for one in sweep.failed[:MOST_FAILURES]:
        click.echo(f"failed: {one.run_directory}: {one.why}{one.hint and f' ({one.hint})'}", err=True)
    if len(sweep.failed) > MOST_FAILURES:
        click.echo(f"failed: {len(sweep.failed) - MOST_FAILURES} more, see sweep.json", err=True)
    if sweep.failed:
        again = f"to try again, give the same command with --out {sweep.directory}"
        click.echo(f"error: {counted(len(sweep.failed), 'run')} failed\nhint: {again}", err=True)


def point_lines(sweep: Sweep, keys: list[str]) -> Lines:
    """Table of each policy at each point: delays [ms], accuracy [%], utility [s], losses [tasks], refusals if any."""
    several = len(sweep.policies) > 1
    every = [one for point in sweep.points for one in point.table]
    refusing = any(one.refused for one in every)
    failing = refusing or any(one.lost for one in every)
    lines = [[*keys, *["policy"] * several, "mean delay ms", "p95 ms", "accuracy %", "utility s"]]
    lines[0] += ["lost"] * failing + ["refused"] * refusing + ["goodput %"] * failing
    for point in sweep.points:
        for one in point.table:
            ended = [*[str(one.lost)] * failing, *[str(one.refused)] * refusing]
            ended += [estimated(one.goodput, ".1f", 1e2)] * failing
            stated = [point.stated[key] for key in keys]
            names = [one.policy] * several
            (names or stated)[-1] += _marks(point, one)
            lines.append([*stated, *names, *_figures(one), *ended])
    return lines


def _figures(one: PolicyFigures) -> list[str]:
    if one.overloaded:
        return ["overloaded", "-", "-", "-"]
    return [
        estimated(one.delay_mean_s, ".0f", 1e3),
        estimated(one.delay_p95_s, ".0f", 1e3),
        estimated(one.accuracy, ".1f", 1e2),
        estimated(one.utility_s, ".3f"),
    ]


def _marks(point: SweepPoint, one: PolicyFigures) -> str:
    """A star if the emulation did not hold in a run, a dagger if a run failed."""
    failed = point.failed.get(one.policy, 0)
    return " *" * bool(one.unheld_runs) + " †" * bool(failed)
