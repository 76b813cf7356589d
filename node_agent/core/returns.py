"""How long results take back to the devices from a server behind stage 1, as the server measures it.

A result goes straight to its device, over a route that its task need not have come by, and nobody acknowledges it. So
the server sends its devices probes of a result's size, a few in every slot, and weighs their times by whose tasks it
gets. Stage 1 needs none of this: a device measures the way back by the reports of every round, and its offers say it.

Decision: probes, a quarter of the devices in a slot. They cost a city of 65 nodes some 3 % more messages, of kinds that
exist, and also measure for a server that gets no tasks. Rejected: adding up the times of small messages along the
tasks' way, since results may go another; offers that carry every device's times to all servers further on, whose size
grows with both; acknowledged results, one more message a task, and none where no task goes.
"""

import math
from collections import Counter
from dataclasses import dataclass

from node_agent.core.config import NodeConfig
from node_agent.core.outbox import Outbox
from node_agent.errors import InvalidState, refuse_negative
from node_agent.wire import Probe, ProbeAck, Tensor, TensorForm

RESULT_FORM = TensorForm("uint8", (256,))  # with it, a probe is about as long as a result
SLOTS_TO_ALL = 4  # in which all devices are measured once
LEAST_PROBES = 8  # in a slot
UNUSED_PROBES = 2  # in a slot, of a server that got no task in the last one and has probed all devices
KEPT_SHARE = 0.8  # of the weight of the tasks before the last slot
DOUBTFUL_TIMES, DOUBTFUL_S = 1.5, 0.005  # a time this much longer than known is measured again before it counts


@dataclass(frozen=True, slots=True)
class _Sent:
    """The last probe to a device; `again`: it repeats one whose time was doubtful."""

    sequence: int
    at_s: float
    again: bool


class ReturnTimes:
    """Measures the ways to the devices, some in every slot, and counts whose tasks come."""

    def __init__(self, config: NodeConfig, outbox: Outbox) -> None:
        self._outbox = outbox
        self._turns = dict.fromkeys(config.devices)  # in the order in which they are probed next
        self._unprobed = len(self._turns)
        self._per_slot = max(LEAST_PROBES, math.ceil(len(self._turns) / SLOTS_TO_ALL))
        self._sequence = 0
        self._sent: dict[str, _Sent] = {}
        self._times_s: dict[str, float] = {}
        self._arrived: Counter[str] = Counter()  # tasks of this slot, by device
        self._weights: dict[str, float] = {}
        self._mean_s: float | None = None  # once it has been asked for

    @property
    def mean_s(self) -> float:
        """Mean time of a result from here to its device [s]; 0 before one is measured.

        Weighted by the tasks of the last slots; all devices count alike where none came from those measured.
        """
        if self._mean_s is None:
            self._mean_s = self._weighted_mean_s()
        return self._mean_s

    def _weighted_mean_s(self) -> float:
        weighted = [(self._weights.get(name, 0.0), time_s) for name, time_s in self._times_s.items()]
        total = sum([weight for weight, _ in weighted])
        if total > 0:
            return sum([weight * time_s for weight, time_s in weighted]) / total
        return sum(self._times_s.values()) / max(1, len(self._times_s))

    def arrived(self, device: str) -> None:
        """Count a task of `device`, from the next slot on: all rounds of a slot see the same weights."""
        if device in self._turns:
            self._arrived[device] += 1

    def start_slot(self) -> None:
        """Weigh the tasks of the last slot, and send the probes of this one."""
        used = bool(self._arrived)
        if used:
            names = {*self._weights, *self._arrived}
            self._weights = {
                name: KEPT_SHARE * self._weights.get(name, 0.0) + (1 - KEPT_SHARE) * self._arrived[name]
                for name in names
            }
            self._mean_s = None
            self._arrived.clear()
        count = self._per_slot if used or self._unprobed > 0 else UNUSED_PROBES
        for name in list(self._turns)[:count]:
            self._turns[name] = self._turns.pop(name)  # to the end
            self._unprobed -= name not in self._sent
            self._probe(name)

    def _probe(self, device: str, *, again: bool = False) -> None:
        self._sequence += 1
        self._sent[device] = _Sent(self._sequence, self._outbox.now_s, again)
        tensor = Tensor(RESULT_FORM, bytes(RESULT_FORM.byte_count))
        self._outbox.send_data(device, Probe(self._sequence, RESULT_FORM), tensor)

    def answered(self, device: str, ack: ProbeAck) -> None:
        """A probe has reached a device.

        One that took long may have waited for a device or a link that was away: another, sent now, tells.
        """
        sent = self._sent.get(device)
        if sent is None or ack.sequence != sent.sequence:
            return
        time_s = max(0.0, ack.received_s - sent.at_s)
        known_s = self._times_s.get(device, self.mean_s)
        if time_s > DOUBTFUL_TIMES * known_s + DOUBTFUL_S and not sent.again:
            self._probe(device, again=True)
            return
        self._times_s[device] = time_s
        self._mean_s = None

    def validate(self) -> None:
        """Raise InvalidState unless times and weights are those of devices, and the mean kept is theirs."""
        known = {*self._sent, *self._times_s, *self._weights, *self._arrived}
        if strangers := known - self._turns.keys():
            raise InvalidState("ways to devices", f"{sorted(strangers)} are not among the devices")
        if self._unprobed != len(self._turns) - len(self._sent):
            counts = f"{len(self._sent)} of {len(self._turns)} devices"
            raise InvalidState("ways to devices", f"{counts} were probed, but {self._unprobed} not yet")
        for name in known:
            refuse_negative(
                f"way to {name}", time_s=self._times_s.get(name, 0.0), weight=self._weights.get(name, 0.0),
                arrived=self._arrived[name],
            )  # fmt: skip
        if late := {name: sent.sequence for name, sent in self._sent.items() if sent.sequence > self._sequence}:
            raise InvalidState("ways to devices", f"probes {late}, but {self._sequence} was the last number")
        if self._mean_s is not None and self._mean_s != (mean_s := self._weighted_mean_s()):
            raise InvalidState("ways to devices", f"the mean kept is {self._mean_s} s, but it is {mean_s} s")
