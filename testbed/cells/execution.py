"""Carrying out cells: live runs one after the other in this process, simulations side by side by an executor."""

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Protocol, Self

from node_agent.errors import InputError, TestbedError
from testbed.cells.cell import Cell
from testbed.record.claim import claim_directory
from testbed.run.interrupts import Interrupts
from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_run
from testbed.scenario import Scenario

TELL_EVERY_S = 0.25  # real time between two reports of a simulation on its progress
END_TIMEOUT_S = 10.0  # real time in which a simulation must end cleanly
MOST_TRIES = 3  # of a cell whose process is killed


class CellFailed(TestbedError):
    """A run of the comparison failed; `exit_code` is that of its own failure."""

    def __init__(self, message: str, *, hint: str, exit_code: int) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class CellEnd:
    """The end of a cell, as plain values that travel between processes.

    Attributes:
        reason: "completed", "interrupted" or "failed".
        message: why it failed.
        hint: how to mend that; may be empty.
        exit_code: that of the failure.
    """

    reason: str
    message: str = ""
    hint: str = ""
    exit_code: int = 0


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


class CellExecutor(Protocol):
    """Carries out cells in other processes, of this machine or of others, until it is closed.

    It is a context manager; leaving it ends the runs that are under way, cleanly.
    """

    room: int  # number of cells that it accepts at a time

    def prepare(self, cells: Sequence[Cell]) -> None:
        """Check that the cells can be carried out, before the first of them begins. Raises TestbedError if not."""

    def submit(self, cell: Cell, report: Callable[[float], None]) -> Future[CellEnd]:
        """Begin a cell as soon as possible; its run directory is in place when the future is done.

        Args:
            cell: the cell.
            report: called, in any thread, with 0 when the cell begins and then with the share (0..1) that is over.

        Returns:
            The end of the cell. The exception BrokenExecutor means that its process was killed: submit it again.
            A TestbedError means that the executor itself has failed.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def clear_unfinished(cell: Cell) -> None:
    """Remove the remains of an interrupted run from a directory that `is_complete` accepts as ours.

    If an earlier comparison was killed, its simulations may still be ending; wait until they have ended.

    Raises:
        InputError: another command is writing to the directory.
    """
    if cell.path.exists():
        claim = claim_directory(cell.path, what="run directory", patience_s=END_TIMEOUT_S)
        shutil.rmtree(cell.path)
        claim.release()


Failed = Callable[[Cell, TestbedError], None]
"""Called with a run that failed, and its error; the other runs go on."""


def run_in_turn(
    cells: Sequence[Cell], observer: CompareObserver, interrupts: Interrupts, failed: Failed | None = None
) -> bool:
    """Carry out one run after the other in this process, as live runs require.

    Returns:
        True if all have ended, False after an interrupt.

    Raises:
        TestbedError: a run failed, and `failed` is None.
    """
    for cell in cells:
        if interrupts.wanted:  # came while the last run was ending
            return False
        observer.begun(cell)
        try:
            if _carry_out(cell, _Watch(partial(observer.advanced, cell)), cell.facts) != "completed":
                return False
        except TestbedError as error:
            if failed is None:
                raise
            observer.dropped(cell, failed=True)
            failed(cell, error)
        else:
            observer.ended(cell)
    return True


def run_together(
    cells: Sequence[Cell],
    executor: CellExecutor,
    observer: CompareObserver,
    interrupts: Interrupts,
    failed: Failed | None = None,
) -> bool:
    """Carry out cells by an open executor.

    Returns:
        True if all have ended, False after an interrupt. Then cells may be under way until the executor is closed.

    Raises:
        CellFailed: a run failed, and `failed` is None; others may be under way until the executor is closed.
        TestbedError: the executor cannot carry out these cells.
    """
    executor.prepare(cells)
    happened: SimpleQueue[tuple[Cell, float | Future[CellEnd]]] = SimpleQueue()

    def note(cell: Cell, news: float | Future[CellEnd]) -> None:
        happened.put((cell, news))

    waiting, tries, begun = list(reversed(cells)), dict.fromkeys(cells, 0), set[Cell]()
    under_way = 0
    while waiting or under_way:
        while waiting and under_way < executor.room:
            cell = waiting.pop()
            tries[cell] += 1
            interrupts.deferred = True  # a child that reads only half of its orders would print a traceback
            future = executor.submit(cell, partial(note, cell))
            future.add_done_callback(partial(note, cell))
            interrupts.deferred = False
            under_way += 1
            if interrupts.wanted:
                return False
        cell, news = happened.get()
        if isinstance(news, Future):
            under_way -= 1
            end = _end_of(news, tries[cell])
            match end.reason:
                case "completed":
                    observer.ended(cell)
                case "interrupted":
                    return False
                case "failed":
                    error = CellFailed(f"{cell.name}: {end.message}", hint=end.hint, exit_code=end.exit_code)
                    if failed is None:
                        raise error
                    observer.dropped(cell, failed=True)
                    failed(cell, error)
                case _:
                    waiting.append(cell)
        elif cell not in begun:
            begun.add(cell)
            observer.begun(cell)
        else:
            observer.advanced(cell, news)
    return True


def _end_of(future: Future[CellEnd], tries: int) -> CellEnd:
    """The end of a cell, with the reason "lost" if it must be carried out again."""
    try:
        return future.result()
    except BrokenExecutor:
        if tries < MOST_TRIES:
            return CellEnd("lost")
        return CellEnd("failed", f"its process, or one beside it, was killed {tries} times", exit_code=1)


def carry_out(cell: Cell, report: Callable[[float], None], facts: Mapping[str, object] | None = None) -> CellEnd:
    """Carry out a cell in this process; return its end, a failure or an interrupt included.

    Args:
        cell: the cell.
        report: called some times a second with the share (0..1) of the workload that is over.
        facts: the field `comparison` of its manifest; None takes those of the cell.
    """
    try:
        return CellEnd(_carry_out(cell, _Watch(report), cell.facts if facts is None else facts))
    except KeyboardInterrupt:
        return CellEnd("interrupted")
    except TestbedError as error:
        return CellEnd("failed", str(error), error.hint, error.exit_code)
    except (Exception, SystemExit) as error:
        what = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        return CellEnd("failed", what, "", TestbedError.exit_code)


def _carry_out(cell: Cell, observer: SilentObserver, facts: Mapping[str, object]) -> str:
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
    plan = replace(plan, facts={**plan.facts, "comparison": dict(facts)})
    if ask.simulate:
        from testbed.simulation.simulator import Simulation  # noqa: PLC0415 - neither engine loads the other

        return Simulation(plan, observer).run().exit_reason
    from testbed.live.experiment import Experiment  # noqa: PLC0415

    return Experiment(plan, observer).run().exit_reason


class _Watch(SilentObserver):
    """A RunObserver that reports the progress of a run."""

    def __init__(self, report: Callable[[float], None]) -> None:
        super().__init__()
        self._report = report
        self._duration_s = float("inf")
        self._next_s = 0.0

    def started(self, scenario: Scenario, offered: int) -> None:  # noqa: ARG002 - the observer's signature
        self._duration_s = scenario.duration_s

    def tick(self, now_s: float) -> None:
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + TELL_EVERY_S
            self._report(min(1.0, max(0.0, now_s / self._duration_s)))


def default_jobs() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0))
