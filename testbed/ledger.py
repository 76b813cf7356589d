"""What a run has made on this machine, kept on disk so that `clean` can remove exactly that after a crash.

One folder a run, `/run/dtoee-testbed/<run_id>/`, holds `ledger.jsonl` and whatever small files the run needs (sockets,
logs). The first line names the owner by process id and start time; every further line names one thing, and is on disk
before the thing exists. A process has no id before it exists: it is written right after, and the two kinds we start
end by themselves in that gap (a Mininet shell when its terminal closes, the others by PR_SET_PDEATHSIG).
"""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from node_agent.errors import EnvironmentLacking, TestbedError

RUN_ROOT = Path("/run/dtoee-testbed")
LEDGER_NAME = "ledger.jsonl"
DEATH_TIMEOUT_S = 5.0

Kind = Literal["process", "interface", "cgroup", "directory"]


@dataclass(frozen=True, slots=True)
class Removed:
    """One thing that was taken away: its kind, its name (a process by its id) and the run that had made it."""

    run_id: str
    kind: Kind
    name: str


@dataclass(frozen=True, slots=True)
class ProcessMark:
    """A process named so that a later one with the same id is never mistaken for it."""

    pid: int
    start_ticks: int

    @classmethod
    def of(cls, pid: int) -> "ProcessMark":
        """The mark of a process that runs now; ProcessLookupError if there is none."""
        ticks = _start_ticks(pid)
        if ticks is None:
            raise ProcessLookupError(pid)
        return cls(pid, ticks)

    def alive(self) -> bool:
        """Does this very process still run? (A zombie does not.)"""
        return _start_ticks(self.pid) == self.start_ticks


def _start_ticks(pid: int) -> int | None:
    """Start time of a live process in clock ticks since boot (/proc/pid/stat field 22), None if dead or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the name before it may hold blanks and brackets
    return None if fields[0] in "ZX" else int(fields[19])


class Ledger:
    """The list of things one run has made; `close` removes what is left of them, and the list itself.

    A context manager. `directory` is the run's own folder for sockets and logs (mode 0700).
    """

    def __init__(self, run_id: str, *, root: Path = RUN_ROOT) -> None:
        """Raises TestbedError if the run is already there, EnvironmentLacking without the right to make it."""
        self.run_id = run_id
        self.directory = root / run_id
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.directory.mkdir(mode=0o700)
        except PermissionError:
            raise EnvironmentLacking(f"cannot write to {root}", hint="run as root, for example with sudo") from None
        except FileExistsError:
            raise TestbedError(
                f"a run named {run_id} is already there", hint="`dtoee-testbed clean` removes what dead runs left"
            ) from None
        self._file = (self.directory / LEDGER_NAME).open("a", encoding="utf-8")
        owner = ProcessMark.of(os.getpid())
        self._write({"owner": owner.pid, "start_ticks": owner.start_ticks})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add_process(self, pid: int) -> None:
        """Name a process; call at once after it was started. One that is already gone is not named."""
        with contextlib.suppress(ProcessLookupError):
            mark = ProcessMark.of(pid)
            self._write({"kind": "process", "pid": mark.pid, "start_ticks": mark.start_ticks})

    def add_interface(self, name: str) -> None:
        """Name an interface or bridge of the root namespace; call before it is made."""
        self._write({"kind": "interface", "name": name})

    def add_cgroup(self, path: Path) -> None:
        """Name a cgroup directory; call before it is made (parents before children)."""
        self._write({"kind": "cgroup", "name": str(path)})

    def add_directory(self, path: Path) -> None:
        """Name a temporary directory outside the run's own; call before it is made."""
        self._write({"kind": "directory", "name": str(path)})

    def close(self) -> list[Removed]:
        """Remove whatever is left of the things named, then the ledger; may be called twice."""
        if self._file.closed:
            return []
        self._file.close()
        return _remove_run(self.directory)

    def _write(self, entry: dict[str, object]) -> None:
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()


def sweep(root: Path = RUN_ROOT) -> list[Removed]:
    """Remove what dead runs left behind, all of it and nothing else; live runs stay untouched.

    Safe to repeat; a thing that is already gone is not reported.
    """
    removed: list[Removed] = []
    for directory in _run_directories(root):
        if not _owner_alive(directory):
            removed += _remove_run(directory)
            removed.append(Removed(directory.name, "directory", str(directory)))
    return removed


