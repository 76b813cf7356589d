"""`capacity`: probe each policy at the loads that a search asks for, on every seed, until all crossings are known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from testbed.assertions import Assertion
from testbed.capacity.capacity_files import MARKER, write_files
from testbed.capacity.capacity_result import Capacity, Probe
from testbed.capacity.load_search import LoadGrid, LoadSearch
from testbed.capacity.objective import Objective
from testbed.capacity.outcome import notes_on, table_of
from testbed.cells.batch import (
    CellsInterrupted,
    Options,
    check_counts,
    check_plans,
    check_rereadable,
    executor_for,
    run_missing,
    seeds_from,
    settings_of,
)
from testbed.cells.cell import Cell, RunSettings, is_complete, missing_of
from testbed.cells.cell_figures import cell_figures
from testbed.cells.execution import CellExecutor, CompareObserver, Unobserved
from testbed.cells.policy_specs import PolicySpec, read_specs
from testbed.cells.result_directory import new_directory, own
from testbed.live.experiment import require_root
from testbed.run.interrupts import Interrupts
from testbed.run.plan import Plan
from testbed.topology import load_topology
from testbed.topology.overrides import load_overrides, stated_overrides

Key = tuple[str, int]  # label of the policy, seed


@dataclass(frozen=True, slots=True)
class CapacityAsk:
    """What a capacity consists of.

    Attributes:
        policies: each `name`, `name:key=value,key=value` or `file.py:Class`; `label=TEXT` names it in the results.
        objective: what must hold, all together; see `parse_assertion`.
        repeats: number of seeds.
        search_from: lowest load of the search, as a factor.
        search_to: highest load of the search, as a factor.
        precision: ratio of neighbouring loads, less one.
    """

    policies: Sequence[str]
    objective: Sequence[Assertion]
    repeats: int
    search_from: float = 0.1
    search_to: float = 10.0
    precision: float = 0.025


@dataclass(frozen=True, slots=True)
class Bracket:
    """How far the search of a policy has come, over all seeds.

    Attributes:
        policy: the policy's label.
        holds_at: lowest, over the seeds, of the highest load that is known to hold; None without one.
        misses_at: highest, over the seeds, of the lowest load that is known to miss; None without one.
    """

    policy: str
    holds_at: float | None
    misses_at: float | None


class CapacityObserver(CompareObserver, Protocol):
    """Follows the progress of a capacity. `planned` is called once, before the first probe, with no runs."""

    def searching(self, probes: int, most_left: int, brackets: Sequence[Bracket]) -> None:
        """`probes` more runs begin; with them, at most `most_left` are still needed."""


class UnobservedCapacity(Unobserved):
    """A CapacityObserver that does nothing."""

    def searching(self, probes: int, most_left: int, brackets: Sequence[Bracket]) -> None: ...


@dataclass(frozen=True, slots=True)
class _Course:
    """What is known before the first probe."""

    ask: CapacityAsk
    plan: Plan
    specs: Sequence[PolicySpec]
    objective: Objective
    grid: LoadGrid
    seeds: tuple[int, ...]
    offered_per_s: float
    directory: Path
    settings: RunSettings

    def cell(self, spec: PolicySpec, seed: int, index: int) -> Cell:
        """The run of a policy on a seed at the load of this index."""
        load = self.grid.loads[index]
        settings = replace(self.settings, overrides=(*self.settings.overrides, *load_overrides(load)))
        path = self.directory / spec.folder / f"load-{load:g}" / f"seed-{seed}"
        return Cell(spec, self.seeds.index(seed), seed, path, settings, place=f"load x{load:g}")


def capacity(
    topology: Path,
    ask: CapacityAsk,
    options: Options,
    *,
    out: Path | None = None,
    observer: CapacityObserver | None = None,
) -> Capacity:
    """Find the highest load at which the objective holds, for every policy and seed.

    A load multiplies the tasks that all devices offer. All policies search on the same seeds. Complete runs in `out`
    (None: a new directory in runs/) are kept; a second call runs what is missing. The files are those of
    `capacity_files`.

    Decision 110: the objective is judged in each run, and the loads found are averaged over the seeds
    (docs/decisions/110-capacity-of-each-seed.md).

    Raises:
        InputError: topology, policies or options cannot be used, or `out` holds something else. Nothing has run.
        EnvironmentLacking: live runs without root.
        CellsInterrupted: Ctrl-C, SIGTERM or SIGHUP.
        TestbedError: a run failed.
    """
    if not options.in_other_processes:
        require_root()
    observer, specs = observer or UnobservedCapacity(), read_specs(ask.policies)
    objective = Objective(tuple(ask.objective))
    grid = LoadGrid.between(ask.search_from, ask.search_to, ask.precision)
    check_counts(len(specs) * ask.repeats, options.jobs)
    objective.check_policies([spec.label for spec in specs])
    check_rereadable(topology)
    with Interrupts() as interrupts:
        plan = check_plans(topology, specs, options, *load_overrides(grid.loads[grid.first]))
        plan = check_plans(topology, specs[:1], options)
        seeds = seeds_from(plan.scenario.seed, ask.repeats)
        offered_per_s = _offered(topology, plan, options, seeds)
        directory = out or new_directory(plan, "capacity")
        with own(directory, plan.original_text, MARKER):
            settings = settings_of(topology, plan, options)
            course = _Course(ask, plan, specs, objective, grid, seeds, offered_per_s, directory, settings)
            searches = {(spec.label, seed): LoadSearch(grid) for spec in specs for seed in seeds}
            rounds = _Rounds(course, options, observer, interrupts, searches)
            observer.planned(directory, 0, 0, options.jobs_in_use)
            completed = False
            try:
                completed = rounds.run()
            finally:  # also after an error: what is known by then
                result = _gather(course, searches, rounds.probes, complete=completed)
                write_files(result)
        if interrupts.wanted or not completed:
            raise CellsInterrupted(f"{len(rounds.probes)} probes", directory=directory)
    return result


def _offered(topology: Path, plan: Plan, options: Options, seeds: Sequence[int]) -> float:
    """Tasks that all devices offer at load 1, mean over the seeds [1/s]."""
    loaded = load_topology(topology, overrides=plan.overrides)
    rates = [
        sum(device.rate_per_s for device in loaded.resolve(seed=seed, duration_s=options.duration_s).devices)
        for seed in seeds
    ]
    return sum(rates) / len(rates)


@dataclass(slots=True)
class _Rounds:
    """The probes in rounds: all searches that are not over ask for one load each."""

    course: _Course
    options: Options
    observer: CapacityObserver
    interrupts: Interrupts
    searches: Mapping[Key, LoadSearch]
    probes: dict[tuple[Key, int], Probe] = field(default_factory=dict)

    def run(self) -> bool:
        """Probe until all searches are over; return False after an interrupt.

        Raises:
            TestbedError: a run failed.
        """
        if not self.options.in_other_processes:
            return self._run(None)
        with executor_for(self.options) as executor:
            return self._run(executor)

    def _run(self, executor: CellExecutor | None) -> bool:
        while wanted := self._wanted():
            missing = missing_of(list(wanted.values()))
            left = sum(search.most_left for search in self.searches.values())
            self.observer.searching(len(missing), left, _brackets(self.course, self.searches))
            self.interrupts.deferred = False
            completed = run_missing(missing, self.options, self.observer, self.interrupts, executor)
            for (key, index), cell in wanted.items():
                if is_complete(cell):
                    probe = self.probes[key, index] = _probe(self.course, key, index, cell)
                    self.searches[key].outcomes[index] = probe.holds
            if not completed or self.interrupts.wanted:
                return False
        return True

    def _wanted(self) -> dict[tuple[Key, int], Cell]:
        """The next probe of each search that is not over."""
        specs = {spec.label: spec for spec in self.course.specs}
        return {
            (key, index): self.course.cell(specs[key[0]], key[1], index)
            for key, search in self.searches.items()
            if (index := search.next()) is not None
        }


def _brackets(course: _Course, searches: Mapping[Key, LoadSearch]) -> list[Bracket]:
    found = []
    for spec in course.specs:
        ours = [search for (policy, _), search in searches.items() if policy == spec.label]
        holds = [course.grid.loads[each.holds] for each in ours if each.holds is not None]
        misses = [course.grid.loads[each.misses] for each in ours if each.misses is not None]
        found.append(Bracket(spec.label, min(holds, default=None), max(misses, default=None)))
    return found


def _probe(course: _Course, key: Key, index: int, cell: Cell) -> Probe:
    found = cell_figures(cell)
    return Probe(
        policy=key[0],
        seed=key[1],
        load=course.grid.loads[index],
        holds=course.objective.holds(found, key[0]),
        values=tuple(assertion.check(found.summary).value for assertion in course.objective.assertions),
        overloaded=found.overloaded,
        lost=int(found.summary.get("tasks", {}).get("lost") or 0),
        fidelity=found.fidelity,
        run_directory=str(cell.path.relative_to(course.directory)),
    )


def _gather(
    course: _Course,
    searches: Mapping[Key, LoadSearch],
    probes: Mapping[tuple[Key, int], Probe],
    *,
    complete: bool,
) -> Capacity:
    """The capacities, from the probes so far."""
    plan, assertions = course.plan, course.objective.assertions
    policies = tuple(spec.label for spec in course.specs)
    rows = sorted(probes.values(), key=lambda each: (policies.index(each.policy), each.load, each.seed))
    table = table_of(policies, course.seeds, searches, course.offered_per_s)
    return Capacity(
        directory=course.directory,
        topology=plan.scenario.name,
        topology_sha256=plan.topology_sha256,
        overrides=tuple(stated_overrides(plan.overrides)),
        mode=course.settings.mode,
        duration_s=plan.scenario.duration_s,
        warm_up_s=plan.scenario.warm_up_s,
        objective=tuple(assertion.text for assertion in assertions),
        paths=tuple(assertion.path for assertion in assertions),
        bounds=tuple(None if assertion.word is not None else assertion.bound for assertion in assertions),
        search_from=course.ask.search_from,
        search_to=course.ask.search_to,
        precision=course.ask.precision,
        offered_per_s=course.offered_per_s,
        seeds=course.seeds,
        policies=policies,
        stated=tuple(spec.text for spec in course.specs),
        complete=complete,
        table=table,
        probes=tuple(rows),
        notes=tuple(notes_on(table, rows, course.objective, course.seeds)),
    )
