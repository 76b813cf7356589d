"""Watching a run from the terminal: a live view, plain lines, or nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TextIO

from testbed.run.observer import RunObserver, SilentObserver

MonitorChoice = Literal["auto", "rich", "plain", "off"]

__all__ = ["MonitorChoice", "make_observer"]


@contextmanager
def make_observer(choice: MonitorChoice, stream: TextIO | None = None) -> Iterator[RunObserver]:
    """A watcher for the time of the `with` block, which leaves the terminal as it found it.

    `stream` is where it shows the run [default: standard error]. `auto` is the live view where that is a terminal that
    can show one, plain lines elsewhere.
    """
    stream = stream or sys.stderr
    if choice == "auto":
        choice = "rich" if _can_draw(stream) else "plain"
    if choice == "rich":
        from cli.watch.screen import live_view

        with live_view(stream) as observer:
            yield observer
    elif choice == "plain":
        from cli.watch.plain import PlainObserver

        yield PlainObserver(stream)
    else:
        yield SilentObserver()


def _can_draw(stream: TextIO) -> bool:
    """Whether it is a terminal that moves its cursor and shows more than ASCII."""
    encoding = (getattr(stream, "encoding", None) or "ascii").lower().replace("-", "")
    return stream.isatty() and os.environ.get("TERM", "dumb") not in {"", "dumb", "unknown"} and encoding == "utf8"
