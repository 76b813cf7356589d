"""The common base of all drivers of a node state machine: over ZeroMQ, in virtual time and in tests.

A driver gives the node its events and performs the effects. Subclasses define how messages are sent, how the sub-model
runs, how timers fire, and where records go.
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
from node_agent.wire import Probe, ProbeAck, Status, Tensor

HELD_MESSAGES = 2000  # most messages that wait for time zero; beyond that the oldest is dropped


def make_core(config: NodeConfig, table: ExitTable) -> NodeCore:
    """Return a new node state machine; `table` is the exit table of the cut, which only servers use."""
    return DeviceCore(config) if config.is_device else ServerCore(config, table)


class Driver(ABC):
    """Drives the node state machine of one node, which may go down and come up again.

    Call `come_up`, then `measure_links`, then `start` once the node has published Ready, and `end` at the end.
    """

    def __init__(self, name: str) -> None:
        """The node `name` is down at first."""
        self.name = name
        self.core: NodeCore | None = None  # None while the node is down
        self.started = False  # time zero is known
        self._held: deque[Received] = deque(maxlen=HELD_MESSAGES)
        self._missed: list[tuple[int, int, float]] = []  # tasks: id, sample, created [s]
        self._thinner = EventThinner()

    # The life of a node

    @property
    def up(self) -> bool:
        """True between `come_up` and `go_down`."""
        return self.core is not None

    def come_up(self, core: NodeCore) -> None:
        """Begin to receive messages, with a new state machine."""
        self.core = core
        self._thinner = EventThinner()

    def measure_links(self) -> None:
        """Let the node probe its links; it publishes Ready at the end."""
        self.handle(LinksWanted())

    def go_down(self) -> None:
        """Forget everything, as if the process was killed. Tasks offered meanwhile are noted as missed."""
        self.core, self.started = None, False
        self._held.clear()
        self._stop_compute()
        self._forget_timers()

    def start(self) -> None:
        """Begin the run, since time zero is known now.

        Timers set before count from another zero, so they are dropped. Tasks that this node missed are published as
        lost. It may have completed some of them before it went down; the first record of a task counts.
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

    # Events

    def offer(self, task_id: int, sample: int, created_s: float) -> None:
        """Offer a task that the workload wants since `created_s` [s]; before the start it is missed instead."""
        if self.started:
            self.handle(TaskArrived(task_id, sample, created_s, self._input_of(sample)))
        else:
            self._missed.append((task_id, sample, created_s))

    def receive(self, received: Received) -> None:
        """Take a message that has arrived. It is dropped if the node is down; before the start all but probes wait."""
        if self.started or (self.up and isinstance(received.message, Probe | ProbeAck)):
            self.handle(received)
        elif self.up:  # tasks and prices mean nothing before time zero
            self._hold(received)

    def _hold(self, received: Received) -> None:
        if len(self._held) == HELD_MESSAGES:
            oldest = type(self._held[0].message).__name__
            self._note("dropped", f"before the start, {oldest}: too much is queued")
        # Without its arrival time, which counts from another zero.
        self._held.append(Received(received.peer, received.message, received.tensor))

    def handle(self, event: Event, now_s: float | None = None) -> None:  # noqa: PLR0912 - a branch for each kind
        """Let the node handle an event of this moment, or of `now_s` [s], and perform the effects."""
        core = self.core
        assert core is not None, f"{self.name} is down"
        if now_s is None:
            now_s = self._now_s()
        try:
            effects = core.handle(event, now_s)
        except (Exception, SystemExit) as error:
            self._fail(error)
        for effect in effects:
            match effect:  # the most frequent first
                case Send():
                    # An unsent report of a queue needs no event: the next report follows at once.
                    if not self._send(effect) and not isinstance(effect.message, Status):
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
        """Raise InvalidState if this driver and the node disagree; called after each event with `config.debug`."""

    # Records

    def _note(self, kind: EventKind, detail: str) -> None:
        """Publish an event of this moment, unless it is thinned out."""
        self._tell(EventRecord(self._now_s(), self.name, kind, detail))

    def _tell(self, record: Record) -> None:
        """Publish a record. Events are thinned out; those before the start get time zero."""
        if isinstance(record, EventRecord):
            thinned = self._thinner.thinned(record)
            if thinned is None:
                return
            record = thinned if self.started else msgspec.structs.replace(thinned, time_s=0.0)
        self._publish(record)

    def _attach_story(self, error: BaseException) -> None:
        """Add the node's story to an error, if it keeps one."""
        if self.core is not None and self.core.story is not None:
            self.core.story.attach(error)

    # For subclasses

    def _fail(self, error: BaseException) -> NoReturn:
        """Raise `error`, which the node's code or a user's policy has raised; subclasses may add to it."""
        raise error

    @abstractmethod
    def _now_s(self) -> float:
        """Return emulated time since the start of the run [s]; before the start it counts from another zero."""

    @abstractmethod
    def _input_of(self, sample: int) -> Tensor:
        """Return the tensor that a device sends for an evaluation sample."""

    @abstractmethod
    def _send(self, send: Send) -> bool:
        """Send a message; return False if the peer is not connected, or too many messages wait for it."""

    @abstractmethod
    def _start_compute(self, tensor: Tensor, now_s: float) -> None:
        """Run the sub-model on a tensor; service counts from `now_s` [s]. ComputeFinished carries its answer."""

    @abstractmethod
    def _stop_compute(self) -> None:
        """Abandon the tensor in the sub-model, if there is one."""

    @abstractmethod
    def _plan(self, problem: Problem, now_s: float) -> None:
        """Let the central policy plan from `now_s` [s]. PlanningFinished carries its answer."""

    @abstractmethod
    def _set_timer(self, key: TimerKey, at_s: float) -> None:
        """Set a timer: TimerFired comes at `at_s` [s]. It replaces an older timer of this key."""

    @abstractmethod
    def _cancel_timer(self, key: TimerKey) -> None:
        """Cancel a timer, if it is set."""

    @abstractmethod
    def _forget_timers(self) -> None:
        """Cancel all timers."""

    @abstractmethod
    def _publish(self, record: Record) -> None:
        """Send a record to the experiment."""
