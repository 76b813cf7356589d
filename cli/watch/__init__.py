"""Observers that show a run on the terminal: a live view, plain lines, or nothing."""

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
    """An observer for the time of the `with` block, which leaves the terminal as it was.

    It writes to `stream` (default: standard error). `auto` is the live view if the stream is a terminal that can show
    one, else plain lines.
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
    """True if the stream is a terminal that can move its cursor and shows UTF-8."""
    encoding = (getattr(stream, "encoding", None) or "ascii").lower().replace("-", "")
    return stream.isatty() and os.environ.get("TERM", "dumb") not in {"", "dumb", "unknown"} and encoding == "utf8"
