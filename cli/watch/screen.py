"""The live view: a thread of its own draws the state a few times a second, also while the experiment is busy."""

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
from testbed.fidelity.report import FidelityState
from testbed.record.task_line import TaskLine
from testbed.scenario import Scenario

REFRESH_EVERY_S = 0.25
REST_EVERY_S = 1.0  # where only the clock goes on: four pictures a second of a city at rest took 1 % of a core
CPU_SHARE = 0.01  # drawing gives way before it takes more than this of one core: two to four pictures a second
STOP_TIMEOUT_S = 2.0


@contextmanager
def live_view(stream: TextIO) -> Iterator[ScreenObserver]:
    """Show a run on a terminal for the time of the `with` block; nothing of it remains afterwards.

    Decision: drawn in place and not on the terminal's other screen, because a run that is killed or left at once would
    leave its user there; rejected: Live(screen=True).
    """
    console = Console(file=stream)
    live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
    observer = ScreenObserver(live)
    with live:
        console.show_cursor(True)  # it would stay hidden if the process were killed
        observer.start()
        try:
            yield observer
        finally:
            observer.stop()
            live.update("", refresh=True)


class ScreenObserver:
    """Hands on to the state what it is told; a thread draws it."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._state = ViewState()
        self._lock = threading.Lock()
        self._news = True  # since the last picture
        self._ended = threading.Event()
        self._size = (0, 0)
        self._thread = threading.Thread(target=self._keep_drawing, name="monitor", daemon=True)

    def start(self) -> None:
        """Begin to draw."""
        self._thread.start()

    def stop(self) -> None:
        """Draw no more."""
        self._ended.set()
        self._thread.join(STOP_TIMEOUT_S)

    def phase(self, text: str) -> None:
        """The set-up, or the end, has come to this."""
        with self._lock:
            self._state.phase(text)
            self._news = True

    def progress(self, what: str, done: int, total: int) -> None:
        """How far the phase is: so many of so many."""
        with self._lock:
            self._state.progress(what, done, total)
            self._news = True

    def started(self, scenario: Scenario, offered: int) -> None:
        """Time zero is set; `offered` tasks will be offered."""
        with self._lock:
            self._state.started(scenario, offered)
            self._news = True

    def task(self, line: TaskLine) -> None:
        """A task has ended."""
        with self._lock:
            self._state.task(line)
            self._news = True

    def decision(self, record: DecisionRecord) -> None:
        """A node has decided."""
        with self._lock:
            self._state.decision(record)
            self._news = True

    def sample(self, record: SampleRecord) -> None:
        """A node has told its state."""
        with self._lock:
            self._state.sample(record)

    def event(self, record: EventRecord) -> None:
        """Something was injected or went wrong."""
        with self._lock:
            self._state.event(record)
            self._news = True

    def fidelity(self, state: FidelityState) -> None:
        """How the emulation stands."""
        with self._lock:
            self._state.fidelity(state)

    def tick(self, now_s: float) -> None:
        """Emulated time goes on."""
        with self._lock:
            self._state.tick(now_s)

    def _keep_drawing(self) -> None:
        pause_s, next_s = 0.0, 0.0
        while not self._ended.wait(pause_s):
            # Samples are no news: each node tells one every second, whether anything happens or not.
            if not self._news and time.monotonic() < next_s:
                pause_s = REFRESH_EVERY_S
                continue
            next_s = time.monotonic() + REST_EVERY_S
            began_s = time.thread_time()
            try:
                self._draw()
            except Exception as error:  # the view may fail, the run must go on
                self._live.console.print(f"the monitor has stopped: {error!r}", markup=False)
                return
            pause_s = max(REFRESH_EVERY_S, (time.thread_time() - began_s) / CPU_SHARE)

    def _draw(self) -> None:
        console = self._live.console
        width, height = size = console.size
        if self._size not in {size, (0, 0)}:
            # A terminal wraps what it shows when it becomes narrower, so the lines to go back by are no longer known.
            console.control(Control.clear(), Control.home())
        self._size = size
        with self._lock:
            # The set-up and the end have a wheel that turns.
            self._news = self._state.stage in {"set-up", "ending"}
            lines = draw(self._state, width, height - 1).lines
        # The cursor rests below the picture: should the process be killed, what is printed next begins a line.
        self._live.update(Frame([*lines, [(" ", "")]]), refresh=True)
