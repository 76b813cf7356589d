"""Observers of a run: the experiment reports its progress to one; only the command line draws it."""

from typing import Protocol

from node_agent.records import DecisionRecord, EventRecord, SampleRecord
from testbed.breakdown.parts import Parts
from testbed.fidelity.report import FidelityState
from testbed.record.task_line import TaskLine
from testbed.scenario import Scenario


class RunObserver(Protocol):
    """Receives everything that happens in a run. Its methods run in the experiment's thread and must return quickly."""

    def phase(self, text: str) -> None:
        """A phase of the set-up or of the end begins; `text` names it."""

    def progress(self, what: str, done: int, total: int) -> None:
        """A long phase goes on: `done` of `total` parts of `what` are finished."""

    def started(self, scenario: Scenario, offered: int) -> None:
        """Time zero is set; `offered` tasks will be offered."""

    def task(self, line: TaskLine) -> None:
        """A task has ended; `line` is its line of tasks.jsonl so far."""

    def split(self, completed_s: float, parts: Parts) -> None:
        """The delay of the task that completed at `completed_s` [s] consists of `parts`; called after `task`."""

    def decision(self, record: DecisionRecord) -> None:
        """A node has decided."""

    def sample(self, record: SampleRecord) -> None:
        """A node has reported its state."""

    def event(self, record: EventRecord) -> None:
        """Something was injected or went wrong."""

    def fidelity(self, state: FidelityState) -> None:
        """The state of the emulation, about once a second in live runs; simulations never call this."""

    def tick(self, now_s: float) -> None:
        """Emulated time is now `now_s` [s]; called several times a second."""


class SilentObserver:
    """An observer that ignores everything."""

    def phase(self, text: str) -> None: ...

    def progress(self, what: str, done: int, total: int) -> None: ...

    def started(self, scenario: Scenario, offered: int) -> None: ...

    def task(self, line: TaskLine) -> None: ...

    def split(self, completed_s: float, parts: Parts) -> None: ...

    def decision(self, record: DecisionRecord) -> None: ...

    def sample(self, record: SampleRecord) -> None: ...

    def event(self, record: EventRecord) -> None: ...

    def fidelity(self, state: FidelityState) -> None: ...

    def tick(self, now_s: float) -> None: ...
