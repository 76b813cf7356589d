"""Command lines for ip, tc and bridge: pure builders, and the one place that runs them.

Builders return lines for `ip -batch`, `tc -batch` and `bridge -batch`, so that a namespace is set up by one process
each. Times are in seconds of real time (time scale already applied).

Decision: a link's rate is what a TCP transfer in full segments gets out of it, so that a task's activation takes its
bytes divided by the stated rate, and a speed test shows that rate: whole frames, as queueing disciplines count them,
pass at 1514/1448 of it. Rejected: the rate of whole frames, 4.6 % more than any application ever sees; and Ethernet
headers that ride free (`stab overhead -14`), because a size table charges a superframe for one set of headers only:
TCP then got 20.6 Mbit/s through htb at 20, and without the table 20.00.

Decision: over a direct link TCP's segments travel together as superframes (GSO) of at most 1 ms of the link's time, so
that nothing urgent waits longer than that behind one. The relay then spends 11 ms of CPU a megabyte instead of 26 at
100 Mbit/s and 7 instead of 31 at 200, and carries 800 Mbit/s of TCP to 0.1 %; frame by frame it fell behind at 400 (1 %
of the frames 20 ms late) and carried 740 of 800. Frames stay single below 23 Mbit/s, where each would be lost or
jittered by itself, where the queue is short, and on links to switches (layout.py).
"""

import contextlib
import math
import os
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Protocol

from node_agent.errors import EnvironmentLacking, TestbedError
from node_agent.process.linux import join_namespace
from testbed.scenario import LinkShape
from testbed.sizes import FRAME_BYTES, SEGMENT_BYTES, SMALLEST_FRAME_BYTES

# Decision: the token bucket holds what 2 ms bring in, at least four frames, because its timer may fire that late on a
# busy machine and the rate must not suffer; rejected: one frame, exact on an idle machine only. A burst does no
# harm: the middle of the link spaces frames out again at exactly the link's rate.
BURST_S = 0.002
BURST_FRAMES = 4
LULL_FRAME_S = 0.1  # below the 200 ms after which TCP sends again what nobody has acknowledged
SUPERFRAME_S = 0.001
MOST_SEGMENTS = 10  # what a slot of the relay's ring holds
SHORT_QUEUE = 100  # packets: below, their number matters, and a queue counts superframes
# htb keeps what a bucket holds as a time, in 32 bits of 64 ns: 274 s.
MOST_BUCKET_S = 270.0
# The queues of a link's end: classes of its htb, and what says that a frame goes first (IP's type of service: LOW_DELAY
# of node_agent.process.transport).
RATE_CLASS, CONTROL_CLASS, BULK_CLASS = 1, 2, 3
LOW_DELAY_MATCH = "u8 0x10 0x10 at 1"


class NetworkError(TestbedError):
    """The emulated network could not be built, or did not hold."""


def bit_per_s(shape: LinkShape) -> int:
    """The link's rate in bit/s of whole frames, at least one."""
    return max(1, round(shape.rate_mbit_per_s * 1e6 * FRAME_BYTES / SEGMENT_BYTES))


def spacing_bit_per_s(shape: LinkShape) -> int:
    """The rate [bit/s] of whole frames at which the middle of a link spaces them; in a lull 0.1 s a frame at most.

    Decision: what waits in a lull does so at the link's end, because TCP sends nothing again that its own host still
    holds; rejected: in the middle, where TCP sent each frame of a second twice and more, and filled the link with that.
    """
    return max(bit_per_s(shape), round(FRAME_BYTES * 8 / LULL_FRAME_S)) if shape.lull else bit_per_s(shape)


def segments_at_once(shape: LinkShape) -> int:
    """How many segments a superframe may hold on a direct link: about a millisecond's worth, one where each counts."""
    if shape.loss > 0 or shape.jitter_s > 0 or shape.queue_packets < SHORT_QUEUE:
        return 1
    return max(1, min(MOST_SEGMENTS, int(SUPERFRAME_S * bit_per_s(shape) / 8 / FRAME_BYTES)))


def bucket_bytes(shape: LinkShape) -> int:
    """Depth of the token bucket in bytes; what the kernel can express on links of less than 180 bit/s."""
    byte_per_s = bit_per_s(shape) / 8
    # In a lull the middle would let a burst pass.
    frames = 1 if shape.lull else BURST_FRAMES
    wanted = max(frames * FRAME_BYTES, math.ceil(byte_per_s * BURST_S))
    return max(1, min(wanted, int(byte_per_s * MOST_BUCKET_S)))


