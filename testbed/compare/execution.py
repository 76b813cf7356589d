"""Carrying out the runs of a comparison: live ones one after the other, simulated ones side by side."""

import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol, assert_never

from node_agent.errors import InputError, TestbedError
from testbed.compare.runs import Ask, Cell
from testbed.record.claim import claim_directory
from testbed.run.interrupts import Interrupts
from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_run
from testbed.scenario import Scenario

TELL_EVERY_S = 0.25  # real time between two words of a simulation on how far it is
END_TIMEOUT_S = 10.0  # real time that a simulation gets to end cleanly


class CellFailed(TestbedError):
    """One of the runs failed; `exit_code` is what its own failure would have given."""

    def __init__(self, message: str, *, hint: str, exit_code: int) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


class CompareObserver(Protocol):
    """Told how a comparison goes on, in its own thread."""

    def planned(self, directory: Path, runs: int, kept: int, jobs: int) -> None:
        """So many runs in all, of which `kept` are there already; up to `jobs` at a time."""

    def begun(self, cell: Cell) -> None:
        """A run begins."""

    def advanced(self, cell: Cell, share: float) -> None:
        """`share` (0..1) of a run's workload is over."""

    def ended(self, cell: Cell) -> None:
        """A run is complete."""


class Unobserved:
    """Watches nothing."""

    def planned(self, directory: Path, runs: int, kept: int, jobs: int) -> None: ...

    def begun(self, cell: Cell) -> None: ...

    def advanced(self, cell: Cell, share: float) -> None: ...

    def ended(self, cell: Cell) -> None: ...


def clear_unfinished(cell: Cell) -> None:
    """Remove what an interrupted run has left in a directory that `is_complete` has found to be ours.

    Where the comparison before was killed, its simulations notice that only at their next word: wait for them to end.

    Raises:
        InputError: another command is writing to it.
    """
    if cell.path.exists():
        claim = claim_directory(cell.path, what="run directory", patience_s=END_TIMEOUT_S)
        shutil.rmtree(cell.path)
        claim.release()


def run_in_turn(cells: Sequence[Cell], ask: Ask, observer: CompareObserver, interrupts: Interrupts) -> bool:
    """One run after the other in this process, as live ones must be; returns whether all came to their end (no Ctrl-C).

    Raises:
        TestbedError: a run failed.
    """
    for cell in cells:
        if interrupts.wanted:  # while the last run was being taken down
            return False
        observer.begun(cell)
        if _carry_out(cell, ask, _Watch(cell, observer)) == "interrupted":
            return False
        observer.ended(cell)
    return True


def run_simulated(
    cells: Sequence[Cell], ask: Ask, jobs: int, observer: CompareObserver, interrupts: Interrupts
) -> bool:
    """Up to `jobs` runs at a time, a process for each; returns whether all came to their end (no Ctrl-C).

    Raises:
        CellFailed: a run failed; the others under way are ended.
    """
    # Forked from a small server process, which has loaded what they all need and has neither threads nor open files.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["testbed.simulation.simulator"])
    waiting = list(reversed(cells))
    under_way: dict[Connection, tuple[Cell, BaseProcess]] = {}
    try:
        while waiting or under_way:
            while waiting and len(under_way) < jobs:
                cell = waiting.pop()
                ours, theirs = context.Pipe(duplex=False)
                process: BaseProcess = context.Process(target=_simulate, args=(cell, ask, theirs), daemon=True)
                interrupts.deferred = True  # a child that is told only half of what it is to do would complain
                process.start()
                interrupts.deferred = False
                theirs.close()
                under_way[ours] = cell, process
                if interrupts.wanted:
                    return False
                observer.begun(cell)
            for channel in wait(list(under_way)):
                assert isinstance(channel, Connection)
                cell, process = under_way[channel]
                said = _hear(channel, process)
                if not isinstance(said, float):
                    del under_way[channel]
                    process.join()
                match said:
                    case float():
                        observer.advanced(cell, said)
                    case CellFailed():
                        raise CellFailed(f"{cell.name}: {said}", hint=said.hint, exit_code=said.exit_code)
                    case "interrupted":
                        return False
                    case str():
                        observer.ended(cell)
                    case _:
                        assert_never(said)
    finally:
        _end([process for _, process in under_way.values()])
    return True


