"""The state of a run for a monitor: fed by the experiment's callbacks, read by the view; knows no terminal."""

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from node_agent.records import DecisionRecord, EventKind, EventRecord, SampleRecord
from testbed.breakdown.parts import PART_NAMES, Parts
from testbed.fidelity.report import FidelityState
from testbed.record.task_line import TaskLine
from testbed.scenario import Scenario

WINDOW_S = 10.0  # emulated time over which current figures are averaged
BINS = 60  # points of a curve over the whole run
EVENTS_KEPT = 50
WINDOW_SAMPLES = 10  # a node sends a sample once a second
DOWN: frozenset[EventKind] = frozenset({"node-down", "agent-died"})

Stage = Literal["set-up", "running", "draining", "ending"]


@dataclass(slots=True)
class NodeView:
    """The last known state of a node: a device (stage 0) or a server. `samples` are those within the window."""

    name: str
    stage: int
    up: bool = True
    threshold: float | None = None
    samples: deque[SampleRecord] = field(default_factory=lambda: deque(maxlen=WINDOW_SAMPLES))

    @property
    def queue_length(self) -> int:
        """Number of tasks waiting or in service; for a device, of tasks without a result yet."""
        return self.samples[-1].queue_length if self.up and self.samples else 0

    @property
    def utilisation(self) -> float:
        """Share (0..1) of its last interval that the node spent in service."""
        return self.samples[-1].utilisation if self.up and self.samples else 0.0

    @property
    def arrival_rate_per_s(self) -> float:
        """Mean arrival rate over the window [task/s]."""
        if not self.up or not self.samples:
            return 0.0
        return sum(sample.arrival_rate_per_s for sample in self.samples) / len(self.samples)

    @property
    def served(self) -> int:
        """Number of tasks served within the window."""
        return sum(sample.served for sample in self.samples)

    @property
    def exit_share(self) -> float | None:
        """Share (0..1) of the tasks served within the window that left here; None if none was served."""
        served = self.served
        return sum(sample.exits for sample in self.samples) / served if served else None


@dataclass(frozen=True, slots=True)
class Delays:
    """Figures over some completed tasks; None without any task. Accuracy and shares are 0..1."""

    completed: int
    mean_s: float | None = None
    p50_s: float | None = None
    p95_s: float | None = None
    accuracy: float | None = None
    exit_share: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finished:
    """The fields of a completed task that figures need."""

    completed_s: float
    delay_s: float
    correct: bool
    exit_stage: int


@dataclass(frozen=True, slots=True)
class Phase:
    """A step of the set-up and when it began [real s]."""

    text: str
    began_s: float
    progress: str = ""  # the latest, in words


def figures(tasks: Sequence[Finished]) -> Delays:
    """Delay, accuracy and exits of these tasks."""
    if not tasks:
        return Delays(0)
    delays = sorted(task.delay_s for task in tasks)
    exits = Counter(task.exit_stage for task in tasks)
    return Delays(
        completed=len(tasks),
        mean_s=sum(delays) / len(delays),
        p50_s=_nearest_rank(delays, 0.50),
        p95_s=_nearest_rank(delays, 0.95),
        accuracy=sum(task.correct for task in tasks) / len(tasks),
        exit_share={stage: count / len(tasks) for stage, count in sorted(exits.items())},
    )


