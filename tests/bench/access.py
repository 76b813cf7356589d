"""The links of a bipartite overlay: a veth pair each, as they are, against classes of one access link (needs root).

20 devices and 15 servers, every pair joined: 300 links. The access variant gives each node one interface, whose htb has
a class and a filter for each peer, and joins them in the middle; it is built here just far enough to be measured. The
delay would come from the same relay in both, by the pair instead of by the interface.
"""

import contextlib
import time
import uuid
from collections.abc import Iterator
from typing import Any

from testbed.host.ledger import Ledger
from testbed.network import EmulatedNetwork
from testbed.network.commands import Batch, bit_per_s, bucket_bytes, run, run_batches
from testbed.scenario import LinkShape
from tests.bench.table import POSITIVE, Row, main, row
from tests.testbed.network.scenarios import scenario
from tests.testbed.network.traffic import tcp_mbit_per_s

DEVICES, SERVERS = 20, 15
SHAPE = LinkShape(20.0, 0.005)
FIRST = "10.66.0."


def _accuracy(name: str, network: Any, source: str, target: str) -> Row:
    found = tcp_mbit_per_s(network, source, target, seconds=2.0)
    return row(f"{name}: error of TCP's rate", abs(found / SHAPE.rate_mbit_per_s - 1) * 100, "%", most=3.0)


def _pairs() -> Iterator[Row]:
    devices, servers = [f"d{i}" for i in range(DEVICES)], [f"s{i}" for i in range(SERVERS)]
    planned = scenario(devices + servers, {(one, other): SHAPE for one in devices for other in servers})
    with Ledger(f"bench-{uuid.uuid4().hex[:8]}") as ledger:
        network = EmulatedNetwork(planned, run_id=ledger.run_id, ledger=ledger, backend="userspace")
        begin_s = time.monotonic()
        with network:
            started_s = time.monotonic() - begin_s
            begin_s = time.monotonic()
            network.check_delays()
            started_s -= time.monotonic() - begin_s
            what = "a veth pair for each link: 300 links start, probes not counted"
            yield row(what, started_s, "s", possible=POSITIVE)
            yield _accuracy("a veth pair for each link", network, "d0", "s0")


class AccessNetwork:
    """The access variant, without delays; as much of EmulatedNetwork's interface as `tcp_mbit_per_s` needs."""

    def __init__(self) -> None:
        from testbed.network.fabric import empty_network, settle

        self.net = empty_network()
        count = DEVICES + SERVERS
        self.hosts = [self.net.addHost(f"n{index}", ip=None) for index in range(count)]
        self.middle = self.net.addHost("mid", ip=None)
        settle([*self.hosts, self.middle])
        veths = [
            f"link add name up netns {host.pid} type veth peer name l{index} netns {self.middle.pid}"
            for index, host in enumerate(self.hosts)
        ]
        run(["ip", "-batch", "-"], text="\n".join(veths) + "\n")
        middle = Batch("the middle", settings=True)
        middle.ip += ["link add name br type bridge stp_state 0", "link set dev br up"]
        for index in range(count):
            middle.ip += [f"link set dev l{index} master br", f"link set dev l{index} up"]
        run_batches([(self.middle, middle), *((host, self._batch(index)) for index, host in enumerate(self.hosts))])

    def _batch(self, index: int) -> Batch:
        batch = Batch(f"host {index}", settings=True)
        batch.ip += ["link set dev lo up", f"address add {FIRST}{index + 1}/24 dev up"]
        batch.ip.append("link set dev up up gso_max_segs 1")
        batch.tc.append("qdisc add dev up root handle 1: htb default 0")
        rate, bucket = bit_per_s(SHAPE), bucket_bytes(SHAPE)
        peers = range(DEVICES, DEVICES + SERVERS) if index < DEVICES else range(DEVICES)
        for peer in peers:
            class_id = f"{0x10 + peer:x}"
            batch.tc += [
                f"class add dev up parent 1: classid 1:{class_id} htb rate {rate}bit ceil {rate}bit "
                f"burst {bucket}b cburst {bucket}b quantum 1514",
                f"qdisc add dev up parent 1:{class_id} handle {class_id}: pfifo_fast",
                f"filter add dev up parent 1: protocol ip prio 1 u32 match ip dst {FIRST}{peer + 1}/32 "
                f"flowid 1:{class_id}",
            ]
        return batch

    def namespace_path(self, name: str) -> str:
        return f"/proc/{self.hosts[int(name)].pid}/ns/net"

    def address(self, name: str) -> str:
        return f"{FIRST}{int(name) + 1}"

    def stop(self) -> None:
        shells = [host.shell for host in self.net.hosts]
        with contextlib.suppress(OSError):
            self.net.stop()
        for shell in shells:
            if shell is not None and shell.poll() is None:
                shell.kill()
                shell.wait()


def _access() -> Iterator[Row]:
    begin_s = time.monotonic()
    network = AccessNetwork()
    try:
        what = "classes of one access link: 300 links start, without the relay"
        yield row(what, time.monotonic() - begin_s, "s", possible=POSITIVE)
        time.sleep(1.0)  # the bridge
        yield _accuracy("classes of one access link", network, "0", str(DEVICES))
    finally:
        network.stop()


def rows() -> Iterator[Row]:
    """Time to build and accuracy of the rate, for both."""
    yield from _pairs()
    yield from _access()


if __name__ == "__main__":
    main(rows, __doc__, timed=True)
