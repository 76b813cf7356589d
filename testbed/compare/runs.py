"""The runs of a comparison: which there are, which are there already, and carrying out the rest."""

import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol, assert_never

from node_agent.errors import InputError, TestbedError
from testbed.compare.specs import PolicySpec
from testbed.network.emulated import BackendChoice
from testbed.record.claim import claim_directory
from testbed.record.run_directory import (
    DECISIONS,
    EVENTS,
    LINK_TRACE,
    MANIFEST,
    POLICY,
    SUMMARY,
    TASKS,
    TIMESERIES,
    TOPOLOGY,
    TRACE,
    check_inputs,
    read_manifest,
)
from testbed.run.interrupts import Interrupts
from testbed.run.observer import SilentObserver
from testbed.run.planning import plan_run
from testbed.scenario import Scenario

TELL_EVERY_S = 0.25  # real time between two words of a simulation on how far it is
END_TIMEOUT_S = 10.0  # real time that a simulation gets to end cleanly
_FIRST_FILES = {TOPOLOGY, TRACE, POLICY, TASKS, DECISIONS, TIMESERIES, EVENTS}


class CellFailed(TestbedError):
    """One of the runs failed; `exit_code` is what its own failure would have given."""

    def __init__(self, message: str, *, hint: str, exit_code: int) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Ask:
    """What all runs of a comparison share. The topology's text must not change meanwhile."""

    topology: Path
    topology_sha256: str
    duration_s: float
    simulate: bool
    backend: BackendChoice
    link_traces_sha256: Mapping[str, str] = field(default_factory=dict)  # by path as the topology states it

    @property
    def mode(self) -> str:
        """`simulated` or `live`."""
        return "simulated" if self.simulate else "live"


@dataclass(frozen=True, slots=True)
class Cell:
    """One run: a policy on the workload of a seed, in a directory of its own."""

    spec: PolicySpec
    repeat: int
    seed: int
    path: Path

    @property
    def name(self) -> str:
        """The run in words."""
        return f"{self.spec.label}, seed {self.seed}"

    def facts(self, ask: Ask) -> dict[str, object]:
        """What its manifest says of its place in the comparison: a run of other facts is another run."""
        return {
            "policy": self.spec.text or "the topology's own",
            "policy_file_sha256": self.spec.file_sha256,
            "seed": self.seed,
            "duration_s": ask.duration_s,
            "mode": ask.mode,
            "topology_sha256": ask.topology_sha256,
        }


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


def cells_of(specs: Sequence[PolicySpec], seeds: Sequence[int], directory: Path) -> tuple[Cell, ...]:
    """All runs in the order in which they are carried out.

    The order of the policies rotates from repeat to repeat, so that a machine which slows down or warms up with time
    favours none of them.
    """
    return tuple(
        Cell(spec, repeat, seed, directory / _folder_in(directory, spec) / f"seed-{seed}")
        for repeat, seed in enumerate(seeds)
        for spec in (*specs[repeat % len(specs) :], *specs[: repeat % len(specs)])
    )


def _folder_in(directory: Path, spec: PolicySpec) -> str:
    """The policy's folder; in a comparison that began before policies had labels, the one that is there."""
    early = (directory / spec.early_folder).is_dir() and not (directory / spec.folder).exists()
    return spec.early_folder if early else spec.folder


def is_complete(cell: Cell, ask: Ask) -> bool:
    """Whether the run is there, complete and untouched.

    Raises:
        InputError: the directory holds something else: another run, changed inputs, or files that are not ours.
    """
    if cell.path.is_symlink() or (cell.path.exists() and not cell.path.is_dir()):
        raise InputError(f"{cell.path} is not a directory of our own", hint=_HINT)
    if not cell.path.exists() or not any(cell.path.iterdir()):
        return False
    if not (cell.path / MANIFEST).exists():
        if foreign := {entry.name for entry in cell.path.iterdir() if not _early(entry.name)}:
            raise InputError(f"{cell.path} holds files of another origin: {', '.join(sorted(foreign)[:3])}", hint=_HINT)
        return False
    manifest = read_manifest(cell.path)
    if manifest.get("comparison") != cell.facts(ask):
        raise InputError(f"{cell.path} holds a run of {_difference(manifest, cell, ask)}", hint=_HINT)
    if manifest.get("exit_reason") != "completed" or not all((cell.path / name).exists() for name in (SUMMARY, TASKS)):
        return False
    check_inputs(cell.path, manifest)
    return True


_HINT = "choose another directory with --out, or remove this one"


def _early(name: str) -> bool:
    """May a run that was killed before its manifest was written have left this file?"""
    unfinished = {Path(file).with_suffix(".tmp").name for file in (MANIFEST, TOPOLOGY, POLICY)}
    return name in _FIRST_FILES or name.startswith(LINK_TRACE) or name.startswith(f".{TRACE}.") or name in unfinished


def _difference(manifest: Mapping[str, Any], cell: Cell, ask: Ask) -> str:
    found = manifest.get("comparison")
    if not isinstance(found, dict):
        return "its own, and none of a comparison"
    for name, wanted in cell.facts(ask).items():
        if found.get(name) != wanted:
            if name == "topology_sha256" and (changed := _changed_traces(manifest, ask)):
                have = "has" if len(changed) == 1 else "have"
                return f"other network traces: {', '.join(changed)} {have} changed since"
            what = name.replace("_sha256", "").replace("_s", "").replace("_", " ")
            shown = "another one" if name.endswith("sha256") else f"{found.get(name)} and not {wanted}"
            return f"another {what}: {shown}"
    return "another comparison"


def _changed_traces(manifest: Mapping[str, Any], ask: Ask) -> list[str]:
    """The network traces that are others than those of a run, by path as both topologies state it."""
    copies, hashes = manifest.get("link_traces"), manifest.get("inputs_sha256")
    if not isinstance(copies, dict) or not isinstance(hashes, dict):
        return []
    now = ask.link_traces_sha256
    return sorted(stated for stated, copy in copies.items() if stated in now and hashes.get(copy) != now[stated])


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


def manifests(cells: Sequence[Cell]) -> Iterator[tuple[Cell, Mapping[str, Any]]]:
    """The manifests of complete runs."""
    for cell in cells:
        yield cell, read_manifest(cell.path)


def read_summary(cell: Cell) -> Mapping[str, Any]:
    """The summary.json of a complete run."""
    file = cell.path / SUMMARY
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        hint = "remove its run directory and compare again"
        raise InputError(f"{file}: cannot be read: {error}", hint=hint) from error
    assert isinstance(summary, dict)
    return summary