class ViewState:
    """A RunObserver that keeps the state of the run and shows nothing."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives real time [s], by which the set-up is timed."""
        self.clock = clock
        self.scenario: Scenario | None = None
        self.stage: Stage = "set-up"
        self.phases: list[Phase] = []
        self.offered = 0
        self.now_s = 0.0
        self.completed = 0
        self.lost = 0
        self.refused = 0
        self.due = 0  # tasks with a deadline that have ended, without those of the warm-up
        self.in_time = 0  # of those
        self.nodes: dict[str, NodeView] = {}
        self.offload: dict[str, Mapping[str, float]] = {}
        self.events: deque[EventRecord] = deque(maxlen=EVENTS_KEPT)
        self.emulation: FidelityState | None = None  # the latest report
        self._recent: deque[Finished] = deque()
        self._parts: deque[tuple[float, Parts]] = deque()  # with the time of completion [s]
        self._bins: dict[int, list[Finished]] = {}
        self._curve: dict[int, Delays] = {}

    # Callbacks of the experiment

    def phase(self, text: str) -> None:
        """Begin a phase of the set-up, or of the end."""
        self.phases.append(Phase(plain_text(text), self.clock()))
        if self.scenario is not None:
            self.stage = "ending"

    def progress(self, what: str, done: int, total: int) -> None:
        """Set the progress of the phase: `done` of `total`."""
        if self.phases:
            self.phases[-1] = replace(self.phases[-1], progress=f"{what}: {done} of {total}")

    def started(self, scenario: Scenario, offered: int) -> None:
        """Begin the workload of `offered` tasks at time zero."""
        self.scenario, self.offered, self.stage = scenario, offered, "running"
        self.nodes = {device.name: NodeView(device.name, 0) for device in scenario.devices}
        self.nodes |= {server.name: NodeView(server.name, server.stage) for server in scenario.servers}

    def task(self, line: TaskLine) -> None:
        """Count a task that has ended."""
        if line.in_time is not None and self.scenario is not None and line.created_s >= self.scenario.warm_up_s:
            self.due += 1
            self.in_time += line.in_time
        if line.completed_s is None or line.delay_s is None or line.exit_stage is None:
            self.lost += line.status == "lost"
            self.refused += line.status == "refused"
            return
        self.completed += 1
        task = Finished(line.completed_s, line.delay_s, bool(line.correct), line.exit_stage)
        self._recent.append(task)
        number = int(task.completed_s / self.bin_s)
        self._bins.setdefault(number, []).append(task)
        self._curve.pop(number, None)

    def split(self, completed_s: float, parts: Parts) -> None:
        """Keep the parts of a completed task's delay."""
        self._parts.append((completed_s, parts))

    def decision(self, record: DecisionRecord) -> None:
        """Keep a node's decision."""
        self.offload[record.node] = record.offload
        if record.node in self.nodes:
            self.nodes[record.node].threshold = record.threshold

    def sample(self, record: SampleRecord) -> None:
        """Keep a node's state."""
        node = self.nodes.setdefault(record.node, NodeView(record.node, record.stage))
        node.samples.append(record)
        node.threshold = record.threshold

    def event(self, record: EventRecord) -> None:
        """Keep an event, and mark nodes that it takes down or up."""
        self.events.append(EventRecord(record.time_s, record.node, record.kind, plain_text(record.detail)))
        if record.node in self.nodes:
            node = self.nodes[record.node]
            if record.kind in DOWN:
                node.up = False
                node.samples.clear()
            elif record.kind == "node-up":
                node.up = True

    def fidelity(self, state: FidelityState) -> None:
        """Keep the state of the emulation."""
        self.emulation = state

    def tick(self, now_s: float) -> None:
        """Set the emulated time [s]; after the last arrival, the run is draining."""
        self.now_s = max(0.0, now_s)
        if self.scenario is not None and self.stage == "running" and now_s >= self.scenario.duration_s:
            self.stage = "draining"

    # Figures for a view

    @property
    def slot(self) -> int:
        """Number of the current slot, from 0."""
        return int(self.now_s / self.scenario.slot_s) if self.scenario else 0

    @property
    def in_flight(self) -> int:
        """Number of tasks whose device has no result yet."""
        return sum(node.queue_length for node in self.nodes.values() if node.stage == 0)

    @property
    def in_time_share(self) -> float | None:
        """Share (0..1) of the tasks with a deadline that were in time, since the warm-up; None without any."""
        return self.in_time / self.due if self.due else None

    @property
    def bin_s(self) -> float:
        """Emulated time for one point of the curves [s]."""
        return max(1.0, self.scenario.duration_s / BINS) if self.scenario else 1.0

    @property
    def steps(self) -> int:
        """Number of points of the curves at the end of the workload."""
        return math.ceil(self.scenario.duration_s / self.bin_s) if self.scenario else 1

    def recent(self) -> Delays:
        """Figures over the window that ends now."""
        since_s = self.now_s - WINDOW_S
        # Tasks arrive here in the order of completion, apart from a few milliseconds.
        while self._recent and self._recent[0].completed_s < since_s:
            self._recent.popleft()
        return figures(self._recent)

    def recent_parts(self) -> dict[str, float] | None:
        """Mean of each part of the delay [s] over the window that ends now; None without a task."""
        since_s = self.now_s - WINDOW_S
        while self._parts and self._parts[0][0] < since_s:
            self._parts.popleft()
        if not self._parts:
            return None
        sums_s = map(sum, zip(*(parts for _, parts in self._parts), strict=True))
        return {name: total_s / len(self._parts) for name, total_s in zip(PART_NAMES, sums_s, strict=True)}

    def curve(self) -> list[Delays]:
        """Figures per `bin_s` since the start; the last entry still grows."""
        last = max(int(self.now_s / self.bin_s), max(self._bins, default=0))
        for number in range(last + 1):
            if number not in self._curve:
                self._curve[number] = figures(self._bins.get(number, ()))
        return [self._curve[number] for number in range(last + 1)]

    def nodes_of_stage(self, stage: int) -> list[NodeView]:
        """The nodes of a stage (0: devices), in the order of the topology."""
        return [node for node in self.nodes.values() if node.stage == stage]


def plain_text(text: str) -> str:
    """The text without control characters, which a stranger may have sent to the node that reports it."""
    return "".join(char if char.isprintable() else " " for char in text)


def _nearest_rank(ordered: Sequence[float], share: float) -> float:
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
