"""Probes with which an offloader measures its links: of a task's size, before the run and over links without tasks.

For a policy that wants link rates, two larger probes follow each probe. They are `BULK_BYTES` larger. The rate is the
added bytes over the added time, so that the link's delay cancels out; a task alone may be too small to show the rate.
The first of the two only opens TCP's congestion window. On a long link it waits for acknowledgements half-way, so that
the link would seem the slower the longer it is.
"""

from dataclasses import dataclass

from node_agent.core.config import NodeConfig
from node_agent.core.events import TimerKey
from node_agent.core.offloading.neighbour import Receiver
from node_agent.core.offloading.routing import FASTEST_BYTE_PER_S, Routing
from node_agent.core.outbox import Outbox
from node_agent.errors import InvalidState
from node_agent.records import Ready
from node_agent.wire import Probe, ProbeAck, Tensor, TensorForm

FIRST_PROBES = 3  # before the run, per link; the first ones also open TCP's congestion window, so the last one counts
BULK_BYTES = 32 * 1024  # how much larger than a task the probes for the rate are
PROBES_PER_S = 10_000  # more than a node ever sends
STARTING_TRIES = 4  # before the run: how often an unanswered probe is sent


@dataclass(frozen=True, slots=True)
class SentProbe:
    """A probe on its way."""

    sent_s: float  # when it was sent [s]
    task_s: float | None  # time of the probe of a task's size before it [s]; None if it is that probe
    opening: bool = False  # it only opens the congestion window for the next one


class LinkProbes:
    """Sends probes, one at a time to each receiver, and updates the link estimates with their times."""

    def __init__(self, config: NodeConfig, routing: Routing, outbox: Outbox) -> None:
        self._config = config
        self._routing = routing
        self._outbox = outbox
        self._sequence = 0
        self._sent: dict[tuple[str, int], SentProbe] = {}
        self._wanted: dict[str, int] = {}  # before the run: measurements still to be made
        self._starting = False
        self._tries_left = 0
        self._unheard: set[str] = set()  # before the run: receivers that have answered nothing since the last try

    def start(self) -> None:
        """Measure all links before the run. `Ready` is published at the end, or when the last try times out."""
        self._starting = True
        # Numbers grow with time, so that a late answer to a probe from before a restart is not taken for a new one.
        self._sequence = max(0, int(self._outbox.now_s * PROBES_PER_S))
        self._tries_left = STARTING_TRIES
        self._wanted = dict.fromkeys(self._routing.receivers, FIRST_PROBES)
        self._unheard = set(self._wanted)
        self._try_unheard()
        self._ready_if_complete()

    def refresh(self) -> None:
        """Probe the links that have carried no task since the last call; all links if the policy wants link rates.

        Silent receivers are skipped: a probe that waits for one would be outdated when it comes back.
        """
        self._sent.clear()
        for receiver in self._routing.receivers.values():
            if receiver.alive and (self._routing.policy.wants_link_rates or not receiver.link.fresh):
                self._send(receiver.name)
            receiver.link.fresh = False

    def forget(self, peer: str) -> None:
        """Drop the probes under way to a receiver that is back: their times measure its absence, not the link."""
        self._sent = {key: sent for key, sent in self._sent.items() if key[0] != peer}

    def answered(self, peer: str, ack: ProbeAck) -> None:
        """Take the answer to a probe: update the link's estimate, and send the next probe if one must follow."""
        sent = self._sent.pop((peer, ack.sequence), None)
        if sent is None:
            return
        self._unheard.discard(peer)
        receiver = self._routing.receivers[peer]
        link_s = ack.received_s - sent.sent_s
        if sent.task_s is None:
            if self._starting or not receiver.link.fresh:
                receiver.link.reset_task(link_s)
            if self._routing.policy.wants_link_rates:
                self._send(peer, after_task_s=link_s, opening=True)
                return
        elif sent.opening:
            self._send(peer, after_task_s=sent.task_s)
            return
        else:
            self._note_rate(receiver, link_s - sent.task_s)
        if self._starting:
            self._measured(peer)

    def _note_rate(self, receiver: Receiver, added_s: float) -> None:
        byte_per_s = BULK_BYTES / max(added_s, BULK_BYTES / FASTEST_BYTE_PER_S)
        if self._starting:
            receiver.link.reset_rate(byte_per_s)
        else:
            receiver.link.observe_rate(byte_per_s)

    def _measured(self, peer: str) -> None:
        self._wanted[peer] -= 1
        if self._wanted[peer] > 0:
            self._send(peer)
        self._ready_if_complete()

    def timer(self, _key: TimerKey) -> None:
        """Try again before the run if receivers have not answered: probes are lost when a connection breaks."""
        if not self._starting:
            return
        missing = tuple(name for name, left in self._wanted.items() if left > 0)
        if self._tries_left:
            self._try_unheard()
            self._unheard = set(missing)
        else:
            self._ready(missing)

    def _try_unheard(self) -> None:
        """Probe the receivers that have answered nothing since the last try; answers to older probes are ignored."""
        self._tries_left -= 1
        # In the order of the receivers: that of a set differs between processes, and so would simulations.
        for name in [name for name in self._wanted if name in self._unheard]:
            self.forget(name)
            self._send(name)
        self._outbox.timer(("probe",), self._config.timeouts.probe_s / STARTING_TRIES)

    def _ready_if_complete(self) -> None:
        if not any(left > 0 for left in self._wanted.values()):
            self._outbox.cancel(("probe",))
            self._ready(())

    def _ready(self, unreachable: tuple[str, ...]) -> None:
        """Publish `Ready`, and give up unreachable receivers: their links would seem to cost nothing."""
        self._starting = False
        for name in unreachable:
            self._routing.lost_contact(self._routing.receivers[name], "no answer to any probe")
        self._outbox.publish(Ready(self._config.name, unreachable))

    def validate(self) -> None:
        """Raise InvalidState unless each receiver has at most one probe under way, and the start has its timer."""
        peers = [peer for peer, _ in self._sent]
        if len(set(peers)) != len(peers) or not self._routing.receivers.keys() >= {*peers, *self._wanted}:
            raise InvalidState("probes", f"under way to {peers}, wanted to {list(self._wanted)}: one to each receiver")
        if late := [key for key in self._sent if key[1] > self._sequence]:
            raise InvalidState("probes", f"{late} are under way, but {self._sequence} was the last number")
        self._outbox.validate_timers(("probe",), {("probe",)} if self._starting else set())

    def _send(self, name: str, *, after_task_s: float | None = None, opening: bool = False) -> None:
        if self._config.onward_form is None:
            return
        form = self._config.onward_form.usual
        if after_task_s is not None:
            form = TensorForm("uint8", (form.byte_count + BULK_BYTES,))
        self._sequence += 1
        self._sent[name, self._sequence] = SentProbe(self._outbox.now_s, after_task_s, opening)
        tensor = Tensor(form, bytes(form.byte_count))
        self._outbox.send_data(name, Probe(self._sequence, form), tensor)
