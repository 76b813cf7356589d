"""The progress of a frontier on standard error: that of its runs, then that of the bounds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from cli.printing.many.progress_lines import BarProgress, PlainProgress, drawing, ending_with_a_hint
from testbed.wording import counted, rough_time

if TYPE_CHECKING:
    from testbed.frontier import FrontierObserver


@contextmanager
def tracing(stream: TextIO | None = None) -> Iterator[FrontierObserver]:
    """An observer for the time of the `with` block; an interrupt prints how to continue, and ends the command."""
    stream = stream or sys.stderr
    with ending_with_a_hint():
        if not stream.isatty():
            yield PlainFrontier(stream)
            return
        with drawing(stream) as progress:
            yield BarFrontier(progress)


class Bounds:
    """The number of bounds that are known, and an estimate of the time that is left."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self.all = self.kept = self.known = 0

    def plan(self, bounds: int, kept: int) -> None:
        """Begin with `bounds` bounds, of which `kept` are known already."""
        self.all, self.kept, self.known = bounds, kept, kept
        self._began_s = time.monotonic()

    def left(self) -> str:
        """An estimate of the remaining real time, in words; empty if none is done, or all are."""
        done, missing = self.known - self.kept, self.all - self.known
        if not done or not missing:
            return ""
        return f"about {rough_time((time.monotonic() - self._began_s) / done * missing)} left"


class PlainFrontier(PlainProgress):
    """A FrontierObserver that writes lines."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._bounds = Bounds()

    def bounding(self, bounds: int, kept: int) -> None:
        """Write how many bounds there are, and how many are known already."""
        self._bounds.plan(bounds, kept)
        self.line(f"{counted(bounds, 'bound')} of optimum{f', {kept} of them known already' if kept else ''}")

    def bounded(self) -> None:
        """Write that one more bound is known, and the time that is left."""
        self._bounds.known += 1
        left = self._bounds.left()
        self.line(f"{self._bounds.known} of {self._bounds.all}: bound known{left and ', '}{left}")


class BarFrontier(BarProgress):
    """A FrontierObserver that draws a bar over all runs, then one over all bounds."""

    _bounds = Bounds()

    def bounding(self, bounds: int, kept: int) -> None:
        """Let the bar show the bounds."""
        self._bounds = Bounds()
        self._bounds.plan(bounds, kept)
        self._show()

    def bounded(self) -> None:
        """Count one more bound."""
        self._bounds.known += 1
        self._show()

    def _show(self) -> None:
        share = self._bounds.known / self._bounds.all if self._bounds.all else 1.0
        self.show(f"{self._bounds.known} of {self._bounds.all} bounds of optimum", share, self._bounds.left())
