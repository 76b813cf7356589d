"""The live view: a thread of its own draws the state a few times a second, even while the experiment is busy."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.control import Control
from rich.live import Live

from cli.watch.frame import draw
from cli.watch.lines import Frame
from cli.watch.state import ViewState
from node_agent.records import DecisionRecord, EventRecord, SampleRecord
from testbed.breakdown.parts import Parts
from testbed.fidelity.report import FidelityState
from testbed.record.task_line import TaskLine
from testbed.scenario import Scenario

REFRESH_EVERY_S = 0.25
# Decision 073: the view draws when something has changed, and takes at most 1 % of a core
# (docs/decisions/073-drawing-costs-at-most-one-per-cent.md).
REST_EVERY_S = 1.0  # between two pictures if only the clock has changed
CPU_SHARE = 0.01  # of one core, above which pictures become rarer
STOP_TIMEOUT_S = 2.0


@contextmanager
def live_view(stream: TextIO) -> Iterator[ScreenObserver]:
    """Show a run on a terminal for the time of the `with` block; the view disappears at its end.

    Decision 071: the live view is drawn in place, not on the terminal's other screen
    (docs/decisions/071-live-view-in-place.md).
    """
    console = Console(file=stream)
    live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
    observer = ScreenObserver(live)
    with live:
        console.show_cursor(True)  # if the process is killed, a hidden cursor stays hidden
        observer.start()
        try:
            yield observer
        finally:
            observer.stop()
            live.update("", refresh=True)


class ScreenObserver:
    """A RunObserver that passes every call to a ViewState, which a thread draws."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._state = ViewState()
        self._lock = threading.Lock()
        self._news = True  # something has changed since the last picture
        self._ended = threading.Event()
        self._size = (0, 0)
        self._thread = threading.Thread(target=self._keep_drawing, name="monitor", daemon=True)

    def start(self) -> None:
        """Start the thread that draws."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread that draws."""
        self._ended.set()
        self._thread.join(STOP_TIMEOUT_S)

    def phase(self, text: str) -> None:
        """Show that a phase of the set-up, or of the end, begins."""
        with self._lock:
            self._state.phase(text)
            self._news = True

    def progress(self, what: str, done: int, total: int) -> None:
        """Show the progress of the phase: `done` of `total`."""
        with self._lock:
            self._state.progress(what, done, total)
            self._news = True

    def started(self, scenario: Scenario, offered: int) -> None:
        """Show that the workload of `offered` tasks begins."""
        with self._lock:
            self._state.started(scenario, offered)
            self._news = True

    def task(self, line: TaskLine) -> None:
        """Count a task that has ended."""
        with self._lock:
            self._state.task(line)
            self._news = True

    def split(self, completed_s: float, parts: Parts) -> None:
        """Keep the parts of a completed task's delay for the next picture."""
        with self._lock:
            self._state.split(completed_s, parts)

    def decision(self, record: DecisionRecord) -> None:
        """Show a node's decision."""
        with self._lock:
            self._state.decision(record)
            self._news = True

    def sample(self, record: SampleRecord) -> None:
        """Keep a node's state for the next picture."""
        with self._lock:
            self._state.sample(record)

    def event(self, record: EventRecord) -> None:
        """Show an event: an injected change, or a fault."""
        with self._lock:
            self._state.event(record)
            self._news = True

    def fidelity(self, state: FidelityState) -> None:
        """Keep the state of the emulation for the next picture."""
        with self._lock:
            self._state.fidelity(state)

    def tick(self, now_s: float) -> None:
        """Keep the emulated time for the next picture."""
        with self._lock:
            self._state.tick(now_s)

    def _keep_drawing(self) -> None:
        pause_s, next_s = 0.0, 0.0
        while not self._ended.wait(pause_s):
            # Samples do not count as a change: every node sends one each second, even if nothing happens.
            if not self._news and time.monotonic() < next_s:
                pause_s = REFRESH_EVERY_S
                continue
            next_s = time.monotonic() + REST_EVERY_S
            began_s = time.thread_time()
            try:
                self._draw()
            except Exception as error:  # the run goes on without its view
                self._live.console.print(f"the monitor has stopped: {error!r}", markup=False)
                return
            pause_s = max(REFRESH_EVERY_S, (time.thread_time() - began_s) / CPU_SHARE)

    def _draw(self) -> None:
        console = self._live.console
        width, height = size = console.size
        if self._size not in {size, (0, 0)}:
            # A terminal that becomes narrower wraps its lines: the place of the picture is no longer known.
            console.control(Control.clear(), Control.home())
        self._size = size
        with self._lock:
            # A spinner turns during the set-up and the end.
            self._news = self._state.stage in {"set-up", "ending"}
            lines = draw(self._state, width, height - 1).lines
        # The cursor rests below the picture: if the process is killed, the next output begins on a new line.
        self._live.update(Frame([*lines, [(" ", "")]]), refresh=True)