def _hear(channel: Connection, process: BaseProcess) -> float | str | CellFailed:
    """The next word of a simulation: how far it is, why it ended, or how it failed."""
    try:
        said: float | str | tuple[str, str, int] = channel.recv()
    except EOFError:
        process.join()
        return CellFailed(f"its process ended with status {process.exitcode}", hint="", exit_code=1)
    if isinstance(said, tuple):
        return CellFailed(said[0], hint=said[1], exit_code=said[2])
    return said


def _end(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    deadline_s = time.monotonic() + END_TIMEOUT_S
    for process in processes:
        process.join(max(0.0, deadline_s - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


def _simulate(cell: Cell, ask: Ask, channel: Connection) -> None:
    """The body of a simulation's process."""
    # A Ctrl-C reaches the whole process group; the parent alone acts on it, and tells us by SIGTERM.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt, BrokenPipeError):  # it wants no answer, or is gone
        channel.send(_last_word(cell, ask, channel))


def _last_word(cell: Cell, ask: Ask, channel: Connection) -> str | tuple[str, str, int]:
    """Carry out a run; why it ended, or message, hint and exit code of its failure."""
    try:
        return _carry_out(cell, ask, _Teller(channel))
    except TestbedError as error:
        return str(error), error.hint, error.exit_code
    except (Exception, SystemExit) as error:
        what = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        return what, "", TestbedError.exit_code


def _carry_out(cell: Cell, ask: Ask, observer: SilentObserver) -> str:
    """Carry out one run; returns why it ended."""
    clear_unfinished(cell)
    plan = plan_run(
        ask.topology,
        duration_s=ask.duration_s,
        seed=cell.seed,
        policy=cell.spec.text or None,
        out=cell.path,
        backend=ask.backend,
    )
    if plan.topology_sha256 != ask.topology_sha256:
        traces = plan.link_traces_sha256
        others = [stated for stated in sorted(traces) if ask.link_traces_sha256.get(stated, "") != traces[stated]]
        what = f"the network trace {others[0]}" if others else ask.topology
        raise InputError(f"{what} has changed since the comparison began", hint="put it back, or begin anew")
    plan = replace(plan, facts={**plan.facts, "comparison": cell.facts(ask)})
    if ask.simulate:
        from testbed.simulation.simulator import Simulation  # noqa: PLC0415 - each engine loads what the other does not need

        return Simulation(plan, observer).run().exit_reason
    from testbed.live.experiment import Experiment  # noqa: PLC0415

    return Experiment(plan, observer).run().exit_reason


class _Progress(SilentObserver):
    """Follows how far a run is."""

    def __init__(self) -> None:
        self._duration_s = float("inf")
        self._next_s = 0.0

    def started(self, scenario: Scenario, offered: int) -> None:  # noqa: ARG002 - the observer's signature
        self._duration_s = scenario.duration_s

    def tick(self, now_s: float) -> None:
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + TELL_EVERY_S
            self._told(min(1.0, max(0.0, now_s / self._duration_s)))

    def _told(self, share: float) -> None:
        raise NotImplementedError


class _Watch(_Progress):
    """Passes a run's progress on."""

    def __init__(self, cell: Cell, observer: CompareObserver) -> None:
        super().__init__()
        self._cell = cell
        self._observer = observer

    def _told(self, share: float) -> None:
        self._observer.advanced(self._cell, share)


class _Teller(_Progress):
    """Tells the parent process; ends the run when the parent is gone."""

    def __init__(self, channel: Connection) -> None:
        super().__init__()
        self._channel = channel

    def _told(self, share: float) -> None:
        try:
            self._channel.send(share)
        except BrokenPipeError:
            raise KeyboardInterrupt from None


def default_jobs() -> int:
    """As many simulations at a time as this process may use cores."""
    return len(os.sched_getaffinity(0))
