"""The load of this machine: processor time in use, processor time stolen, and the time that processes wait for one.

Linux reports the waiting as pressure stall information: /proc/pressure/cpu counts the time in which at least one
process that could have run had no processor (https://docs.kernel.org/accounting/psi.html). On kernels without it
(before 4.20, or built or booted without) those figures are unknown; the agents' late timers show the same there.
"""

import time
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class HostUse:
    """Shares of a span of time, 0..1; None if the kernel does not report them."""

    cpu_share: float | None = None  # of all processors' time: spent on any process or interrupt
    steal_share: float | None = None  # of all processors' time: taken by the hypervisor
    pressure_some_share: float | None = None  # of the span: at least one process waited for a processor
    pressure_full_share: float | None = None  # of the span: all processes waited (0 for a machine on most kernels)


@dataclass(frozen=True, slots=True)
class _Counters:
    """The kernel's counters at one moment."""

    at_s: float
    busy_ticks: int | None
    steal_ticks: int | None
    all_ticks: int | None
    some_us: int | None
    full_us: int | None


class HostMeter:
    """Measures the load since it was made, and between readings."""

    def __init__(self, proc: Path = PROC) -> None:
        self._proc = proc
        self._first = self._last = self._read()

    def so_far(self) -> HostUse:
        """The load since this meter was made."""
        return _between(self._first, self._read())

    def lately(self) -> HostUse:
        """The load since the last call of this method, or since this meter was made."""
        before, self._last = self._last, self._read()
        return _between(before, self._last)

    def _read(self) -> _Counters:
        busy, steal, total = _processors(self._proc / "stat")
        pressure = _pressure(self._proc / "pressure" / "cpu")
        return _Counters(time.monotonic(), busy, steal, total, pressure.get("some"), pressure.get("full"))


def _between(before: _Counters, after: _Counters) -> HostUse:
    ticks = _difference(before.all_ticks, after.all_ticks)
    span_us = (after.at_s - before.at_s) * 1e6
    return HostUse(
        cpu_share=_share(_difference(before.busy_ticks, after.busy_ticks), ticks),
        steal_share=_share(_difference(before.steal_ticks, after.steal_ticks), ticks),
        pressure_some_share=_share(_difference(before.some_us, after.some_us), span_us),
        pressure_full_share=_share(_difference(before.full_us, after.full_us), span_us),
    )


def _difference(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before


def _share(part: int | None, whole: float | None) -> float | None:
    if part is None or whole is None or whole <= 0:
        return None
    return min(1.0, max(0.0, part / whole))


def _processors(file: Path) -> tuple[int | None, int | None, int | None]:
    """Ticks in use, ticks stolen and all ticks, from the first line of /proc/stat (proc_stat(5)).

    Its fields are user, nice, system, idle, iowait, irq, softirq and steal; later ones are parts of the first two.
    """
    try:
        fields = file.read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
        user, nice, system, idle, iowait, irq, softirq, steal = map(int, fields)
    except (OSError, ValueError):
        return None, None, None
    busy = user + nice + system + irq + softirq
    return busy, steal, busy + idle + iowait + steal


def _pressure(file: Path) -> dict[str, int]:
    """Total microseconds by kind (`some`, `full`); empty if the kernel reports none."""
    found: dict[str, int] = {}
    try:
        for line in file.read_text(encoding="ascii").splitlines():
            kind, *figures = line.split()
            found[kind] = int(dict(figure.split("=", 1) for figure in figures)["total"])
    except (OSError, ValueError, KeyError):
        return {}
    return found
