"""Belongings of this session of tests, on a machine where other sessions or the testbed itself may run.

Each session has a folder of its own for ledgers, named in the environment. `clean` and the runs of the session look
there and nowhere else. Programs inherit the variable, so that it also marks the session's processes.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from testbed.host.cpu_quota import MARK
from testbed.host.ledger import OTHER_ROOT, RUN_ROOT, ledger_root, sweep

PREFIX = "dt-"
# Of nodes, switches and hosts (n0-eth1, s3), of the middle's ends (l4a), and of its bridges (b7).
NAMED_BY_A_RUN = re.compile(r"[nsh]\d+(-eth\d+)?|l\d+[ab]|b\d+")


def begin_session() -> Path:
    """Make this session's folder for ledgers; short, because sockets lie below it."""
    parent = Path("/run" if os.geteuid() == 0 else "/tmp")
    remove_dead_sessions(parent)
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent))
    folder.chmod(0o1777)  # as /tmp: ordinary users' runs put theirs beside
    os.environ[OTHER_ROOT] = str(folder)
    return folder


def remove_dead_sessions(parent: Path) -> None:
    """Remove what sessions left that were killed: their runs, as `clean` does, and their folders."""
    for folder in parent.glob(f"{PREFIX}*-*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        if folder.stat().st_uid != os.geteuid() or not pid.isdigit() or psutil.pid_exists(int(pid)):
            continue
        own = folder / str(os.geteuid())
        if own.is_dir():
            sweep(own)
        end_session(folder)


def end_session(folder: Path) -> None:
    """Remove the folder."""
    shutil.rmtree(folder, ignore_errors=True)


def processes() -> list[psutil.Process]:
    """The live processes of this session: this one, its descendants, and programs that outlived their parent."""
    mark = f"{OTHER_ROOT}={os.environ[OTHER_ROOT]}".encode()
    below = {process.pid for process in psutil.Process().children(recursive=True)} | {os.getpid()}
    found = [process for process in psutil.process_iter() if process.pid in below or _marked(process.pid, mark)]
    return [process for process in found if _lives(process)]


def _marked(pid: int, mark: bytes) -> bool:
    try:
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.Error:
        return False


def namespaces() -> set[int]:
    """The inodes of the network namespaces of this session's processes."""
    found = set()
    for process in processes():
        try:
            found.add(os.stat(f"/proc/{process.pid}/ns/net").st_ino)
        except OSError:
            continue
    return found


def runs() -> set[str]:
    """The ids of the runs of this session that have a ledger, alive or dead; other users' included."""
    return {path.name for root in ledger_root().parent.glob("*") if root.is_dir() for path in root.iterdir()}


def control_groups() -> set[str]:
    """The control groups of runs that no ledger outside this session names: a run has its ledger longer than these."""
    found = {path for path in Path("/sys/fs/cgroup").rglob(f"{MARK}-*") if path.is_dir()}
    foreign = {path.name for root in _foreign_roots() for path in root.iterdir()}
    return {str(path) for path in found if path.name.removeprefix(f"{MARK}-") not in foreign}


def _foreign_roots() -> Iterator[Path]:
    ours = ledger_root().parent
    yield from (path for path in (RUN_ROOT, *Path("/tmp").glob("dtoee-testbed-*")) if path.is_dir())
    for session in (*Path("/run").glob(f"{PREFIX}*"), *Path("/tmp").glob(f"{PREFIX}*")):
        if session != ours:
            yield from (path for path in session.glob("*") if path.is_dir())


def interfaces() -> set[str]:
    """The interfaces in this namespace that are named as a run names its own, which belong into others."""
    return {name for name in os.listdir("/sys/class/net") if NAMED_BY_A_RUN.fullmatch(name)}
