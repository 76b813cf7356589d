"""The progress of a comparison on standard error: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from testbed.wording import counted, rough_time

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from testbed.compare import Cell, CompareObserver


@contextmanager
def comparing(stream: TextIO | None = None) -> Iterator[CompareObserver]:
    """`make_progress` for a command: if the comparison is interrupted, print how to continue, and end the command."""
    with ending_with_a_hint(), make_progress(stream) as progress:
        yield progress


@contextmanager
def ending_with_a_hint() -> Iterator[None]:
    """If the cells of the `with` block are interrupted, print how to continue, and end the command."""
    from testbed.cells.batch import CellsInterrupted

    try:
        yield
    except CellsInterrupted as interrupted:
        click.echo(str(interrupted), err=True)
        click.echo(f"hint: to go on, give the same command with --out {interrupted.directory}", err=True)
        raise click.exceptions.Exit(interrupted.exit_code) from None


@contextmanager
def make_progress(stream: TextIO | None = None) -> Iterator[CompareObserver]:
    """An observer for the time of the `with` block: a bar if `stream` is a terminal, else plain lines.

    `stream` is standard error by default.
    """
    stream = stream or sys.stderr
    if not stream.isatty():
        yield PlainProgress(stream)
        return
    with drawing(stream) as progress:
        yield BarProgress(progress)


@contextmanager
def drawing(stream: TextIO) -> Iterator[Progress]:
    """A bar on the terminal `stream` for the time of the `with` block."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    behind = TextColumn("{task.percentage:>3.0f} %  {task.fields[left]}")
    columns = (TextColumn("{task.description}"), BarColumn(), behind)
    with Progress(*columns, console=Console(file=stream), transient=True) as progress:
        yield progress


class Tally:
    """The progress of a comparison, and an estimate of the time that is left."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives real time [s]."""
        self._clock = clock
        self._began_s = clock()
        self._shares: dict[Cell, float] = {}
        self.runs = self.kept = self.complete = self.failed = 0

    def plan(self, runs: int, kept: int) -> None:
        """Begin with `runs` runs, of which `kept` were complete before."""
        self.runs, self.kept, self.complete = runs, kept, kept
        self._began_s = self._clock()

    def advance(self, cell: Cell, share: float) -> None:
        """Note that `share` (0..1) of a run is over."""
        self._shares[cell] = share

    def end(self, cell: Cell) -> None:
        """Note that a run is complete."""
        self._shares[cell] = 1.0
        self.complete += 1

    def drop(self, cell: Cell, *, failed: bool) -> None:
        """Note that a run failed, after which nothing is left of it, or that it begins again."""
        self._shares[cell] = 1.0 if failed else 0.0
        self.failed += failed

    @property
    def share(self) -> float:
        """Share (0..1) of all runs that is over."""
        return (self.kept + sum(self._shares.values())) / self.runs if self.runs else 1.0

    def left(self) -> str:
        """An estimate of the remaining real time, in words; empty if too little is done, or all."""
        done = sum(self._shares.values())
        missing = self.runs - self.kept - done
        if done < 0.05:  # too little for an estimate
            return ""
        return f"about {rough_time((self._clock() - self._began_s) / done * missing)} left" if missing > 0 else ""


class PlainProgress:
    """A CompareObserver that writes a line when a run begins and when it is complete."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._tally = Tally(clock)

    def planned(self, directory: Path, runs: int, kept: int, jobs: int) -> None:
        """Write how many runs there are, and how many are complete already."""
        self._tally.plan(runs, kept)
        self.line(_plan_in_words(directory, runs, kept, jobs))

    def begun(self, cell: Cell) -> None:
        """Write that a run begins."""
        self.line(f"begins: {cell.name}")

    def advanced(self, cell: Cell, share: float) -> None:
        """Remember that `share` (0..1) of a run is over."""
        self._tally.advance(cell, share)

    def ended(self, cell: Cell) -> None:
        """Write that a run is complete, and the time that is left."""
        self._tally.end(cell)
        left = self._tally.left()
        self.line(f"{self._tally.complete} of {self._tally.runs}: {cell.name} complete{left and ', '}{left}")

    def dropped(self, cell: Cell, *, failed: bool) -> None:
        """Write that a run failed, or that it begins again later."""
        self._tally.drop(cell, failed=failed)
        self.line(f"{'failed' if failed else 'put back'}: {cell.name}")

    def line(self, text: str) -> None:
        """Write a line."""
        try:
            self._stream.write(f"{text}\n")
            self._stream.flush()
        except BrokenPipeError:
            pass  # the comparison goes on without its log


class BarProgress:
    """A CompareObserver that draws a single bar over all runs."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tally = Tally()
        self._task: TaskID | None = None
        self._under_way: list[Cell] = []

    def planned(self, directory: Path, runs: int, kept: int, jobs: int) -> None:
        """Print how many runs there are, and show the bar."""
        self._tally.plan(runs, kept)
        self.begin(_plan_in_words(directory, runs, kept, jobs))
        self._draw()

    def begin(self, text: str) -> None:
        """Print a line, and show the bar below it."""
        self._progress.console.print(text, markup=False, highlight=False)
        self._task = self._progress.add_task("", total=1.0, left="")

    def begun(self, cell: Cell) -> None:
        """Name a run that begins beside the bar."""
        self._under_way.append(cell)
        self._draw()

    def advanced(self, cell: Cell, share: float) -> None:
        """Move the bar: `share` (0..1) of a run is over."""
        self._tally.advance(cell, share)
        self._draw()

    def ended(self, cell: Cell) -> None:
        """Count a complete run."""
        self._tally.end(cell)
        self._under_way.remove(cell)
        self._draw()

    def dropped(self, cell: Cell, *, failed: bool) -> None:
        """Name a run no more that failed, or begins again later."""
        self._tally.drop(cell, failed=failed)
        if cell in self._under_way:  # not a run that failed before it reported anything
            self._under_way.remove(cell)
        self._draw()

    def _draw(self) -> None:
        if self._task is None:
            return
        what = f": {self._under_way[0].name}" if self._under_way else ""
        more = f" and {len(self._under_way) - 1} more" if len(self._under_way) > 1 else ""
        failed = f", {self._tally.failed} failed" if self._tally.failed else ""
        text = f"{self._tally.complete} of {self._tally.runs} runs{failed}{what}{more}"
        self.show(text, self._tally.share, self._tally.left())

    def show(self, text: str, share: float, left: str) -> None:
        """Draw the bar at `share` (0..1), with text before it and the time that is left behind it."""
        from rich.markup import escape

        if self._task is not None:
            self._progress.update(self._task, description=escape(text), completed=share, left=left)


def _plan_in_words(directory: Path, runs: int, kept: int, jobs: int) -> str:
    there = f", {kept} of them complete already" if kept else ""
    beside = f", {jobs} at a time" if jobs > 1 else ""
    return f"{counted(runs, 'run')} in {directory}{there}{beside}"