def frames_in_flight(shape: LinkShape) -> int:
    """An upper bound on the frames that the link itself holds: its delay (with four deviations) full of small ones."""
    held_s = shape.delay_s + 4 * shape.jitter_s + BURST_S
    return 1000 + math.ceil(held_s * spacing_bit_per_s(shape) / 8 / SMALLEST_FRAME_BYTES)


def queue_places(shape: LinkShape, segments: int) -> int:
    """How many frames or superframes of `segments` each of the two queues at a link's end has room for."""
    return max(1, math.ceil(shape.queue_packets / segments))


def rate_limit(interface: str, shape: LinkShape, segments: int) -> tuple[str, ...]:
    """tc lines that limit what leaves `interface` to the link's rate.

    What waits for the rate waits in two queues with the room of a whole queue each: frames that ask for low delay, as
    those with the nodes' prices do, go before all others, at nodes and at switches alike.

    Decision: two classes that may always borrow the rate of the one above, and a filter that reads the IP header. Their
    room changes by a message that drops nothing. Rejected: pfifo_fast, 6 us of CPU cheaper a change, whose room is
    settled when it is made, and which goes by a mark that frames lose on their way to a switch.
    """
    rate, bucket, places = bit_per_s(shape), bucket_bytes(shape), queue_places(shape, segments)
    lines = [
        f"qdisc add dev {interface} root handle 1: htb default {BULK_CLASS}",
        f"class add dev {interface} parent 1: classid 1:{RATE_CLASS} htb rate {rate}bit ceil {rate}bit "
        f"burst {bucket}b cburst {bucket}b quantum {FRAME_BYTES}",
    ]
    for priority, number in enumerate((CONTROL_CLASS, BULK_CLASS)):
        # Next to no rate of their own, and no limit to what they borrow that any machine would reach.
        lines.append(
            f"class add dev {interface} parent 1:{RATE_CLASS} classid 1:{number} htb prio {priority} rate 8bit "
            f"ceil 32gbit burst 1b cburst 64000b quantum {FRAME_BYTES}"
        )
        lines.append(f"qdisc add dev {interface} parent 1:{number} handle {number}0: pfifo limit {places}")
    lines.append(
        f"filter add dev {interface} parent 1: protocol ip prio 1 u32 match {LOW_DELAY_MATCH} flowid 1:{CONTROL_CLASS}"
    )
    return tuple(lines)


def interface_up(interface: str, segments: int) -> str:
    """The ip line that starts a link's end: superframes hold so many segments."""
    return f"link set dev {interface} up gso_max_segs {segments}"


def netem_delay(interface: str, shape: LinkShape) -> str:
    """The tc line that delays, jitters and loses what leaves `interface`."""
    # `rate` charges each frame its transmission time once, and keeps frames in order whatever the jitter.
    words = [f"qdisc add dev {interface} root handle 1: netem limit {frames_in_flight(shape)}"]
    words.append(f"delay {shape.delay_s * 1e6:.3f}us")
    if shape.jitter_s > 0:
        words.append(f"{shape.jitter_s * 1e6:.3f}us distribution normal")
    if shape.loss > 0:
        words.append(f"loss {shape.loss * 100:.6f}%")
    words.append(f"rate {spacing_bit_per_s(shape)}bit")
    return " ".join(words)


def veth(near: str, near_mac: str, near_pid: int, far: str, far_mac: str, far_pid: int) -> str:
    """The ip line that makes a veth pair with each end born inside its namespace, named by a process in it."""
    return (
        f"link add name {near} address {near_mac} netns {near_pid} type veth "
        f"peer name {far} address {far_mac} netns {far_pid}"
    )


SYSCTL = "/proc/sys"
NODE_SETTINGS = (
    ("net/ipv6/conf/all/disable_ipv6", "1"),
    ("net/ipv6/conf/default/disable_ipv6", "1"),
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv4/tcp_slow_start_after_idle", "0"),
    # A new connection must not start from what an earlier one measured before a link changed.
    ("net/ipv4/tcp_no_metrics_save", "1"),
    ("net/bridge/bridge-nf-call-iptables", "0"),
)


