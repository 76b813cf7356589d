"""Commands as an ordinary user, `nobody`, even if that user cannot read the folder where Python is installed."""

import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from testbed.host.ledger import OTHER_ROOT

ROOT = Path(__file__).parents[3]
NOBODY = pwd.getpwnam("nobody")
LEDGERS = Path(os.environ[OTHER_ROOT], str(NOBODY.pw_uid))
PROGRAM = [sys.executable, "-c", "from cli.main import main; main()"]
# In a mount namespace of its own: a readable directory over each closed one ($1), with the needed part ($2) in it.
OPEN_UP = """
set -e
while [ "$1" != -- ]; do
    kept=$(mktemp -d)
    mount --bind "$2" "$kept"
    mount -t tmpfs -o mode=755 none "$1"
    mkdir -p "$2"
    mount --move "$kept" "$2"
    rmdir "$kept"
    shift 2
done
shift
exec setpriv --reuid=$NOBODY_UID --regid=$NOBODY_GID --clear-groups --inh-caps=-all "$@"
"""


def closed_above(path: Path) -> Path | None:
    """The first directory on the way to `path` that other users may not pass, None if there is none."""
    for parent in reversed([path, *path.parents]):
        if not parent.stat().st_mode & 0o001:
            return parent
    return None


def obstacle() -> str:
    """The reason why `nobody` cannot run the project here, empty if it can."""
    for path in {ROOT, Path(sys.prefix), Path(sys.base_prefix)}:
        closed = closed_above(path)
        if closed in {path, ROOT} or (closed is not None and closed in ROOT.parents):
            return f"{closed} is closed to other users"
    return ""


def as_nobody(*arguments: str) -> list[str]:
    """The command line that runs `dtoee-testbed` with these arguments as `nobody`."""
    closed = closed_above(Path(sys.base_prefix))
    opened = [] if closed is None else [str(closed), sys.base_prefix]
    return ["unshare", "-m", "sh", "-c", OPEN_UP, "sh", *opened, "--", *PROGRAM, *arguments]


def environment() -> dict[str, str]:
    """The environment of such a user."""
    return {
        "PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": str(ROOT),
        OTHER_ROOT: os.environ[OTHER_ROOT], "NOBODY_UID": str(NOBODY.pw_uid), "NOBODY_GID": str(NOBODY.pw_gid),
    }  # fmt: skip


def start(directory: Path, *arguments: str) -> "subprocess.Popen[str]":
    """Start `dtoee-testbed` as `nobody`, in its own session."""
    return subprocess.Popen(
        as_nobody(*arguments), cwd=directory, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip


@contextmanager
def home() -> Iterator[Path]:
    """A directory of the user `nobody`, in a place that `nobody` can reach."""
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as name:
        os.chown(name, NOBODY.pw_uid, NOBODY.pw_gid)
        yield Path(name)
    with suppress(OSError):
        LEDGERS.rmdir()
