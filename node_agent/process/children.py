"""Child processes that are forks of this one and end with it; ending a process, whoever started it.

Fork before there are threads, or do little in the child: what another thread holds at the fork stays locked there.
"""

import contextlib
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from typing import Self

from node_agent.process.linux import end_with


def fork(body: Callable[[], int], *, parent: int | None = None) -> int:
    """Fork a child that runs `body` and ends with the status it returns; returns the child's process id.

    The child ends with this process, and more exactly with the thread that calls this. An exception in it goes to
    standard error, and its status is then 1.

    Args:
        parent: this process's id as the child sees it, if not the usual one: 0 from inside a new process namespace.
    """
    parent = os.getpid() if parent is None else parent
    sys.stderr.flush()  # else both processes would write what waits
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        end_with(parent)
        status = body()
    except Exception:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def end_child(pid: int) -> None:
    """Kill a child, whatever it is doing, and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def answer_of_child(body: Callable[[], str]) -> str:
    """What `body` returns in a child that is forked for it alone; empty if it has failed there."""
    reader, writer = os.pipe()

    def tell() -> int:
        os.write(writer, body().encode())
        return 0

    pid = fork(tell)
    os.close(writer)
    with open(reader, encoding="utf-8") as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    return text


class PipedChild:
    """A forked child at the other end of a pipe, which it serves until this end closes."""

    def __init__(self, serve: Callable[[Connection], None]) -> None:
        """`serve` runs in the child, with its end. It may raise EOFError or ConnectionError when this end closes."""
        self.pipe, theirs = Pipe()

        def body() -> int:
            self.pipe.close()  # or the child would keep it open itself
            with contextlib.suppress(EOFError, ConnectionError):
                serve(theirs)
            return 0

        self.pid = fork(body)
        theirs.close()

    def close(self) -> None:
        """End the child at once; the pipe's end is not enough, since another child may hold it open."""
        self.pipe.close()
        end_child(self.pid)


class ProcessHandle:
    """A process by its descriptor: its id cannot pass to another process meanwhile. A context manager."""

    def __init__(self, pid: int) -> None:
        """Raises OSError (ProcessLookupError) if there is no such process."""
        self._descriptor = os.pidfd_open(pid)

    def kill(self) -> None:
        """Kill the process; one that has ended already is fine."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    def wait_ended(self, timeout_s: float) -> bool:
        """Wait until the process has ended, and whoever started it can see so; False if it has not in time."""
        waiter = select.poll()  # select() cannot watch descriptors above 1023
        waiter.register(self._descriptor, select.POLLIN)
        return bool(waiter.poll(max(0.0, timeout_s) * 1000))

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