def write_settings() -> None:
    """Write settings of the calling thread's namespace; those the kernel lacks are passed over. May raise OSError."""
    for path, value in NODE_SETTINGS:
        with contextlib.suppress(FileNotFoundError):
            _write(f"{SYSCTL}/{path}", value)
    # The same everywhere, so that machines agree with one another and with the simulation, which models it. BBR, the
    # default on some machines, paces what it sends at the rate of earlier messages, so that a link that is seldom used
    # looks slow. Cubic, the default on most, may not be chosen in a namespace where the machine has another default.
    _write(f"{SYSCTL}/net/ipv4/tcp_congestion_control", "reno")
    for interface in os.listdir(f"{SYSCTL}/net/ipv4/conf"):  # what exists already took the defaults of before
        for name in ("rp_filter", "send_redirects"):
            _write(f"{SYSCTL}/net/ipv4/conf/{interface}/{name}", "0")


def _write(path: str, value: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(value)


@dataclass(slots=True)
class Batch:
    """The commands that set up one namespace, in the order ip, bridge, tc; `name` is whose it is, as users know it."""

    name: str
    ip: list[str] = field(default_factory=list)
    bridge: list[str] = field(default_factory=list)
    tc: list[str] = field(default_factory=list)
    settings: bool = False

    def carry_out(self) -> None:
        """Run it in the calling thread's namespace, each tool once at most. Raises NetworkError."""
        name = f"set-up of {self.name}"
        if self.settings:
            try:
                write_settings()
            except OSError as error:
                raise NetworkError(f"{name} failed: {error}") from error
        for tool, lines in (("ip", self.ip), ("bridge", self.bridge), ("tc", self.tc)):
            if lines:
                run([tool, "-batch", "-"], text="\n".join(lines) + "\n", name=name)


class Namespaced(Protocol):
    """What has a namespace, and can start a process inside: a Mininet node."""

    name: str
    pid: int

    def popen(self, *args: object, **kwargs: object) -> "subprocess.Popen[str]":
        """As subprocess.Popen, inside the namespace."""


def run(command: Sequence[str], *, text: str = "", name: str = "") -> str:
    """Run a command in this thread's namespace with `text` as its input; returns its output.

    Raises NetworkError, which calls it `name`, if it fails, and EnvironmentLacking if there is no such program.
    """
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise EnvironmentLacking(f"{command[0]} is missing", hint="`dtoee-testbed doctor` says how to get it") from None
    if done.returncode != 0:
        raise NetworkError(failure_text(name or " ".join(command), done.stdout, done.stderr, text))
    return done.stdout


def in_new_namespace(script: str) -> str:
    """Run a shell script in a network namespace of its own, thrown away then; returns why it failed, else nothing."""
    try:
        done = subprocess.run(["unshare", "-n", "sh", "-ec", script], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unshare is missing (apt-get install util-linux)"
    return "" if done.returncode == 0 else (done.stderr.strip() or f"exit status {done.returncode}")


def failure_text(name: str, output: str, error: str, text: str) -> str:
    """One line that says which command failed and why."""
    lines = [line.strip() for line in (error or output).splitlines() if line.strip()]
    failed = next((line for line in lines if line.startswith("Command failed -:")), "")
    reason = "; ".join(line for line in lines if line != failed) or "no message"
    where = ""
    if failed:
        number = int(failed.rsplit(":", 1)[1])
        where = f" (at line {number}: {text.splitlines()[number - 1]})"
    return f"{name} failed: {reason}{where}"


def run_batches(
    batches: Sequence[tuple[Namespaced, Batch]], *, progress: Callable[[int], None] = lambda _: None
) -> None:
    """Carry out each batch inside its namespace, as many at a time as there are processors.

    Args:
        progress: told how many are done, in the calling thread.

    Raises:
        NetworkError: the first of them that failed.

    Decision: threads of this process that move from namespace to namespace, and start nothing but the tools; rejected:
    a shell in each namespace by way of mnexec, which makes four programs a node instead of two.
    """

    def carry_out(node: Namespaced, batch: Batch) -> None:
        try:
            join_namespace(f"/proc/{node.pid}/ns/net")
        except OSError as error:
            raise NetworkError(f"set-up of {batch.name} failed: {error}") from error
        batch.carry_out()

    pool = ThreadPoolExecutor(max(2, len(os.sched_getaffinity(0))), thread_name_prefix="set-up")
    try:
        for done, future in enumerate(as_completed([pool.submit(carry_out, *each) for each in batches]), start=1):
            future.result()
            progress(done)
    finally:
        pool.shutdown(cancel_futures=True)  # its threads end: none may stay in a namespace that is not its own


def kernel_takes(discipline: str) -> str:
    """Really add a queueing discipline in a throw-away namespace; returns why it failed, empty if it did not."""
    return in_new_namespace(f"ip link set lo up; tc qdisc add dev lo root {discipline}")
