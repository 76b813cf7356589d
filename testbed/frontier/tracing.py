"""`frontier`: run what is missing of several policies over theta or thresholds, and compute their frontiers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from node_agent.errors import InputError
from testbed.cells.batch import (
    CellsInterrupted,
    Options,
    check_counts,
    check_plans,
    check_rereadable,
    run_missing,
    seeds_from,
    settings_of,
)
from testbed.cells.cell import Cell, RunSettings, is_complete, missing_of
from testbed.cells.cell_figures import cell_figures
from testbed.cells.execution import CompareObserver, Unobserved, default_jobs
from testbed.cells.policy_specs import PolicySpec, read_specs
from testbed.cells.result_directory import new_directory, own
from testbed.frontier.certified import BoundTask, Certified, bound_tasks, compute_bounds, kept
from testbed.frontier.frontier_files import MARKER, write_files
from testbed.frontier.frontier_result import Frontier, FrontierRun
from testbed.frontier.pareto_points import (
    BOUNDED,
    bounds_of,
    compared_points,
    leads_of,
    notes_on,
    points_of,
    with_bounds,
)
from testbed.frontier.point_spacing import spacing_notes
from testbed.frontier.settings import (
    MOST_POINTS,
    Setting,
    check_thetas,
    check_thresholds,
    default_thetas,
    default_thresholds,
    settings_for,
)
from testbed.live.experiment import require_root
from testbed.record.run_figures import BY_NAME, FIGURES, Figure
from testbed.run.interrupts import Interrupts
from testbed.run.plan import Plan
from testbed.topology.overrides import stated_overrides

POINTS = 7


class FrontierObserver(CompareObserver, Protocol):
    """Follows the progress of a frontier."""

    def bounding(self, bounds: int, kept: int) -> None:
        """The runs are complete; there are `bounds` bounds of `optimum`, of which `kept` are known already."""

    def bounded(self) -> None:
        """A bound has become known."""


class UnobservedFrontier(Unobserved):
    """A FrontierObserver that does nothing."""

    def bounding(self, bounds: int, kept: int) -> None: ...

    def bounded(self) -> None: ...


@dataclass(frozen=True, slots=True)
class FrontierAsk:
    """The request for a frontier.

    Attributes:
        policies: each `name`, `name:key=value,key=value` or `file.py:Class`; `label=TEXT` names it in the results.
        repeats: number of seeds.
        figure: short name of the figure against which accuracy is shown.
        points: number of values of theta, and of thresholds, that are not stated.
        thetas_s: theta [s]; None takes values around the topology's.
        thresholds: 0..1; None takes values that fit the model.
        bounds: compute the bounds of `optimum`, if the figure is the mean delay.
    """

    policies: Sequence[str]
    repeats: int
    figure: str = BOUNDED
    points: int = POINTS
    thetas_s: Sequence[float] | None = None
    thresholds: Sequence[float] | None = None
    bounds: bool = True


@dataclass(frozen=True, slots=True)
class _Course:
    """All that is known before the first run."""

    plan: Plan
    specs: Sequence[PolicySpec]
    settings: Sequence[Setting]
    thetas_s: tuple[float, ...]
    thresholds: tuple[float, ...]
    seeds: tuple[int, ...]
    figure: Figure


def frontier(
    topology: Path,
    ask: FrontierAsk,
    options: Options,
    *,
    out: Path | None = None,
    observer: FrontierObserver | None = None,
    include_unheld: bool = False,
) -> Frontier:
    """Run every policy at each of its values on the same seeds; return the frontiers, compared with the first policy's.

    All runs of a repeat have the same drawn network, arrivals, samples and events. Complete runs in `out` (None: a new
    directory in runs/) are kept; a second call runs what is missing. The files are those of `frontier_files`.

    Raises:
        InputError: topology, policies or options cannot be used, or `out` holds something else. Nothing has run.
        EnvironmentLacking: live runs without root.
        CellsInterrupted: Ctrl-C, SIGTERM or SIGHUP.
        TestbedError: a run failed, or a bound cannot be computed.
    """
    if not options.in_other_processes:
        require_root()
    figure = cost_figure(ask.figure)
    observer, specs = observer or UnobservedFrontier(), read_specs(ask.policies)
    check_rereadable(topology)
    with Interrupts() as interrupts:
        course = _course(topology, ask, options, specs, figure)
        directory = out or new_directory(course.plan, "frontier")
        with own(directory, course.plan.original_text, MARKER):
            shared = settings_of(topology, course.plan, options)
            cells = _cells(course, shared, directory)
            bounding = ask.bounds and figure.name == BOUNDED
            tasks = bound_tasks(directory, shared, options, course.thetas_s, course.seeds) if bounding else []
            missing = missing_of([cell for _, cell in cells])
            observer.planned(directory, len(cells), len(cells) - len(missing), options.jobs_in_use)
            completed = False
            try:
                completed = run_missing(missing, options, observer, interrupts)
                if completed and not interrupts.wanted:
                    completed = _bound(tasks, options, observer, interrupts)
            finally:  # also after an error: the figures of the complete runs
                present = [(setting, cell) for setting, cell in cells if is_complete(cell)]
                optima = [found for task in tasks if (found := kept(task)) is not None]
                complete = len(present) == len(cells) and len(optima) == len(tasks)
                result = _gather(directory, course, present, optima, complete=complete, include_unheld=include_unheld)
                write_files(result)
        if interrupts.wanted or not completed:
            done = f"{len(present)} of {len(cells)} runs" + (
                f" and {len(optima)} of {len(tasks)} bounds" if tasks else ""
            )
            raise CellsInterrupted(done, directory=directory)
    return result


def _course(topology: Path, ask: FrontierAsk, options: Options, specs: Sequence[PolicySpec], figure: Figure) -> _Course:
    """Plan all runs. Raises InputError if topology, policies or options cannot be used."""
    plan = check_plans(topology, specs, options)
    thetas_s, thresholds = _values(ask, plan)
    settings = [one for spec in specs for one in settings_for(spec, thetas_s, thresholds)]
    check_counts(len(settings) * ask.repeats, options.jobs)
    first = {setting.policy: setting for setting in reversed(settings) if setting.parameter is not None}
    for setting in first.values():
        check_plans(topology, [setting.spec], options, *setting.overrides)
    return _Course(plan, specs, settings, thetas_s, thresholds, seeds_from(plan.scenario.seed, ask.repeats), figure)


def cost_figure(name: str) -> Figure:
    """The figure of this short name. Raises InputError unless there is one, and lower is better."""
    usable = [each.name for each in FIGURES if each.better == "lower"]
    if name not in usable:
        what = f"no frontier against {name}: higher is better, or neither" if name in BY_NAME else f"no figure {name!r}"
        raise InputError(what, hint=f"choose one of {', '.join(usable)}")
    return BY_NAME[name]


def _values(ask: FrontierAsk, plan: Plan) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The values of theta [s] and of the threshold."""
    if not 1 <= ask.points <= MOST_POINTS:
        raise InputError(f"{ask.points} points for each policy", hint=f"1 to {MOST_POINTS}")
    thetas_s = default_thetas(plan.scenario, ask.points) if ask.thetas_s is None else check_thetas(ask.thetas_s)
    if ask.thresholds is not None:
        return thetas_s, check_thresholds(ask.thresholds)
    return thetas_s, default_thresholds(plan.scenario, plan.model, ask.points)


