"""`compare`: run what is missing of several policies on the same workloads, and compute the figures of all."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from node_agent.errors import TestbedError
from testbed.assertions import Assertion, Finding, policy_findings
from testbed.cells.batch import (
    FEW_REPEATS,
    CellsInterrupted,
    Options,
    check_counts,
    check_plans,
    check_rereadable,
    run_missing,
    seeds_from,
    settings_of,
)
from testbed.cells.cell import Cell, RunSettings, cells_of, is_complete, manifests, missing_of, read_summary
from testbed.cells.cluster.choice import ClusterChoice
from testbed.cells.execution import CompareObserver, Unobserved
from testbed.cells.policy_specs import PolicySpec, read_specs
from testbed.cells.result_directory import new_directory, own
from testbed.compare.recovery import Recovery, pooled, read_tasks, recoveries
from testbed.compare.result import Comparison, PolicyRecoveries
from testbed.compare.result_files import MARKER, write_files
from testbed.compare.table import (
    PolicyFigures,
    RunRow,
    aggregate,
    counting_runs,
    fidelity_notes,
    refusal_notes,
    row_of,
    utility_notes,
)
from testbed.live.experiment import require_root
from testbed.network.emulated import BackendChoice
from testbed.record.backlog import Tasks
from testbed.record.earlier import is_before_new_names
from testbed.record.run_directory import TRACE
from testbed.run.interrupts import Interrupts
from testbed.scenario import Scenario
from testbed.topology.overrides import Override, as_overrides


def compare(
    topology: Path, policies: Sequence[str], *,
    repeats: int,
    simulate: bool = False,
    duration_s: float | None = None,
    seed: int | None = None,
    model: str | None = None, cut: Sequence[int] | None = None, criterion: str | None = None,
    out: Path | None = None, jobs: int | None = None, backend: BackendChoice = "auto",
    observer: CompareObserver | None = None, include_unheld: bool = False, cluster: ClusterChoice | None = None,
    overrides: Sequence[Override | str] = (), assertions: Sequence[Assertion] = (),
) -> Comparison:  # fmt: skip
    """Run every policy on the same `repeats` workloads; return the figures, with each policy compared to the first.

    All runs of a repeat have the same drawn network, arrivals, samples and events. Complete runs in `out` (None: a new
    directory in runs/) are kept; a second call runs what is missing. The files are those of `result_files`.

    Args:
        topology: path; `duration_s` (emulated), `seed`, `model`, `cut` and `criterion` replace its own; repeat r adds r
            to the seed.
        policies: each `name`, `name:key=value,key=value` or `file.py:Class`; `label=TEXT` names it in the results.
        simulate: in virtual time, `jobs` at a time (None: one per core); otherwise live, as root, by `backend`.
        observer: follows the progress; None shows nothing.
        include_unheld: True also counts live runs whose emulation did not hold.
        overrides: what replaces values of the topology in all runs; texts are KEY=VALUE.
        assertions: bounds on the figures of every policy, or of one; their outcomes are in the result.
        cluster: the machines that carry out the runs; None is this one.

    Raises:
        InputError: topology, policies or options cannot be used, or `out` holds something else. Nothing has run.
        EnvironmentLacking: a live comparison without root, or a cluster that cannot be used.
        CellsInterrupted: Ctrl-C, SIGTERM or SIGHUP.
        TestbedError: a run failed.
    """
    options = Options(
        simulate, duration_s, seed, model, cut, criterion, as_overrides(overrides), jobs, backend, cluster
    )
    if not options.in_other_processes:
        require_root()
    observer, specs = observer or Unobserved(), read_specs(policies)
    check_counts(repeats * len(specs), jobs)
    check_rereadable(topology)
    with Interrupts() as interrupts:
        first = check_plans(topology, specs, options)
        seeds = seeds_from(first.scenario.seed, repeats)
        directory = out or new_directory(first, "compare")
        with own(directory, first.original_text, MARKER):
            settings = settings_of(topology, first, options)
            cells = cells_of(specs, seeds, directory, settings)
            missing = missing_of(cells)
            observer.planned(directory, len(cells), len(cells) - len(missing), options.jobs_in_use)
            try:
                completed = run_missing(missing, options, observer, interrupts)
            finally:  # also after an error: the figures of the complete runs
                present = [cell for cell in cells if is_complete(cell)]
                facts = directory, first.scenario, settings, specs, seeds
                comparison = _gather(*facts, present, assertions, include_unheld=include_unheld)
                write_files(comparison)
        if interrupts.wanted or not completed:
            raise CellsInterrupted(f"{len(present)} of {len(cells)} runs", directory=directory)
    return comparison


def _gather(
    directory: Path,
    scenario: Scenario,
    settings: RunSettings,
    specs: Sequence[PolicySpec],
    seeds: tuple[int, ...],
    present: Sequence[Cell],
    assertions: Sequence[Assertion],
    *,
    include_unheld: bool,
) -> Comparison:
    """The figures of the complete runs `present`."""
    found = dict(manifests(present))
    _check_pairs(found)
    names = tuple(spec.label for spec in specs)
    rows: list[RunRow] = []
    recovered: dict[str, tuple[Recovery, ...]] = {}
    findings: list[Finding] = []
    for name in names:
        cells = sorted((cell for cell in present if cell.spec.label == name), key=lambda cell: cell.repeat)
        runs = [(cell, read_summary(cell), read_tasks(cell.path)) for cell in cells]
        own_rows = [_row(directory, scenario, *run) for run in runs]
        rows += own_rows
        if runs and scenario.incidents:
            recovered[name] = recoveries(pooled([tasks for _, _, tasks in runs]), scenario)
        summaries = [summary for _, summary, _ in runs]
        counting = counting_runs(own_rows, summaries, include_unheld=include_unheld)
        findings += policy_findings(assertions, name, summaries, counting)
    table = aggregate(rows, names, include_unheld=include_unheld)
    return Comparison(
        directory=directory,
        topology=scenario.name,
        topology_sha256=settings.topology_sha256,
        mode=settings.mode,
        duration_s=scenario.duration_s,
        warm_up_s=scenario.warm_up_s,
        theta_s=scenario.theta_s,
        seeds=seeds,
        policies=names,
        stated=tuple(spec.text for spec in specs),
        complete=len(present) == len(specs) * len(seeds),
        rows=tuple(rows),
        table=table,
        recoveries=tuple(
            PolicyRecoveries(one.policy, one.overloaded, recovered[one.policy])
            for one in table
            if one.policy in recovered
        ),
        notes=(
            *_notes(table, len(seeds), list(found.values())),
            *utility_notes(scenario.utility),
            *fidelity_notes(table),
        ),
        assertions=tuple(findings),
    )


def _row(directory: Path, scenario: Scenario, cell: Cell, summary: Mapping[str, Any], tasks: Tasks) -> RunRow:
    """The row of a complete run."""
    place = str(cell.path.relative_to(directory))
    return row_of(
        summary, tasks, policy=cell.spec.label, repeat=cell.repeat, seed=cell.seed, run_directory=place,
        duration_s=scenario.duration_s,
    )  # fmt: skip


def _check_pairs(found: Mapping[Cell, Mapping[str, Any]]) -> None:
    """Raise TestbedError unless all policies had the same workload trace in each repeat."""
    traces: dict[int, str] = {}
    for cell, manifest in found.items():
        trace = manifest["inputs_sha256"][TRACE]
        if traces.setdefault(cell.seed, trace) != trace:
            raise TestbedError(
                f"{cell.path}: its trace differs from that of the other policies with seed {cell.seed}",
                hint="the runs may come from different versions; compare again in a new directory",
            )


def _notes(table: Sequence[PolicyFigures], repeats: int, manifests: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Sentences that a reader of the figures must know."""
    if len(table) == 1:
        yield "one policy only: nothing to compare it with; name others after it: -p dto-ee,computing-first"
    if repeats == 1:
        yield "one repeat only: no intervals"
    elif repeats < FEW_REPEATS:
        yield f"intervals from {repeats} repeats are rough, and rather too narrow"
    over = [f"{one.policy} ({one.overloaded_runs} of {one.runs} runs)" for one in table if one.overloaded]
    if over:
        yield f"overloaded, and excluded from averages and differences: {', '.join(over)}"
    if table[0].overloaded and len(table) > 1:
        yield f"no differences: {table[0].policy}, with which the others are compared, is overloaded"
    yield from refusal_notes(table)
    for field in ("answers", "costs", "criterion", "labels"):
        if stated := {str(manifest[field]) for manifest in manifests if manifest.get(field)}:
            yield f"{field}: {', '.join(sorted(stated))}"
    if any(is_before_new_names(manifest) for manifest in manifests):
        yield "recorded by a version before 0.2: dto-ee is what is now dto-ee-static, and tasks were drawn by the row"
    if len({str((manifest.get("git_commit"), manifest.get("versions"))) for manifest in manifests}) > 1:
        yield "the runs were made by different versions of this program or its libraries"
