"""A directory that one command alone writes to.

Decision: a lock on the directory itself, which the kernel lifts however its owner ends, so that neither a crash nor
`clean` has anything to take back. Rejected: a file made with O_EXCL, which a killed command leaves behind and which
only a guess can tell from one in use; looking whether the directory is empty, which two commands may do at one instant.
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
        """`descriptor` is the directory's, and holds the lock. No program that is started inherits it."""
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Let others have it; may be called twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.release()


def claim_directory(path: Path, *, what: str = "directory", patience_s: float = 0.0) -> Claim:
    """Make the directory if it is not there, and have it for this process alone; wait up to `patience_s` for it.

    Raises:
        InputError: it cannot be made, or another command is writing to it; `what` says what it is for.
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
        claim.release()  # whoever had it has removed it, so that the lock is one on nothing