def live_runs(root: Path = RUN_ROOT) -> list[str]:
    """The ids of the runs whose owner still lives: those that `sweep` leaves alone."""
    return [directory.name for directory in _run_directories(root) if _owner_alive(directory)]


def _run_directories(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.is_symlink())


def _entries(directory: Path) -> Iterator[dict[str, object]]:
    """The ledger's lines; one cut short by a kill names a thing that was never made, and is left out."""
    try:
        text = (directory / LEDGER_NAME).read_text(encoding="utf-8")
    except OSError:
        return
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            yield entry


def _owner_alive(directory: Path) -> bool:
    for entry in _entries(directory):
        if "owner" in entry:
            return ProcessMark(_integer(entry["owner"]), _integer(entry["start_ticks"])).alive()
    # No owner yet: either a run that starts at this very moment, or one killed before it made anything.
    try:
        return time.time() - directory.stat().st_mtime < DEATH_TIMEOUT_S
    except OSError:
        return False


def _integer(value: object) -> int:
    return value if isinstance(value, int) else -1


def _remove_run(directory: Path) -> list[Removed]:
    entries = list(_entries(directory))
    run_id = directory.name
    marks = [
        ProcessMark(_integer(entry.get("pid")), _integer(entry.get("start_ticks")))
        for entry in entries
        if entry.get("kind") == "process"
    ]

    def named(kind: Kind) -> list[str]:
        return [str(entry["name"]) for entry in reversed(entries) if entry.get("kind") == kind and "name" in entry]

    removed = [Removed(run_id, "process", str(pid)) for pid in _end_processes(marks)]
    removed += [Removed(run_id, "interface", name) for name in named("interface") if _remove_interface(name)]
    removed += [Removed(run_id, "cgroup", name) for name in named("cgroup") if remove_cgroup(Path(name))]
    removed += [Removed(run_id, "directory", name) for name in named("directory") if _remove_directory(Path(name))]
    shutil.rmtree(directory, ignore_errors=True)
    return removed


def _end_processes(marks: list[ProcessMark]) -> list[int]:
    """Kill the processes that still carry their mark, all at once, and wait until they are gone; returns their ids."""
    handles: dict[int, int] = {}
    for mark in marks:
        try:
            handle = os.pidfd_open(mark.pid)
        except OSError:
            continue
        # The handle comes before the check: from here on the id cannot be reused under our hands.
        if mark.alive() and mark.pid != os.getpid():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            handles[mark.pid] = handle
        else:
            os.close(handle)
    deadline = time.monotonic() + DEATH_TIMEOUT_S
    for handle in handles.values():
        waiter = select.poll()  # select() cannot watch descriptors above 1023
        waiter.register(handle, select.POLLIN)
        waiter.poll(max(0.0, deadline - time.monotonic()) * 1000)
        os.close(handle)
    return list(handles)


def _remove_interface(name: str) -> bool:
    if not Path("/sys/class/net", name).exists():
        return False
    return subprocess.run(["ip", "link", "del", name], capture_output=True, check=False).returncode == 0


def remove_cgroup(path: Path) -> bool:
    """Remove one cgroup directory, ending first whatever still runs inside; True if it was there and is gone.

    Processes inside were put there by the run that made the group, so that they are the run's own.
    """
    if not path.is_dir():
        return False
    deadline = time.monotonic() + DEATH_TIMEOUT_S
    while True:
        try:
            path.rmdir()
            return True
        except FileNotFoundError:
            return True
        except OSError:
            if time.monotonic() > deadline:
                return False
        with contextlib.suppress(OSError):
            inside = [int(pid) for pid in (path / "cgroup.procs").read_text(encoding="ascii").split()]
            _end_processes([ProcessMark(pid, ticks) for pid in inside if (ticks := _start_ticks(pid)) is not None])
        time.sleep(0.005)


def _remove_directory(path: Path) -> bool:
    if path.is_symlink() or not path.is_dir() or len(path.parts) < 3:
        return False
    shutil.rmtree(path, ignore_errors=True)
    return not path.exists()
