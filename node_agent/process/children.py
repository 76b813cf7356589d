"""Child processes: forks that end with this process, and handles to end any process.

Fork before the process has threads, or do little in the child: a lock that another thread holds stays locked there.
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
    """Fork a child that runs `body` and exits with the status that it returns; return the child's process id.

    The child ends with this process; more exactly, with the thread that calls this. If `body` raises, the traceback
    goes to standard error, and the status is 1.

    Args:
        body: runs in the child.
        parent: this process's id as the child sees it, if it is not the usual one: 0 in a new process namespace.
    """
    parent = os.getpid() if parent is None else parent
    sys.stderr.flush()  # else both processes would write the buffered text
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
    """Kill a child, and wait until it has ended."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def answer_of_child(body: Callable[[], str]) -> str:
    """Run `body` in a child of its own, and return what it returns; empty if it raises."""
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
    """A forked child that serves the other end of a pipe until this end closes."""

    def __init__(self, serve: Callable[[Connection], None]) -> None:
        """`serve` runs in the child with its end of the pipe; it may raise EOFError or ConnectionError at the end."""
        self.pipe, theirs = Pipe()

        def body() -> int:
            self.pipe.close()  # else the child would keep this end open
            with contextlib.suppress(EOFError, ConnectionError):
                serve(theirs)
            return 0

        self.pid = fork(body)
        theirs.close()

    def close(self) -> None:
        """Kill the child. Closing the pipe is not enough: another child may hold this end open."""
        self.pipe.close()
        end_child(self.pid)


class ProcessHandle:
    """A process by its descriptor, so that its id cannot pass to another process meanwhile. A context manager."""

    def __init__(self, pid: int) -> None:
        """Open the descriptor of process `pid`; raise ProcessLookupError if there is no such process."""
        self._descriptor = os.pidfd_open(pid)

    def kill(self) -> None:
        """Kill the process, if it has not ended."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    def wait_ended(self, timeout_s: float) -> bool:
        """Wait until the process has ended and its parent can collect it; return False after `timeout_s` [real s]."""
        waiter = select.poll()  # select() cannot watch descriptors above 1023
        waiter.register(self._descriptor, select.POLLIN)
        return bool(waiter.poll(max(0.0, timeout_s) * 1000))

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
