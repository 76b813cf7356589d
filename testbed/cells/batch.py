"""The course of a command that runs many cells: options, checks before the first run, what is missing."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from node_agent.errors import InputError, TestbedError
from testbed.cells.cell import Cell, RunSettings
from testbed.cells.cluster.choice import ClusterChoice
from testbed.cells.execution import CellExecutor, CompareObserver, default_jobs, run_in_turn, run_together
from testbed.cells.policy_specs import PolicySpec
from testbed.cells.process_pool import ProcessPool
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
        cluster: the machines that carry out the runs; None is this one. On a cluster, live runs get a machine each.
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
    cluster: ClusterChoice | None = None

    def __post_init__(self) -> None:
        """Raise InputError if the cluster and other options contradict each other."""
        if self.cluster is not None and self.jobs is not None:
            raise InputError("a cluster's workers decide how many runs go on at a time", hint="leave out --jobs")
        if self.cluster is not None and self.cluster.workers is not None and not self.simulate:
            raise InputError("workers of one machine cannot share it for live runs", hint="add --simulate")

    @property
    def in_other_processes(self) -> bool:
        """True if an executor carries out the runs, False if they follow one another in this process."""
        return self.simulate or self.cluster is not None

    @property
    def jobs_in_use(self) -> int:
        """The number of runs at a time; 1 if the workers of a scheduler decide."""
        if self.cluster is not None:
            return self.cluster.workers or 1
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


def executor_for(options: Options) -> CellExecutor:
    """Open what carries out the cells of a command in other processes; the caller closes it, by `with`.

    A command that runs cells in several steps passes it to `run_missing` in each of them.
    """
    if options.cluster is None:
        return ProcessPool(options.jobs_in_use)
    from testbed.cells.cluster.dask_executor import DaskExecutor  # noqa: PLC0415 - an extra

    return DaskExecutor(options.cluster, live=not options.simulate)


def run_missing(
    missing: Sequence[Cell],
    options: Options,
    observer: CompareObserver,
    interrupts: Interrupts,
    executor: CellExecutor | None = None,
    failed: Callable[[Cell, TestbedError], None] | None = None,
) -> bool:
    """Carry out the missing runs; return True if all have ended, False after an interrupt.

    Interrupts are deferred afterwards.

    Args:
        missing: the runs.
        options: say how.
        observer: follows the progress.
        interrupts: those of the command.
        executor: carries them out, and stays open; None opens one for this call. Live runs of this machine need none.
        failed: called with each run that fails; the others go on. If it is None, the first failure ends the command.

    Raises:
        TestbedError: a run failed, and `failed` is None. Complete runs stay.
    """
    try:
        if not missing:
            return True
        if not options.in_other_processes:
            return run_in_turn(missing, observer, interrupts, failed)
        with nullcontext(executor) if executor is not None else executor_for(options) as chosen:
            return run_together(missing, chosen, observer, interrupts, failed)
    except KeyboardInterrupt:
        return False
    finally:
        interrupts.deferred = True


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
