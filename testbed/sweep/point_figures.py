"""The figures of a sweep, from the directories of its complete runs."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from node_agent.errors import TestbedError
from testbed.cells.batch import FEW_REPEATS, Options
from testbed.cells.cell import Cell, read_summary
from testbed.compare.table import RunRow, aggregate, row_of
from testbed.record.run_directory import TRACE, read_manifest
from testbed.sweep.axis import KeyAxis, measured
from testbed.sweep.cell_layout import SweepPlan
from testbed.sweep.sweep_result import FailedRun, Sweep, SweepPoint, SweepRow, SweptKey
from testbed.topology.overrides import stated_overrides
from testbed.units import DIMENSIONS

Failures = dict[Path, tuple[str, str]]
"""Message and hint of each run that failed, by its directory."""


def gather(
    directory: Path,
    plan: SweepPlan,
    axes: Sequence[KeyAxis],
    options: Options,
    present: set[Path],
    failures: Failures,
    *,
    seeds: tuple[int, ...],
    sampled: bool,
    include_unheld: bool,
) -> Sweep:
    """Return the figures of the complete runs, whose directories are `present`, and the failures of this command.

    Raises:
        TestbedError: policies at a point had different workloads.
    """
    keys = tuple(swept_key(axis, [point.values[number] for point in plan.points]) for number, axis in enumerate(axes))
    names = tuple(spec.label for spec in plan.specs)
    manifests = {str(path.relative_to(directory)): read_manifest(path) for path in sorted(present)}
    reader = _Reader(directory, present, failures)
    points: list[SweepPoint] = []
    rows: list[SweepRow] = []
    for number, point in enumerate(plan.points):
        stated = dict(zip((key.key for key in keys), point.values, strict=True))
        values = {key.key: _value(key, stated[key.key]) for key in keys}
        here = [row for name in names for row in reader.rows(plan.cells_at[number, name], name)]
        lost = {name: count for name in names if (count := reader.lost(plan.cells_at[number, name], number, values))}
        _check_pairs(here, manifests)
        table = aggregate(here, names, include_unheld=include_unheld)
        points.append(SweepPoint(number, values, stated, len(seeds), lost, table))
        rows += [SweepRow(number, values, row) for row in here]
    return Sweep(
        directory=directory,
        topology=plan.first.scenario.name,
        topology_sha256=plan.first.topology_sha256,
        mode="simulated" if options.simulate else "live",
        sampled=len(plan.points) if sampled else None,
        seeds=seeds,
        policies=names,
        stated=tuple(spec.text for spec in plan.specs),
        overrides=tuple(stated_overrides(options.overrides)),
        keys=keys,
        complete=len(present) == len(plan.cells),
        points=tuple(points),
        rows=tuple(rows),
        failed=tuple(reader.failed.values()),
        notes=tuple(_notes(points, len(seeds), list(manifests.values()), len(plan.cells) - len(present))),
    )


class _Reader:
    """Reads complete runs, each once, and lists those that failed."""

    def __init__(self, directory: Path, present: set[Path], failures: Failures) -> None:
        self._directory, self._present, self._failures = directory, present, failures
        self._read: dict[Path, RunRow] = {}
        self.failed: dict[Path, FailedRun] = {}

    def rows(self, cells: Sequence[Cell], policy: str) -> Iterator[RunRow]:
        """The figures of those that are complete."""
        for cell in cells:
            if cell.path in self._present:
                if cell.path not in self._read:
                    run, length_s = str(cell.path.relative_to(self._directory)), cell.settings.duration_s
                    self._read[cell.path] = row_of(
                        read_summary(cell), None, policy=policy, repeat=cell.repeat, seed=cell.seed, run_directory=run,
                        duration_s=length_s,
                    )  # fmt: skip
                yield self._read[cell.path]

    def lost(self, cells: Sequence[Cell], point: int, values: Mapping[str, float | str]) -> int:
        """The number of those that failed."""
        lost = [cell for cell in cells if cell.path in self._failures]
        for cell in lost:
            run = str(cell.path.relative_to(self._directory))
            found = FailedRun(point, values, cell.spec.label, cell.seed, run, *self._failures[cell.path])
            self.failed.setdefault(cell.path, found)
        return len(lost)


def swept_key(axis: KeyAxis, drawn: Sequence[str]) -> SweptKey:
    """Return a key with its values; `drawn` are those of a sample, by point."""
    stated = axis.values if axis.interval is None else tuple(drawn)
    found = [measured(value) for value in stated]
    units = {each[1] for each in found if each is not None}
    if None in found or len(units) != 1:
        return SweptKey(axis.key, None, "", 1.0, stated)
    unit = units.pop()
    shown, factor = _shown(stated, unit)
    return SweptKey(axis.key, unit, shown, factor, stated)


def _shown(stated: Sequence[str], unit: str) -> tuple[str, float]:
    """The unit that all values state, and the factor from the base unit to it; else the base unit."""
    sizes = {name: size for dimension in DIMENSIONS for name, size in dimension.units.items()}
    found = {name for text in stated for name in sizes if text.endswith(name) and measured(f"1 {name}")}
    longest = {max((name for name in found if text.endswith(name)), key=len, default="") for text in stated}
    if len(longest) != 1 or not (name := longest.pop()):
        return unit, 1.0
    return name, 1.0 / sizes[name]


def _value(key: SweptKey, stated: str) -> float | str:
    found = measured(stated)
    return stated if key.unit is None or found is None else found[0]


def _check_pairs(rows: Sequence[RunRow], manifests: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise TestbedError unless all policies had the same workload in each repeat."""
    traces: dict[int, str] = {}
    for row in rows:
        trace = manifests[row.run_directory]["inputs_sha256"][TRACE]
        if traces.setdefault(row.seed, trace) != trace:
            raise TestbedError(
                f"{row.run_directory}: its trace differs from that of the other policies with seed {row.seed}",
                hint="the runs may come from different versions; sweep again in a new directory",
            )


