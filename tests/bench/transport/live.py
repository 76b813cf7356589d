"""Messages over emulated links with loss and jitter, timed one by one: a star of receivers, each behind its own link.

Sockets, framing and acknowledgements are those of the nodes (`node_agent.process.transport`); there are no models and
no rounds, so that all cells fit into one network and a few minutes.
"""

import contextlib
import select
import struct
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import zmq

from node_agent.process.linux import join_namespace
from node_agent.process.transport import Transport
from testbed.host.ledger import Ledger
from testbed.network import EmulatedNetwork
from tests.bench.fidelity.links import punctual
from tests.bench.transport.cells import HEADER_BYTES, Cell
from tests.testbed.network.scenarios import scenario

HUB = "hub"
STAMP = struct.Struct("=IIq")  # number of the cell, of the message, when it was sent [ns]
ACKNOWLEDGEMENT = bytes(60)
SETTLE_S = 1.0
PATIENCE_S = 4.0  # for what is still under way at the end


def measure(cells: Sequence[Cell], seconds: float, seed: int) -> dict[Cell, list[tuple[float, float]]]:
    """Send at each cell's rate for so long; returns (when it was sent [s], one-way time [s]) of every message.

    Messages that did not arrive have an infinite time.
    """
    names = [f"r{number}" for number in range(len(cells))]
    shapes = {(HUB, name): cell.shape for name, cell in zip(names, cells, strict=True)}
    with ExitStack() as stack:
        ledger = stack.enter_context(contextlib.closing(Ledger(f"transport-{uuid.uuid4().hex[:8]}")))
        planned = scenario([HUB, *names], shapes, seed=seed)
        network = stack.enter_context(EmulatedNetwork(planned, run_id=ledger.run_id, ledger=ledger))
        stack.enter_context(punctual())
        peers = {name: network.address(name) for name in names}
        receivers = [stack.enter_context(_transport(network, name, {})) for name in names]
        hub = stack.enter_context(_transport(network, HUB, peers))
        return _exchange(hub, receivers, names, cells, seconds, seed)


@contextlib.contextmanager
def _transport(network: EmulatedNetwork, name: str, peers: dict[str, str]) -> Iterator[Transport]:
    """A node's transport, made by a thread in its namespace, so that ZeroMQ's own threads are born there, too."""
    made: list[Transport] = []
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()

    def make() -> None:
        join_namespace(network.namespace_path(name))
        made.append(Transport(context, name, network.address(name), {"data": peers}))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if not made:
        raise RuntimeError(f"no transport at {name}")
    try:
        yield made[0]
    finally:
        made[0].close()
        context.destroy(linger=0)


def _exchange(
    hub: Transport,
    receivers: Sequence[Transport],
    names: Sequence[str],
    cells: Sequence[Cell],
    seconds: float,
    seed: int,
) -> dict[Cell, list[tuple[float, float]]]:
    poller = select.epoll()
    every = [hub, *receivers]
    for transport in every:
        for fileno in transport.filenos:
            poller.register(fileno, select.EPOLLIN)
    times: list[list[tuple[float, float]]] = [[] for _ in cells]
    schedule = sorted(
        (at_s, number)
        for number, cell in enumerate(cells)
        for at_s in cell.sending_times_s(seconds, f"{seed}/{number}")
    )
    bodies = [bytes(cell.tensor_bytes) for cell in cells]
    time.sleep(SETTLE_S)
    begin_ns = time.monotonic_ns()
    at, arrived = 0, 0
    while arrived < len(schedule):
        now_s = (time.monotonic_ns() - begin_ns) * 1e-9
        if now_s > seconds + PATIENCE_S:
            break
        while at < len(schedule) and schedule[at][0] <= now_s:
            number = schedule[at][1]
            sent_ns = time.monotonic_ns()
            header = STAMP.pack(number, len(times[number]), sent_ns).ljust(HEADER_BYTES, b"\0")
            times[number].append(((sent_ns - begin_ns) * 1e-9, float("inf")))
            hub.send(names[number], "data", [header, bodies[number]])
            at += 1
        wait_s = schedule[at][0] - now_s if at < len(schedule) else 0.01
        busy = any(not transport.may_sleep() for transport in every)
        woken = {fileno for fileno, _ in poller.poll(0 if busy else max(0.0, wait_s))}
        for transport in every:
            for channel in transport.to_ask(woken):
                for peer, frames in transport.receive_all(channel, 100):
                    if transport is hub:
                        continue
                    number, place, sent_ns = STAMP.unpack_from(frames[0])
                    transport.send(peer, channel, [ACKNOWLEDGEMENT])
                    sent_s = times[number][place][0]
                    times[number][place] = (sent_s, (time.monotonic_ns() - sent_ns) * 1e-9)
                    arrived += 1
    poller.close()
    return dict(zip(cells, times, strict=True))
