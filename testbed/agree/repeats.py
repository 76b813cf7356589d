"""`agree`: run a network live and simulated on the same arrivals, and compare."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from node_agent.errors import InputError
from testbed.agree.agreement import Agreement, Repeat
from testbed.agree.decisions import compare_decisions, gap_figures
from testbed.agree.measures import TaskFrame, task_figures
from testbed.agree.recorded_pair import read_pair
from testbed.agree.resampling import FEWEST_BLOCKS, FEWEST_REPEATS, ComparedFigure
from testbed.agree.result_file import MARKER, write_file
from testbed.cells.batch import FEW_REPEATS, CellsInterrupted, check_rereadable, seeds_from
from testbed.cells.cell import Cell, RunSettings, check_continues, is_complete, read_summary
from testbed.cells.execution import CompareObserver, Unobserved, run_in_turn
from testbed.cells.policy_specs import PolicySpec
from testbed.cells.result_directory import new_directory, own
from testbed.compare.recovery import read_tasks
from testbed.compare.table import RunRow, row_of
from testbed.live.experiment import require_root
from testbed.network.emulated import BackendChoice
from testbed.record.run_directory import file_sha256
from testbed.run.interrupts import Interrupts
from testbed.run.plan import Plan
from testbed.run.planning import plan_run
from testbed.scenario import Scenario

MAX_REPEATS = 1_000
FEW_BLOCKS = 20  # below this number, intervals from blocks are rough


def agree(
    topology: Path,
    *,
    repeats: int = 1,
    policy: str | None = None,
    duration_s: float | None = None,
    seed: int | None = None,
    out: Path | None = None,
    backend: BackendChoice = "auto",
    observer: CompareObserver | None = None,
) -> Agreement:
    """Run a topology live and simulated, `repeats` times; return the figures of both sides and their differences.

    Both runs of a repeat have the same drawn network, arrivals, samples and events. Complete runs in `out` are kept, so
    a second call runs only what is missing. Writes two run directories per seed, and agree.json.

    Args:
        topology: path of a topology file.
        repeats: number of workloads, at least 1; from 3 on, intervals are over repeats.
        policy: `name`, `name:key=value,key=value` or `file.py:Class`; None takes the topology's.
        duration_s: how long tasks arrive [emulated s]; None takes the topology's.
        seed: of the first repeat; each further repeat adds 1. None takes the topology's.
        out: directory of the results; None makes a new one in runs/.
        backend: what delays frames: "auto", "netem" or "userspace".
        observer: follows the progress; None shows nothing.

    Raises:
        InputError: topology, policy or options cannot be used, or `out` holds something else. Nothing has run.
        EnvironmentLacking: this process is not root.
        CellsInterrupted: Ctrl-C, SIGTERM or SIGHUP.
        TestbedError: a run failed. Complete runs stay.
    """
    observer = observer or Unobserved()
    require_root()
    if not 1 <= repeats <= MAX_REPEATS:
        raise InputError(f"{repeats} repeats cannot be run", hint=f"1 to {MAX_REPEATS}")
    check_rereadable(topology)
    with Interrupts() as interrupts:
        first = plan_run(topology, duration_s=duration_s, seed=seed, policy=policy, make_directory=False)
        seeds = seeds_from(first.scenario.seed, repeats)
        directory = out or new_directory(first, "agree")
        with own(directory, first.original_text, MARKER):
            settings = RunSettings.of(topology, first, backend, simulate=False)
            cells = [Cell(_spec(first, policy), number, seed, directory / f"seed-{seed}", settings)
                     for number, seed in enumerate(seeds)]  # fmt: skip
            missing = [cell for cell in cells if not _is_whole(cell)]
            check_continues(_complete(cells), missing=len(missing))
            observer.planned(directory, len(cells), len(cells) - len(missing), 1)
            try:
                completed = _run(missing, observer, interrupts)
            finally:  # also after an error: the figures of the complete runs
                interrupts.deferred = True
                whole = [cell for cell in cells if _is_whole(cell)]
                agreement = gather(directory, first, seeds, whole)
                write_file(agreement)
        if interrupts.wanted or not completed:
            raise CellsInterrupted(f"{len(whole)} of {len(cells)} repeats", directory=directory)
    return agreement


def sides_of(cell: Cell) -> tuple[Cell, Cell]:
    """The live and the simulated run of a repeat."""
    simulated = replace(cell.settings, simulate=True)
    return replace(cell, path=cell.path / "live"), replace(cell, path=cell.path / "simulated", settings=simulated)


def _spec(plan: Plan, policy: str | None) -> PolicySpec:
    """The policy of all runs. Raises InputError if its file cannot be read."""
    file, label = plan.policy_file, plan.scenario.policy.label
    return PolicySpec(policy or "", label, file_sha256(file) if file is not None else None, label, label)


def _is_whole(cell: Cell) -> bool:
    return all(is_complete(side) for side in sides_of(cell))


def _complete(cells: Sequence[Cell]) -> list[Path]:
    """The directories of complete runs, those of repeats with only one complete run included."""
    return [side.path for cell in cells for side in sides_of(cell) if is_complete(side)]


def _run(missing: Sequence[Cell], observer: CompareObserver, interrupts: Interrupts) -> bool:
    """Carry out the missing repeats; return True if all are complete, False after an interrupt.

    Each simulation follows its live run, so that after Ctrl-C the complete repeats can be compared.
    """
    try:
        for cell in missing:
            observer.begun(cell)
            for side in sides_of(cell):
                watch = Unobserved() if side.settings.simulate else _Within(cell, observer)
                if not is_complete(side) and not run_in_turn([side], watch, interrupts):
                    return False
            observer.ended(cell)
    except KeyboardInterrupt:
        return False
    return True


class _Within(Unobserved):
    """Passes the progress of a live run on as that of its repeat; the simulation takes little time."""

    def __init__(self, cell: Cell, observer: CompareObserver) -> None:
        self._cell = cell
        self._observer = observer

    def advanced(self, cell: Cell, share: float) -> None:  # noqa: ARG002 - the observer's signature
        self._observer.advanced(self._cell, share)


def gather(directory: Path, plan: Plan, seeds: tuple[int, ...], cells: Sequence[Cell]) -> Agreement:
    """The figures of the complete repeats `cells`; `plan` is that of the first repeat.

    Decision 074: an agreement counts only repeats whose live run held, unless none did
    (docs/decisions/074-agreement-counts-held-runs.md).
    """
    scenario = plan.scenario
    repeats = _judged([_repeat(cell, directory, scenario) for cell in cells])
    pairs = [
        read_pair(*(side.path for side in sides_of(cell)))
        for cell, repeat in zip(cells, repeats, strict=True)
        if repeat.counted
    ]
    stages = max(server.stage for server in scenario.servers)
    frame = TaskFrame(scenario.warm_up_s, scenario.slot_s, stages)
    figures = {**task_figures(frame, pairs), **gap_figures(pairs)} if pairs else {}
    return Agreement(
        directory=directory,
        topology=scenario.name,
        topology_sha256=plan.topology_sha256,
        policy=scenario.policy.label,
        duration_s=scenario.duration_s,
        warm_up_s=scenario.warm_up_s,
        slot_s=scenario.slot_s,
        stages=stages,
        seeds=seeds,
        complete=len(cells) == len(seeds),
        repeats=repeats,
        figures=figures,
        decisions=compare_decisions(pairs) if pairs else None,
        notes=tuple(_notes(repeats, figures, scenario)) if pairs else (),
    )


def _repeat(cell: Cell, directory: Path, scenario: Scenario) -> Repeat:
    live, simulated = sides_of(cell)
    summary = read_summary(live)
    fidelity: dict[str, Any] = summary.get("fidelity", {})
    return Repeat(
        seed=cell.seed,
        fidelity=fidelity.get("verdict", "unknown"),
        reasons=tuple(fidelity.get("reasons", ())),
        counted=False,
        live=_row(live, directory, scenario),
        simulated=_row(simulated, directory, scenario),
    )


def _row(side: Cell, directory: Path, scenario: Scenario) -> RunRow:
    return row_of(
        read_summary(side),
        read_tasks(side.path),
        policy=side.spec.label,
        repeat=side.repeat,
        seed=side.seed,
        run_directory=str(side.path.relative_to(directory)),
        duration_s=scenario.duration_s,
    )


def _judged(repeats: Sequence[Repeat]) -> tuple[Repeat, ...]:
    """The repeats, with `counted` set: those that held, or all if none held."""
    held = [repeat for repeat in repeats if repeat.fidelity == "held"]
    return tuple(replace(repeat, counted=not held or repeat in held) for repeat in repeats)


def _notes(repeats: Sequence[Repeat], figures: dict[str, ComparedFigure], scenario: Scenario) -> Iterator[str]:
    """Sentences that a reader of the figures must know."""
    counted = [repeat for repeat in repeats if repeat.counted]
    if not any(repeat.fidelity == "held" for repeat in repeats):
        yield "no live run is known to have held: differences may come from this machine, not from the simulation"
    elif left_out := [str(repeat.seed) for repeat in repeats if not repeat.counted]:
        yield f"left out of the figures, because the live run did not hold: seed {', '.join(left_out)}"
    mean = figures["delay_mean_s"]
    if mean.basis == "repeats":
        rough = ", rough with so few, and rather too narrow" if mean.units < FEW_REPEATS else ""
        yield f"intervals (95 %) are over {mean.units} repeats{rough}"
    elif mean.basis is not None:
        blocks = f"{mean.units} blocks of one slot ({scenario.slot_s:g} s)"
        rough = f"; rough with fewer than {FEW_BLOCKS}" if mean.units < FEW_BLOCKS else ""
        yield f"intervals (95 %) are over tasks, resampled in {blocks} of both runs alike{rough}"
        yield f"they exclude differences from run to run: -n {FEWEST_REPEATS} or more gives intervals over repeats"
    else:
        least = f"{FEWEST_BLOCKS} slots ({scenario.slot_s:g} s each) after the warm-up"
        yield f"no intervals: they need tasks from {least}, or -n {FEWEST_REPEATS} or more"
    if figures["gap_first_slots"].basis == "devices":
        yield "the interval of the first slots' gap is over devices"
    for way in ("live", "simulated"):
        if over := [str(repeat.seed) for repeat in counted if getattr(repeat, way).overloaded]:
            yield f"tasks piled up {way} (seed {', '.join(over)}): delays only reflect how long the run was"
