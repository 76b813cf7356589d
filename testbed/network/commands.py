"""Command lines for ip, tc and bridge: pure builders, and the one place that runs them.

Builders return lines for `ip -batch`, `tc -batch` and `bridge -batch`, so that one process of each tool sets up a
namespace. Times are in seconds of real time (time scale already applied).

Decision 026: a link's rate is the rate that a TCP transfer in full segments gets
(docs/decisions/026-link-rate-is-tcp-rate.md). Whole frames, as queueing disciplines count them, therefore pass at
1514/1448 of the stated rate.

Decision 027: over a direct link TCP's segments travel together as superframes of at most 1 ms of the link's time
(docs/decisions/027-superframes-on-direct-links.md).
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

# Decision 028: the token bucket holds the bytes of 2 ms, at least four frames
# (docs/decisions/028-token-bucket-of-two-milliseconds.md).
BURST_S = 0.002
BURST_FRAMES = 4
LULL_FRAME_S = 0.1  # below the 200 ms after which TCP repeats a segment without an acknowledgement
SUPERFRAME_S = 0.001
MOST_SEGMENTS = 10  # the room of a slot of the relay's ring
SHORT_QUEUE = 100  # packets; the exact room of a shorter queue matters, and a queue counts superframes
# htb stores the depth of a bucket as a time in 32 bits of 64 ns: 274 s.
MOST_BUCKET_S = 270.0
# The queues at a link's end are classes of its htb. The filter matches frames that go first by IP's type of service
# (LOW_DELAY of node_agent.process.transport).
RATE_CLASS, CONTROL_CLASS, BULK_CLASS = 1, 2, 3
LOW_DELAY_MATCH = "u8 0x10 0x10 at 1"


class NetworkError(TestbedError):
    """The emulated network could not be built, or a part of it failed."""


def bit_per_s(shape: LinkShape) -> int:
    """The link's rate in bit/s of whole frames, at least one."""
    return max(1, round(shape.rate_mbit_per_s * 1e6 * FRAME_BYTES / SEGMENT_BYTES))


def spacing_bit_per_s(shape: LinkShape) -> int:
    """The rate [bit/s] of whole frames at which the middle of a link spaces them; in a lull 0.1 s a frame at most.

    Decision 029: in a lull frames wait at the link's end, not in its middle
    (docs/decisions/029-lulls-wait-at-the-end.md).
    """
    return max(bit_per_s(shape), round(FRAME_BYTES * 8 / LULL_FRAME_S)) if shape.lull else bit_per_s(shape)


def segments_at_once(shape: LinkShape) -> int:
    """The most segments that a superframe may hold on a direct link.

    About a millisecond's worth; one where frames are lost or jittered singly, or where the queue is short.
    """
    if shape.loss > 0 or shape.jitter_s > 0 or shape.queue_packets < SHORT_QUEUE:
        return 1
    return max(1, min(MOST_SEGMENTS, int(SUPERFRAME_S * bit_per_s(shape) / 8 / FRAME_BYTES)))


def bucket_bytes(shape: LinkShape) -> int:
    """Depth of the token bucket in bytes; on links of less than 180 bit/s as much as the kernel can express."""
    byte_per_s = bit_per_s(shape) / 8
    # A single frame in a lull: the middle would not space out a burst.
    frames = 1 if shape.lull else BURST_FRAMES
    wanted = max(frames * FRAME_BYTES, math.ceil(byte_per_s * BURST_S))
    return max(1, min(wanted, int(byte_per_s * MOST_BUCKET_S)))


def frames_in_flight(shape: LinkShape) -> int:
    """An upper bound on the frames in the link's middle: small ones that fill its delay and four deviations."""
    held_s = shape.delay_s + 4 * shape.jitter_s + BURST_S
    return 1000 + math.ceil(held_s * spacing_bit_per_s(shape) / 8 / SMALLEST_FRAME_BYTES)


def queue_places(shape: LinkShape, segments: int) -> int:
    """The room of each of the two queues at a link's end, in superframes of `segments` (1: in frames)."""
    return max(1, math.ceil(shape.queue_packets / segments))


