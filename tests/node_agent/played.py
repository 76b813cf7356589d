"""A node whose neighbours a test plays by hand: it records messages sent, records published and timers set."""

from node_agent.core.events import ComputeFinished, Received, Send, TimerFired
from node_agent.core.machine import NodeCore
from node_agent.process.driver import Driver
from node_agent.wire import Message, Tensor
from tests.node_agent.small import PICTURE


class PlayedNode(Driver):
    """A driver whose time changes only when the test changes `time_s`."""

    def __init__(self, core: NodeCore) -> None:
        super().__init__(core.config.name)
        self.time_s = 0.0
        self.connected = True
        self.sends: list[Send] = []
        self.records: list = []
        self.timers: dict = {}
        self.serving: Tensor | None = None
        self.problems: list = []
        self.come_up(core)

    def hear(self, peer: str, message: Message, tensor: Tensor | None = None, received_s: float | None = None) -> None:
        self.receive(Received(peer, message, tensor, received_s))

    def fire(self, key) -> None:
        del self.timers[key]
        self.handle(TimerFired(key))

    def answer(self, answer: ComputeFinished) -> None:
        """End the service of the task in service, if there is one."""
        if self.serving is not None:
            self.serving = None
            self.handle(answer)

    def sent(self, kind: type) -> list:
        """Return peer and message of all messages sent of this kind, in order."""
        return [(send.peer, send.message) for send in self.sends if isinstance(send.message, kind)]

    def published(self, kind: type) -> list:
        return [record for record in self.records if isinstance(record, kind)]

    def _now_s(self):
        return self.time_s

    def _input_of(self, sample):  # noqa: ARG002 - all images are alike
        return PICTURE

    def _send(self, send):
        self.sends.append(send)
        return self.connected

    def _start_compute(self, tensor, now_s):  # noqa: ARG002 - the test ends it
        self.serving = tensor

    def _stop_compute(self):
        self.serving = None

    def _plan(self, problem, now_s):  # noqa: ARG002 - the test answers
        self.problems.append(problem)

    def _set_timer(self, key, at_s):
        self.timers[key] = at_s

    def _cancel_timer(self, key):
        self.timers.pop(key, None)

    def _forget_timers(self):
        self.timers.clear()

    def _publish(self, record):
        self.records.append(record)
