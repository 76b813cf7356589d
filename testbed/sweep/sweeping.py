"""`sweep`: run policies at every point of a grid or sample of values, and compute the figures of all."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from node_agent.errors import InputError, TestbedError
from testbed.cells.batch import (
    CellsInterrupted,
    Options,
    check_counts,
    check_rereadable,
    run_missing,
    seeds_from,
)
from testbed.cells.cell import Cell, is_complete, missing_of
from testbed.cells.cluster.choice import ClusterChoice
from testbed.cells.execution import CompareObserver, Unobserved
from testbed.cells.policy_specs import read_specs
from testbed.cells.result_directory import new_directory, own
from testbed.live.experiment import require_root
from testbed.network.emulated import BackendChoice
from testbed.run.interrupts import Interrupts
from testbed.sweep.axis import KeyAxis, axis_of, parse_axis
from testbed.sweep.cell_layout import OWN, SweepPlan, plan_sweep
from testbed.sweep.design import DesignPoint, check_axes, grid, sample
from testbed.sweep.point_figures import Failures, gather
from testbed.sweep.sweep_files import MARKER, write_files
from testbed.sweep.sweep_picture import default_plots, parse_plot
from testbed.sweep.sweep_result import Sweep
from testbed.topology.overrides import Override, as_overrides

CLASHES = {
    "duration_s": ("duration",),
    "model": ("model.name", "model.file", "model.table"),
    "cut": ("model.cut",),
    "criterion": ("model.criterion",),
}
"""Options that would replace what these keys state."""


def sweep(
    topology: Path,
    values: Sequence[str] | Mapping[str, Sequence[object] | str],
    policies: Sequence[str] = (),
    *,
    repeats: int = 5, sample_points: int | None = None,
    simulate: bool = False, duration_s: float | None = None, seed: int | None = None,
    model: str | None = None, cut: Sequence[int] | None = None, criterion: str | None = None,
    out: Path | None = None, jobs: int | None = None, backend: BackendChoice = "auto",
    cluster: ClusterChoice | None = None, observer: CompareObserver | None = None, include_unheld: bool = False,
    overrides: Sequence[Override | str] = (), plots: Sequence[str] = (),
) -> Sweep:  # fmt: skip
    """Run every policy at every point on the same `repeats` workloads; return the figures of all.

    Complete runs in `out` (None: a new directory in runs/) are kept; a second call runs what is missing or failed. A
    run that fails does not end the sweep: it is in `failed` of the result. The files are those of `sweep_files`.

    Args:
        topology: path; `duration_s`, `seed`, `model`, `cut`, `criterion` replace its own; repeat r adds r to the seed.
        values: KEY=V1,V2,... as `sweep --set` takes them, or lists of values by key.
        policies: as for `compare`; empty for the topology's own.
        sample_points: draw this number of points as a Latin hypercube; None takes all combinations.
        simulate: in virtual time, `jobs` at a time (None: one per core); otherwise live, as root, by `backend`.
        cluster: the machines that carry out the runs; None is this one.
        observer: follows the progress; None shows nothing.
        include_unheld: True also counts live runs whose emulation did not hold.
        overrides: what replaces values of the topology at all points; texts are KEY=VALUE.
        plots: pictures to draw, KEY:FIGURE or FIGURE each; empty for the default ones.

    Raises:
        InputError: an argument cannot be used, or `out` holds something else; nothing has run.
        EnvironmentLacking: a live sweep without root, or a cluster that cannot be used.
        CellsInterrupted: Ctrl-C, SIGTERM or SIGHUP.
    """
    options = Options(
        simulate, duration_s, seed, model, cut, criterion, as_overrides(overrides), jobs, backend, cluster
    )
    if not options.in_other_processes:
        require_root()
    axes = read_axes(values)
    chosen = [parse_plot(text, axes) for text in plots] or default_plots(axes)
    specs = read_specs(policies) if policies else (OWN,)
    _check_clashes(axes, options)
    check_counts(repeats, jobs)
    check_rereadable(topology)
    with Interrupts() as interrupts:
        planned = plan_sweep(topology, axes, _points(topology, axes, sample_points, options), specs, options)
        seeds = seeds_from(planned.first.scenario.seed, repeats)
        directory = out or new_directory(planned.first, "sweep")
        plan = planned.lay_out(axes, seeds, directory)
        with own(directory, plan.first.original_text, MARKER):
            end = _carry_out(plan, options, observer or Unobserved(), interrupts, directory)
            found = gather(
                directory, plan, axes, options, end.present, end.failures, seeds=seeds,
                sampled=sample_points is not None, include_unheld=include_unheld,
            )  # fmt: skip
            result = write_files(found, chosen)
        if interrupts.wanted or not end.reached:
            raise CellsInterrupted(f"{len(end.present)} of {len(plan.cells)} runs", directory=directory)
    return result


def read_axes(values: Sequence[str] | Mapping[str, Sequence[object] | str]) -> tuple[KeyAxis, ...]:
    """Return the axes that are stated. Raises InputError if they cannot be swept."""
    if isinstance(values, Mapping):
        axes = tuple(axis_of(key, listed) for key, listed in values.items())
    else:
        axes = tuple(parse_axis(text) for text in values)
    check_axes(axes)
    return axes


def _points(topology: Path, axes: Sequence[KeyAxis], count: int | None, options: Options) -> tuple[DesignPoint, ...]:
    if count is None:
        return grid(axes)
    seed = options.seed
    if seed is None:
        from testbed.topology import load_topology  # noqa: PLC0415 - only here

        seed = load_topology(topology, overrides=options.overrides).resolve().seed
    return sample(axes, count, seed)


class _End(NamedTuple):
    """The end of all runs: False after an interrupt; directories of the complete runs; failures."""

    reached: bool
    present: set[Path]
    failures: Failures


def _carry_out(
    plan: SweepPlan, options: Options, observer: CompareObserver, interrupts: Interrupts, directory: Path
) -> _End:
    missing, failures = missing_of(plan.cells), Failures()
    observer.planned(directory, len(plan.cells), len(plan.cells) - len(missing), options.jobs_in_use)

    def note(cell: Cell, error: TestbedError) -> None:
        failures[cell.path] = str(error).removeprefix(f"{cell.name}: "), error.hint

    reached = run_missing(missing, options, observer, interrupts, failed=note)
    present = {cell.path for cell in plan.cells} - {cell.path for cell in missing}
    present |= {cell.path for cell in missing if cell.path not in failures and is_complete(cell)}
    return _End(reached, present, failures)


def _check_clashes(axes: Sequence[KeyAxis], options: Options) -> None:
    """Raise InputError if an option replaces what an axis states."""
    fixed = {each.key for each in options.overrides}
    for axis in axes:
        if axis.key in fixed:
            raise InputError(f"{axis.key} is swept and has a value for all points", hint="keep one of the two")
        for option, keys in CLASHES.items():
            if axis.key in keys and getattr(options, option) is not None:
                name = option.removesuffix("_s")
                raise InputError(f"{axis.key} is swept, but --{name} replaces it", hint=f"leave out --{name}")
