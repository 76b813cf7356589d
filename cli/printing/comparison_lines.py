"""A comparison for people: its progress on standard error, its tables on standard output."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from rich.progress import Progress, TaskID

    from testbed.compare import Cell, CompareObserver, Comparison, Estimate, PolicyFigures, PolicyRecoveries, RunRow

Lines = list[list[str]]  # cells by row and column, the heads first


@contextmanager
def make_progress(stream: TextIO | None = None) -> Iterator[CompareObserver]:
    """A watcher for the time of the `with` block: a bar where `stream` is a terminal, plain lines elsewhere.

    `stream` is standard error by default.
    """
    stream = stream or sys.stderr
    if not stream.isatty():
        yield PlainProgress(stream)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    behind = TextColumn("{task.percentage:>3.0f} %  {task.fields[left]}")
    columns = (TextColumn("{task.description}"), BarColumn(), behind)
    with Progress(*columns, console=Console(file=stream), transient=True) as progress:
        yield BarProgress(progress)


class Tally:
    """How far a comparison is, and how much longer it will take."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives real time [s]."""
        self._clock = clock
        self._began_s = clock()
        self._shares: dict[Cell, float] = {}
        self.runs = self.kept = self.complete = 0

    def plan(self, runs: int, kept: int) -> None:
        """So many runs in all, of which so many were complete before."""
        self.runs, self.kept, self.complete = runs, kept, kept
        self._began_s = self._clock()

    def advance(self, cell: Cell, share: float) -> None:
        """`share` (0..1) of a run is over."""
        self._shares[cell] = share

    def end(self, cell: Cell) -> None:
        """A run is complete."""
        self._shares[cell] = 1.0
        self.complete += 1

    @property
    def share(self) -> float:
        """Share of all runs that is over, 0..1."""
        return (self.kept + sum(self._shares.values())) / self.runs if self.runs else 1.0

    def left(self) -> str:
        """The time that remains, as far as one can tell."""
        done = sum(self._shares.values())
        missing = self.runs - self.kept - done
        if done < 0.05:  # too little to go by
            return ""
        return f"about {_duration((self._clock() - self._began_s) / done * missing)} left" if missing > 0 else ""


class PlainProgress:
    """A line per run that ends."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._tally = Tally(clock)

    def planned(self, directory: Path, runs: int, kept: int, jobs: int) -> None:
        """So many runs in all, of which `kept` are there already."""
        self._tally.plan(runs, kept)
        self._line(_plan_in_words(directory, runs, kept, jobs))

    def begun(self, cell: Cell) -> None:
        """A run begins."""
        self._line(f"begins: {cell.name}")

    def advanced(self, cell: Cell, share: float) -> None:
        """`share` of a run is over."""
        self._tally.advance(cell, share)

    def ended(self, cell: Cell) -> None:
        """A run is complete."""
        self._tally.end(cell)
        left = self._tally.left()
        self._line(f"{self._tally.complete} of {self._tally.runs}: {cell.name} complete{left and ', '}{left}")

    def _line(self, text: str) -> None:
        try:
            self._stream.write(f"{text}\n")
            self._stream.flush()
        except BrokenPipeError:
            pass  # the comparison is worth more than its log


class BarProgress:
    """One bar over all runs."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tally = Tally()
        self._task: TaskID | None = None
        self._under_way: list[Cell] = []

    def planned(self, directory: Path, runs: int, kept: int, jobs: int) -> None:
        """So many runs in all, of which `kept` are there already."""
        self._tally.plan(runs, kept)
        self._progress.console.print(_plan_in_words(directory, runs, kept, jobs), markup=False, highlight=False)
        self._task = self._progress.add_task("", total=1.0, left="")
        self._draw()

    def begun(self, cell: Cell) -> None:
        """A run begins."""
        self._under_way.append(cell)
        self._draw()

    def advanced(self, cell: Cell, share: float) -> None:
        """`share` of a run is over."""
        self._tally.advance(cell, share)
        self._draw()

    def ended(self, cell: Cell) -> None:
        """A run is complete."""
        self._tally.end(cell)
        self._under_way.remove(cell)
        self._draw()

    def _draw(self) -> None:
        from rich.markup import escape

        if self._task is None:
            return
        what = f": {self._under_way[0].name}" if self._under_way else ""
        more = f" and {len(self._under_way) - 1} more" if len(self._under_way) > 1 else ""
        text = escape(f"{self._tally.complete} of {self._tally.runs} runs{what}{more}")
        self._progress.update(
            self._task, description=text, completed=self._tally.share, left=self._tally.left()
        )


def refuse_broken_runs(rows: Sequence[RunRow]) -> None:
    """Raise EmulationBroken if one of the live runs did not hold, or is not known to have held."""
    broken = [row.run_directory for row in rows if row.fidelity in ("broken", "unknown")]
    if broken:
        from testbed.fidelity.report import EmulationBroken

        what = f"in {len(broken)} of {len(rows)} runs"
        raise EmulationBroken(f"the emulation did not hold {what}: {broken[0]}", hint="see the fidelity in its summary")


