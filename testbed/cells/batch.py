"""The course of a command that runs many cells: options, checks before the first run, what is missing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from node_agent.errors import InputError, TestbedError
from testbed.cells.cell import Cell, RunSettings
from testbed.cells.execution import CompareObserver, default_jobs, run_in_turn, run_simulated
from testbed.cells.policy_specs import PolicySpec
from testbed.network.emulated import BackendChoice
from testbed.run.interrupts import Interrupts
from testbed.run.plan import Plan
from testbed.run.planning import plan_run
from testbed.topology.overrides import Override

MAX_RUNS = 10_000
MAX_SEED = 2**63 - 1
FEW_REPEATS = 5  # below this number, bootstrap intervals are too narrow


class CellsInterrupted(TestbedError):
    """Ctrl-C ended the command; `directory` holds the complete runs, and a second call adds the others."""

    exit_code = 130

    def __init__(self, complete: str, *, directory: Path) -> None:
        """`complete` says in words what is complete."""
        super().__init__(f"interrupted: {complete} are complete")
        self.directory = directory


@dataclass(frozen=True, slots=True)
class Options:
    """The options that all runs of a command share; for None, the topology's own values hold.

    Attributes:
        simulate: run in virtual time, `jobs` at a time; otherwise live, one after the other.
        duration_s: the length of each workload [s].
        seed: the seed of the first repeat.
        model: another model than the topology's.
        cut: the last block of each sub-model.
        criterion: name of the exit criterion.
        overrides: what replaces values of the topology in all runs.
        jobs: number of simulations at a time; None means one per core.
        backend: what delays frames in live runs.
    """

    simulate: bool = False
    duration_s: float | None = None
    seed: int | None = None
    model: str | None = None
    cut: Sequence[int] | None = None
    criterion: str | None = None
    overrides: tuple[Override, ...] = ()
    jobs: int | None = None
    backend: BackendChoice = "auto"

    @property
    def jobs_in_use(self) -> int:
        """The number of runs at a time."""
        return (self.jobs or default_jobs()) if self.simulate else 1


def check_plans(topology: Path, specs: Sequence[PolicySpec], options: Options, *more: Override) -> Plan:
    """Plan a run of every policy, so that errors precede all runs, and return the plan of the first policy.

    It makes no directory. `more` follow the overrides of the options.

    Raises:
        InputError: topology, policies or options cannot be used.
    """
    plans = [
        plan_run(
            topology,
            duration_s=options.duration_s,
            seed=options.seed,
            policy=spec.text or None,
            model=options.model,
            cut=options.cut,
            criterion=options.criterion,
            overrides=(*options.overrides, *more),
            make_directory=False,
        )
        for spec in specs
    ]
    return plans[0]


def settings_of(topology: Path, plan: Plan, options: Options) -> RunSettings:
    """Return the settings of runs like `plan`."""
    return RunSettings.of(topology, plan, options.backend, simulate=options.simulate)


def run_missing(
    missing: Sequence[Cell],
    options: Options,
    observer: CompareObserver,
    interrupts: Interrupts,
    failed: Callable[[Cell, TestbedError], None] | None = None,
) -> bool:
    """Carry out the missing runs; return True if all have ended, False after an interrupt.

    `failed` is called with each run that fails; the others go on. If it is None, the first failure ends the command.
    Interrupts are deferred afterwards.

    Raises:
        TestbedError: a run failed, and `failed` is None. Complete runs stay.
    """
    left, watch = list(missing), _UnderWay(observer)
    try:
        while left:
            try:
                if options.simulate:
                    return run_simulated(left, options.jobs_in_use, watch, interrupts)
                return run_in_turn(left, watch, interrupts)
            except TestbedError as error:
                cell = watch.one_of(error)
                if failed is None or cell is None:
                    raise
                watch.put_back(cell)
                failed(cell, error)
                left = [each for each in left if each.path not in watch.over]
        return True
    except KeyboardInterrupt:
        return False
    finally:
        interrupts.deferred = True


class _UnderWay:
    """A CompareObserver that passes everything on, and knows which runs are under way and which are over."""

    def __init__(self, observer: CompareObserver) -> None:
        self._observer = observer
        self._begun: list[Cell] = []
        self.over: set[Path] = set()  # directories of runs that are complete or failed

    def planned(self, directory: Path, runs: int, kept: int, jobs: int) -> None:
        self._observer.planned(directory, runs, kept, jobs)

    def begun(self, cell: Cell) -> None:
        self._begun.append(cell)
        self._observer.begun(cell)

    def advanced(self, cell: Cell, share: float) -> None:
        self._observer.advanced(cell, share)

    def ended(self, cell: Cell) -> None:
        self._begun.remove(cell)
        self.over.add(cell.path)
        self._observer.ended(cell)

    def dropped(self, cell: Cell, *, failed: bool) -> None:
        self._observer.dropped(cell, failed=failed)

    def one_of(self, error: TestbedError) -> Cell | None:
        """The run under way that failed with this error, whose message names it; the only one; None if unknown."""
        named = [cell for cell in self._begun if str(error).startswith(f"{cell.name}: ")]
        found = named or self._begun
        return found[0] if len(found) == 1 else None

    def put_back(self, cell: Cell) -> None:
        """Note that a run failed; the others under way have ended with it, and begin again."""
        self.over.add(cell.path)
        for each in self._begun:
            self._observer.dropped(each, failed=each is cell)
        self._begun.clear()


def check_counts(runs: int, jobs: int | None) -> None:
    """Raise InputError unless `runs` runs, `jobs` at a time, can be carried out."""
    if not 1 <= runs <= MAX_RUNS:
        raise InputError(f"{runs} runs cannot be carried out", hint=f"1 to {MAX_RUNS} runs")
    if jobs is not None and jobs < 1:
        raise InputError(f"{jobs} runs at a time are none", hint="leave it out to use all cores")


def check_rereadable(topology: Path) -> None:
    """Raise InputError if the topology cannot be read once for each run, for example because it is a pipe."""
    if topology.exists() and not topology.is_file():
        message = f"{topology} cannot be read twice, and a comparison reads it for each of its runs"
        raise InputError(message, hint="save the topology in a file")


def seeds_from(first: int, repeats: int) -> tuple[int, ...]:
    """The seeds of all repeats: `first`, `first` + 1, ... Raises InputError if they would exceed MAX_SEED."""
    if first + repeats - 1 > MAX_SEED:
        raise InputError(
            f"seeds from {first} on leave no room for {repeats} repeats", hint="the greatest seed is 2^63 - 1"
        )
    return tuple(range(first, first + repeats))
