"""Small datagrams between nodes of a running network, stamped by the kernel when they arrive.

Decision 037: a probe ends at the kernel's receive time, SO_TIMESTAMPNS (docs/decisions/037-kernel-stamps-probes.md).
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
TEXT = struct.Struct("=IIq")  # path, number, time of sending (wall clock, as the kernel's stamps)
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
        """The time [s] from sending to arrival."""
        return (self.received_ns - self.sent_ns) * 1e-9


def sockets_in(namespaces: Sequence[str], family: int, kind: int, protocol: int = 0) -> list[socket.socket]:
    """Open a socket in each of these network namespaces; this process stays in its own.

    Args:
        namespaces: paths as in /proc/PID/ns/net.
        family, kind, protocol: as for `socket.socket`.

    Raises:
        NetworkError: a namespace cannot be entered, or a socket cannot be opened.
    """
    made: list[socket.socket] = []
    errors: list[OSError] = []

    def make() -> None:
        # Threads have namespaces of their own: this one joins each, makes its socket and ends.
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
    """Sockets, one in each node, through which probes leave and arrive; a context manager.

    Probes ask for low delay: like the nodes' own control messages, they pass other frames that wait for a link.
    """

    def __init__(self, namespaces: Mapping[str, str], addresses: Mapping[str, str]) -> None:
        """Open a socket in each node; namespaces (paths) and addresses are by the node's name.

        Raises:
            NetworkError: a node's namespace cannot be entered, or its socket not opened.
        """
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
                    with contextlib.suppress(OSError):  # in a user namespace: default buffers suffice for small runs
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
        """Send a probe, an IP packet of this size; never blocks.

        Returns:
            False if the node could not send: its interface is down or its socket full.
        """
        text = TEXT.pack(path, number, time.time_ns()).ljust(packet_bytes - HEADER_BYTES, b"\0")
        try:
            self._sockets[source].sendto(text, self._at[target])
        except OSError:
            return False
        return True

    def arrivals(self, timeout_s: float) -> Iterator[ProbeArrival]:
        """Yield probes that have arrived, or the first that arrive within the time."""
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
