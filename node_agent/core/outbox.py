"""The outbox collects the effects of a node's parts while one event is handled."""

from collections.abc import Collection, Set

from node_agent.core.budget import Budget
from node_agent.core.events import (
    CancelTimer,
    Effect,
    Event,
    Publish,
    Send,
    SetTimer,
    StartCompute,
    StartPlanning,
    StopCompute,
    TimerFired,
    TimerKey,
)
from node_agent.errors import InvalidState
from node_agent.problem import Problem
from node_agent.records import EventKind, EventRecord, Record
from node_agent.wire import Message, Tensor, message_bytes


class Outbox:
    """Effects of the present event, in order; `now_s` is the emulated time at which it is handled [s]."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.now_s = 0.0
        self.budget: Budget | None = None  # of control messages; None: they are not counted
        self.timers: set[TimerKey] = set()  # those set now; valid if `follow_timers` is called after each event
        self.sent_bytes: dict[str, int] | None = None  # by peer, since `take_sent_bytes`; None: they are not counted
        self._effects: list[Effect] = []

    def send_data(self, peer: str, message: Message, tensor: Tensor | None = None) -> None:
        """Send on the connection for tasks."""
        self._count(peer, message, tensor)
        self._effects.append(Send(peer, "data", message, tensor))

    def send_control(self, peer: str, message: Message) -> None:
        """Send on the connection for prices."""
        if self.budget is not None:
            self.budget.spend(peer, message, self.now_s)
        self._count(peer, message, None)
        self._effects.append(Send(peer, "control", message))

    def _count(self, peer: str, message: Message, tensor: Tensor | None) -> None:
        if self.sent_bytes is not None:
            size_bytes = message_bytes(message, None if tensor is None else tensor.form.byte_count)
            self.sent_bytes[peer] = self.sent_bytes.get(peer, 0) + size_bytes

    def take_sent_bytes(self) -> dict[str, int]:
        """Return the bytes sent to each peer since the last call, and count anew; empty if they are not counted."""
        if self.sent_bytes is None:
            return {}
        sent_bytes, self.sent_bytes = self.sent_bytes, {}
        return sent_bytes

    def messages(self) -> list[tuple[str, Message]]:
        """Return peer and message of all that this event has sent so far."""
        return [(effect.peer, effect.message) for effect in self._effects if isinstance(effect, Send)]

    def compute(self, tensor: Tensor) -> None:
        """Start the sub-model on a tensor."""
        self._effects.append(StartCompute(tensor))

    def stop_computing(self) -> None:
        """Abandon the tensor in the sub-model."""
        self._effects.append(StopCompute())

    def plan(self, problem: Problem) -> None:
        """Run the planner of a central policy."""
        self._effects.append(StartPlanning(problem))

    def timer(self, key: TimerKey, after_s: float) -> None:
        """Set a timer that fires `after_s` from now [s]; it replaces one with the same key."""
        self._effects.append(SetTimer(key, self.now_s + after_s))

    def cancel(self, key: TimerKey) -> None:
        """Cancel a timer, if it is set."""
        self._effects.append(CancelTimer(key))

    def follow_timers(self, event: Event) -> None:
        """Update `timers` after `event` has been handled and before its effects are drained."""
        if isinstance(event, TimerFired):
            self.timers.discard(event.key)
        for effect in self._effects:
            if isinstance(effect, SetTimer):
                self.timers.add(effect.key)
            elif isinstance(effect, CancelTimer):
                self.timers.discard(effect.key)

    def validate_timers(self, kinds: Collection[str | int], wanted: Set[TimerKey]) -> None:
        """Raise InvalidState unless, of these kinds, exactly the timers `wanted` are set."""
        found = {key for key in self.timers if key[0] in kinds}
        if found != wanted:
            missing, idle = sorted(wanted - found), sorted(found - wanted)
            raise InvalidState("timers", f"{missing} should be set, {idle} should not")

    def publish(self, record: Record) -> None:
        """Publish a record to the experiment."""
        self._effects.append(Publish(record))

    def note(self, kind: EventKind, detail: str) -> None:
        """Publish an event of this node; `detail` is for people."""
        self.publish(EventRecord(self.now_s, self.node, kind, detail))

    def drain(self) -> list[Effect]:
        """Return the effects so far, and empty the outbox."""
        effects, self._effects = self._effects, []
        return effects
