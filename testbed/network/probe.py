"""Light probes through a running network: one small datagram each way over every adjacency."""

import ctypes
import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from testbed.network.commands import NetworkError

CLONE_NEWNET = 0x40000000
PROBE_PORT = 9  # "discard": nothing of ours listens there
NUMBER = struct.Struct("=Iq")


@dataclass(frozen=True, slots=True)
class Adjacency:
    """Two nodes with no other node between them; `least_s` is the shortest one-way time the links allow."""

    source: str
    target: str
    least_s: float
    lossy: bool


@dataclass(frozen=True, slots=True)
class Probed:
    """How long a probe took one way, in seconds of real time; None if none arrived."""

    adjacency: Adjacency
    one_way_s: float | None


def sockets_in(namespaces: Sequence[str], family: int, kind: int) -> list[socket.socket]:
    """One socket in each of these network namespaces, while this process stays where it is."""
    made: list[socket.socket] = []
    errors: list[OSError] = []

    def make() -> None:
        # A namespace belongs to a thread: this one joins each, makes its socket and ends.
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            for namespace in namespaces:
                with open(namespace, "rb") as handle:
                    if libc.setns(handle.fileno(), CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), namespace)
                made.append(socket.socket(family, kind))
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


def probe(
    adjacencies: Sequence[Adjacency],
    namespaces: dict[str, str],
    addresses: dict[str, str],
    *,
    timeout_s: float,
    rounds: int = 3,
) -> list[Probed]:
    """Send one datagram over each adjacency, all at once, `rounds` times; returns the quickest of each."""
    best: list[float | None] = [None] * len(adjacencies)
    nodes = list({end: None for adjacency in adjacencies for end in (adjacency.source, adjacency.target)})
    opened = sockets_in([namespaces[node] for node in nodes], socket.AF_INET, socket.SOCK_DGRAM)
    sockets = dict(zip(nodes, opened, strict=True))
    with selectors.DefaultSelector() as selector:
        try:
            for node, each in sockets.items():
                each.setblocking(False)
                each.bind((addresses[node], PROBE_PORT))
                selector.register(each, selectors.EVENT_READ)
            for _ in range(rounds):
                for index, adjacency in enumerate(adjacencies):
                    text = NUMBER.pack(index, time.monotonic_ns())
                    sockets[adjacency.source].sendto(text, (addresses[adjacency.target], PROBE_PORT))
                _collect(selector, set(range(len(adjacencies))), best, timeout_s)
        finally:
            for each in opened:
                each.close()
    return [Probed(adjacency, best[i]) for i, adjacency in enumerate(adjacencies)]


def _collect(selector: selectors.BaseSelector, waiting: set[int], best: list[float | None], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while waiting and (left_s := deadline - time.monotonic()) > 0:
        for key, _ in selector.select(left_s):
            opened = key.fileobj
            assert isinstance(opened, socket.socket)
            index, sent_ns = NUMBER.unpack(opened.recv(NUMBER.size))
            taken_s = (time.monotonic_ns() - sent_ns) * 1e-9
            known_s = best[index]
            best[index] = taken_s if known_s is None else min(known_s, taken_s)
            waiting.discard(index)
