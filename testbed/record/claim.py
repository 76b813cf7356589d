"""Claims on directories: only the command that holds the claim writes there.

Decision 069: a claim is a lock on the directory itself (docs/decisions/069-lock-on-the-directory.md).
"""

import errno
import fcntl
import os
import time
from pathlib import Path

from node_agent.errors import InputError
from testbed.host.ledger import is_at

LOOK_AGAIN_S = 0.05
_TAKEN = (errno.EAGAIN, errno.EACCES)


class Claim:
    """The right to write to a directory, until it is released or this process ends."""

    def __init__(self, descriptor: int) -> None:
        """`descriptor` is the open directory; it holds the lock, and child programs do not inherit it."""
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Release the directory; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.release()


def claim_directory(path: Path, *, what: str = "directory", patience_s: float = 0.0) -> Claim:
    """Claim the directory for this process; create it if it does not exist.

    Args:
        path: the directory.
        what: the directory's purpose, for error messages.
        patience_s: how long to wait for another command to release it [s].

    Raises:
        InputError: the directory cannot be created or locked, or another command still writes to it.
    """
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise InputError(f"cannot make the {what} {path}: {error.strerror}", hint="see --out") from error
        claim = Claim(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            claim.release()
            if error.errno not in _TAKEN:
                reason = f"cannot lock the {what} {path}: {error.strerror}"
                raise InputError(reason, hint="choose one on a local disk with --out") from error
            if time.monotonic() >= deadline_s:
                message = f"another command is writing to the {what} {path} right now"
                raise InputError(message, hint="wait for it, or choose another with --out") from None
            time.sleep(LOOK_AGAIN_S)
            continue
        if is_at(descriptor, path):
            return claim
        claim.release()  # its last owner removed the directory: this lock is worthless, try again