def rate_limit(interface: str, shape: LinkShape, segments: int) -> tuple[str, ...]:
    """tc lines that limit the traffic out of `interface` to the link's rate.

    Frames wait for the rate in two queues, each with the room of a whole queue. Frames that ask for low delay, as those
    with the nodes' prices do, go before all others, at nodes and at switches alike.

    Decision 030: two htb classes and a filter on the IP header order the two queues
    (docs/decisions/030-two-queues-under-htb.md).
    """
    rate, bucket, places = bit_per_s(shape), bucket_bytes(shape), queue_places(shape, segments)
    lines = [
        f"qdisc add dev {interface} root handle 1: htb default {BULK_CLASS}",
        f"class add dev {interface} parent 1: classid 1:{RATE_CLASS} htb rate {rate}bit ceil {rate}bit "
        f"burst {bucket}b cburst {bucket}b quantum {FRAME_BYTES}",
    ]
    for priority, number in enumerate((CONTROL_CLASS, BULK_CLASS)):
        # Hardly any rate of their own, and a limit on borrowing that no machine reaches.
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
    """The ip line that starts a link's end; superframes there hold at most `segments` segments."""
    return f"link set dev {interface} up gso_max_segs {segments}"


def netem_delay(interface: str, shape: LinkShape) -> str:
    """The tc line that delays, jitters and loses the frames that leave `interface`."""
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
    """The ip line that makes a veth pair, each end in the namespace of the process with that id."""
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
    # A new connection must not reuse measurements of an earlier one: the link may have changed since.
    ("net/ipv4/tcp_no_metrics_save", "1"),
    ("net/bridge/bridge-nf-call-iptables", "0"),
)


def write_settings() -> None:
    """Write the settings of the calling thread's namespace, except those the kernel lacks.

    Raises:
        OSError: a setting is refused.
    """
    for path, value in NODE_SETTINGS:
        with contextlib.suppress(FileNotFoundError):
            _write(f"{SYSCTL}/{path}", value)
    # The same everywhere, so that machines agree with one another and with the simulation, which models Reno. BBR, the
    # default on some machines, paces messages at the rate of earlier ones: a link that is seldom used looks slow.
    # Cubic, the default on most, cannot be chosen in a namespace where the machine has another default.
    _write(f"{SYSCTL}/net/ipv4/tcp_congestion_control", "reno")
    for interface in os.listdir(f"{SYSCTL}/net/ipv4/conf"):  # existing interfaces took the earlier defaults
        for name in ("rp_filter", "send_redirects"):
            _write(f"{SYSCTL}/net/ipv4/conf/{interface}/{name}", "0")


def _write(path: str, value: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(value)


@dataclass(slots=True)
class Batch:
    """The commands that set up one namespace, in the order ip, bridge, tc; `name` is its owner, as users know it."""

    name: str
    ip: list[str] = field(default_factory=list)
    bridge: list[str] = field(default_factory=list)
    tc: list[str] = field(default_factory=list)
    settings: bool = False

    def carry_out(self) -> None:
        """Run the batch in the calling thread's namespace, each tool at most once.

        Raises:
            NetworkError: a setting or a command failed.
        """
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
    """A holder of a namespace that can start a process inside: a Mininet node."""

    name: str
    pid: int

    def popen(self, *args: object, **kwargs: object) -> "subprocess.Popen[str]":
        """Start a process inside the namespace; arguments as for subprocess.Popen."""


def run(command: Sequence[str], *, text: str = "", name: str = "") -> str:
    """Run a command in this thread's namespace with `text` as its input, and return its output.

    Raises:
        NetworkError: the command failed; the message calls it `name`.
        EnvironmentLacking: there is no such program.
    """
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise EnvironmentLacking(f"{command[0]} is missing", hint="`dtoee-testbed doctor` says how to get it") from None
    if done.returncode != 0:
        raise NetworkError(failure_text(name or " ".join(command), done.stdout, done.stderr, text))
    return done.stdout


def in_new_namespace(script: str) -> str:
    """Run a shell script in a throw-away network namespace; return the reason of a failure, or an empty string."""
    try:
        done = subprocess.run(["unshare", "-n", "sh", "-ec", script], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unshare is missing (apt-get install util-linux)"
    return "" if done.returncode == 0 else (done.stderr.strip() or f"exit status {done.returncode}")


def failure_text(name: str, output: str, error: str, text: str) -> str:
    """A single line with the failed command and the reason."""
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
    """Carry out each batch inside its namespace, as many at a time as there are processors (at least two).

    Decision 031: threads of this process enter the namespaces (docs/decisions/031-set-up-in-batches-by-threads.md).

    Args:
        progress: called in the calling thread with the number of batches done.

    Raises:
        NetworkError: the first failure of a batch.
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
        pool.shutdown(cancel_futures=True)  # ends the threads: none may stay in a node's namespace


def kernel_takes(discipline: str) -> str:
    """Add a queueing discipline in a throw-away namespace; return the reason of a failure, or an empty string."""
    return in_new_namespace(f"ip link set lo up; tc qdisc add dev lo root {discipline}")
