"""What every driver of a node state machine does alike: over ZeroMQ, in virtual time and in tests.

A driver hands the node its events and performs the effects. Subclasses give what differs: how a message is sent, what
computes, which timers wake it, and where records go.
"""

from abc import ABC, abstractmethod
from collections import deque
from typing import NoReturn, assert_never

import msgspec

from node_agent.core.config import NodeConfig
from node_agent.core.events import (
    CancelTimer,
    Event,
    LinksWanted,
    Publish,
    Received,
    RunStarted,
    Send,
    SetTimer,
    StartCompute,
    StartPlanning,
    StopCompute,
    TaskArrived,
    TimerFired,
    TimerKey,
)
from node_agent.core.machine import DeviceCore, NodeCore, ServerCore
from node_agent.dtoee.exit_table import ExitTable
from node_agent.problem import Problem
from node_agent.process.notes import EventThinner
from node_agent.records import DEVICE_DOWN, EventKind, EventRecord, Record, lost_task
from node_agent.wire import Probe, ProbeAck, Tensor

HELD_MESSAGES = 2000  # before time zero; then the oldest is dropped


def make_core(config: NodeConfig, table: ExitTable) -> NodeCore:
    """A new node state machine; `table` holds what the exits of the sub-models answer (a device needs none of it)."""
    return DeviceCore(config) if config.is_device else ServerCore(config, table)