def _cells(course: _Course, shared: RunSettings, directory: Path) -> list[tuple[Setting, Cell]]:
    """All runs, in the order in which they are carried out, which rotates over the settings from seed to seed."""
    settings = course.settings
    return [
        (
            setting,
            Cell(
                setting.spec, repeat, seed, directory / setting.spec.folder / setting.folder / f"seed-{seed}",
                replace(shared, overrides=(*shared.overrides, *setting.overrides)), place=setting.place,
            ),
        )
        for repeat, seed in enumerate(course.seeds)
        for setting in (*settings[repeat % len(settings) :], *settings[: repeat % len(settings)])
    ]  # fmt: skip


def _bound(tasks: Sequence[BoundTask], options: Options, observer: FrontierObserver, interrupts: Interrupts) -> bool:
    """Compute the bounds that are missing; return False after an interrupt."""
    missing = [task for task in tasks if kept(task) is None]
    if not tasks:
        return True
    observer.bounding(len(tasks), len(tasks) - len(missing))
    interrupts.deferred = False
    return compute_bounds(missing, options.jobs or default_jobs(), lambda _: observer.bounded(), interrupts)


def _gather(
    directory: Path,
    course: _Course,
    present: Sequence[tuple[Setting, Cell]],
    optima: Sequence[Certified],
    *,
    complete: bool,
    include_unheld: bool,
) -> Frontier:
    """The figures of the complete runs `present` and of the bounds `optima`."""
    plan, settings, figure, seeds = course.plan, course.settings, course.figure, course.seeds
    order = {(setting.policy, setting.value): number for number, setting in enumerate(settings)}
    in_order = sorted(present, key=lambda one: (order[one[0].policy, one[0].value], one[1].repeat))
    rows = [_run_of(setting, cell, directory) for setting, cell in in_order]
    points = points_of(rows, settings, figure, include_unheld=include_unheld)
    bounds = bounds_of(optima, seeds)
    by_policy, by_ratio = compared_points(points, rows, figure, optima, include_unheld=include_unheld)
    return Frontier(
        directory=directory,
        topology=plan.scenario.name,
        topology_sha256=plan.topology_sha256,
        overrides=tuple(stated_overrides(plan.overrides)),
        mode="simulated" if present and present[0][1].settings.simulate else "live",
        duration_s=plan.scenario.duration_s,
        warm_up_s=plan.scenario.warm_up_s,
        theta_s=plan.scenario.theta_s,
        figure=figure.name,
        seeds=seeds,
        policies=tuple(spec.label for spec in course.specs),
        stated=tuple(spec.text for spec in course.specs),
        thetas_s=course.thetas_s,
        thresholds=course.thresholds,
        complete=complete,
        rows=tuple(rows),
        points=with_bounds(points, bounds),
        leads=leads_of(by_policy, by_ratio=by_ratio),
        bounds=bounds,
        optima=tuple(optima),
        notes=(*notes_on(points, rows, seeds, figure), *spacing_notes(by_policy, by_ratio=by_ratio)),
    )


def _run_of(setting: Setting, cell: Cell, directory: Path) -> FrontierRun:
    found = cell_figures(cell)
    return FrontierRun(
        policy=setting.policy,
        parameter=setting.parameter,
        value=setting.value,
        seed=cell.seed,
        run_directory=str(cell.path.relative_to(directory)),
        overloaded=found.overloaded,
        fidelity=found.fidelity,
        figures=found.figures,
    )
