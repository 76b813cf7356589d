"""Processes that take the processors away, for the tests and benches that want a machine in trouble."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

BURST_S = 0.020  # of a process above all others: long enough to be late, short enough for the machine to live on
REALTIME_PRIORITY = 50  # above the relay's and the agents'


@contextmanager
def hogs(count: int, *, realtime: int = 0) -> Iterator[None]:
    """`count` busy loops at normal priority for the time of the `with` block, and `realtime` ones above everything.

    The latter (root only) have a processor each, and pause every other BURST_S, so that the machine can still be used.
    All pause at the same time: otherwise an agent would always find a free processor. All loops run when the block
    begins.
    """
    kinds = [*range(realtime), *[-1] * count]
    # A program of their own: a fork would hold whatever the caller has open.
    command = [sys.executable, "-I", "-S", __file__]
    loops = [subprocess.Popen([*command, str(kind)], stdout=subprocess.PIPE) for kind in kinds]
    try:
        for loop in loops:
            assert loop.stdout is not None
            loop.stdout.readline()
        yield
    finally:
        for loop in loops:
            loop.kill()
        for loop in loops:
            loop.communicate()


def main() -> None:
    """One busy loop, until its parent is gone; the argument is its number among the real-time ones, or -1."""
    parent, number = os.getppid(), int(sys.argv[1])
    if number >= 0:
        processors = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {processors[number % len(processors)]})
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(REALTIME_PRIORITY))
    print(flush=True)
    while os.getppid() == parent:
        burst = time.monotonic() // BURST_S
        if number >= 0 and burst % 2:
            time.sleep(max(0.0, (burst + 1) * BURST_S - time.monotonic()))
            continue
        while time.monotonic() // BURST_S == burst:
            pass


if __name__ == "__main__":
    main()
