"""Detects stopped processes: by a signal, a debugger, or a frozen control group that shows in the process state."""

from collections.abc import Callable, Mapping
from pathlib import Path

from testbed.expectation import Stall

STOPPED = ("T", "t")  # by a signal; by a debugger


class StoppedProcesses:
    """Records when processes were stopped, from occasional looks at their states."""

    def __init__(self, pids: Callable[[], Mapping[str, int]]) -> None:
        """`pids` returns the present process ids, by name."""
        self._pids = pids
        self._looked_s = 0.0
        self._since_s: dict[str, float] = {}  # by name of a stopped process: the last look at which it ran
        self._over: list[Stall] = []

    def look(self, now_s: float) -> list[str]:
        """Look at `now_s` [emulated s]; return the names of processes that have stopped since the last look."""
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
        """The intervals in which processes were stopped [emulated s].

        Each begins at the last look at which the process ran. It ends at the first look at which it ran again, or at
        the last look.
        """
        return [*self._over, *(Stall(name, since_s, self._looked_s) for name, since_s in self._since_s.items())]


def _state(pid: int) -> str:
    """Return the kernel's letter for a process's state; empty if the process is gone."""
    try:
        # The state follows the command's name, which may contain any character.
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
