"""The two ways to delay frames in the middle of each link: by the kernel (netem) or by the relay process."""

import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from node_agent.errors import EnvironmentLacking
from testbed.host.interpreter import interpreter
from testbed.host.ledger import Ledger
from testbed.network.commands import (
    Namespaced,
    NetworkError,
    frames_in_flight,
    in_new_namespace,
    spacing_bit_per_s,
)
from testbed.network.layout import LinkLayout
from testbed.network.rtnetlink import KernelLinks
from testbed.relay.line import LATENESS_SHIFT
from testbed.scenario import LinkShape

BackendName = Literal["netem", "userspace"]
ANSWER_TIMEOUT_S = 10.0
RELAY_FILE = Path(__file__).parents[1] / "relay" / "process.py"
LONGEST_ANSWER_BYTES = 1 << 16
LINES_AT_ONCE = 64
RELAY_LOG = "relay.log"


@dataclass(frozen=True, slots=True)
class LinkStatistics:
    """What one direction of one link did so far, in its middle; `ends` are the sending and the receiving end.

    `lost` frames were lost as the topology asks, `dropped` ones against its will; `late` ones were sent more than 1 ms
    after they were due. Lateness is in real seconds, and that of a frame sent early (the relay does so by up to 100 us)
    counts as none. It is counted in octaves from 4 us on, so that a quantile may be off by a factor of two, or by 4 us;
    the worst is exact. Lateness is None with netem, which does not tell, and before the first frame.
    """

    ends: tuple[str, str]
    frames: int
    bytes: int
    lost: int
    dropped: int
    late: int | None
    lateness_p50_s: float | None
    lateness_p99_s: float | None
    worst_lateness_s: float | None


@dataclass(frozen=True, slots=True)
class NetworkStatistics:
    """What the middle of all links did so far; lateness: since `forget_lateness`.

    `frames_late` were sent more than 1 ms after they were due, `worst_lateness_s` is the worst of them (both only
    known, and only possible, with the user-space backend); `frames_lost` were lost as the topology asks,
    `frames_dropped` against its will (a full queue in the middle); `relay_cpu_s` is the CPU time of the relay process.
    """

    backend: BackendName
    frames_relayed: int
    frames_late: int
    worst_lateness_s: float
    frames_lost: int
    frames_dropped: int
    relay_cpu_s: float
    realtime_priority: bool
    links: tuple[LinkStatistics, ...] = ()
    stalls_s: tuple[tuple[float, float], ...] = ()  # when the relay did not run though it had to [CLOCK_MONOTONIC]


class DelayBackend(Protocol):
    """Delays the frames of every link in the middle namespace."""

    name: BackendName

    def start(self, middle: Namespaced, links: tuple[LinkLayout, ...], seed: int, ledger: Ledger) -> None:
        """Begin; the middle's interfaces are up."""

    def change(self, link: LinkLayout, side: int, shape: LinkShape) -> None:
        """Give what one end of a link sends (0: its first) a new shape; nothing in flight is dropped or overtaken."""

    @property
    def pid(self) -> int | None:
        """The process that delays frames, if one does."""

    def check(self) -> None:
        """Raise NetworkError if frames are no longer delayed."""

    def statistics(self) -> NetworkStatistics:
        """What happened so far."""

    def forget_lateness(self) -> None:
        """Count late frames, and how late they are, anew."""

    def stop(self) -> None:
        """End; may be called twice, and before start."""


@dataclass(slots=True)
class DropCount:
    """What became of a netem's drops: while its shape loses frames they count as lost, else as dropped."""

    loses: bool
    booked: int = 0  # the kernel's counter when that changed last
    lost: int = 0
    dropped: int = 0

    def book(self, drops: int, *, loses: bool) -> None:
        """The kernel counts so many drops by now; from here on the shape loses frames, or does not."""
        self.lost, self.dropped = self.so_far(drops)
        self.booked, self.loses = drops, loses

    def so_far(self, drops: int) -> tuple[int, int]:
        """Frames lost and dropped, when the kernel counts so many drops."""
        new = (drops - self.booked) % (1 << 32)
        return (self.lost + new, self.dropped) if self.loses else (self.lost, self.dropped + new)


