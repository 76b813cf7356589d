"""The progress of a capacity on standard error: how far each search has come, and how long it can still take."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from cli.printing.many.progress_lines import BarProgress, PlainProgress, drawing, ending_with_a_hint
from testbed.wording import counted, rough_time

if TYPE_CHECKING:
    from rich.progress import Progress

    from testbed.capacity import Bracket, CapacityObserver
    from testbed.compare import Cell


@contextmanager
def searching(stream: TextIO | None = None) -> Iterator[CapacityObserver]:
    """An observer for the time of the `with` block; an interrupt prints how to continue, and ends the command."""
    stream = stream or sys.stderr
    with ending_with_a_hint():
        if not stream.isatty():
            yield PlainCapacity(stream)
            return
        with drawing(stream) as progress:
            yield BarCapacity(progress)


class Probes:
    """The number of probes so far, and the most time that is left."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives real time [s]."""
        self._clock = clock
        self._began_s = clock()
        self.ended = self.round = 0
        self.most_left = 1

    def begin(self, most_left: int) -> None:
        """Begin a round, after which at most `most_left` runs, its own included, are over."""
        self.round += 1
        self.most_left = most_left

    def end(self) -> None:
        """Note that a probe is complete."""
        self.ended += 1
        self.most_left = max(0, self.most_left - 1)

    @property
    def share(self) -> float:
        """Share (0..1) of all probes that is over, if as many as possible are needed."""
        return self.ended / max(1, self.ended + self.most_left)

    def left(self) -> str:
        """The remaining real time at most, in words; empty if no probe is complete, or none is left."""
        if not self.ended or not self.most_left:
            return ""
        return f"at most about {rough_time((self._clock() - self._began_s) / self.ended * self.most_left)} left"


class PlainCapacity(PlainProgress):
    """A CapacityObserver that writes lines."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream, clock)
        self._probes = Probes(clock)

    def planned(self, directory: Path, runs: int, kept: int, jobs: int) -> None:  # noqa: ARG002 - the signature
        """Write where the probes are."""
        self.line(f"a search in {directory}{f', {jobs} probes at a time' if jobs > 1 else ''}")

    def searching(self, probes: int, most_left: int, brackets: Sequence[Bracket]) -> None:
        """Write how far the search of each policy has come."""
        self._probes.begin(most_left)
        left = self._probes.left()
        self.line(
            f"round {self._probes.round}: {counted(probes, 'probe')} to run; {in_words(brackets)}{left and '; '}{left}"
        )

    def ended(self, cell: Cell) -> None:
        """Write that a probe is complete."""
        self._probes.end()
        self.line(f"{counted(self._probes.ended, 'probe')}: {cell.name} complete")


class BarCapacity(BarProgress):
    """A CapacityObserver that draws a single bar, and beside it how far the search of each policy has come."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(progress)
        self._probes = Probes()
        self._brackets: Sequence[Bracket] = ()

    def planned(self, directory: Path, runs: int, kept: int, jobs: int) -> None:  # noqa: ARG002 - the signature
        """Print where the probes are, and show the bar."""
        self.begin(f"a search in {directory}{f', {jobs} probes at a time' if jobs > 1 else ''}")

    def searching(self, probes: int, most_left: int, brackets: Sequence[Bracket]) -> None:  # noqa: ARG002
        """Show how far the search of each policy has come."""
        self._probes.begin(most_left)
        self._brackets = brackets
        self._show()

    def begun(self, cell: Cell) -> None:
        """A run begins; the bar shows complete ones only."""

    def advanced(self, cell: Cell, share: float) -> None:
        """A share of a run is over; the bar shows complete ones only."""

    def dropped(self, cell: Cell, *, failed: bool) -> None:
        """A run begins again later; the bar shows complete ones only."""

    def ended(self, cell: Cell) -> None:  # noqa: ARG002 - the signature
        """Move the bar by one probe."""
        self._probes.end()
        self._show()

    def _show(self) -> None:
        text = f"{counted(self._probes.ended, 'probe')}: {in_words(self._brackets)}"
        self.show(text, self._probes.share, self._probes.left())


def in_words(brackets: Sequence[Bracket]) -> str:
    """The loads between which each policy's capacity is known to be, over all seeds: `dto-ee x1 to x2`."""
    return ", ".join(f"{each.policy} {_end(each.holds_at)} to {_end(each.misses_at)}" for each in brackets)


def _end(load: float | None) -> str:
    return "?" if load is None else f"x{load:.3g}"
