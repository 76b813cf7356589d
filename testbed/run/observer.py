"""Who may watch a run: the experiment reports its progress here, and only the command line draws it."""

from typing import Protocol

from node_agent.records import DecisionRecord, EventRecord, SampleRecord
from testbed.fidelity.report import FidelityState
from testbed.record.task_line import TaskLine
from testbed.scenario import Scenario


class RunObserver(Protocol):
    """Told of everything as it happens, in the experiment's own thread: must return quickly."""

    def phase(self, text: str) -> None:
        """The set-up, or the end, has come to this."""

    def progress(self, what: str, done: int, total: int) -> None:
        """How far a long phase is: `done` of `total`."""

    def started(self, scenario: Scenario, offered: int) -> None:
        """Time zero is set; `offered` tasks will be offered."""

    def task(self, line: TaskLine) -> None:
        """A task has ended; `line` is what tasks.jsonl says of it by now."""

    def decision(self, record: DecisionRecord) -> None:
        """A node has decided."""

    def sample(self, record: SampleRecord) -> None:
        """A node has told its state."""

    def event(self, record: EventRecord) -> None:
        """Something was injected or went wrong."""

    def fidelity(self, state: FidelityState) -> None:
        """How the emulation stands; told about once a second, and never in a simulation."""

    def tick(self, now_s: float) -> None:
        """Emulated time goes on; called several times a second."""


class SilentObserver:
    """Watches nothing."""

    def phase(self, text: str) -> None: ...

    def progress(self, what: str, done: int, total: int) -> None: ...

    def started(self, scenario: Scenario, offered: int) -> None: ...

    def task(self, line: TaskLine) -> None: ...

    def decision(self, record: DecisionRecord) -> None: ...

    def sample(self, record: SampleRecord) -> None: ...

    def event(self, record: EventRecord) -> None: ...

    def fidelity(self, state: FidelityState) -> None: ...

    def tick(self, now_s: float) -> None: ...
