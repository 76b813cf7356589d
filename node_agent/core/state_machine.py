"""The common base of devices' and servers' state machines, without I/O: (event, now) in, effects out.

It has no knowledge of sockets, threads, clocks or torch, so the same code runs over ZeroMQ in a namespace, in virtual
time, and in tests. Times are emulated seconds since the start of the run.
"""

from abc import ABC, abstractmethod
from collections.abc import Set
from typing import assert_never

from node_agent.core.config import NodeConfig
from node_agent.core.device import DeviceTasks
from node_agent.core.events import (
    ComputeFinished,
    Effect,
    Event,
    LinksWanted,
    PlanningFinished,
    Received,
    RunStarted,
    TaskArrived,
    TimerFired,
    TimerKey,
)
from node_agent.core.offloading.probing import LinkProbes
from node_agent.core.offloading.routing import Routing
from node_agent.core.outbox import Outbox
from node_agent.core.planning.central import Member
from node_agent.core.planning.continuous import DevicePlanning, ServerPlanning
from node_agent.core.planning.rounds import DeviceRounds, ServerRounds
from node_agent.core.server import ServerTasks
from node_agent.core.story import Story
from node_agent.errors import InvalidState, TestbedError
from node_agent.wire import Ack, Assignment, Offer, Probe, ProbeAck, Report, Result, State, Status, Task, Tensor

OwnEvent = TaskArrived | ComputeFinished | PlanningFinished | TimerFired  # handled by devices only, or by servers only
OwnMessage = Task | Result | Offer | ProbeAck | State  # handled differently by devices and servers


class UnexpectedEvent(TestbedError):
    """Raised for an event that this node cannot handle: a fault of the driver, not of a peer."""


class NodeStateMachine(ABC):
    """The common base of devices and servers: an event goes in, effects come out, and the story keeps both."""

    tasks: DeviceTasks | ServerTasks
    rounds: DeviceRounds | DevicePlanning | ServerRounds | ServerPlanning

    def __init__(self, config: NodeConfig) -> None:
        self.config = config
        self.story = Story(config.name) if config.story else None
        self._started = False
        self._last: tuple[float, ...] = ()
        self._outbox = Outbox(config.name)
        self._outbox.sent_bytes = {} if config.counts_bytes else None
        self.routing = Routing(config, self._outbox)
        self._probes = LinkProbes(config, self.routing, self._outbox)
        self._member = Member(config, self.routing, self._outbox)

    @property
    def timers(self) -> Set[TimerKey]:
        """Keys of the timers that are set now; maintained only with `config.debug`."""
        return self._outbox.timers

    def handle(self, event: Event, now_s: float) -> list[Effect]:
        """Handle `event`, which happened at `now_s` [s], and return its effects in order.

        The caller performs the effects, and must not change the list. If the node keeps a story, every error carries it
        in its notes, which a traceback shows.

        Raises:
            UnexpectedEvent: this node cannot handle such an event.
            InvalidState: with `config.debug`, if `validate` finds a fault.
            TestbedError: a policy or the sub-model gave a wrong answer.
        """
        outbox, story = self._outbox, self.story
        outbox.now_s = now_s
        if story is None:
            self._react(event)
            return outbox.drain()
        try:
            self._react(event)
            if self.config.debug:
                outbox.follow_timers(event)
                self.validate()
        except (Exception, SystemExit) as error:
            story.add(now_s, event, outbox.drain())
            story.attach(error)
            raise
        effects = outbox.drain()
        story.add(now_s, event, effects)
        return effects

    def _react(self, event: Event) -> None:
        """Put the effects of `event` into the outbox, and those of a receiver that falls silent or comes back."""
        self._react_to(event)
        if self.routing.changed:
            self.routing.changed = False
            self.rounds.news()

    def _react_to(self, event: Event) -> None:
        match event:
            case Received():
                self._receive(event)
            case TimerFired(("sample",)):
                self._sample()
            case TimerFired(("probe", *_) as key):
                self._probes.timer(key)
            case LinksWanted():
                self._probes.start()
            case RunStarted():
                self._started = True
                self._last = (max(0.0, self._outbox.now_s), *self._last[1:])
                self._outbox.take_sent_bytes()
                self._begin()
            case TaskArrived() | ComputeFinished() | PlanningFinished() | TimerFired():
                self._react_alone(event)
            case _:
                assert_never(event)

    @abstractmethod
    def _react_alone(self, event: OwnEvent) -> None:
        """Handle an event of this kind of node only; raise UnexpectedEvent for any other."""

    @abstractmethod
    def _begin(self) -> None:
        """Set the timers that are always set from the start of the run."""

    @abstractmethod
    def _sample(self) -> None:
        """Publish a sample with the counts since the last one, and set the timer of the next."""

    def _receive(self, event: Received) -> None:
        """Handle a message. It shows that its sender is alive; most kinds are handled alike by all nodes."""
        peer, message = event.peer, event.message
        received_s = self._outbox.now_s if event.received_s is None else event.received_s
        # No sign of life: a receiver that sends its queue may still leave tasks unacknowledged.
        if not isinstance(message, Status) and self.routing.heard(peer):
            self._probes.forget(peer)
        match message:
            case Ack():
                self.tasks.acknowledged(peer, message)
            case Report():
                self.rounds.report(peer, message, received_s)
            case Probe():
                self._outbox.send_data(peer, ProbeAck(message.sequence, received_s))
            case Status():
                self.routing.status(peer, message)
            case Assignment():
                self._member.assigned(peer, message)
            case Task() | Result() | Offer() | ProbeAck() | State():
                self._take(peer, message, event.tensor, received_s)
            case _:
                assert_never(message)

    @abstractmethod
    def _take(self, peer: str, message: OwnMessage, tensor: Tensor | None, received_s: float) -> None:
        """Handle a message that devices and servers handle differently, or refuse."""

    def _refuse(self, peer: str, message: OwnMessage) -> None:
        self._outbox.note("unexpected-message", f"{type(message).__name__} from {peer}")

    def validate(self) -> None:
        """Raise InvalidState if the node's state contradicts itself."""
        self._probes.validate()
        counts, sampled = self._counts()[1:], self._last[1:]
        if any(new < old for new, old in zip(counts, sampled, strict=True)):
            raise InvalidState("samples", f"counts have fallen from {sampled} to {counts}")

    @abstractmethod
    def _counts(self) -> tuple[float, ...]:
        """Return the present time [s] and the counters whose growth a sample reports."""

    def _validate_standing_timers(self, wanted: Set[TimerKey], kinds: Set[str]) -> None:
        """Raise InvalidState if, after the start, a `wanted` timer is not set, or a timer of another kind is."""
        missing = wanted - self.timers if self._started else set()
        if missing or not kinds >= {key[0] for key in self.timers}:
            raise InvalidState("timers", f"{sorted(self.timers)} are set; {sorted(missing)} should be")
