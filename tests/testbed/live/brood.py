"""Processes that a command leaves running become children of the test, which finds them."""

import ctypes
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import psutil

PR_SET_CHILD_SUBREAPER = 36
OWN_NAMESPACE = os.stat("/proc/self/ns/net").st_ino


@contextmanager
def adopting_orphans() -> Iterator[None]:
    """Adopt processes that lose their parent, instead of the machine's first process."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0)


def descendants(pid: int | None = None) -> list[psutil.Process]:
    """The live processes below this one or another; zombies are dead."""
    try:
        below = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [process for process in below if _status(process) not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD, ""}]


def _status(process: psutil.Process) -> str:
    try:
        return str(process.status())
    except psutil.NoSuchProcess:
        return ""


class Belongings:
    """Network namespaces and files in common places that belong to processes and could stay behind.

    A context manager: until it is left, the namespaces are held open, because the kernel gives the number of one that
    is gone to the next that anyone makes.
    """

    def __init__(self) -> None:
        self.files: set[Path] = set()
        self._held: dict[int, int] = {}  # a descriptor for each namespace

    @property
    def namespaces(self) -> set[int]:
        """The numbers of all namespaces seen, without the test's own."""
        return set(self._held)

    def look(self, pid: int) -> None:
        """Add the present belongings of the process and its descendants."""
        for each in [pid, *(process.pid for process in descendants(pid))]:
            try:
                self._hold(os.open(f"/proc/{each}/ns/net", os.O_RDONLY))
                opened = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{each}/fd")]
            except OSError:
                continue
            self.files |= {Path(name) for name in opened if name.startswith(("/tmp/", "/dev/shm/", "/run/"))}

    def _hold(self, descriptor: int) -> None:
        number = os.fstat(descriptor).st_ino
        if number == OWN_NAMESPACE or self._held.setdefault(number, descriptor) != descriptor:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._held:
            os.close(self._held.popitem()[1])


def users_of(namespaces: set[int]) -> set[int]:
    """The live processes, of anyone, in these network namespaces."""
    found = set()
    for pid in psutil.pids():
        try:
            if os.stat(f"/proc/{pid}/ns/net").st_ino in namespaces:
                found.add(pid)
        except OSError:
            continue
    return found


def await_none(what: "object", timeout_s: float = 5.0) -> object:
    """Call `what` until it returns nothing, because killed processes need a moment; return the last answer."""
    assert callable(what)
    deadline = time.monotonic() + timeout_s
    while (left := what()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left