class Driver(ABC):
    """Drives the node state machine of one node, which may go down and come up again.

    The order is `come_up`, `measure_links`, `start` once the node is ready, and `end`.
    """

    def __init__(self, name: str) -> None:
        """A node that is down."""
        self.name = name
        self.core: NodeCore | None = None  # None while the node is down
        self.started = False  # time zero is known to this node
        self._held: deque[Received] = deque(maxlen=HELD_MESSAGES)
        self._missed: list[tuple[int, int, float]] = []  # tasks: id, sample, created [s]
        self._thinner = EventThinner()

    # The life of a node

    @property
    def up(self) -> bool:
        """True from `come_up` to `go_down`."""
        return self.core is not None

    def come_up(self, core: NodeCore) -> None:
        """Begin to receive, with a state machine that knows nothing yet."""
        self.core = core
        self._thinner = EventThinner()

    def measure_links(self) -> None:
        """Have the node probe its links; it publishes Ready once it has."""
        self.handle(LinksWanted())

    def go_down(self) -> None:
        """Forget all but the tasks that are missed meanwhile, as if the process was killed."""
        self.core, self.started = None, False
        self._held.clear()
        self._stop_compute()
        self._forget_timers()

    def start(self) -> None:
        """Begin the run: time zero is known now.

        Timers set before count from another zero and are forgotten. Tasks that this node missed are published as lost;
        it may have completed some of them before it went down: the first record of a task counts.
        """
        self._forget_timers()
        self.started = True
        for task_id, sample, created_s in self._missed:
            self._tell(lost_task(task_id, self.name, sample, created_s, DEVICE_DOWN))
        self._missed.clear()
        self.handle(RunStarted())
        while self._held:
            self.handle(self._held.popleft())

    def end(self) -> None:
        """Publish the sample of the last interval."""
        if self.started:
            self.handle(TimerFired(("sample",)))

    # What happens to it

    def offer(self, task_id: int, sample: int, created_s: float) -> None:
        """The workload wants a task from this device, since `created_s`; before the start, it is missed."""
        if self.started:
            self.handle(TaskArrived(task_id, sample, created_s, self._input_of(sample)))
        else:
            self._missed.append((task_id, sample, created_s))

    def receive(self, received: Received) -> None:
        """A message has arrived. A node that is down drops it; before the start, all but probes wait."""
        if self.started or (self.up and isinstance(received.message, Probe | ProbeAck)):
            self.handle(received)
        elif self.up:  # tasks and prices have no meaning before time zero is known
            self._hold(received)

    def _hold(self, received: Received) -> None:
        if len(self._held) == HELD_MESSAGES:
            oldest = type(self._held[0].message).__name__
            self._note("dropped", f"before the start, {oldest}: too much is queued")
        # Without the time of its arrival, which counts from another zero.
        self._held.append(Received(received.peer, received.message, received.tensor))

    def handle(self, event: Event, now_s: float | None = None) -> None:  # noqa: PLR0912 - a branch for each kind
        """Have the node act on an event of this moment, or of `now_s`, and perform the effects."""
        core = self.core
        assert core is not None, f"{self.name} is down"
        if now_s is None:
            now_s = self._now_s()
        try:
            effects = core.handle(event, now_s)
        except (Exception, SystemExit) as error:
            self._fail(error)
        for effect in effects:
            match effect:  # in the order of their frequency
                case Send():
                    if not self._send(effect):
                        message = type(effect.message).__name__
                        self._note("unsent", f"{message} to {effect.peer}: not connected, or too much is queued")
                case SetTimer():
                    self._set_timer(effect.key, effect.at_s)
                case CancelTimer():
                    self._cancel_timer(effect.key)
                case StartCompute():
                    self._start_compute(effect.tensor, now_s)
                case Publish():
                    self._tell(effect.record)
                case StopCompute():
                    self._stop_compute()
                case StartPlanning():
                    self._plan(effect.problem, now_s)
                case _:
                    assert_never(effect)
        if core.config.debug:
            self.validate()

    def validate(self) -> None:  # noqa: B027 - most drivers keep nothing of their own
        """With `config.debug`, after each event: raise InvalidState unless this driver is as the node has it."""

    # What it tells

    def _note(self, kind: EventKind, detail: str) -> None:
        """Publish an event of this moment, unless its kind is thinned out."""
        self._tell(EventRecord(self._now_s(), self.name, kind, detail))

    def _tell(self, record: Record) -> None:
        """Publish a record; events are thinned out, and those before the start carry time zero."""
        if isinstance(record, EventRecord):
            thinned = self._thinner.thinned(record)
            if thinned is None:
                return
            record = thinned if self.started else msgspec.structs.replace(thinned, time_s=0.0)
        self._publish(record)

    def _attach_story(self, error: BaseException) -> None:
        """Add the node's last events and effects to an error, where they are kept."""
        if self.core is not None and self.core.story is not None:
            self.core.story.attach(error)

    # What differs

    def _fail(self, error: BaseException) -> NoReturn:
        """The node's own code has raised `error`, which a user's policy may do."""
        raise error

    @abstractmethod
    def _now_s(self) -> float:
        """Emulated time since the start of the run; before the start it counts from another zero."""

    @abstractmethod
    def _input_of(self, sample: int) -> Tensor:
        """The tensor that a device sends for an evaluation sample."""

    @abstractmethod
    def _send(self, send: Send) -> bool:
        """Send a message; False if the peer is not connected, or too much is queued for it."""

    @abstractmethod
    def _start_compute(self, tensor: Tensor, now_s: float) -> None:
        """Run the sub-model on a tensor; service begins at `now_s`. Its answer comes as ComputeFinished."""

    @abstractmethod
    def _stop_compute(self) -> None:
        """Abandon the task in service."""

    @abstractmethod
    def _plan(self, problem: Problem, now_s: float) -> None:
        """Have the central policy plan, from `now_s` on. Its answer comes as PlanningFinished."""

    @abstractmethod
    def _set_timer(self, key: TimerKey, at_s: float) -> None:
        """Have TimerFired come at `at_s`; replaces an older timer of this key."""

    @abstractmethod
    def _cancel_timer(self, key: TimerKey) -> None:
        """Forget a timer; one that is not set is fine."""

    @abstractmethod
    def _forget_timers(self) -> None:
        """Forget all timers."""

    @abstractmethod
    def _publish(self, record: Record) -> None:
        """Hand a record to the experiment."""
