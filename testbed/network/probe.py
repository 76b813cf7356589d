"""Small datagrams between nodes of a running network, stamped by the kernel when they arrive.

Decision: the kernel's receive time (SO_TIMESTAMPNS) ends a probe's way, not the moment this process reads it, so that
probes measure the links and not the scheduling of whoever probes; rejected: the reader's clock, which on a busy
machine adds milliseconds that no other traffic sees.
"""

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from node_agent.process.linux import join_namespace
from node_agent.process.transport import LOW_DELAY
from testbed.network.commands import NetworkError

SO_TIMESTAMPNS, SO_SNDBUFFORCE, SO_RCVBUFFORCE = 35, 32, 33
BUFFER_BYTES = 1 << 22
TEXT = struct.Struct("=IIq")  # path, number, when it was sent (wall clock, as the kernel's stamps)
STAMP = struct.Struct("@ll")
HEADER_BYTES = 28  # IP and UDP
SMALLEST_PACKET_BYTES = HEADER_BYTES + TEXT.size


@dataclass(frozen=True, slots=True)
class ProbeArrival:
    """A probe that arrived: its path and number as sent; times in ns of one clock."""

    path: int
    number: int
    sent_ns: int
    received_ns: int

    @property
    def one_way_s(self) -> float:
        """How long it took."""
        return (self.received_ns - self.sent_ns) * 1e-9


def sockets_in(namespaces: Sequence[str], family: int, kind: int, protocol: int = 0) -> list[socket.socket]:
    """One socket in each of these network namespaces, while this process stays where it is."""
    made: list[socket.socket] = []
    errors: list[OSError] = []

    def make() -> None:
        # A namespace belongs to a thread: this one joins each, makes its socket and ends.
        try:
            for namespace in namespaces:
                join_namespace(namespace)
                made.append(socket.socket(family, kind, protocol))
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if errors:
        for opened in made:
            opened.close()
        raise NetworkError(f"cannot enter a namespace: {errors[0]}")
    return made


class Prober:
    """One socket in each node, through which probes leave and arrive; a context manager.

    Probes ask for low delay: what waits for a link lets them go first, as it does the nodes' own control messages.
    """

    def __init__(self, namespaces: Mapping[str, str], addresses: Mapping[str, str]) -> None:
        """Both by the node's name; raises NetworkError if a node cannot be entered."""
        opened = sockets_in([namespaces[node] for node in namespaces], socket.AF_INET, socket.SOCK_DGRAM)
        self._sockets = dict(zip(namespaces, opened, strict=True))
        self._selector = selectors.DefaultSelector()
        self._at: dict[str, tuple[str, int]] = {}
        try:
            for node, each in self._sockets.items():
                each.setblocking(False)
                each.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
                each.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, LOW_DELAY)
                for option in (SO_SNDBUFFORCE, SO_RCVBUFFORCE):
                    with contextlib.suppress(OSError):  # not in a user namespace: the default buffers do for small runs
                        each.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
                each.bind((addresses[node], 0))
                self._at[node] = each.getsockname()
                self._selector.register(each, selectors.EVENT_READ)
        except OSError as error:
            self.close()
            raise NetworkError(f"cannot probe the network: {error}") from error

    def __enter__(self) -> "Prober":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all sockets; may be called twice."""
        self._selector.close()
        for each in self._sockets.values():
            each.close()

    def send(self, source: str, target: str, *, path: int, number: int, packet_bytes: int) -> bool:
        """Send one probe; False if the node could not (its interface is down or its socket full). Never blocks."""
        text = TEXT.pack(path, number, time.time_ns()).ljust(packet_bytes - HEADER_BYTES, b"\0")
        try:
            self._sockets[source].sendto(text, self._at[target])
        except OSError:
            return False
        return True

    def arrivals(self, timeout_s: float) -> Iterator[ProbeArrival]:
        """Probes that have arrived or arrive within the time; ends after the first lot."""
        for key, _ in self._selector.select(timeout_s):
            opened = key.fileobj
            assert isinstance(opened, socket.socket)
            with contextlib.suppress(OSError):  # no more, or an interface went down
                while True:
                    text, notes, _, _ = opened.recvmsg(TEXT.size, 64)
                    if len(text) == TEXT.size and notes:
                        path, number, sent_ns = TEXT.unpack(text)
                        seconds, nanoseconds = STAMP.unpack(notes[0][2])
                        yield ProbeArrival(path, number, sent_ns, seconds * 1_000_000_000 + nanoseconds)
