"""Two ways to hold frames in user space: the AF_PACKET relay against a relay by NFQUEUE (needs root, iptables).

Both delay the same stream of packets by the same time, in Python, with real-time priority. NFQUEUE hooks the receiving
side: on the sending one, TCP's small queues would throttle the sender while its packets are held.
"""

import contextlib
import heapq
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import time
import uuid
from collections.abc import Iterator

from testbed.host.ledger import Ledger
from testbed.network import EmulatedNetwork
from testbed.network.commands import run
from testbed.network.probe import Prober, sockets_in
from testbed.network.rtnetlink import ATTRIBUTE, HEADER, attribute
from testbed.relay.process import EARLY_NS, WAKE_NS, become_punctual
from testbed.scenario import LinkShape
from tests.bench.fidelity.links import punctual
from tests.bench.table import AMOUNT, POSITIVE, Row, main, row
from tests.testbed.network.scenarios import scenario

DELAY_S = 0.010
PACKET_BYTES = 1000
GAPS_S = (0.002, 0.0003)
COUNT = 3000
ADDRESSES = ("10.65.0.1", "10.65.0.2")

NETLINK_NETFILTER = 12
NLM_F_REQUEST = 1
PACKET, VERDICT, CONFIG = 0x300, 0x301, 0x302  # messages of the queue subsystem
BIND, COPY_META, ACCEPT = 1, 1, 1
CFG_COMMAND, CFG_PARAMETERS, CFG_LENGTH = 1, 2, 3
PACKET_HEADER, VERDICT_HEADER = 1, 2
SO_RCVBUFFORCE = 33


def _message(kind: int, attributes: bytes) -> bytes:
    body = struct.pack(">BBH", socket.AF_UNSPEC, 0, 0) + attributes
    return HEADER.pack(HEADER.size + len(body), kind, NLM_F_REQUEST, 0, 0) + body


def open_queue(queue: socket.socket) -> None:
    """Have the kernel hand over queue 0 of the socket's namespace, without the packets' contents."""
    queue.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 22)
    queue.bind((0, 0))
    queue.send(_message(CONFIG, attribute(CFG_COMMAND, struct.pack(">BBH", BIND, 0, socket.AF_INET))))
    queue.send(_message(CONFIG, attribute(CFG_PARAMETERS, struct.pack(">IB", 0, COPY_META))))
    queue.send(_message(CONFIG, attribute(CFG_LENGTH, struct.pack(">I", 10_000))))
    queue.setblocking(False)


