"""The load of this machine by others: samples that a process of its own takes while tests run.

A test makes load, too. What counts is the processor time of all processes that do not descend from the tests, read from
/proc once a second, and the kernel's pressure (/proc/pressure/cpu): the share of time in which some process waited for
a processor. Kernels without pressure information leave it unknown; then the load average is named instead.
"""

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

PERIOD_S = float(os.environ.get("DTOEE_TEST_PERIOD_S", "1"))
# Of all processors' time. A quiet machine's own services stay below the first; a hypervisor at ease below the second.
OTHERS_BUSY = 0.10
STOLEN_BUSY = 0.05
PRESSURE_BUSY = 0.02


@dataclass(frozen=True, slots=True)
class Sample:
    """A span of time that ended at `end_s` on the monotonic clock; all shares 0..1."""

    end_s: float
    span_s: float
    others_share: float  # of all processors' time, spent by processes that are not the tests'
    stolen_share: float  # of all processors' time, taken by the hypervisor
    pressure_share: float  # of the span: some process waited for a processor; NaN if the kernel does not count it
    load: float  # the load average of the last minute, when the span ended

    @property
    def busy(self) -> bool:
        """Did others take so much that a test's clock may have suffered?"""
        if self.stolen_share > STOLEN_BUSY:
            return True
        return self.others_share > OTHERS_BUSY and not self.pressure_share < PRESSURE_BUSY


class Watch:
    """The samples of this machine since this object was made."""

    def __init__(self, proc: Path = Path("/proc"), folder: str | None = None) -> None:
        """`folder`: where the file of samples lies (None: the usual one for temporary files)."""
        with tempfile.NamedTemporaryFile(prefix="load-", dir=folder, delete=False) as file:
            self._path = Path(file.name)
        command = [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(self._path), str(proc)]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)

    def since(self, begun_s: float) -> list[Sample]:
        """The samples of the time from `begun_s` to now; waits for the one that holds this moment, 3 s at most."""
        now_s = time.monotonic()
        while True:
            samples = [sample for sample in self._read() if sample.end_s > begun_s]
            if (samples and samples[-1].end_s >= now_s) or time.monotonic() > now_s + 3 * PERIOD_S:
                return samples
            time.sleep(PERIOD_S / 20)

    def _read(self) -> Iterator[Sample]:
        for line in self._path.read_text(encoding="ascii").splitlines():
            figures = [float(word) for word in line.split()]
            if len(figures) == len(Sample.__slots__):
                yield Sample(*figures)

    def close(self) -> None:
        """End the sampling."""
        self._process.kill()
        self._process.wait()
        self._path.unlink(missing_ok=True)


def describe(samples: list[Sample]) -> str:
    """The load of the machine, in words."""
    known = [sample for sample in samples if not math.isnan(sample.pressure_share)]
    if known:
        waited_s = sum(sample.pressure_share * sample.span_s for sample in known)
        share = min(1.0, waited_s / sum(sample.span_s for sample in known))  # counters are read one after the other
        return f"pressure {100 * share:.0f} %"
    return f"load {max((sample.load for sample in samples), default=os.getloadavg()[0]):.1f}"


def busy_share(samples: list[Sample]) -> float:
    """The share of the samples in which the machine was busy."""
    return sum(sample.busy for sample in samples) / len(samples) if samples else 0.0


class Sampler:
    """Takes the samples; `root` is the process whose descendants are the tests'."""

    def __init__(self, root: int, proc: Path) -> None:
        self._root, self._proc = root, proc
        self._ticks_per_s = os.sysconf("SC_CLK_TCK") * (os.cpu_count() or 1)
        self._own: set[int] = set()  # what once was the tests' stays so when its parent ends
        self._last = self._read()

    def sample(self) -> Sample:
        """Everything since the last call."""
        before, self._last = self._last, self._read()
        at_s, busy, stolen, own, waited_us = (now - then for now, then in zip(self._last, before, strict=True))
        ticks = at_s * self._ticks_per_s
        return Sample(
            self._last[0],
            at_s,
            min(1.0, max(0.0, busy - max(0.0, own)) / ticks),
            stolen / ticks,
            waited_us / (at_s * 1e6),
            float((self._proc / "loadavg").read_text(encoding="ascii").split()[0]),
        )

    def _read(self) -> tuple[float, float, float, float, float]:
        """The time, busy and stolen ticks, the tests' own ticks, and microseconds of waiting."""
        user, nice, system, _, _, _, _, stolen = map(
            int, (self._proc / "stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
        )
        return time.monotonic(), user + nice + system, stolen, self._own_ticks(), self._waited_us()

    def _own_ticks(self) -> int:
        """Of the tests' processes, and of their ended children: a child's time goes to its parent when it ends."""
        parents, ticks = {}, {}
        for entry in self._proc.iterdir():
            if not entry.name.isdigit():
                continue
            try:
                text = (entry / "stat").read_text(encoding="ascii", errors="replace")
            except OSError:
                continue
            fields = text[text.rindex(")") + 2 :].split()
            parents[int(entry.name)] = int(fields[1])
            ticks[int(entry.name)] = sum(map(int, fields[11:15]))
        own = {self._root} | (self._own & parents.keys())
        grown = True
        while grown:
            below = {pid for pid, parent in parents.items() if parent in own} - own
            own |= below
            grown = bool(below)
        self._own = own
        return sum(ticks.get(pid, 0) for pid in own)

    def _waited_us(self) -> float:
        try:
            line = (self._proc / "pressure" / "cpu").read_text(encoding="ascii").split("\n", 1)[0]
            return float(line.rsplit("total=", 1)[1])
        except (OSError, IndexError, ValueError):
            return math.nan


def main() -> None:
    """Append a line per sample until the parent is gone; arguments: its process id, the file, the place of /proc."""
    root, path = int(sys.argv[1]), sys.argv[2]
    sampler = Sampler(root, Path(sys.argv[3]))
    with open(path, "a", encoding="ascii") as file:
        while os.getppid() == root:
            time.sleep(PERIOD_S)
            print(*astuple(sampler.sample()), file=file, flush=True)


if __name__ == "__main__":
    main()