def _plan_in_words(directory: Path, runs: int, kept: int, jobs: int) -> str:
    there = f", {kept} of them complete already" if kept else ""
    beside = f", {jobs} at a time" if jobs > 1 else ""
    return f"{runs} run{'s'[: runs > 1]} in {directory}{there}{beside}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def print_comparison(comparison: Comparison) -> None:
    """Print its tables: drawn on a terminal, aligned text elsewhere."""
    print_table("", figure_lines(comparison.table))
    if len(comparison.table) > 1:
        first = comparison.table[0].policy
        title = f"What {first} is ahead by, on the same workloads (negative: behind)"
        print_table(title, advantage_lines(comparison.table))
    for place in range(len(comparison.recoveries[0].events) if comparison.recoveries else 0):
        event = comparison.recoveries[0].events[place]
        title = f"After {event.at_s:g} s ({event.what}), until {event.until_s:g} s; what was paid in tasks x s"
        print_table(title, recovery_lines(comparison.recoveries, place))
    for note in comparison.notes:
        click.echo(f"note: {note}")
    click.echo(f"files: {comparison.directory}")


def figure_lines(table: Sequence[PolicyFigures]) -> Lines:
    """The figures of each policy."""
    lines = [["policy", "mean delay ms", "p95 ms", "accuracy %", "exits %", "utility s", "lost"]]
    for one in table:
        if one.overloaded:
            figures = ["overloaded", "-", "-", "-", "-"]
        else:
            figures = [
                interval(one.delay_mean_s, ".0f", 1e3),
                interval(one.delay_p95_s, ".0f", 1e3),
                interval(one.accuracy, ".1f", 1e2),
                " / ".join("-" if share is None else f"{share.mean * 100:.0f}" for share in one.exit_share) or "-",
                interval(one.utility_s, ".3f"),
            ]
        lines.append([f"{one.policy} *" if one.unheld_runs else one.policy, *figures, str(one.lost)])
    return lines


def advantage_lines(table: Sequence[PolicyFigures]) -> Lines:
    """What the first policy is ahead of each other."""
    lines = [["against", "delay shorter by %", "accuracy higher by points", "utility higher by s"]]
    for one in table[1:]:
        ahead = one.first_ahead_by
        if ahead is None:
            lines.append([one.policy, "overloaded" if one.overloaded else "-", "-", "-"])
            continue
        lines.append(
            [
                one.policy,
                interval(ahead.delay_reduction, ".1f", 1e2),
                interval(ahead.accuracy_gain, ".1f", 1e2),
                interval(ahead.utility_gain_s, ".3f"),
            ]
        )
    return lines


def recovery_lines(recoveries: Sequence[PolicyRecoveries], place: int) -> Lines:
    """How each policy's delay answered to the event at `place`."""
    lines = [
        ["policy", "before ms", "peak ms", "settles at ms", "recovers after s", "paid till then", "paid in all", "lost"]
    ]  # fmt: skip
    for each in recoveries:
        one = each.events[place]
        after, paid = "not in time", "-"
        if each.overloaded:
            after = "overloaded"
        elif one.tolerance_s is None:
            after = "too short"
        elif one.recovered_after_s is not None:
            after = f"{one.recovered_after_s:.1f}"
            paid = number(one.paid_task_s, ".0f")
        levels = [number(level, ".0f", 1e3) for level in (one.before_s, one.peak_s, one.settled_s)]
        extra, lost = number(one.extra_task_s, ".0f"), format(round(one.lost, 1), "g")
        lines.append([each.policy, *levels, after, paid, extra, lost])
    return lines


def print_table(title: str, lines: Lines) -> None:
    """Print a table with its title, if that is not empty: drawn on a terminal, aligned text elsewhere."""
    if sys.stdout.isatty():
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        heading = Text(title, style="bold") if title else None
        table = Table(title=heading, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        for place, head in enumerate(lines[0]):
            table.add_column(head, justify="right" if place else "left", overflow="fold")
        for line in lines[1:]:
            table.add_row(*map(Text, line))
        Console().print(table)
        return
    click.echo("\n".join([*([title] if title else []), *aligned(lines), ""]))


def aligned(lines: Lines) -> list[str]:
    """Columns of equal width, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def interval(one: Estimate | None, form: str, factor: float = 1.0) -> str:
    """A mean with its interval, times `factor`, in the format `form`; `-` if there is none."""
    if one is None:
        return "-"
    mean = number(one.mean, form, factor)
    if one.low is None or one.high is None:
        return mean
    return f"{mean} [{number(one.low, form, factor)}, {number(one.high, form, factor)}]"


def number(value: float | None, form: str, factor: float = 1.0) -> str:
    """A number times `factor` in the format `form`; `-` if there is none."""
    return "-" if value is None else format(value * factor, form)
