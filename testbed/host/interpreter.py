"""The Python interpreter for a run's own processes."""

import os
import pwd
import sys
from pathlib import Path

from node_agent.errors import EnvironmentLacking


def interpreter() -> str:
    """Return the path of the running interpreter, for a new process.

    A process may run an interpreter that its user cannot start: privileges can be dropped after the start.

    Raises:
        EnvironmentLacking: this user cannot start it; the message names the folder that is closed to the user.
    """
    if os.access(sys.executable, os.X_OK, effective_ids=True):
        return sys.executable
    closed = closed_folder(Path(sys.executable))
    reason = f"it lies in {closed}, a folder that this user cannot read" if closed else "this user cannot execute it"
    raise EnvironmentLacking(
        f"user {_user_name()} cannot start the Python interpreter {sys.executable}: {reason}",
        hint="create .venv again with a Python that all users can read (for example /usr/bin/python3 -m venv), "
        "or run the same command as root, for example with sudo",
    )


def closed_folder(program: Path) -> Path | None:
    """Return the first folder on the way to `program` that this user cannot pass, links followed; None if all open."""
    for _ in range(40):  # the kernel's own bound on links
        for folder in reversed(program.absolute().parents):
            if not os.access(folder, os.X_OK, effective_ids=True):
                return folder
        if not program.is_symlink():
            return None
        program = program.parent / program.readlink()
    return None


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
