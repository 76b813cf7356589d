"""Return times: how long results take from a server behind stage 1 to the devices, as the server measures it.

A result goes straight to its device, possibly over another route than its task, and is not acknowledged. So the server
sends its devices probes of a result's size, a few in every slot, and weights their times by the devices of its tasks.
Stage 1 needs no probes: a device measures the way back with the reports of every round, and its offers contain it.

Decision 001: servers behind stage 1 probe a quarter of the devices in each slot
(docs/decisions/001-servers-probe-the-way-back.md).
"""

import math
from collections import Counter
from dataclasses import dataclass

from node_agent.core.config import NodeConfig
from node_agent.core.outbox import Outbox
from node_agent.errors import InvalidState, refuse_negative
from node_agent.wire import Probe, ProbeAck, Tensor, TensorForm

RESULT_FORM = TensorForm("uint8", (256,))  # makes a probe about as long as a result
SLOTS_TO_ALL = 4  # slots in which every device is probed once
LEAST_PROBES = 8  # per slot
UNUSED_PROBES = 2  # per slot, for a server that got no task in the last slot and has probed all devices
KEPT_SHARE = 0.8  # weight of the slots before the last one; the last one has the rest
DOUBTFUL_TIMES, DOUBTFUL_S = 1.5, 0.005  # a time above 1.5 times the known one plus 5 ms is measured again first


@dataclass(frozen=True, slots=True)
class _Sent:
    """The last probe to a device."""

    sequence: int  # its number
    at_s: float  # when it was sent [s]
    again: bool  # it repeats a probe whose time was doubtful


class ReturnTimes:
    """Measures the return times to the devices, some in every slot, and counts the tasks of each device."""

    def __init__(self, config: NodeConfig, outbox: Outbox) -> None:
        self._outbox = outbox
        self._turns = dict.fromkeys(config.devices)  # devices, in the order in which they are probed next
        self._unprobed = len(self._turns)
        self._per_slot = max(LEAST_PROBES, math.ceil(len(self._turns) / SLOTS_TO_ALL))
        self._sequence = 0
        self._sent: dict[str, _Sent] = {}
        self._times_s: dict[str, float] = {}
        self._arrived: Counter[str] = Counter()  # tasks of this slot, by device
        self._weights: dict[str, float] = {}
        self._mean_s: float | None = None  # cached; None after a change

    @property
    def mean_s(self) -> float:
        """Mean time of a result from here to its device [s]; 0 until a device is measured.

        Devices are weighted by their tasks of the last slots. If no measured device sent a task, all count alike.
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
        """Count a task of `device` from the next slot on, so that all rounds of a slot see the same weights."""
        if device in self._turns:
            self._arrived[device] += 1

    def start_slot(self) -> None:
        """Update the weights with the tasks of the last slot, and send the probes of this slot."""
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
        """Take the answer to a probe.

        A probe that took unusually long may have waited for a device or a link that was down. It is repeated once, and
        the repeat counts.
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
        """Raise InvalidState unless times and weights belong to known devices, and the cached mean is their mean."""
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
