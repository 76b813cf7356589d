"""Links against what was configured: delay, rate, loss, jitter, changes during a transfer, and what the relay costs.

The probing process takes real-time priority where it may, and probes carry the kernel's time of arrival: the bench
measures links, not the scheduling of its own process. Needs root; about a minute.
"""

import contextlib
import itertools
import os
import socket
import statistics
import struct
import threading
import time
import uuid
from collections.abc import Collection, Iterator, Sequence

from testbed.host.ledger import Ledger
from testbed.network import EmulatedNetwork
from testbed.network.emulated import BackendChoice
from testbed.network.paths import Path
from testbed.network.probe import ProbeArrival, Prober, sockets_in
from testbed.scenario import LinkShape
from tests.bench.table import AMOUNT, PERCENT, POSITIVE, SHARE, Row, main, row
from tests.hogs import hogs
from tests.testbed.network.scenarios import scenario
from tests.testbed.network.traffic import tcp_mbit_per_s

PARTS = (
    "probes", "idle", "asleep", "busy", "rates", "loss", "jitter", "delay changes", "rate changes", "many changes",
    "cost",
)  # fmt: skip
DELAYS_MS = (1, 5, 20, 50)
RATES_MBIT_PER_S = (1.0, 5.0, 10.0, 50.0, 100.0)
LOSS = 0.05
JITTER_S = 0.002
JITTERED = 6
OTHERS = LinkShape(100.0, 0.010)
SMALL_BYTES = 64
RATES_IN_TURN, RATE_STEP_S = (10.0, 40.0, 10.0, 20.0), 0.4
SLACK = 0.1  # a delay has changed when a packet takes the new one within this share


class Bed:
    """A running network of many links between twelve nodes, and probes in it; a context manager."""

    def __init__(self, backend: BackendChoice, links: int, pace: float) -> None:
        """Links in the order of `shapes`, then others that lie idle, `links` in all.

        `pace` stretches the gaps between packets, for a kernel too slow for the usual ones.
        """
        self.pace = pace
        nodes = [f"n{index}" for index in range(12)]
        shapes = [LinkShape(100.0, delay_ms * 1e-3) for delay_ms in DELAYS_MS]
        shapes += [LinkShape(rate, 0.005) for rate in RATES_MBIT_PER_S]
        shapes += [LinkShape(100.0, 0.002, loss=LOSS)]
        shapes += [LinkShape(100.0, 0.020, jitter_s=JITTER_S)] * JITTERED
        self.pairs = list(itertools.islice(itertools.combinations(nodes, 2), max(links, len(shapes) + 1)))
        shapes += [OTHERS] * (len(self.pairs) - len(shapes))
        self.shapes = shapes
        planned = scenario(nodes, dict(zip(self.pairs, shapes, strict=True)))
        self.ledger = Ledger(f"bench-{uuid.uuid4().hex[:8]}")
        self.network = EmulatedNetwork(planned, run_id=self.ledger.run_id, ledger=self.ledger, backend=backend)

    def __enter__(self) -> "Bed":
        try:
            self.network.start()
            names = {name: self.network.namespace_path(name) for name in self.network.plan.nodes}
            self.prober = Prober(names, {name: self.network.address(name) for name in names})
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.network.stop()
        self.ledger.close()

    def of(self, shape: LinkShape) -> list[tuple[str, str]]:
        """The ends of the links that were given this shape."""
        return [pair for pair, given in zip(self.pairs, self.shapes, strict=True) if given == shape]

    def many(self, count: int) -> int:
        """The number of packets: fewer at a slower pace, at least a hundred."""
        return max(100, int(count / self.pace))

    def own_s(self, pair: tuple[str, str], packet_bytes: int) -> float:
        """The time that the link needs to send such a packet."""
        return Path(pair, (self.network.plan.link_between(pair).index,)).transmission_s(
            packet_bytes, {self.network.plan.link_between(pair).index: self.network.shape(pair)}
        )

    def stream(
        self, pairs: Sequence[tuple[str, str]], *, count: int, gap_s: float, patience_s: float = 0.3, echo: bool = False
    ) -> dict[tuple[str, str], list[ProbeArrival]]:
        """Numbered small packets over each pair's link, evenly spread over each gap; with `echo` back at once too.

        Packets that come back are filed under the reversed pair.
        """
        gap_s *= self.pace
        ways = [*pairs, *(pair[::-1] for pair in pairs)]
        arrived: dict[tuple[str, str], list[ProbeArrival]] = {way: [] for way in ways}
        begin_s, sent, total = time.monotonic(), 0, count * len(pairs)
        while (now_s := time.monotonic() - begin_s) < count * gap_s + patience_s:
            while sent < total and sent * gap_s / len(pairs) <= now_s:
                number, index = divmod(sent, len(pairs))
                self.prober.send(*ways[index], path=index, number=number, packet_bytes=SMALL_BYTES)
                sent += 1
            wait_s = min(0.01, max(0.0, sent * gap_s / len(pairs) - now_s)) if sent < total else 0.01
            for arrival in self.prober.arrivals(wait_s):
                arrived[ways[arrival.path]].append(arrival)
                if echo and arrival.path < len(pairs):
                    back = arrival.path + len(pairs)
                    self.prober.send(*ways[back], path=back, number=arrival.number, packet_bytes=SMALL_BYTES)
        return arrived


