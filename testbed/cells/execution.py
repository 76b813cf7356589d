"""Carrying out the runs of a comparison: live runs one after the other, simulations side by side."""

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
from testbed.cells.cell import Cell
from testbed.record.claim import claim_directory
from testbed.run.interrupts import Interrupts
from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_run
from testbed.scenario import Scenario

TELL_EVERY_S = 0.25  # real time between two reports of a simulation on its progress
END_TIMEOUT_S = 10.0  # real time in which a simulation must end cleanly


class CellFailed(TestbedError):
    """A run of the comparison failed; `exit_code` is that of its own failure."""

    def __init__(self, message: str, *, hint: str, exit_code: int) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


class CompareObserver(Protocol):
    """Follows the progress of a comparison; called in the comparison's own thread."""

    def planned(self, directory: Path, runs: int, kept: int, jobs: int) -> None:
        """The comparison has `runs` runs, of which `kept` are complete already; up to `jobs` run at the same time."""

    def begun(self, cell: Cell) -> None:
        """A run begins."""

    def advanced(self, cell: Cell, share: float) -> None:
        """`share` (0..1) of the workload of a run is over."""

    def ended(self, cell: Cell) -> None:
        """A run is complete."""

    def dropped(self, cell: Cell, *, failed: bool) -> None:
        """A run that had begun is no longer under way: it failed, or it begins again later."""


class Unobserved:
    """A CompareObserver that does nothing."""

    def planned(self, directory: Path, runs: int, kept: int, jobs: int) -> None: ...

    def begun(self, cell: Cell) -> None: ...

    def advanced(self, cell: Cell, share: float) -> None: ...

    def ended(self, cell: Cell) -> None: ...

    def dropped(self, cell: Cell, *, failed: bool) -> None: ...


def clear_unfinished(cell: Cell) -> None:
    """Remove the remains of an interrupted run from a directory that `is_complete` accepts as ours.

    If an earlier comparison was killed, its simulations notice that only at their next report; wait until they end.

    Raises:
        InputError: another command is writing to the directory.
    """
    if cell.path.exists():
        claim = claim_directory(cell.path, what="run directory", patience_s=END_TIMEOUT_S)
        shutil.rmtree(cell.path)
        claim.release()


def run_in_turn(cells: Sequence[Cell], observer: CompareObserver, interrupts: Interrupts) -> bool:
    """Carry out one run after the other in this process, as live runs require.

    Returns:
        True if all are complete, False after an interrupt.

    Raises:
        TestbedError: a run failed.
    """
    for cell in cells:
        if interrupts.wanted:  # came while the last run was ending
            return False
        observer.begun(cell)
        if _carry_out(cell, _Watch(cell, observer)) == "interrupted":
            return False
        observer.ended(cell)
    return True


def run_simulated(cells: Sequence[Cell], jobs: int, observer: CompareObserver, interrupts: Interrupts) -> bool:
    """Carry out up to `jobs` simulations at the same time, each in a process of its own.

    Returns:
        True if all are complete, False after an interrupt.

    Raises:
        CellFailed: a run failed; the others under way are ended.
    """
    # Forked from a small server process without threads or open files, which has loaded the common modules.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["testbed.simulation.simulator"])
    waiting = list(reversed(cells))
    under_way: dict[Connection, tuple[Cell, BaseProcess]] = {}
    try:
        while waiting or under_way:
            while waiting and len(under_way) < jobs:
                cell = waiting.pop()
                ours, theirs = context.Pipe(duplex=False)
                process: BaseProcess = context.Process(target=_simulate, args=(cell, theirs), daemon=True)
                interrupts.deferred = True  # a child that reads only half of its orders would print a traceback
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
    """The next report of a simulation: its progress (0..1), its exit reason, or its failure."""
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


def _simulate(cell: Cell, channel: Connection) -> None:
    """The body of a simulation's process."""
    # Ctrl-C reaches the whole process group; only the parent acts on it, and ends us with SIGTERM.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt, BrokenPipeError):  # the parent waits for no answer, or is gone
        channel.send(_last_word(cell, channel))


def _last_word(cell: Cell, channel: Connection) -> str | tuple[str, str, int]:
    """Carry out a run; return its exit reason, or message, hint and exit code of its failure."""
    try:
        return _carry_out(cell, _Teller(channel))
    except TestbedError as error:
        return str(error), error.hint, error.exit_code
    except (Exception, SystemExit) as error:
        what = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        return what, "", TestbedError.exit_code


def _carry_out(cell: Cell, observer: SilentObserver) -> str:
    """Carry out a run and return its exit reason."""
    clear_unfinished(cell)
    ask = cell.settings
    plan = plan_run(
        ask.topology,
        duration_s=ask.duration_s,
        seed=cell.seed,
        policy=cell.spec.text or None,
        model=ask.model,
        cut=ask.cut,
        criterion=ask.criterion,
        overrides=ask.overrides,
        out=cell.path,
        backend=ask.backend,
    )
    if plan.topology_sha256 != ask.topology_sha256:
        traces = plan.link_traces_sha256
        others = [stated for stated in sorted(traces) if ask.link_traces_sha256.get(stated, "") != traces[stated]]
        what = f"the network trace {others[0]}" if others else ask.topology
        raise InputError(f"{what} has changed since the comparison began", hint="restore it, or start a new comparison")
    if plan.facts["model_sha256"] != ask.model_sha256:
        raise InputError(
            f"the model {plan.model.name} has changed since the comparison began",
            hint="restore it, or start a new comparison",
        )
    plan = replace(plan, facts={**plan.facts, "comparison": cell.facts})
    if ask.simulate:
        from testbed.simulation.simulator import Simulation  # noqa: PLC0415 - neither engine loads the other

        return Simulation(plan, observer).run().exit_reason
    from testbed.live.experiment import Experiment  # noqa: PLC0415

    return Experiment(plan, observer).run().exit_reason


class _Progress(SilentObserver):
    """A RunObserver that reports the progress of a run."""

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
    """Reports the progress of a run to the observer of the comparison."""

    def __init__(self, cell: Cell, observer: CompareObserver) -> None:
        super().__init__()
        self._cell = cell
        self._observer = observer

    def _told(self, share: float) -> None:
        self._observer.advanced(self._cell, share)


class _Teller(_Progress):
    """Reports the progress of a run to the parent process; ends the run if the parent is gone."""

    def __init__(self, channel: Connection) -> None:
        super().__init__()
        self._channel = channel

    def _told(self, share: float) -> None:
        try:
            self._channel.send(share)
        except BrokenPipeError:
            raise KeyboardInterrupt from None


def default_jobs() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0))
