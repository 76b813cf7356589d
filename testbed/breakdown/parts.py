"""The parts of a delay: their names, their meaning, and their sums."""

from collections.abc import Iterator
from typing import NamedTuple

PART_NAMES = ("machine", "retries", "transfer", "link_wait", "queueing", "service", "return")
"""The parts in the order of `Parts`, by the names that results use."""

PART_WORDS = {
    "machine": "this machine late",
    "retries": "retries",
    "transfer": "transfer",
    "link_wait": "waiting for links",
    "queueing": "queueing",
    "service": "service",
    "return": "way back",
}


class Parts(NamedTuple):
    """The parts of one task's delay [s]; none is negative, and their sum is the delay.

    Attributes:
        machine_s: this machine was late: with the first offer, in services, and with sending what was served.
        retries_s: offers and handovers that failed, and waiting for a receiver that was down.
        transfer_s: the time that idle links need for the task's bytes.
        link_wait_s: the rest of the hops: waiting behind other messages, for lost frames, by jitter.
        queueing_s: waiting for service at servers.
        service_s: service at servers.
        return_s: the way of the result back to the device.
    """

    machine_s: float
    retries_s: float
    transfer_s: float
    link_wait_s: float
    queueing_s: float
    service_s: float
    return_s: float


class HopParts(NamedTuple):
    """The parts of a task's time from its sending to a server until that server sent it, or its result, on [s].

    Attributes:
        sender: the device or server that sent the task.
        node: the server.
        sent_s: when it was sent there [s].
        size_bytes: the size of the task on the links.
        down_s: the rest of the hop if the server was down when the task was sent [s].
        transfer_s: the time of idle links [s].
        link_wait_s: the rest of the hop otherwise [s].
        queueing_s: waiting for service [s].
        service_s: service [s].
        late_s: this machine was late in the service, or in sending afterwards [s].
        retries_s: from the first handover to the next server to the one that counted [s].
    """

    sender: str
    node: str
    sent_s: float
    size_bytes: int
    down_s: float
    transfer_s: float
    link_wait_s: float
    queueing_s: float
    service_s: float
    late_s: float
    retries_s: float


class TaskParts(NamedTuple):
    """The parts of one task's delay by place and in order [s].

    Attributes:
        late_s: this machine was late with the first offer.
        retries_s: from the first offer to the one that counted.
        hops: one per server on the way of the result.
        return_s: the way of the result back to the device.
    """

    late_s: float
    retries_s: float
    hops: tuple[HopParts, ...]
    return_s: float

    @property
    def parts(self) -> Parts:
        """The parts of the whole task."""
        machine_s, retries_s = self.late_s, self.retries_s
        transfer_s = link_wait_s = queueing_s = service_s = 0.0
        for hop in self.hops:
            machine_s += hop.late_s
            retries_s += hop.retries_s + hop.down_s
            transfer_s += hop.transfer_s
            link_wait_s += hop.link_wait_s
            queueing_s += hop.queueing_s
            service_s += hop.service_s
        return Parts(machine_s, retries_s, transfer_s, link_wait_s, queueing_s, service_s, self.return_s)


class PartSums:
    """Sums over the parts of tasks."""

    def __init__(self) -> None:
        self.tasks = 0
        self.sums_s = [0.0] * len(PART_NAMES)

    def add(self, parts: Parts) -> None:
        """Add the parts of a task."""
        self.tasks += 1
        self.sums_s = [total_s + part_s for total_s, part_s in zip(self.sums_s, parts, strict=True)]

    def means(self) -> Iterator[tuple[str, float]]:
        """Yield the name and the mean [s] of each part; nothing without a task."""
        for name, total_s in zip(PART_NAMES, self.sums_s, strict=True):
            if self.tasks:
                yield name, total_s / self.tasks
