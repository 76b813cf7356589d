"""The list of things that a run has made on this machine, on disk, so that `clean` can remove them after a crash.

Every run has a folder: `/run/dtoee-testbed/<run_id>/` for root, `/tmp/dtoee-testbed-<user id>/<run_id>/` for all
others. It holds `ledger.jsonl` and the run's small files (sockets, logs). The first line names the owner by process id
and start time. Every further line names one thing, and is on disk before the thing exists. A process is an exception,
as it has no id before it exists: it is written as soon as its id is known. If the owner dies in that gap, the process
ends by itself: a Mininet shell when its terminal closes, others by PR_SET_PDEATHSIG or when their pipe closes.

The owner holds a lock on the file while it lives. Process ids are valid only in the process namespace in which they
were written. Elsewhere they are meaningless: only the lock decides if the run lives, and its processes are skipped, as
they ended with their namespace.

The environment variable DTOEE_TESTBED_LEDGERS names another folder for the ledgers. Each session of tests has its own,
so that its `clean` leaves the runs of others alone. Decision 045: a user's ledgers always lie under /tmp
(docs/decisions/045-ledgers-of-users-under-tmp.md).
"""

import contextlib
import fcntl
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

from node_agent.errors import EnvironmentLacking, TestbedError
from node_agent.process.children import ProcessHandle
from testbed.host.rootless import outer_uid

RUN_ROOT = Path("/run/dtoee-testbed")
OTHER_ROOT = "DTOEE_TESTBED_LEDGERS"  # environment: a folder in which each user has one, named by the user id
LEDGER_NAME = "ledger.jsonl"
DEATH_TIMEOUT_S = 5.0

Kind = Literal["process", "cgroup", "directory"]


def ledger_root() -> Path:
    """The folder of this user's ledgers, the same inside a user namespace, where an ordinary user is root."""
    uid = outer_uid()
    if other := os.environ.get(OTHER_ROOT):
        return Path(other) / str(uid)
    return RUN_ROOT if uid == 0 else Path(f"/tmp/dtoee-testbed-{uid}")


@dataclass(frozen=True, slots=True)
class Removed:
    """A thing that was removed: its kind, its name (a process by its id) and the run that had made it."""

    run_id: str
    kind: Kind
    name: str


@dataclass(frozen=True, slots=True)
class ProcessMark:
    """A process's id with its start time, which distinguishes it from a later process with the same id."""

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
        """True if this very process still runs (a zombie does not)."""
        return _start_ticks(self.pid) == self.start_ticks


def _start_ticks(pid: int) -> int | None:
    """Start time of a live process in clock ticks since boot (/proc/pid/stat field 22), None if dead or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the name before may contain blanks and brackets
    return None if fields[0] in "ZX" else int(fields[19])


class Ledger:
    """The list of things that one run has made; `close` removes those still left, and the list itself.

    A context manager. `directory` is the run's own folder for sockets and logs (mode 0700).
    """

    def __init__(self, run_id: str, *, root: Path | None = None) -> None:
        """Make the run's folder and ledger.

        Args:
            run_id: name of the run and of its folder.
            root: folder of all ledgers (None: `ledger_root()`).

        Raises:
            TestbedError: there is a run of this name already.
            EnvironmentLacking: the folder cannot be made, or others can write to it.
        """
        self.run_id = run_id
        root = root or ledger_root()
        self.directory = root / run_id
        try:
            with contextlib.suppress(FileExistsError):  # not a directory: _check_private raises
                root.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_private(root)
            self._file = self._claim()
        except PermissionError:
            raise EnvironmentLacking(f"cannot write to {root}", hint="run as root, for example with sudo") from None
        except FileExistsError:
            raise TestbedError(
                f"a run named {run_id} is already there", hint="`dtoee-testbed clean` removes what dead runs left"
            ) from None
        owner = ProcessMark.of(os.getpid())
        self._write({"owner": owner.pid, "start_ticks": owner.start_ticks, "pid_namespace": _pid_namespace()})

    def _claim(self) -> IO[str]:
        """Make the run's folder and the locked file in it; try again if a sweep takes them for a dead run's."""
        while True:
            self.directory.mkdir(mode=0o700)
            path = self.directory / LEDGER_NAME
            try:
                file = path.open("a", encoding="utf-8")
            except FileNotFoundError:
                continue
            fcntl.flock(file, fcntl.LOCK_EX)
            if is_at(file.fileno(), path):
                return file
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add_process(self, pid: int) -> None:
        """Name a process; call this right after its start. A process that has already ended is skipped."""
        with contextlib.suppress(ProcessLookupError):
            mark = ProcessMark.of(pid)
            self._write({"kind": "process", "pid": mark.pid, "start_ticks": mark.start_ticks})

    def add_cgroup(self, path: Path) -> None:
        """Name a cgroup directory; call this before it is made (parents before children)."""
        self._write({"kind": "cgroup", "name": str(path)})

    def add_directory(self, path: Path) -> None:
        """Name a temporary directory outside the run's own; call this before it is made."""
        self._write({"kind": "directory", "name": str(path)})

    def add_run(self, path: Path) -> None:
        """Name the run directory, which is never removed (see `killed_run_directories`).

        Call this before its manifest is written.
        """
        self._write({"kind": "run", "name": str(path.resolve())})

    def close(self) -> list[Removed]:
        """Remove the named things that are left, then the ledger; return those removed. May be called twice."""
        if self._file.closed:
            return []
        try:
            return _remove_run(self.directory)
        finally:
            self._file.close()  # last: it releases the lock, which says that the run lives

    def _write(self, entry: dict[str, object]) -> None:
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()


