"""How an offloader measures its links: probes of a task's size, before the run and where no task has gone lately."""

from node_agent.config import NodeConfig
from node_agent.events import TimerKey
from node_agent.outbox import Outbox
from node_agent.records import Ready
from node_agent.routing import Routing
from node_agent.wire import Probe, ProbeAck, Tensor

FIRST_PROBES = 3  # the first ones also open the connection's congestion window, so the last one counts


class LinkProbes:
    """Sends probes, one at a time to each receiver, and feeds the link estimates."""

    def __init__(self, config: NodeConfig, routing: Routing, outbox: Outbox) -> None:
        self._config = config
        self._routing = routing
        self._outbox = outbox
        self._sequence = 0
        self._sent: dict[tuple[str, int], float] = {}
        self._wanted: dict[str, int] = {}  # before the run: probes still to be answered
        self._starting = False

    def start(self) -> None:
        """Measure all links; `Ready` is published when that is done, or some do not answer in time."""
        self._starting = True
        self._wanted = dict.fromkeys(self._routing.receivers, FIRST_PROBES)
        for name in self._wanted:
            self._send(name)
        self._outbox.timer(("probe",), self._config.timeouts.probe_s)
        self._ready_if_complete()

    def refresh(self) -> None:
        """Probe the links over which no task has gone since the last call."""
        self._sent.clear()
        for receiver in self._routing.receivers.values():
            if not receiver.link.fresh:
                self._send(receiver.name)
            receiver.link.fresh = False

    def answered(self, peer: str, ack: ProbeAck) -> None:
        """A probe has arrived at the other end."""
        sent_s = self._sent.pop((peer, ack.sequence), None)
        if sent_s is None:
            return
        link = self._routing.receivers[peer].link
        link_s = ack.received_s - sent_s
        if not self._starting:
            link.observe_task(link_s)
            return
        link.reset_task(link_s)
        self._wanted[peer] -= 1
        if self._wanted[peer] > 0:
            self._send(peer)
        self._ready_if_complete()

    def timer(self, _key: TimerKey) -> None:
        """Some receiver has not answered before the run."""
        if self._starting:
            self._ready(tuple(name for name, left in self._wanted.items() if left > 0))

    def _ready_if_complete(self) -> None:
        if not any(left > 0 for left in self._wanted.values()):
            self._outbox.cancel(("probe",))
            self._ready(())

    def _ready(self, unreachable: tuple[str, ...]) -> None:
        self._starting = False
        self._outbox.publish(Ready(self._config.name, unreachable))

    def _send(self, name: str) -> None:
        form = self._config.onward_form
        if form is None:
            return
        self._sequence += 1
        self._sent[name, self._sequence] = self._outbox.now_s
        tensor = Tensor(form, bytes(form.byte_count))
        self._outbox.send_data(name, Probe(self._sequence, self._outbox.now_s, form), tensor)