def packet_ids(data: bytes) -> Iterator[bytes]:
    """The id of each packet in what was received."""
    at = 0
    while at < len(data):
        length, kind, _, _, _ = HEADER.unpack_from(data, at)
        step, end = at + HEADER.size + 4, at + length
        while kind == PACKET and step < end:
            size, name = ATTRIBUTE.unpack_from(data, step)
            if name == PACKET_HEADER:
                yield data[step + 4 : step + 8]
                break
            step += -(-size // 4) * 4
        at += -(-length // 4) * 4


def hold(queues: list[socket.socket], parent: socket.socket) -> None:
    """The relay: accept each packet when its delay has passed, until `parent` closes; then report the CPU time."""
    become_punctual()
    heap: list[tuple[int, int, socket.socket, bytes]] = []
    sequence, clock = 0, time.monotonic_ns
    while True:
        ahead_ns = heap[0][0] - clock() if heap else 1_000_000_000
        if ahead_ns <= EARLY_NS:
            _, _, queue, identity = heapq.heappop(heap)
            text = attribute(VERDICT_HEADER, struct.pack(">I", ACCEPT) + identity)
            queue.send(_message(VERDICT, text))
            continue
        for ready in select.select([*queues, parent], [], [], max(0.0, (ahead_ns - WAKE_NS) * 1e-9))[0]:
            if ready is parent:
                parent.recv(64)
                parent.send(str(time.process_time()).encode())
                return
            due_ns = clock() + int(DELAY_S * 1e9)
            with contextlib.suppress(BlockingIOError):
                while True:
                    for identity in packet_ids(ready.recv(1 << 16)):
                        sequence += 1
                        heapq.heappush(heap, (due_ns, sequence, ready, identity))


@contextlib.contextmanager
def queue_pair() -> Iterator[tuple[dict[str, str], socket.socket]]:
    """Two joined namespaces with a relay by NFQUEUE; gives their paths and the relay's control socket."""
    holders = [subprocess.Popen(["unshare", "-n", "sleep", "600"]) for _ in ADDRESSES]
    relay = 0
    try:
        own = os.stat("/proc/self/ns/net").st_ino
        paths = [f"/proc/{holder.pid}/ns/net" for holder in holders]
        while any(os.stat(path).st_ino == own for path in paths):
            time.sleep(0.01)
        run(["ip", "link", "add", "q0", "netns", str(holders[0].pid), "type", "veth", "peer", "name", "q1", "netns",
             str(holders[1].pid)])  # fmt: skip
        for index, holder in enumerate(holders):
            script = (
                f"ip address add {ADDRESSES[index]}/24 dev q{index} && ip link set q{index} up && "
                f"iptables-legacy -t mangle -A PREROUTING -i q{index} -p udp -j NFQUEUE --queue-num 0"
            )
            run(["nsenter", "-t", str(holder.pid), "-n", "sh", "-ec", script])
        queues = sockets_in(paths, socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for queue in queues:
            open_queue(queue)
        relay = os.fork()
        if not relay:
            try:
                hold(queues, theirs)
            finally:
                os._exit(0)
        for each in [*queues, theirs]:
            each.close()
        yield dict(zip(ADDRESSES, paths, strict=True)), ours
    finally:
        if relay:
            os.kill(relay, signal.SIGKILL)
            os.waitpid(relay, 0)
        for holder in holders:
            holder.kill()
            holder.wait()


def errors_s(prober: Prober, ends: tuple[str, str], gap_s: float, own_s: float) -> list[float]:
    """The distance of each packet's time from the delay, sorted; raises RuntimeError if one in a hundred is missing.

    The time of reading counts, of a process with real-time priority: the kernel stamps packets before NFQUEUE holds
    them.
    """
    found: list[float] = []

    def take(timeout_s: float) -> None:
        found.extend(
            abs((time.time_ns() - arrival.sent_ns) * 1e-9 - own_s) for arrival in prober.arrivals(max(0.0, timeout_s))
        )

    with punctual():
        begin_s = time.monotonic()
        for number in range(COUNT):
            while (left_s := begin_s + number * gap_s - time.monotonic()) > 0:
                take(left_s)
            prober.send(*ends, path=0, number=number, packet_bytes=PACKET_BYTES)
        end_s = time.monotonic() + 0.1
        while time.monotonic() < end_s:
            take(0.01)
    if len(found) < 0.99 * COUNT:
        raise RuntimeError(f"{COUNT - len(found)} of {COUNT} packets are missing")
    return sorted(found)


def _figures(name: str, gap_s: float, errors: list[float], cpu_s: float) -> Iterator[Row]:
    what = f"{name}, {1 / gap_s:.0f} packets a second"
    yield row(f"{what}: CPU of the relay per packet", cpu_s / COUNT * 1e6, "us", possible=POSITIVE)
    yield row(f"{what}: error of the delay, p50", errors[len(errors) // 2] * 1e3, "ms", possible=AMOUNT)
    yield row(f"{what}: error of the delay, p99", errors[int(len(errors) * 0.99)] * 1e3, "ms", possible=AMOUNT)


def _by_ring(gap_s: float) -> Iterator[Row]:
    shape = LinkShape(1000.0, DELAY_S)
    ledger = Ledger(f"bench-{uuid.uuid4().hex[:8]}")
    planned = scenario(["a", "b"], {("a", "b"): shape})
    with ledger, EmulatedNetwork(planned, run_id=ledger.run_id, ledger=ledger, backend="userspace") as network:
        names = {name: network.namespace_path(name) for name in ("a", "b")}
        with Prober(names, {name: network.address(name) for name in names}) as prober:
            before_s = network.statistics().relay_cpu_s
            errors = errors_s(prober, ("a", "b"), gap_s, DELAY_S + (PACKET_BYTES + 14) * 8 / 1.0456e9)
            yield from _figures("AF_PACKET ring", gap_s, errors, network.statistics().relay_cpu_s - before_s)


def _by_queue(gap_s: float) -> Iterator[Row]:
    with queue_pair() as (names, control), Prober(names, {name: name for name in names}) as prober:
        errors = errors_s(prober, ADDRESSES, gap_s, DELAY_S)
        control.send(b"end")
        yield from _figures("NFQUEUE", gap_s, errors, float(control.recv(64)))


def rows() -> Iterator[Row]:
    """CPU per packet and error of the delay, for both."""
    for gap_s in GAPS_S:
        yield from _by_ring(gap_s)
        if shutil.which("iptables-legacy") is None:
            print("NFQUEUE not measured: apt-get install iptables")
        else:
            yield from _by_queue(gap_s)


if __name__ == "__main__":
    main(rows, __doc__, timed=True)