def sweep(root: Path | None = None) -> list[Removed]:
    """Remove everything that dead runs left behind; live runs and run directories stay untouched.

    Safe to repeat; things that are already gone are not reported.

    Args:
        root: folder of all ledgers (None: `ledger_root()`).

    Returns:
        The things removed.

    Raises:
        EnvironmentLacking: others can write to `root`.
    """
    removed: list[Removed] = []
    for directory in _run_directories(root or ledger_root()):
        with contextlib.suppress(OSError):
            # Empty: its owner was killed before it named anything. A run that is just starting makes the folder again.
            directory.rmdir()
            removed.append(Removed(directory.name, "directory", str(directory)))
            continue
        with _lock_if_dead(directory) as dead:
            if dead:
                removed += _remove_run(directory)
                removed.append(Removed(directory.name, "directory", str(directory)))
    return removed


def killed_run_directories(root: Path | None = None) -> Iterator[tuple[str, Path]]:
    """Yield the id and run directory of each run whose owner has died; its ledger is locked until the next step."""
    for directory in _run_directories(root or ledger_root()):
        with _lock_if_dead(directory) as dead:
            if dead:
                named = [str(entry["name"]) for entry in _entries(directory) if entry.get("kind") == "run"]
                yield from ((directory.name, Path(name)) for name in named)


def live_runs(root: Path | None = None) -> list[str]:
    """The ids of the runs whose owner still lives, which `sweep` leaves alone."""
    found = []
    for directory in _run_directories(root or ledger_root()):
        with _lock_if_dead(directory) as dead:
            if not dead and (directory / LEDGER_NAME).exists():
                found.append(directory.name)
    return found


def _check_private(root: Path) -> None:
    """Raise EnvironmentLacking if others could have put entries there: anyone may write to /tmp."""
    info = root.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid() or info.st_mode & 0o022:
        raise EnvironmentLacking(
            f"{root} is not a directory of this user alone", hint="remove it, or ask its owner to remove it"
        )


def _run_directories(root: Path) -> list[Path]:
    if not os.path.lexists(root):
        return []
    _check_private(root)
    return sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.is_symlink())


def _entries(directory: Path) -> Iterator[dict[str, object]]:
    """The ledger's lines. A line cut short by a kill is skipped: its thing was never made."""
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


@contextlib.contextmanager
def _lock_if_dead(directory: Path) -> Iterator[bool]:
    """Give True if there is a ledger whose owner is dead; it is then locked against others until the exit."""
    try:
        file = (directory / LEDGER_NAME).open("rb")
    except OSError:
        yield False  # the run is just starting, or gone
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield is_at(file.fileno(), directory / LEDGER_NAME) and not _owner_marked_alive(directory)


def is_at(descriptor: int, path: Path) -> bool:
    """True if an open file is still the one at this path: it may have been removed before it was locked."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _owner_marked_alive(directory: Path) -> bool:
    """True if the owner named in the ledger lives; False also if its id belongs to another process namespace."""
    for entry in _entries(directory):
        if "owner" in entry and entry.get("pid_namespace", _pid_namespace()) == _pid_namespace():
            return ProcessMark(_integer(entry["owner"]), _integer(entry.get("start_ticks"))).alive()
    return False


def _pid_namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino


def _integer(value: object) -> int:
    return value if isinstance(value, int) else -1


def _remove_run(directory: Path) -> list[Removed]:
    entries = list(_entries(directory))
    run_id = directory.name
    ids_mean_something = all(e.get("pid_namespace", _pid_namespace()) == _pid_namespace() for e in entries)
    marks = [
        ProcessMark(_integer(entry.get("pid")), _integer(entry.get("start_ticks")))
        for entry in entries
        if entry.get("kind") == "process" and ids_mean_something
    ]

    def named(kind: Kind) -> list[str]:
        return [str(entry["name"]) for entry in reversed(entries) if entry.get("kind") == kind and "name" in entry]

    removed = [Removed(run_id, "process", str(pid)) for pid in _end_processes(marks)]
    removed += [Removed(run_id, "cgroup", name) for name in named("cgroup") if remove_cgroup(Path(name))]
    removed += [Removed(run_id, "directory", name) for name in named("directory") if _remove_directory(Path(name))]
    _remove_folder(directory)
    return removed


def _remove_folder(directory: Path) -> None:
    """Remove the run's own folder, its ledger last: so a folder without a ledger is always empty."""
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name != LEDGER_NAME:
            entry.unlink(missing_ok=True)
    (directory / LEDGER_NAME).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        directory.rmdir()


def _end_processes(marks: list[ProcessMark]) -> list[int]:
    """Kill the processes that still have their mark, all at once, and wait until they are gone; return their ids."""
    killed: dict[int, ProcessHandle] = {}
    for mark in marks:
        try:
            handle = ProcessHandle(mark.pid)
        except OSError:
            continue
        # The handle comes before the check: while it is open, it never refers to another process.
        if mark.alive() and mark.pid != os.getpid():
            handle.kill()
            killed[mark.pid] = handle
        else:
            handle.close()
    deadline = time.monotonic() + DEATH_TIMEOUT_S
    for handle in killed.values():
        with handle:
            handle.wait_ended(deadline - time.monotonic())
    return list(killed)


def remove_cgroup(path: Path) -> bool:
    """Remove a cgroup directory, after killing the processes inside; True if it existed and is gone.

    All processes inside belong to the run that made the group: that run put them there.
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
