"""One node in virtual time: drives the node state machine with the agenda, the links and what sub-models answered."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from node_agent.core.config import NodeConfig
from node_agent.core.events import (
    CancelTimer,
    Channel,
    Event,
    LinksWanted,
    PlanningFinished,
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
from node_agent.errors import InvalidState
from node_agent.process.notes import EventThinner
from node_agent.records import DEVICE_DOWN, EventRecord, Record, lost_task
from node_agent.wire import Probe, ProbeAck
from testbed.simulation.failure import NodeFailed
from testbed.simulation.links import Connection, Links
from testbed.simulation.processor import Answers, Processor
from testbed.sizes import message_bytes
from testbed.virtual_time import Calendar, Entry


class Listener(Protocol):
    """Who hears what nodes tell."""

    def told(self, record: Record) -> None:
        """A node has told something."""


@dataclass(frozen=True, slots=True)
class World:
    """What all nodes of a simulation share."""

    agenda: Calendar
    links: Links
    answers: Answers
    table: ExitTable
    nodes: Mapping[str, "SimulatedNode"]
    listener: Listener


class SimulatedNode:
    """A node with its timers and its connections; it may go down and come up again."""

    def __init__(self, world: World, config: NodeConfig, processor: Processor | None = None) -> None:
        """`processor` computes, on a server."""
        self.processor = processor
        self._world = world
        self._agenda = world.agenda
        self._links = world.links
        self.config = config
        self.up = False
        self.started = False
        self.life = 0  # how often it has come up
        self._core: NodeCore | None = None
        self._timers: dict[TimerKey, Entry] = {}
        self._connections: dict[Channel, dict[str, tuple[Connection, SimulatedNode]]] = {"data": {}, "control": {}}
        self._held: list[Received] = []
        self._missed: list[tuple[int, int, float]] = []  # tasks: id, sample, created
        self.unsent: list[tuple[Connection, int, Received]] = []  # by others, for when this node is up again
        self._thinner = EventThinner()
        self._planning: Entry | None = None

    # Coming and going

    def come_up(self) -> None:
        """The agent starts: it knows nothing, and measures its links.

        Raises:
            NodeFailed: the node's own code raises, which a policy of the user's own may do; so do `start`,
                `offer` and whatever the agenda holds for this node.
        """
        self.up, self.started = True, False
        self.life += 1
        self._thinner = EventThinner()
        config = self.config
        try:
            self._core = DeviceCore(config) if config.is_device else ServerCore(config, self._world.table)
        except (Exception, SystemExit) as error:
            raise self._failed(error) from error
        unsent, self.unsent = self.unsent, []
        for connection, size_bytes, message in unsent:
            self._links.send(connection, size_bytes, message)
        self._handle(LinksWanted())

    def start(self) -> None:
        """Time zero is known, or has been for long: what came and was missed before is dealt with now."""
        self._forget_timers()
        self.started = True
        for task_id, sample, created_s in self._missed:
            lost = lost_task(task_id, self.config.name, sample, created_s, DEVICE_DOWN)
            self._world.listener.told(lost)
        self._missed.clear()
        self._handle(RunStarted())
        held, self._held = self._held, []
        for received in held:
            self._handle(received)

    def go_down(self) -> None:
        """The agent is killed: all that it knew is gone."""
        self.up = self.started = False
        self._core = None
        if self._planning is not None:
            self._agenda.strike(self._planning)
        if self.processor is not None:
            self.processor.abandon()
        self._forget_timers()
        self._held.clear()
        self._links.hang_up(self.config.name)
        for other in self._world.nodes.values():  # what it wanted to send them was kept in its own memory
            other.unsent = [kept for kept in other.unsent if kept[0].sender != self.config.name]

    def end(self) -> None:
        """Tell the last interval, too."""
        if self.started:
            self._handle(TimerFired(("sample",)))

    # What happens to it

    def offer(self, task_id: int, sample: int, created_s: float) -> None:
        """The workload wants a task from this device now."""
        if self.started:
            self._handle(TaskArrived(task_id, sample, created_s, self._world.answers.offered(sample)))
        else:
            self._missed.append((task_id, sample, created_s))

    def receive(self, received: Received) -> None:
        """A message has arrived."""
        if self.started:
            self._handle(received)
        elif self.up:
            if isinstance(received.message, Probe | ProbeAck):
                self._handle(received)
            else:  # tasks and prices have no meaning before time zero is known
                self._held.append(received)

    def _fire(self, key: TimerKey) -> None:
        del self._timers[key]
        self._handle(TimerFired(key))

    def _forget_timers(self) -> None:
        for entry in self._timers.values():
            self._agenda.strike(entry)
        self._timers.clear()

    # What it does

    def _handle(self, event: Event) -> None:
        core = self._core
        assert core is not None
        try:
            effects = core.handle(event, self._agenda.now_s)
        except (Exception, SystemExit) as error:
            raise self._failed(error) from error
        for effect in effects:
            # In the order of their frequency.
            if isinstance(effect, Send):
                self._send(effect)
            elif isinstance(effect, SetTimer):
                self._cancel(effect.key)
                self._timers[effect.key] = self._agenda.at(effect.at_s, self._fire, effect.key)
            elif isinstance(effect, CancelTimer):
                self._cancel(effect.key)
            elif isinstance(effect, StartCompute):
                if self.processor is not None:
                    self.processor.start(effect.tensor, self._handle)
            elif isinstance(effect, Publish):
                self._publish(effect.record)
            elif isinstance(effect, StopCompute):
                if self.processor is not None:
                    self.processor.abandon()
            else:
                self._plan(effect)
        if self.config.debug:
            self.validate()

    def _cancel(self, key: TimerKey) -> None:
        entry = self._timers.pop(key, None)
        if entry is not None:
            self._agenda.strike(entry)

    def _send(self, effect: Send) -> None:
        message, tensor = effect.message, effect.tensor
        size_bytes = message_bytes(message, None if tensor is None else len(tensor.data))
        found = self._connections[effect.channel].get(effect.peer)
        connection, receiver = found or self._connect(effect.peer, effect.channel)
        received = Received(self.config.name, message, tensor)
        if receiver.up:
            self._links.send(connection, size_bytes, received)
        elif self._connects_to(receiver.config):
            receiver.unsent.append((connection, size_bytes, received))  # ZeroMQ keeps it for the next connection
        else:
            detail = f"{type(message).__name__} to {effect.peer}: not connected, or too much is queued"
            self._publish(EventRecord(self._agenda.now_s, self.config.name, "unsent", detail))

    def _connect(self, peer: str, channel: Channel) -> "tuple[Connection, SimulatedNode]":
        receiver = self._world.nodes[peer]
        connection = self._links.connect(self.config.name, peer, receiver.receive, urgent=channel == "control")
        self._connections[channel][peer] = connection, receiver
        return connection, receiver

    def _connects_to(self, peer: NodeConfig) -> bool:
        """Whether the connection to a peer is of this node's making, so that messages wait while the peer is away."""
        config = self.config
        answers = config.stage > 1 and peer.is_device
        return answers or peer.name in config.receivers or peer.name == config.coordinator

    def _publish(self, record: Record) -> None:
        if isinstance(record, EventRecord):
            thinned = self._thinner.thinned(record)
            if thinned is None:
                return
            record = thinned if self.started else msgspec.structs.replace(thinned, time_s=0.0)
        self._world.listener.told(record)

    def _plan(self, effect: StartPlanning) -> None:
        assert self._core is not None
        policy = self._core.routing.policy
        try:
            plan = PlanningFinished(policy.plan(effect.problem, self._world.table))
            due_s = self._agenda.now_s + policy.planning_s(effect.problem)
        except (Exception, SystemExit) as error:
            raise self._failed(error) from error
        self._planning = self._agenda.at(due_s, self._handle, plan)

    def _failed(self, error: BaseException) -> NodeFailed:
        if self._core is not None and self._core.story is not None:
            self._core.story.attach(error)
        return NodeFailed(self.config.name, error)

    def validate(self) -> None:
        """Raise NodeFailed unless timers and processor are as the state machine has them."""
        core, processor = self._core, self.processor
        timers = core.timers if core is not None else set()
        computing = isinstance(core, ServerCore) and core.tasks.computing
        try:
            if self._timers.keys() != timers:
                raise InvalidState("timers", f"{sorted(self._timers)} are set, the node has set {sorted(timers)}")
            if processor is not None:
                processor.validate(busy=computing)
        except InvalidState as error:
            raise self._failed(error) from error
