"""The figures of a comparison: a row per run, and per policy means with intervals and the first policy's advantage."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from testbed.cells.intervals import Estimate, estimate
from testbed.record.backlog import Tasks, overload
from testbed.record.run_figures import FIGURES, Figure, figures_of
from testbed.scenario import UtilityOf


@dataclass(frozen=True, slots=True)
class RunRow:
    """The figures of a run; a figure over no task is None.

    Attributes:
        policy: the policy's label.
        repeat: number of the repeat, from 0.
        seed: of the run.
        run_directory: relative to the directory of the comparison.
        overloaded: true if tasks piled up.
        outstanding_s: arrivals that were outstanding when the workload ended [emulated s].
        offered: number of tasks offered.
        completed: number of tasks completed.
        lost: number of tasks lost.
        refused: number of tasks that devices refused.
        counted: number of completed tasks created after the warm-up, over which the figures below are taken.
        delay_mean_s: mean delay [emulated s].
        delay_p50_s: median of the delay [emulated s].
        delay_p95_s: 95 % quantile of the delay [emulated s].
        delay_p99_s: 99 % quantile of the delay [emulated s].
        accuracy: share of right answers, 0..1.
        goodput: share of all tasks created after the warm-up that got a right answer, 0..1; None in runs of earlier
            versions.
        figures: all figures of `testbed.record.run_figures`, by short name; times in seconds.
        exit_share: share of tasks that left at stage h, 0..1, at index h - 1.
        utility_s: theta * accuracy - mean delay [s].
        fidelity: verdict on the emulation: held, strained, broken, unknown; None for a simulation.
    """

    policy: str
    repeat: int
    seed: int
    run_directory: str
    overloaded: bool
    outstanding_s: float
    offered: int
    completed: int
    lost: int
    counted: int
    delay_mean_s: float | None
    delay_p50_s: float | None
    delay_p95_s: float | None
    delay_p99_s: float | None
    accuracy: float | None
    exit_share: tuple[float | None, ...]
    utility_s: float | None
    fidelity: str | None = None
    refused: int = 0
    goodput: float | None = None
    figures: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def unheld(self) -> bool:
        """True for a live run whose emulation is not known to have held."""
        return self.fidelity not in (None, "held")


@dataclass(frozen=True, slots=True)
class Advantage:
    """The advantage of the first policy over another on the same workloads: means of the differences in each repeat.

    A positive figure means that the first policy is better.
    """

    delay_reduction: Estimate  # 1 - (mean delay of the first) / (mean delay of the other)
    accuracy_gain: Estimate  # first - other; 0.01 is one point
    utility_gain_s: Estimate  # first - other [s]
    goodput_gain: Estimate | None = None  # first - other; 0.01 is one point; None with runs of earlier versions
    in_time_gain: Estimate | None = None  # of tasks right and in time: first - other; None without deadlines


@dataclass(frozen=True, slots=True)
class PolicyFigures:
    """The figures of a policy over all its runs.

    If any run was overloaded, the figures are None: an average of the others alone would flatter the policy.
    """

    policy: str  # its label
    runs: int  # number of its runs
    overloaded_runs: int  # number of those that were overloaded
    offered: int  # tasks offered in all runs
    lost: int  # tasks lost in all runs
    delay_mean_s: Estimate | None  # mean delay [s]
    delay_p95_s: Estimate | None  # 95 % quantile of the delay [s]
    accuracy: Estimate | None  # share of right answers, 0..1
    utility_s: Estimate | None  # theta * accuracy - mean delay [s]
    exit_share: tuple[Estimate | None, ...]  # share of tasks that left at stage h, 0..1, at index h - 1
    first_ahead_by: Advantage | None  # None for the first itself, and where one of the two is overloaded
    unheld_runs: int = 0  # number of live runs whose emulation did not hold
    left_out: int = 0  # number of those that are in no figure but the counts
    refused: int = 0  # tasks that devices refused, in all runs
    goodput: Estimate | None = None  # share of all tasks that got a right answer, 0..1
    # All figures of `testbed.record.run_figures`, by short name; None where a run has none.
    figures: Mapping[str, Estimate | None] = field(default_factory=dict)

    @property
    def overloaded(self) -> bool:
        """True if any of its runs was overloaded."""
        return self.overloaded_runs > 0


def row_of(
    summary: Mapping[str, Any],
    tasks: Tasks | None,
    *,
    policy: str,
    repeat: int,
    seed: int,
    run_directory: str,
    duration_s: float,
) -> RunRow:
    """The row of a complete run, from the content of its summary.json and its tasks.

    Without `tasks`, the summary's own word on overload counts.
    """
    overloaded, outstanding_s = bool(summary.get("overloaded")), summary.get("outstanding_s") or 0.0
    if tasks is not None:
        overloaded, outstanding_s = overload(tasks, duration_s)
    counts, delay = summary["tasks"], summary["delay_s"]
    return RunRow(
        policy=policy,
        repeat=repeat,
        seed=seed,
        run_directory=run_directory,
        overloaded=overloaded,
        outstanding_s=outstanding_s,
        offered=counts["offered"],
        completed=counts["completed"],
        lost=counts["lost"],
        counted=counts["counted"],
        delay_mean_s=delay["mean"],
        delay_p50_s=delay["p50"],
        delay_p95_s=delay["p95"],
        delay_p99_s=delay["p99"],
        accuracy=summary["accuracy"],
        exit_share=tuple(summary["exit_share"].values()),
        utility_s=summary["utility"],
        fidelity=summary.get("fidelity", {}).get("verdict"),
        refused=counts.get("refused", 0),
        goodput=summary.get("goodput"),
        figures=figures_of(summary),
    )


def counting_runs(
    rows: Sequence[RunRow], summaries: Sequence[Mapping[str, Any]], *, include_unheld: bool
) -> list[Mapping[str, Any]]:
    """Return the summaries of those runs of a policy that count in its means; none if one of its runs was overloaded.

    `rows` and `summaries` are those of the same runs.
    """
    if any(row.overloaded for row in rows):
        return []
    return [summary for row, summary in zip(rows, summaries, strict=True) if include_unheld or not row.unheld]


def aggregate(
    rows: Sequence[RunRow], policies: Sequence[str], *, include_unheld: bool = False
) -> tuple[PolicyFigures, ...]:
    """The figures of each policy, in the order of `policies`; the others are compared with the first.

    Differences are taken within a repeat, so that common influences (the drawn network, the workload) cancel. They
    count the repeats that both policies have run. `include_unheld` also counts live runs whose emulation did not hold.

    Decision 075: a run whose emulation did not hold does not count (docs/decisions/075-unheld-runs-do-not-count.md).
    """
    by_policy = {policy: [row for row in rows if row.policy == policy] for policy in policies}
    return tuple(_figures(policy, by_policy[policy], by_policy[policies[0]], include_unheld) for policy in policies)


def _figures(policy: str, rows: Sequence[RunRow], first: Sequence[RunRow], include_unheld: bool) -> PolicyFigures:
    overloaded = sum(row.overloaded for row in rows)
    believed = [row for row in rows if include_unheld or not row.unheld]
    held = [] if overloaded else believed
    ours = [row for row in first if include_unheld or not row.unheld]
    stages = len(rows[0].exit_share) if rows else 0
    return PolicyFigures(
        policy=policy,
        runs=len(rows),
        overloaded_runs=overloaded,
        offered=sum(row.offered for row in rows),
        lost=sum(row.lost for row in rows),
        delay_mean_s=_mean(held, lambda row: row.delay_mean_s),
        delay_p95_s=_mean(held, lambda row: row.delay_p95_s),
        accuracy=_mean(held, lambda row: row.accuracy),
        utility_s=_mean(held, lambda row: row.utility_s),
        exit_share=tuple(_mean_share(held, stage) for stage in range(1, stages + 1)),
        first_ahead_by=None if rows is first or any(row.overloaded for row in first) else _advantage(ours, held),
        unheld_runs=sum(row.unheld for row in rows),
        left_out=len(rows) - len(believed),
        refused=sum(row.refused for row in rows),
        goodput=_mean(held, lambda row: row.goodput),
        figures={figure.name: _mean(held, _value_of(figure)) for figure in FIGURES},
    )


def _mean(rows: Sequence[RunRow], figure: Callable[[RunRow], float | None]) -> Estimate | None:
    values = [value for row in rows if (value := figure(row)) is not None]
    return estimate(values) if values and len(values) == len(rows) else None


def _value_of(figure: Figure) -> Callable[[RunRow], float | None]:
    return lambda row: row.figures.get(figure.name)


def _mean_share(rows: Sequence[RunRow], stage: int) -> Estimate | None:
    return _mean(rows, lambda row: row.exit_share[stage - 1])


def _advantage(first: Sequence[RunRow], rows: Sequence[RunRow]) -> Advantage | None:
    ours = {row.seed: row for row in first}
    reductions, accuracies, utilities, goodputs, timely = [], [], [], [], []
    for theirs in rows:
        mine = ours.get(theirs.seed)
        if mine is None:
            continue
        if not mine.delay_mean_s or not theirs.delay_mean_s:
            return None
        assert mine.accuracy is not None
        assert theirs.accuracy is not None
        assert mine.utility_s is not None
        assert theirs.utility_s is not None
        reductions.append(1 - mine.delay_mean_s / theirs.delay_mean_s)
        accuracies.append(mine.accuracy - theirs.accuracy)
        utilities.append(mine.utility_s - theirs.utility_s)
        if mine.goodput is not None and theirs.goodput is not None:
            goodputs.append(mine.goodput - theirs.goodput)
        ours_in_time, theirs_in_time = (row.figures.get("correct_in_time") for row in (mine, theirs))
        if ours_in_time is not None and theirs_in_time is not None:
            timely.append(ours_in_time - theirs_in_time)
    if not reductions:
        return None
    goodput = estimate(goodputs) if len(goodputs) == len(reductions) else None
    in_time = estimate(timely) if len(timely) == len(reductions) else None
    return Advantage(estimate(reductions), estimate(accuracies), estimate(utilities), goodput, in_time)


def refusal_notes(table: Sequence[PolicyFigures]) -> Iterator[str]:
    """A sentence that warns of comparing tasks that policies chose: those that were not refused."""
    shares = {one.refused / one.offered for one in table if one.offered}
    if len(shares) > 1:
        what = "utility, delay and accuracy are those of admitted tasks; compare goodput, too"
        yield f"policies refused different shares of the tasks: {what}"


def utility_notes(utility_of: UtilityOf) -> Iterator[str]:
    """A sentence on the utility if it is not the usual one."""
    if utility_of == "deadlines":
        yield "utility = theta * share of all tasks with a right answer in time - mean delay"


def fidelity_notes(table: Sequence[PolicyFigures]) -> Iterator[str]:
    """A sentence that names the live runs whose emulation did not hold, and says whether they count."""
    unheld = [f"{one.policy} ({one.unheld_runs} of {one.runs} runs)" for one in table if one.unheld_runs]
    if unheld:
        left_out = any(one.left_out for one in table)
        what = "are excluded from the means (--include-unheld counts them)" if left_out else "are included"
        why = "the fidelity in each summary.json says why"
        yield f"* runs whose emulation did not hold {what}; {why}: {', '.join(unheld)}"
