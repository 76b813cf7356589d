"""A run as plain lines, for logs and pipes: a line per set-up step and event, and figures every few seconds."""

import time
from collections.abc import Callable
from typing import TextIO

from cli.watch.state import ViewState
from node_agent.records import DecisionRecord, EventRecord, SampleRecord
from testbed.breakdown.parts import PART_WORDS, Parts
from testbed.fidelity.report import FidelityState
from testbed.record.task_line import TaskLine
from testbed.scenario import Scenario
from testbed.wording import milliseconds, percent

PROGRESS_EVERY_S = 5.0  # real time
PHASE_EVERY_S = 1.0
MOST_PARTS = 2  # of the delay, in a line of figures


class PlainObserver:
    """A RunObserver that writes lines of printable text to a stream."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives real time [s]."""
        self._stream = stream
        self._clock = clock
        self._state = ViewState(clock)
        self._began_s = clock()
        self._next_s = 0.0
        self._reader_left = False

    def phase(self, text: str) -> None:
        """Write that a phase of the set-up, or of the end, begins."""
        self._state.phase(text)
        self._phase_line()

    def progress(self, what: str, done: int, total: int) -> None:
        """Write the progress of the phase, at most once a second."""
        self._state.progress(what, done, total)
        if self._clock() >= self._next_s:
            self._phase_line()

    def _phase_line(self) -> None:
        self._next_s = self._clock() + PHASE_EVERY_S
        when_s = self._clock() - self._began_s if self._state.scenario is None else self._state.now_s
        what = "set-up: " if self._state.scenario is None else ""
        phase = self._state.phases[-1]
        self._line(when_s, f"{what}{phase.text}{phase.progress and ': '}{phase.progress}")

    def started(self, scenario: Scenario, offered: int) -> None:
        """Write that the workload of `offered` tasks begins."""
        self._state.started(scenario, offered)
        self._next_s = self._clock() + PROGRESS_EVERY_S
        self._line(
            0.0,
            f"start: {scenario.name} under {scenario.policy.label}, {len(scenario.node_names)} nodes, "
            f"{scenario.duration_s:g} s, {offered} tasks",
        )

    def task(self, line: TaskLine) -> None:
        """Count a task that has ended."""
        self._state.task(line)

    def split(self, completed_s: float, parts: Parts) -> None:
        """Keep the parts of a completed task's delay."""
        self._state.split(completed_s, parts)

    def decision(self, record: DecisionRecord) -> None:
        """Ignore a node's decision: there are too many for lines."""

    def sample(self, record: SampleRecord) -> None:
        """Ignore a node's state: there are too many for lines."""

    def event(self, record: EventRecord) -> None:
        """Write an event: an injected change, or a fault."""
        self._state.event(record)
        told = self._state.events[-1]
        where = f" {told.node}:" if told.node else ""
        self._line(told.time_s, f"{told.kind}:{where} {told.detail}")

    def fidelity(self, state: FidelityState) -> None:
        """Write the verdict on the emulation if it has changed."""
        before = self._state.emulation
        self._state.fidelity(state)
        if state.report.verdict != (before.report.verdict if before else "held"):
            reasons = "; ".join(state.report.reasons)
            self._line(self._state.now_s, f"emulation {state.report.verdict}{reasons and ': '}{reasons}")

    def tick(self, now_s: float) -> None:
        """Write the figures every PROGRESS_EVERY_S of real time."""
        self._state.tick(now_s)
        if self._clock() >= self._next_s:
            self._next_s += PROGRESS_EVERY_S
            self._line(self._state.now_s, self._progress())

    def _progress(self) -> str:
        state, recent = self._state, self._state.recent()
        parts = [f"{state.completed}/{state.offered} completed", f"{state.lost} lost"]
        if state.refused:
            parts.append(f"{state.refused} refused")
        if state.due:
            parts.append(f"{percent(state.in_time_share)} in time")
        if recent.completed:
            parts += [
                f"mean {milliseconds(recent.mean_s)}",
                f"p95 {milliseconds(recent.p95_s)}",
                f"accuracy {percent(recent.accuracy)}",
            ]
            split_s = state.recent_parts()
            if split_s:
                longest = sorted(split_s, key=lambda name: -split_s[name])[:MOST_PARTS]
                words = (f"{PART_WORDS[name]} {milliseconds(split_s[name])}" for name in longest)
                parts.append(f"most of the delay: {' and '.join(words)}")
        else:
            parts.append("none completed lately")
        if state.emulation is not None:
            host = state.emulation.host
            parts.append(f"emulation {state.emulation.report.verdict}, machine {percent(host.cpu_share, '.0f')} busy")
        return ", ".join(parts)

    def _line(self, time_s: float, text: str) -> None:
        if self._reader_left:
            return
        try:
            self._stream.write(f"{time_s:8.1f} s  {text}\n")
            self._stream.flush()
        except BrokenPipeError:
            self._reader_left = True  # the run goes on without its log
