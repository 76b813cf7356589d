"""Into another network namespace, for the calling thread: Python has no setns(2) before 3.12."""

import ctypes
import os

CLONE_NEWNET = 0x40000000


def join_namespace(path: str) -> None:
    """Move the calling thread into the network namespace at `path`; OSError if that is not allowed or it is gone.

    Processes that it starts from here on, and settings under /proc/sys/net that it reads and writes, are that
    namespace's; other threads stay where they are.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter the namespace {path}")
    finally:
        os.close(fd)