def _notes(
    points: Sequence[SweepPoint], repeats: int, manifests: Sequence[Mapping[str, Any]], missing: int
) -> Iterator[str]:
    """Sentences that a reader of the figures must know."""
    if repeats == 1:
        yield "one repeat only: no intervals"
    elif repeats < FEW_REPEATS:
        yield f"intervals from {repeats} repeats are rough, and rather too narrow"
    every = [(point, one) for point in points for one in point.table]
    if over := sum(one.overloaded for _, one in every):
        yield f"overloaded at {over} of {len(every)} places (a policy at a point): no means there"
    unheld, left_out = sum(one.unheld_runs for _, one in every), sum(one.left_out for _, one in every)
    if unheld:
        what = "are in no mean (--include-unheld counts them)" if left_out else "count, too"
        yield f"* the emulation did not hold in {unheld} runs, which {what}; the fidelity in each summary.json says why"
    failed = sum(sum(point.failed.values()) for point in points)
    if failed:
        yield f"† {failed} runs failed, and are in no mean; the same command with --out tries them again"
    if missing > failed:
        yield f"{missing - failed} runs are missing"
    shares = {(point.point, one.refused / one.offered) for point, one in every if one.offered}
    if len(shares) > len(points):
        yield (
            "policies refused different shares of the tasks: delay and accuracy are those of admitted tasks; compare "
            "goodput, too"
        )
    for field in ("answers", "costs", "criterion", "labels"):
        if stated := {str(manifest[field]) for manifest in manifests if manifest.get(field)}:
            yield f"{field}: {', '.join(sorted(stated))}"
    if len({str((manifest.get("git_commit"), manifest.get("versions"))) for manifest in manifests}) > 1:
        yield "the runs were made by different versions of this program or its libraries"
