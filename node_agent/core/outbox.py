"""Where the parts of a node put their effects while one event is handled."""

from collections.abc import Collection, Set

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
from node_agent.wire import Message, Tensor


class Outbox:
    """Effects of the event in hand, in order; `now_s` is the emulated time at which it is handled."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.now_s = 0.0
        self.timers: set[TimerKey] = set()  # those set now, as far as `follow_timers` was called for each event
        self._effects: list[Effect] = []

    def send_data(self, peer: str, message: Message, tensor: Tensor | None = None) -> None:
        """Send on the connection for tasks."""
        self._effects.append(Send(peer, "data", message, tensor))

    def send_control(self, peer: str, message: Message) -> None:
        """Send on the connection for prices."""
        self._effects.append(Send(peer, "control", message))

    def compute(self, tensor: Tensor) -> None:
        """Start the sub-model on a tensor."""
        self._effects.append(StartCompute(tensor))

    def stop_computing(self) -> None:
        """Give up the tensor that the sub-model is running on."""
        self._effects.append(StopCompute())

    def plan(self, problem: Problem) -> None:
        """Have the planner of a central policy plan."""
        self._effects.append(StartPlanning(problem))

    def timer(self, key: TimerKey, after_s: float) -> None:
        """Set (or move) a timer `after_s` from now."""
        self._effects.append(SetTimer(key, self.now_s + after_s))

    def cancel(self, key: TimerKey) -> None:
        """Forget a timer; one that is not set is fine."""
        self._effects.append(CancelTimer(key))

    def follow_timers(self, event: Event) -> None:
        """Note which timers are set after an event that has been handled, and before its effects are drained."""
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
        """Tell the experiment."""
        self._effects.append(Publish(record))

    def note(self, kind: EventKind, detail: str) -> None:
        """Tell the experiment that something out of the ordinary has happened here."""
        self.publish(EventRecord(self.now_s, self.node, kind, detail))

    def drain(self) -> list[Effect]:
        """The effects so far; the outbox is empty afterwards."""
        effects, self._effects = self._effects, []
        return effects