@contextlib.contextmanager
def punctual() -> Iterator[None]:
    """Real-time priority for this thread, below the relay's, where allowed."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(5))
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


def round_trip_errors_s(bed: Bed, count: int) -> dict[int, list[float]]:
    """By one-way delay in ms: how far each round trip lay from twice the delay and the packets' own transmission."""
    pairs = [bed.of(LinkShape(100.0, delay_ms * 1e-3))[0] for delay_ms in DELAYS_MS]
    with punctual():
        arrived = bed.stream(pairs, count=count, gap_s=0.012, echo=True)
    errors = {}
    for delay_ms, pair in zip(DELAYS_MS, pairs, strict=True):
        there = {arrival.number: arrival.one_way_s for arrival in arrived[pair]}
        own_s = 2 * (delay_ms * 1e-3 + bed.own_s(pair, SMALL_BYTES))
        back = arrived[pair[::-1]]
        errors[delay_ms] = sorted(abs(there[arrival.number] + arrival.one_way_s - own_s) for arrival in back)
        if len(back) < 0.99 * count:
            raise RuntimeError(f"{count - len(back)} of {count} probes did not come back over {delay_ms} ms")
    return errors


def _delay_rows(bed: Bed, state: str, p50_ms: float | None, p99_ms: float | None) -> Iterator[Row]:
    for delay_ms, errors in round_trip_errors_s(bed, bed.many(300)).items():
        p50, p99 = errors[len(errors) // 2], errors[int(len(errors) * 0.99)]
        what = f"links: round trip of {delay_ms} ms each way, {state}"
        yield row(f"{what}: p50 error", p50 * 1e3, "ms", most=p50_ms, possible=AMOUNT)
        yield row(f"{what}: p99 error", p99 * 1e3, "ms", most=p99_ms, possible=AMOUNT)


def _probes(bed: Bed) -> Iterator[Row]:
    begin_s = time.monotonic()
    measured = bed.network.measure_links()
    taken_s = time.monotonic() - begin_s
    yield row(f"links: light probes over {len(bed.pairs)} links both ways", taken_s, "s", most=1.0, possible=POSITIVE)
    steady = [path for path in measured if not path.jitter_s]
    silent = [path for path in steady if not path.lossy
              and (path.measured_delay_s is None or path.measured_rate_mbit_per_s is None)]  # fmt: skip
    yield row("links: light probes, paths without a delay or a rate", len(silent), "paths", most=0)
    delays_s = [abs(path.measured_delay_s - path.delay_s) for path in steady if path.measured_delay_s is not None]
    rates = [
        abs(path.measured_rate_mbit_per_s / path.rate_mbit_per_s - 1)
        for path in steady
        if path.measured_rate_mbit_per_s is not None and not path.lossy
    ]
    worst_s, worst_rate = max(delays_s, default=None), max(rates, default=None)
    yield row("links: light probes, greatest error of a delay", worst_s and worst_s * 1e3, "ms", possible=AMOUNT)
    yield row("links: light probes, greatest error of a rate", worst_rate and worst_rate * 100, "%", possible=AMOUNT)


def _idle(bed: Bed) -> Iterator[Row]:
    yield from _delay_rows(bed, f"{len(bed.pairs)} links idle", 0.3, 1.0)


def _asleep(bed: Bed) -> Iterator[Row]:
    bed.network.awake_cpus.end()
    try:
        yield from list(_delay_rows(bed, "idle, processors may sleep", None, None))
    finally:
        bed.network.awake_cpus.begin()


def _busy(bed: Bed) -> Iterator[Row]:
    with hogs(os.cpu_count() or 1):
        time.sleep(0.3)
        yield from list(_delay_rows(bed, "processors busy", None, 3.0))


def _rates(bed: Bed) -> Iterator[Row]:
    for rate in RATES_MBIT_PER_S:
        pair = bed.of(LinkShape(rate, 0.005))[0]
        found = tcp_mbit_per_s(bed.network, *pair, seconds=4.0 if rate < 5 else 2.0)
        yield row(f"links: rate of TCP at {rate:g} Mbit/s, error", abs(found / rate - 1) * 100, "%", most=3.0)


def _loss(bed: Bed) -> Iterator[Row]:
    from scipy.stats import binomtest

    pair, count = bed.of(LinkShape(100.0, 0.002, loss=LOSS))[0], bed.many(6000)
    before = bed.network.statistics()
    with punctual():
        arrived = bed.stream([pair], count=count, gap_s=0.0005)[pair]
    lost = count - len({arrival.number for arrival in arrived})
    after = bed.network.statistics()
    yield row(f"links: loss of {LOSS:.0%}, share lost", lost / count * 100, "%", possible=PERCENT)
    chance = float(binomtest(lost, count, LOSS).pvalue)
    yield row(f"links: loss of {LOSS:.0%}, p of a binomial test", chance, "", least=0.001, possible=SHARE)
    counted = after.frames_lost - before.frames_lost
    yield row("links: loss, difference from what the network counted", abs(counted - lost), "frames", most=0)


def _jitter(bed: Bed) -> Iterator[Row]:
    from scipy.stats import kstest, norm

    pairs = bed.of(LinkShape(100.0, 0.020, jitter_s=JITTER_S))
    with punctual():
        arrived = bed.stream(pairs, count=bed.many(300), gap_s=0.012)
    own_s = bed.own_s(pairs[0], SMALL_BYTES)
    times_s = [arrival.one_way_s - own_s for pair in pairs for arrival in arrived[pair]]
    sent = len(pairs) * bed.many(300)
    if len(times_s) < 0.99 * sent:
        raise RuntimeError(f"only {len(times_s)} of {sent} packets arrived over links with jitter")
    found = kstest(times_s, norm(0.020, JITTER_S).cdf)
    deviation_ms = statistics.stdev(times_s) * 1e3
    yield row(f"links: jitter of {JITTER_S * 1e3:g} ms, deviation found", deviation_ms, "ms", possible=POSITIVE)
    yield row("links: jitter, p of a Kolmogorov-Smirnov test", float(found.pvalue), "", least=0.001, possible=SHARE)


def _delay_changes(bed: Bed) -> Iterator[Row]:
    """The delay of a link jumps while a stream passes: how long until packets take the new one, and which are lost."""
    pair = bed.of(OTHERS)[0]
    count, gap_s = bed.many(600), 0.002  # 1.2 s, at every pace
    steps = [(0.2, 0.040), (0.5, 0.005), (0.8, 0.030)]  # when, one-way delay
    changed: list[tuple[int, int, float]] = []  # when it was asked for and answered (wall clock), the new delay

    def change() -> None:
        begin_s = time.monotonic()
        for at_s, delay_s in steps:
            time.sleep(max(0.0, begin_s + at_s - time.monotonic()))
            asked_ns = time.time_ns()
            bed.network.change_link(pair, LinkShape(100.0, delay_s))
            changed.append((asked_ns, time.time_ns(), delay_s))

    dropped = bed.network.statistics().frames_dropped
    thread = threading.Thread(target=change)
    with punctual():
        thread.start()
        arrived = bed.stream([pair], count=count, gap_s=gap_s)[pair]
        thread.join()
    lost = count - len({arrival.number for arrival in arrived})
    lost += bed.network.statistics().frames_dropped - dropped
    if len(changed) < len(steps):
        raise RuntimeError(f"only {len(changed)} of {len(steps)} changes of the delay were made")
    effects_s = []
    for asked_ns, _, delay_s in changed:
        found = [arrival.sent_ns for arrival in arrived
                 if arrival.sent_ns > asked_ns and abs(arrival.one_way_s - delay_s) < SLACK * delay_s]  # fmt: skip
        if not found:
            raise RuntimeError(f"no packet took the new delay of {delay_s * 1e3:g} ms")
        effects_s.append((min(found) - asked_ns) * 1e-9)
    bed.network.change_link(pair, OTHERS)
    yield row("links: packets lost while a delay changes", lost, "packets", most=0)
    yield row("links: a change of delay takes effect, worst", max(effects_s) * 1e3, "ms", most=50.0)


class Transfer:
    """A TCP transfer over a link for as long as the context lasts; `came` is [(time in s, bytes so far)]."""

    def __init__(self, network: EmulatedNetwork, pair: tuple[str, str]) -> None:
        names = [network.namespace_path(pair[1]), network.namespace_path(pair[0])]
        self.listener, self.client = sockets_in(names, socket.AF_INET, socket.SOCK_STREAM)
        self.address = (network.address(pair[1]), 5301)
        self.came: list[tuple[float, int]] = []
        self.done = threading.Event()
        self.threads = [threading.Thread(target=self._send), threading.Thread(target=self._receive)]

    def _send(self) -> None:
        with self.client, contextlib.suppress(OSError):
            self.client.connect(self.address)
            while not self.done.is_set():
                self.client.sendall(bytes(16384))
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # leave at once

    def _receive(self) -> None:
        connection, _ = self.listener.accept()
        total = 0
        with connection, contextlib.suppress(OSError), punctual():
            while size := len(connection.recv(1 << 16)):
                total += size
                self.came.append((time.monotonic(), total))

    def __enter__(self) -> "Transfer":
        self.listener.bind(self.address)
        self.listener.listen(1)
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        for thread in self.threads:
            thread.join()
        self.listener.close()

    def settled_at_s(self, since_s: float, mbit_per_s: float, window_s: float = 0.02) -> float:
        """The time after `since_s` from which the transfer has this rate over a whole window, within a fifth."""
        times = [entry for entry in self.came if entry[0] >= since_s]
        for index, (at_s, before) in enumerate(times):
            after = next(((t, size) for t, size in times[index:] if t >= at_s + window_s), None)
            if after is None:
                break
            rate = (after[1] - before) * 8e-6 / (after[0] - at_s)
            if abs(rate / mbit_per_s - 1) < 0.2:
                return at_s
        return float("inf")


def _rate_changes(bed: Bed) -> Iterator[Row]:
    """The rate of a link jumps during a TCP transfer, with urgent small packets beside it."""
    pair, count = bed.of(OTHERS)[0], bed.many(400)
    changes: list[tuple[float, float]] = []

    def change() -> None:
        for rate in RATES_IN_TURN:
            time.sleep(RATE_STEP_S)
            changes.append((time.monotonic(), rate))
            bed.network.change_link(pair, LinkShape(rate, 0.005))

    bed.network.change_link(pair, LinkShape(40.0, 0.005))
    dropped = bed.network.statistics().frames_dropped
    with Transfer(bed.network, pair) as transfer:
        time.sleep(0.3)
        thread = threading.Thread(target=change)
        thread.start()
        arrived = bed.stream([pair], count=count, gap_s=0.005)[pair]
        thread.join()
    lost = count - len({arrival.number for arrival in arrived}) + bed.network.statistics().frames_dropped - dropped
    if len(changes) < len(RATES_IN_TURN):
        raise RuntimeError(f"only {len(changes)} of {len(RATES_IN_TURN)} changes of the rate were made")
    # A change that does not settle before the next one counts as this late; it may settle after a later, equal one.
    effects_s = [min(RATE_STEP_S, transfer.settled_at_s(at_s, rate) - at_s) for at_s, rate in changes]
    bed.network.change_link(pair, OTHERS)
    yield row("links: packets lost while a rate changes during a transfer", lost, "packets", most=0)
    yield row("links: a change of rate takes effect, worst", max(effects_s) * 1e3, "ms", most=50.0)


def _many_changes(bed: Bed) -> Iterator[Row]:
    """Twelve links follow traces of ten steps a second."""
    pairs = bed.of(OTHERS)[:12]
    rounds, before_s = 20, bed.network.statistics().relay_cpu_s
    cpu_s, waited_s = time.process_time(), 0.0
    for step in range(rounds):
        begin_s = time.monotonic()
        for pair in pairs:
            bed.network.change_link(pair, LinkShape(20.0 + 3 * step, 0.005 + 0.001 * (step % 5)))
        taken_s = time.monotonic() - begin_s
        waited_s += taken_s
        time.sleep(max(0.0, 0.1 - taken_s))
    changes = rounds * len(pairs)
    cpu_s = time.process_time() - cpu_s + bed.network.statistics().relay_cpu_s - before_s
    for pair in pairs:
        bed.network.change_link(pair, OTHERS)
    what = "links: CPU of a change (12 links, ten a second each)"
    yield row(what, cpu_s / changes * 1e6, "us", possible=POSITIVE)
    yield row("links: time a change takes", waited_s / changes * 1e6, "us", possible=POSITIVE)


def _cost(bed: Bed) -> Iterator[Row]:
    for rate, unit in ((10.0, "frame"), (100.0, "MB")):
        pair = bed.of(LinkShape(rate, 0.005))[0]
        before = bed.network.statistics()
        tcp_mbit_per_s(bed.network, *pair, seconds=2.0)
        after = bed.network.statistics()
        cpu_s = after.relay_cpu_s - before.relay_cpu_s
        frames = after.frames_relayed - before.frames_relayed
        size_bytes = sum(link.bytes for link in after.links) - sum(link.bytes for link in before.links)
        share = frames * 1e-6 if unit == "frame" else size_bytes * 1e-6 * 1e-3
        yield row(f"links: CPU of the relay per {unit}, TCP at {rate:g} Mbit/s", cpu_s / share,
                  "us" if unit == "frame" else "ms", possible=POSITIVE)  # fmt: skip
    statistics_ = bed.network.statistics()
    late = statistics_.frames_late / statistics_.frames_relayed * 100
    yield row("links: frames sent more than 1 ms late", late, "%", possible=PERCENT)


def rows(
    backend: BackendChoice = "auto", *, parts: Collection[str] = PARTS, links: int = 60, pace: float = 1.0
) -> Iterator[Row]:
    """The rows of these parts of PARTS, from one network with this many links; `pace` as for Bed."""
    run = dict(zip(PARTS, (_probes, _idle, _asleep, _busy, _rates, _loss, _jitter, _delay_changes, _rate_changes,
                           _many_changes, _cost), strict=True))  # fmt: skip
    with Bed(backend, links, pace) as bed, bed.prober:
        for part in PARTS:
            if part in parts:
                yield from run[part](bed)


if __name__ == "__main__":
    main(rows, __doc__, timed=True)
