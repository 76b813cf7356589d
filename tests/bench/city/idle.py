"""The cost of the city while it has no tasks: `python -m tests.bench.city.idle` (needs root, a minute).

All 65 agents are up, the policy is DTO-EE, the live view is drawn on a terminal of 120 columns and 40 lines, and the
only task comes at the end. There are two counts over the same span. One is the work of this machine's processors beyond
their work before and after the run (/proc/stat). The other is the CPU time of the run's processes, by part
(/proc/PID/task/*/schedstat). The kernel charges its work for frames to the process that it interrupts, so that only the
first count is complete. It is void if the machine did something else before or after.

The counts begin SETTLE_S after the agents' first telemetry. A node rests when it has had no task for four slots (20 s),
which it notices at its next slot (at most 5 s later). Each path of the network has had its ten quick probes after 23 s.
The time before is the price of a start, not of rest.
"""

import contextlib
import fcntl
import json
import os
import pty
import struct
import subprocess
import tempfile
import termios
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from testbed.host.load import HostUse
from tests.bench.city.runs import CITY, ROOT, TESTBED, end
from tests.bench.surroundings import busy_cores, disturbance, glance
from tests.bench.table import AMOUNT, POSITIVE, Row, main, row

LINES, COLUMNS = 40, 120
BESIDE_S = 10.0  # of the machine's own rest, before the run and after it
STEADY_CORES = 0.02  # by which the two may differ: a fifth of the goal
SETTLE_S = 27.0  # then all nodes are at rest
SPAN_S = 20.0
READY_TIMEOUT_S = 120.0
MOST_SHARE = 0.10  # of one core
PARTS = ("agents", "relay", "experiment and monitor")


@dataclass
class Spent:
    """CPU time [s] and wake-ups by part, up to a moment."""

    at_s: float
    machine_s: float
    cpu_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    wakeups: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    frames: int | None = None  # that came into the middle of all links; None without a relay


def machine_busy_s() -> float:
    """Time that all processors have been in use since boot."""
    user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def spent_by(process: psutil.Process) -> Spent:
    """The resources that the run's processes have used until now."""
    spent = Spent(time.monotonic(), machine_busy_s())
    for each in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            part = _part(each, process)
            if part == "relay":
                spent.frames = _frames_into_its_namespace(each)
            for task in Path(f"/proc/{each.pid}/task").iterdir():
                spent.cpu_s[part] += int((task / "schedstat").read_text().split()[0]) * 1e-9
                spent.wakeups[part] += sum(
                    int(line.split()[1]) for line in (task / "status").read_text().splitlines() if "_ctxt_sw" in line
                )
    return spent


def _frames_into_its_namespace(each: psutil.Process) -> int:
    """Frames that all interfaces there have received (/proc/PID/net/dev); a superframe counts as one."""
    lines = Path(f"/proc/{each.pid}/net/dev").read_text().splitlines()[2:]
    return sum(int(line.split(":")[1].split()[1]) for line in lines)


def _part(each: psutil.Process, experiment: psutil.Process) -> str:
    """The experiment, the relay, or else agents (with their parent; the shells that hold namespaces do nothing)."""
    if each.pid == experiment.pid:
        return "experiment and monitor"
    return "relay" if any("relay/process.py" in word for word in each.cmdline()) else "agents"


@contextlib.contextmanager
def running(folder: Path, duration_s: float) -> Iterator[tuple[psutil.Process, Path]]:
    """A run of the city whose one task comes at its end, watched on a terminal of its own; with its directory."""
    trace, out = folder / "idle.jsonl", folder / "run"
    trace.write_text(json.dumps({"time_s": duration_s - 1.0, "device": "device-1", "sample": 0}) + "\n")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    process = subprocess.Popen(
        [*TESTBED, "run", str(CITY), "--trace", str(trace),
         "--duration", f"{duration_s:g}s", "--policy", "dto-ee", "--monitor", "rich", "--out", str(out)],
        cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm-256color"},
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    reader = threading.Thread(target=_drain, args=(ours,), daemon=True)
    reader.start()
    try:
        yield psutil.Process(process.pid), out
        process.wait(60)
    finally:
        end(process)
        reader.join(5)
        os.close(ours)


def _drain(terminal: int) -> None:
    with contextlib.suppress(OSError):  # the other end was closed
        while os.read(terminal, 1 << 16):
            pass


def await_start(process: psutil.Process, out: Path) -> None:
    """Wait until the agents have sent telemetry; raises RuntimeError if they never do."""
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    timeseries = out / "timeseries.jsonl"
    while not (timeseries.exists() and timeseries.stat().st_size):
        if time.monotonic() > deadline_s or not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            raise RuntimeError("the run has not begun")
        time.sleep(0.1)


def rows() -> Iterator[Row]:
    """CPU of everything together, by part, and wake-ups."""
    before = glance(BESIDE_S)
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), SETTLE_S + SPAN_S + 6) as (process, out):
        await_start(process, out)
        nodes = len(json.loads((out / "manifest.json").read_text())["nodes"])
        time.sleep(SETTLE_S)
        first = spent_by(process)
        time.sleep(SPAN_S)
        last = spent_by(process)
        process.wait(60)
    after = glance(BESIDE_S)
    rest_cores, invalid = reference(before, after)
    span_s = last.at_s - first.at_s
    all_share = (last.machine_s - first.machine_s) / span_s - rest_cores
    what = f"city at rest, {nodes} agents, live view"
    rival = f"the machine before and after: {rest_cores:.1%}"
    known = {part: (last.cpu_s[part] - first.cpu_s[part]) / span_s for part in PARTS}
    most, some = MOST_SHARE * 100, (POSITIVE[0], 100.0 * (os.cpu_count() or 1))
    yield row(f"{what}: CPU of everything, of one core", all_share * 100, "%", most=most, rival=rival, possible=some,
              invalid=invalid)  # fmt: skip
    yield row(f"{what}: CPU of its processes, of one core", sum(known.values()) * 100, "%", most=most, possible=some)
    for part, share in known.items():
        yield row(f"{what}: {part}", share * 100, "%", possible=AMOUNT)
    beyond = (all_share - sum(known.values())) * 100
    yield row(f"{what}: kernel beyond that", beyond, "%", possible=AMOUNT, invalid=invalid)
    for part in PARTS:
        wakeups = (last.wakeups[part] - first.wakeups[part]) / span_s
        yield row(f"{what}: wake-ups of {part}", wakeups, "/s", possible=AMOUNT)
    if first.frames is not None and last.frames is not None:
        yield row(f"{what}: frames relayed", (last.frames - first.frames) / span_s, "/s", possible=AMOUNT)


def reference(before: HostUse, after: HostUse) -> tuple[float, str | None]:
    """Processors in use without the run, and why that is no reference, if it is none."""
    cores = [busy_cores(use) for use in (before, after)]
    if (reason := disturbance(before, after)) or cores[0] is None or cores[1] is None:
        return cores[0] or 0.0, reason
    if abs(cores[1] - cores[0]) > STEADY_CORES:
        changed = f"{cores[0]:.1%} of a core in use before, {cores[1]:.1%} after (bound {STEADY_CORES:.0%} apart)"
        return cores[0], f"this machine did not stand still: {changed}"
    return (cores[0] + cores[1]) / 2, None


if __name__ == "__main__":
    main(rows, __doc__)
