"""Cells in processes of this machine.

Each cell has a process of its own, forked from a small server process that has loaded the simulator: no cell depends on
what an earlier one left in memory, for example in a user's policy.

A worker process ends as soon as its *leash* is closed, a pipe whose other end this process holds: by closing the pool,
or by dying.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import count
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from types import FrameType, TracebackType
from typing import Self

from testbed.cells.cell import Cell
from testbed.cells.execution import END_TIMEOUT_S, CellEnd, carry_out

_INTERRUPTED = 130


class ProcessPool:
    """A `CellExecutor` for simulations: `room` processes of this machine at a time."""

    def __init__(self, room: int) -> None:
        """`room` is the number of simulations at a time."""
        self.room = room
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["testbed.cells.worker_signals", "testbed.simulation.simulator"])
        _start_servers()
        self._numbers = count()
        self._reports: dict[int, Callable[[float], None]] = {}  # by the number of the cell
        self._open()

    def _open(self) -> None:
        leash, self._leash = self._context.Pipe(duplex=False)
        self._incoming, self._outgoing = self._context.Pipe(duplex=False)
        self._far_ends = leash, self._outgoing
        self._pool = ProcessPoolExecutor(
            self.room, self._context, _begin, (leash, self._outgoing), max_tasks_per_child=1
        )
        self._listener = threading.Thread(target=self._listen, args=(self._incoming,), daemon=True)
        self._listener.start()

    def _listen(self, incoming: Connection) -> None:
        """Pass reports on until the pool is closed."""
        while True:
            try:
                number, share = incoming.recv()
            except (EOFError, OSError):
                return
            if (report := self._reports.get(number)) is not None:
                report(share)

    def prepare(self, cells: Sequence[Cell]) -> None:
        """Do nothing: this machine can carry out what it has planned."""

    def submit(self, cell: Cell, report: Callable[[float], None]) -> Future[CellEnd]:
        """Begin a cell; see `CellExecutor`."""
        number = next(self._numbers)
        self._reports[number] = report
        report(0.0)
        try:
            future = self._pool.submit(_carry_out, cell, number, sys.argv)
        except BrokenProcessPool:  # a worker was killed: all the others have ended
            self._close()
            self._open()
            future = self._pool.submit(_carry_out, cell, number, sys.argv)
        future.add_done_callback(lambda _: self._reports.pop(number, None))
        return future

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        """End the cells that are under way, and wait until all processes have ended."""
        self._leash.close()
        self._pool.shutdown(cancel_futures=True)
        for end in self._far_ends:
            end.close()
        self._listener.join(END_TIMEOUT_S)
        self._incoming.close()


def _start_servers() -> None:
    """Start the processes of multiprocessing that serve the pool; a hang-up of the terminal leaves them alive."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # which they inherit
    try:
        resource_tracker.ensure_running()
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Worker:
    """The state of a worker process."""

    def __init__(self, leash: Connection, outgoing: Connection) -> None:
        self.outgoing = outgoing
        self.busy = False
        self.released = False  # the leash is closed
        self._leash = leash

    def watch(self) -> None:
        """Wait until the leash is closed; then end the cell that is under way, and in the end this process."""
        try:
            self._leash.recv_bytes()
        except (EOFError, OSError):
            self.released = True
        if self.busy:
            os.kill(os.getpid(), signal.SIGTERM)
        parent = multiprocessing.parent_process()
        deadline_s = time.monotonic() + END_TIMEOUT_S
        while time.monotonic() < deadline_s and (self.busy or parent is None or parent.is_alive()):
            time.sleep(0.05)
        os._exit(_INTERRUPTED)  # the parent is dead, or the cell did not end cleanly

    def stop(self, _number: int, _frame: FrameType | None) -> None:
        """Act on SIGTERM."""
        if self.busy:
            raise KeyboardInterrupt
        if not self.released:  # else the pool is ending this process already
            os._exit(_INTERRUPTED)


_workers: list[_Worker] = []  # one in a worker process, none elsewhere


def _begin(leash: Connection, outgoing: Connection) -> None:
    """Prepare a worker process."""
    worker = _Worker(leash, outgoing)
    _workers.append(worker)
    signal.signal(signal.SIGTERM, worker.stop)
    threading.Thread(target=worker.watch, daemon=True).start()


def _carry_out(cell: Cell, number: int, argv: list[str]) -> CellEnd:
    """Carry out a cell in a worker process."""
    (worker,) = _workers

    def report(share: float) -> None:
        try:
            worker.outgoing.send((number, share))
        except BrokenPipeError:  # the parent is dead
            raise KeyboardInterrupt from None

    sys.argv = argv
    worker.busy = True
    try:
        return CellEnd("interrupted") if worker.released else carry_out(cell, report)
    except KeyboardInterrupt:  # between two lines of this function
        return CellEnd("interrupted")
    finally:
        worker.busy = False