class NetemDelay:
    """The kernel's own network emulator; the plan's batch has set it up."""

    name: BackendName = "netem"

    def __init__(self) -> None:
        self._middle: Namespaced | None = None
        self._kernel: KernelLinks | None = None
        self._links: tuple[LinkLayout, ...] = ()
        self._seed = self._changes = 0
        self._drops: dict[str, DropCount] = {}  # by interface

    def start(self, middle: Namespaced, links: tuple[LinkLayout, ...], seed: int, ledger: Ledger) -> None:
        """Check that each discipline is really there (`tc` has been known to only warn)."""
        del ledger  # the kernel makes nothing that would need clearing away
        self._middle, self._links, self._seed = middle, links, seed
        self._drops = {
            port.middle: DropCount(shape.loss > 0)
            for link in links
            for port, shape in zip(link.ports[::-1], link.shapes, strict=True)
        }
        self.check()
        self._kernel = KernelLinks(f"/proc/{middle.pid}/ns/net")
        for link in links:
            for side, shape in enumerate(link.shapes):
                if shape.loss > 0 or shape.jitter_s > 0:
                    self.change(link, side, shape)  # seeds it, which not every `tc` can

    def change(self, link: LinkLayout, side: int, shape: LinkShape) -> None:
        """With random numbers of its own: the kernel begins a new series at every change."""
        assert self._kernel is not None
        middle = link.ports[1 - side].middle  # what one end sends leaves the middle towards the other
        self._changes += 1
        self._kernel.change_netem(middle, shape, (self._seed << 32) + self._changes)
        if self._drops[middle].loses != (shape.loss > 0):
            self._drops[middle].book(self._kernel.drops(middle), loses=shape.loss > 0)

    @property
    def pid(self) -> int | None:
        """The kernel delays them."""
        return None

    def check(self) -> None:
        """Every middle interface must carry netem."""
        present = {entry["dev"] for entry in self._disciplines()}
        for link in self._links:
            for port in link.ports:
                if port.middle not in present:
                    raise NetworkError(f"the link {link.ends[0]} - {link.ends[1]} has lost its delay (no netem)")

    def statistics(self) -> NetworkStatistics:
        """Sums of the kernel's counters.

        It does not tell wanted losses from drops when a queue is full: while a link loses frames, all count as lost.
        """
        entries = self._disciplines()
        links = tuple(self._links_statistics(entries))
        return NetworkStatistics(
            backend="netem",
            frames_relayed=sum(int(entry["packets"]) for entry in entries),
            frames_late=0,
            worst_lateness_s=0.0,
            frames_lost=sum(link.lost for link in links),
            frames_dropped=sum(link.dropped for link in links),
            relay_cpu_s=0.0,
            realtime_priority=True,
            links=links,
        )

    def forget_lateness(self) -> None:
        """The kernel counts none."""

    def _links_statistics(self, entries: list[dict[str, Any]]) -> Iterator[LinkStatistics]:
        found = {entry["dev"]: entry for entry in entries}
        for link in self._links:
            for side in (0, 1):
                # What leaves the middle towards an end is what the other end sent.
                entry = found[link.ports[1 - side].middle]
                lost, dropped = self._drops[entry["dev"]].so_far(int(entry["drops"]))
                yield LinkStatistics(
                    ends=link.ends if side == 0 else link.ends[::-1],
                    frames=int(entry["packets"]),
                    bytes=int(entry["bytes"]),
                    lost=lost,
                    dropped=dropped,
                    late=None,
                    lateness_p50_s=None,
                    lateness_p99_s=None,
                    worst_lateness_s=None,
                )

    def stop(self) -> None:
        """The disciplines disappear with the namespace."""
        if self._kernel is not None:
            self._kernel.close()
            self._kernel = None

    def _disciplines(self) -> list[dict[str, Any]]:
        assert self._middle is not None
        process = self._middle.popen(
            ["tc", "-s", "-j", "qdisc", "show"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        output, error = process.communicate()
        if process.returncode != 0:
            raise NetworkError(f"tc qdisc show failed: {error.strip()}")
        return [entry for entry in json.loads(output) if entry.get("kind") == "netem"]


class RelayDelay:
    """The relay process (testbed/relay)."""

    name: BackendName = "userspace"

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._control: socket.socket | None = None
        self._log: Path | None = None
        self._links: tuple[LinkLayout, ...] = ()
        self._asked = 0  # the number of the last question; 0: that the relay is there
        self._lock = threading.Lock()

    def start(self, middle: Namespaced, links: tuple[LinkLayout, ...], seed: int, ledger: Ledger) -> None:
        """Start the relay and tell it every line."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control, self._log, self._links = ours, ledger.directory / RELAY_LOG, links
        with theirs, self._log.open("w", encoding="utf-8") as log:
            # -I -S: nothing of the user's environment, and a start in 20 ms.
            self._process = middle.popen(
                [interpreter(), "-I", "-S", str(RELAY_FILE)],
                stdin=theirs,  # its number stays low however many files are open here
                stdout=log,
                stderr=log,
            )
        ledger.add_process(self._process.pid)
        self._receive()
        lines: list[dict[str, object]] = []
        for link in links:
            for side, shape in enumerate(link.shapes):
                ends = {"in": link.ports[side].middle, "out": link.ports[1 - side].middle}
                lines.append({**ends, "seed": (seed << 20) + 2 * link.index + side, **_line_shape(shape)})
        for first in range(0, len(lines), LINES_AT_ONCE):
            self._ask({"verb": "add", "lines": lines[first : first + LINES_AT_ONCE]})

    def change(self, link: LinkLayout, side: int, shape: LinkShape) -> None:
        """In force when this returns."""
        self._ask({"verb": "change", "in": link.ports[side].middle, **_line_shape(shape)})

    @property
    def pid(self) -> int | None:
        """The relay's process."""
        return None if self._process is None else self._process.pid

    def check(self) -> None:
        """The relay must live."""
        if self._process is None or self._process.poll() is not None:
            raise NetworkError("the relay process has died: links no longer carry frames", hint=self._last_words())

    def statistics(self) -> NetworkStatistics:
        """The relay's own counters."""
        answer = self._ask({"verb": "statistics"})
        return NetworkStatistics(
            backend="userspace",
            frames_relayed=int(answer["frames"]),
            frames_late=int(answer["late"]),
            worst_lateness_s=float(answer["worst_late_s"]),
            frames_lost=int(answer["lost"]),
            frames_dropped=int(answer["dropped"]),
            relay_cpu_s=float(answer["cpu_s"]),
            realtime_priority=bool(answer["realtime"]),
            links=tuple(self._links_statistics()),
            stalls_s=tuple((from_ns * 1e-9, until_ns * 1e-9) for from_ns, until_ns in answer["stalls_ns"]),
        )

    def forget_lateness(self) -> None:
        """From here on all quantiles and counts of lateness are about what is sent later."""
        self._ask({"verb": "forget"})

    def _links_statistics(self) -> Iterator[LinkStatistics]:
        directions = [direction for link in self._links for direction in (link.ends, link.ends[::-1])]
        told: list[list[Any]] = []
        while len(told) < len(directions):  # page by page, so that no answer keeps the relay from its frames
            page = self._ask({"verb": "lines", "first": len(told)})["lines"]
            if not page:
                raise NetworkError("the relay does not know all links")
            told += page
        for ends, (frames, size, lost, dropped, late, worst_ns, octaves) in zip(directions, told, strict=True):
            counts = {int(octave): int(count) for octave, count in octaves.items()}
            yield LinkStatistics(
                ends=ends,
                frames=frames,
                bytes=size,
                lost=lost,
                dropped=dropped,
                late=late,
                lateness_p50_s=quantile_s(counts, 0.5, worst_ns * 1e-9),
                lateness_p99_s=quantile_s(counts, 0.99, worst_ns * 1e-9),
                worst_lateness_s=worst_ns * 1e-9 if counts else None,
            )

    def stop(self) -> None:
        """End the relay; it holds nothing that would need putting in order."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            # A forked child of this process may still hold the socket open, so that the relay would not notice.
            self._process.kill()
            self._process.wait()

    def _ask(self, message: dict[str, object]) -> dict[str, Any]:
        with self._lock:
            self.check()
            assert self._control is not None
            self._asked += 1
            try:
                self._control.settimeout(ANSWER_TIMEOUT_S)
                self._control.send(json.dumps({**message, "number": self._asked}).encode())
            except OSError as error:
                raise NetworkError(f"the relay cannot be reached: {error}", hint=self._last_words()) from error
            return self._receive()

    def _receive(self) -> dict[str, Any]:
        """The answer to the last question; answers to earlier ones, which came too late, are dropped."""
        assert self._control is not None
        deadline_s = time.monotonic() + ANSWER_TIMEOUT_S
        while True:
            try:
                self._control.settimeout(max(1e-3, deadline_s - time.monotonic()))
                answer = self._control.recv(LONGEST_ANSWER_BYTES)
            except OSError as error:
                raise NetworkError(f"the relay does not answer: {error}", hint=self._last_words()) from error
            if not answer:
                when = "before it was asked anything" if not self._asked else "while it was being asked"
                raise NetworkError(f"the relay process ended {when}", hint=self._last_words())
            try:
                parsed = json.loads(answer)
                number = parsed["number"]
            except (ValueError, KeyError, TypeError) as error:
                raise NetworkError(f"the relay gave an answer that is none: {answer[:80]!r}") from error
            if number == self._asked:
                break
        if "error" in parsed:
            raise NetworkError(f"the relay refused: {parsed['error']}")
        assert isinstance(parsed, dict)
        return parsed

    def _last_words(self) -> str:
        if self._log is None or not self._log.exists():
            return ""
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


def _line_shape(shape: LinkShape) -> dict[str, object]:
    return {
        "delay_ns": round(shape.delay_s * 1e9),
        "jitter_ns": round(shape.jitter_s * 1e9),
        "loss": shape.loss,
        "ns_per_byte": 8e9 / spacing_bit_per_s(shape),
        "limit": frames_in_flight(shape),
    }


def quantile_s(counts: Mapping[int, int], share: float, most_s: float) -> float | None:
    """The lateness that this share of frames does not exceed, from counts by octave; None without frames.

    Within an octave frames are taken as spread evenly; no more than `most_s`, the worst seen.
    """
    wanted, below = share * sum(counts.values()), 0
    for octave in sorted(counts):
        if below + counts[octave] >= wanted:
            high_ns = 1 << (LATENESS_SHIFT + octave)
            low_ns = high_ns >> 1 if octave else 0
            return min(most_s, (low_ns + (high_ns - low_ns) * (wanted - below) / counts[octave]) * 1e-9)
        below += counts[octave]
    return None


def kernel_takes(discipline: str) -> str:
    """Really add a queueing discipline in a throw-away namespace; returns why it failed, empty if it did not."""
    return in_new_namespace(f"ip link set lo up; tc qdisc add dev lo root {discipline}")


NETEM_TRIAL = "netem limit 10 delay 1ms 0.1ms distribution normal loss 1% rate 1mbit"


def choose_backend(wanted: Literal["auto", "netem", "userspace"]) -> DelayBackend:
    """The backend asked for, or for `auto` netem where the kernel has it and else the relay.

    Raises EnvironmentLacking if netem is asked for and cannot be had.
    """
    if wanted == "userspace":
        return RelayDelay()
    trouble = kernel_takes(NETEM_TRIAL)
    if not trouble:
        return NetemDelay()
    if wanted == "netem":
        raise EnvironmentLacking(
            f"netem cannot be used: {trouble}", hint="load the module sch_netem, or choose the userspace backend"
        )
    return RelayDelay()


__all__ = ["DelayBackend", "NetemDelay", "NetworkStatistics", "RelayDelay", "choose_backend", "kernel_takes"]
