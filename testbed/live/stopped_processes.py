"""Processes that are stopped: by a signal, a debugger, or a frozen control group that shows as such."""

from collections.abc import Callable, Mapping
from pathlib import Path

from testbed.expectation import Stall

STOPPED = ("T", "t")  # by a signal; by a debugger


class StoppedProcesses:
    """Looks at the states of processes from time to time, and keeps account of those that were found stopped."""

    def __init__(self, pids: Callable[[], Mapping[str, int]]) -> None:
        """`pids` gives the processes at present, by name."""
        self._pids = pids
        self._looked_s = 0.0
        self._since_s: dict[str, float] = {}  # by stopped process: when it last ran
        self._over: list[Stall] = []

    def look(self, now_s: float) -> list[str]:
        """Look now (emulated time); the processes that are stopped and were not at the last look."""
        stopped = {name for name, pid in self._pids().items() if _state(pid) in STOPPED}
        found = sorted(stopped - self._since_s.keys())
        for name in found:
            self._since_s[name] = self._looked_s
        for name in self._since_s.keys() - stopped:
            self._over.append(Stall(name, self._since_s.pop(name), now_s))
        self._looked_s = now_s
        return found

    @property
    def stalls(self) -> list[Stall]:
        """From the last look at which each ran to the first at which it ran again, or to the last look of all."""
        return [*self._over, *(Stall(name, since_s, self._looked_s) for name, since_s in self._since_s.items())]


def _state(pid: int) -> str:
    """The kernel's letter for what a process does; empty where there is none any more."""
    try:
        # Behind the command's name, which may hold anything.
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
