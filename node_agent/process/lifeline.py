"""No process outlives the one that made it, however that one ends."""

import ctypes
import signal

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the kernel end this process when its parent (more exactly, the thread that forked it) ends.

    A parent that ended before this call is not noticed: who cannot rule that out checks for it afterwards.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
