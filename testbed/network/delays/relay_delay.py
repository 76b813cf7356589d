"""Delays by a relay process in user space (testbed/relay)."""

import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from testbed import relay
from testbed.host.interpreter import interpreter
from testbed.host.ledger import Ledger
from testbed.host.rootless import is_rootless
from testbed.network.commands import Namespaced, NetworkError, frames_in_flight, spacing_bit_per_s
from testbed.network.delays.backend import LinkStatistics, NetworkStatistics, Trial
from testbed.network.layout import LinkLayout
from testbed.relay.frames import Ring, sending_socket
from testbed.relay.line import LATENESS_SHIFT
from testbed.scenario import LinkShape

ANSWER_TIMEOUT_S = 10.0
RELAY_FILE = Path(relay.__path__[0]) / "process.py"
LONGEST_ANSWER_BYTES = 1 << 16
LINES_AT_ONCE = 64
RELAY_LOG = "relay.log"
LEAST_BUFFER_BYTES = 4 << 20  # of a sending socket, for the frames that wait behind a busy switch


class RelayDelay:
    """Delays by the relay process (testbed/relay)."""

    name: ClassVar[str] = "userspace"
    summary: ClassVar[str] = "a relay process"
    examined_as: ClassVar[str] = "packet ring (user-space delays)"
    tells_lateness: ClassVar[bool] = True

    @staticmethod
    def discipline(interface: str, shape: LinkShape) -> None:
        """None: the relay does everything."""

    @staticmethod
    def trial() -> Trial:
        """Open a packet ring and a sending socket, and check the room of the latter."""
        try:
            ring, out = Ring(), sending_socket()
            buffer_bytes = int(Path("/proc/sys/net/core/wmem_max").read_text(encoding="ascii"))
        except (OSError, ValueError) as error:
            means = "only netem can delay frames: where that is missing too, no run is possible"
            return Trial(works=False, trouble=f"AF_PACKET: {error}", means=means, module="af_packet")
        ring.socket.close()  # its memory goes with the last reference
        out.close()
        if not is_rootless() or buffer_bytes >= LEAST_BUFFER_BYTES:
            return Trial(works=True)
        return Trial(
            works=True,
            trouble=f"works, with at most {buffer_bytes >> 10} KiB of frames waiting behind switches",
            means="frames may be late behind a busy switch; the fidelity report counts them",
            remedy=f"sudo sysctl net.core.wmem_max={LEAST_BUFFER_BYTES}",
        )

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._control: socket.socket | None = None
        self._log: Path | None = None
        self._links: tuple[LinkLayout, ...] = ()
        self._asked = 0  # the number of the last question; 0 is that of the relay's first message, that it has started
        self._lock = threading.Lock()

    def start(self, middle: Namespaced, links: tuple[LinkLayout, ...], seed: int, ledger: Ledger) -> None:
        """Start the relay and send it every line."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control, self._log, self._links = ours, ledger.directory / RELAY_LOG, links
        with theirs, self._log.open("w", encoding="utf-8") as log:
            # -I -S: nothing of the user's environment, and a quick start.
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
        """Send the relay the new shape, and wait for its answer."""
        self._ask({"verb": "change", "in": link.ports[side].middle, **_line_shape(shape)})

    @property
    def pid(self) -> int | None:
        """Id of the relay's process; None before the start."""
        return None if self._process is None else self._process.pid

    def check(self) -> None:
        """Raise NetworkError unless the relay lives; the hint is the last line of its log."""
        if self._process is None or self._process.poll() is not None:
            raise NetworkError("the relay process has died: links no longer carry frames", hint=self._last_words())

    def statistics(self) -> NetworkStatistics:
        """The relay's own counters; NetworkError if it does not answer."""
        answer = self._ask({"verb": "statistics"})
        return NetworkStatistics(
            backend=self.name,
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
        """Restart the relay's counts of lateness."""
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
        """Kill the relay: it has nothing to save."""
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
        """The answer to the last question; late answers to earlier ones are dropped."""
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
                raise NetworkError(f"the relay sent an invalid answer: {answer[:80]!r}") from error
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
    """The quantile of lateness at `share` (0..1) in seconds, from counts by octave; None without frames.

    Frames are taken as spread evenly within an octave. The result is at most `most_s`, the worst lateness [s].
    """
    wanted, below = share * sum(counts.values()), 0
    for octave in sorted(counts):
        if below + counts[octave] >= wanted:
            high_ns = 1 << (LATENESS_SHIFT + octave)
            low_ns = high_ns >> 1 if octave else 0
            return min(most_s, (low_ns + (high_ns - low_ns) * (wanted - below) / counts[octave]) * 1e-9)
        below += counts[octave]
    return None
