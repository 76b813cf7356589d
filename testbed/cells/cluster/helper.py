"""A process beside a Dask worker that carries out its cells, each in a fork of its own.

So no cell depends on what an earlier one left in memory, a cell that nobody wants any more can be ended, and one that
crashes does not take the worker along. `python -m` this module is that process; it imports the simulator once.
"""

import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

from testbed.cells.cell import Cell
from testbed.cells.cluster.likeness import Likeness, identity, likeness
from testbed.cells.execution import END_TIMEOUT_S, TELL_EVERY_S, CellEnd, carry_out

LIVE_END_TIMEOUT_S = 60.0  # real time in which a live run must remove its network


@dataclass(frozen=True, slots=True)
class Order:
    """A cell as a worker carries it out.

    Attributes:
        cell: the cell, with its paths on the worker.
        facts: the field `comparison` of its manifest.
        argv: the command line of the client.
        folder: the working directory.
        compare_only: True returns the `Likeness` of the worker instead of carrying out the cell.
    """

    cell: Cell
    facts: Mapping[str, object]
    argv: tuple[str, ...]
    folder: Path
    compare_only: bool = False


class HelperLost(Exception):
    """The process of a cell was killed; another worker may have more luck."""


class Unwanted(Exception):
    """Nobody waits for the cell any more."""


class Helper:
    """The process, seen from the worker. It carries out one order at a time."""

    def __init__(self) -> None:
        """Start the process."""
        self._connection, far_end = Pipe()
        with far_end:
            number = far_end.fileno()
            command = [
                sys.executable,
                "-P",
                "-m",
                __spec__.name,
                str(number),
            ]  # -P: not the files of the current folder
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[number])
        try:
            self.identity: str = self._connection.recv()
        except EOFError:
            raise HelperLost(f"the helper ended with status {self._process.wait()}") from None

    def carry_out(
        self, order: Order, report: Callable[[float], None], wanted: Callable[[], bool]
    ) -> CellEnd | Likeness:
        """Carry out an order, and return the end of its cell, or the likeness of this worker.

        Args:
            order: the order.
            report: called with the share (0..1) of the workload that is over.
            wanted: asked some times a second; the caller closes this helper if it returns False.

        Raises:
            HelperLost: the process of the cell was killed.
            Unwanted: `wanted` returned False.
        """
        self._connection.send(order)
        found: CellEnd | Likeness | None = None
        while True:
            while not self._connection.poll(TELL_EVERY_S):
                if not wanted():
                    raise Unwanted(order.cell.name)
            try:
                news = self._connection.recv()
            except (EOFError, OSError):
                raise HelperLost(f"the helper ended with status {self._process.wait()}") from None
            match news:
                case float():
                    report(news)
                case int():  # the status of the fork, which has ended
                    if found is None:
                        raise HelperLost(f"the process of the cell ended with status {news}")
                    return found
                case _:
                    found = news

    def close(self) -> None:
        """End the process and its cell, and wait until they have ended."""
        self._connection.close()
        try:
            self._process.wait(LIVE_END_TIMEOUT_S + END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main() -> None:
    """Serve a worker until it closes the connection, whose descriptor is the only argument."""
    connection = Connection(int(sys.argv[1]))
    connection.send(identity())  # of what is imported now
    for number in (signal.SIGINT, signal.SIGHUP):  # Ctrl-C in a terminal is meant for the worker
        signal.signal(number, signal.SIG_IGN)
    importlib.import_module("testbed.simulation.simulator")  # the forks need not load it again
    while True:
        try:
            order = connection.recv()
        except (EOFError, OSError):
            return
        pid = os.fork()
        if pid == 0:
            _serve(order, connection)
        _, status = os.waitpid(pid, 0)
        try:
            connection.send(os.waitstatus_to_exitcode(status))
        except OSError:  # the worker is gone
            return


def _serve(order: Order, connection: Connection) -> None:
    """Carry out an order in a fork, and end it with status 0 if its result was sent."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    live = not order.cell.settings.simulate
    threading.Thread(target=_watch, args=(connection, live), daemon=True).start()
    status = 1
    try:
        sys.argv = list(order.argv)
        os.chdir(order.folder)

        def report(share: float) -> None:
            connection.send(float(share))

        report(0.0)
        connection.send(likeness(order.cell) if order.compare_only else carry_out(order.cell, report, order.facts))
        status = 0
    except (KeyboardInterrupt, OSError):
        pass  # the worker is gone
    finally:
        sys.stdout.flush()
        os._exit(status)


def _watch(connection: Connection, live: bool) -> None:
    """Wait until the worker closes the connection or dies; then end this process, cleanly if possible."""
    try:
        connection.poll(None)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(LIVE_END_TIMEOUT_S if live else END_TIMEOUT_S)
    finally:
        os._exit(1)


if __name__ == "__main__":
    main()
