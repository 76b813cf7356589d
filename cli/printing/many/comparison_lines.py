"""A comparison as tables on standard output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from cli.printing.assertion_lines import print_findings
from cli.printing.columns import Lines, print_table
from testbed.breakdown.parts import PART_NAMES, PART_WORDS
from testbed.wording import interval, number, side_by_side

if TYPE_CHECKING:
    from testbed.capacity.capacity_result import Probe
    from testbed.compare import Comparison, Estimate, PolicyFigures, PolicyRecoveries, RunRow
    from testbed.frontier.frontier_result import FrontierRun


LEAST_PART_S = 5e-4  # a part that no policy has more of is left out


def refuse_broken_runs(rows: Sequence[RunRow | FrontierRun | Probe]) -> None:
    """Raise EmulationBroken if the verdict on any live run is broken or unknown."""
    broken = [row.run_directory for row in rows if row.fidelity in ("broken", "unknown")]
    if broken:
        from testbed.fidelity.report import EmulationBroken

        what = f"in {len(broken)} of {len(rows)} runs"
        raise EmulationBroken(f"the emulation did not hold {what}: {broken[0]}", hint="see the fidelity in its summary")


def print_comparison(comparison: Comparison) -> None:
    """Print the tables of a comparison: drawn on a terminal, aligned text elsewhere."""
    print_table(figure_lines(comparison.table))
    if parts := part_lines(comparison.table):
        print_table(parts, title="Where the time went: mean parts of the delay, ms")
    if len(comparison.table) > 1:
        first = comparison.table[0].policy
        title = f"What {first} is ahead by, on the same workloads (negative: behind)"
        print_table(advantage_lines(comparison.table), title=title)
    if any(one.figures.get("in_time") for one in comparison.table):
        title = "Deadlines: tasks in time (late, lost and refused ones are not)"
        print_table(deadline_lines(comparison.table), title=title)
    for place in range(len(comparison.recoveries[0].events) if comparison.recoveries else 0):
        event = comparison.recoveries[0].events[place]
        title = f"After {event.at_s:g} s ({event.what}), until {event.until_s:g} s, per run; what was paid in tasks x s"
        print_table(recovery_lines(comparison.recoveries, place), title=title)
    print_findings(comparison.assertions, of_policies=True)
    for note in comparison.notes:
        click.echo(f"note: {note}")
    click.echo(f"files: {comparison.directory}")


def figure_lines(table: Sequence[PolicyFigures]) -> Lines:
    """Table of the figures of each policy: delays [ms], accuracy [%], exits [%], utility [s], losses [tasks].

    If devices refused tasks, the table also has their number. If tasks were refused or lost, it has the goodput [%]. If
    the runs count energy, it has the energy per task [J].
    Refused and lost tasks are those of all runs together.
    """
    refusing = any(one.refused for one in table)
    failing = refusing or any(one.lost for one in table)
    powered = any(one.figures.get("energy_per_task") for one in table)
    every = ", all runs" if any(one.runs > 1 for one in table) else ""
    lines = [["policy", "mean delay ms", "p95 ms", "accuracy %", "exits %", "utility s", f"lost{every}"]]
    lines[0] += [f"refused{every}"] * refusing + ["goodput %"] * failing + ["J a task"] * powered
    for one in table:
        if one.overloaded:
            figures = ["overloaded", "-", "-", "-", "-"]
        else:
            figures = [
                estimated(one.delay_mean_s, ".0f", 1e3),
                estimated(one.delay_p95_s, ".0f", 1e3),
                estimated(one.accuracy, ".1f", 1e2),
                side_by_side((share.mean if share else None for share in one.exit_share), ".0f", 1e2) or "-",
                estimated(one.utility_s, ".3f"),
            ]
        ended = [str(one.lost), *[str(one.refused)] * refusing, *[estimated(one.goodput, ".1f", 1e2)] * failing]
        ended += [estimated(one.figures.get("energy_per_task"), ".3g")] * powered
        lines.append([f"{one.policy} *" if one.unheld_runs else one.policy, *figures, *ended])
    return lines


def part_lines(table: Sequence[PolicyFigures]) -> Lines:
    """Table of the mean parts of each policy's delay [ms]; parts that none has are left out. Empty without any part."""
    known = [one for one in table if all(one.figures.get(name) for name in PART_NAMES)]
    means_s = [{name: each.mean for name in PART_NAMES if (each := one.figures[name]) is not None} for one in known]
    shown = [name for name in PART_NAMES if any(parts_s[name] >= LEAST_PART_S for parts_s in means_s)]
    if not shown:
        return []
    lines = [["policy", *(PART_WORDS[name] for name in shown)]]
    for one, parts_s in zip(known, means_s, strict=True):
        lines.append([one.policy, *(number(parts_s[name], ".0f", 1e3) for name in shown)])
    return lines


def deadline_lines(table: Sequence[PolicyFigures]) -> Lines:
    """Table of the tasks with a deadline: in time [%], right and in time [%], missed [tasks a run], the gain [points].

    The gain is that of the first policy over the one in the row, in tasks that were right and in time.
    """
    heads = ["policy", "in time %", "right and in time %", "missed, a run"]
    compared = len(table) > 1
    lines = [[*heads, *[f"{table[0].policy} ahead by points"] * compared]]
    for one in table:
        figures = one.figures
        ahead = one.first_ahead_by.in_time_gain if one.first_ahead_by is not None else None
        cells = [
            estimated(figures.get("in_time"), ".1f", 1e2),
            estimated(figures.get("correct_in_time"), ".1f", 1e2),
            estimated(figures.get("missed"), ".0f"),
            *["" if one is table[0] else estimated(ahead, ".1f", 1e2)] * compared,
        ]
        lines.append([one.policy, *cells])
    return lines


def advantage_lines(table: Sequence[PolicyFigures]) -> Lines:
    """Table of the advantage of the first policy over each other one; with goodput if devices refused tasks."""
    refusing = any(one.refused for one in table)
    lines = [["against", "delay shorter by %", "accuracy higher by points", "utility higher by s"]]
    lines[0] += ["goodput higher by points"] * refusing
    for one in table[1:]:
        ahead = one.first_ahead_by
        if ahead is None:
            lines.append([one.policy, "overloaded" if one.overloaded else "-", "-", "-", *["-"] * refusing])
            continue
        lines.append(
            [
                one.policy,
                estimated(ahead.delay_reduction, ".1f", 1e2),
                estimated(ahead.accuracy_gain, ".1f", 1e2),
                estimated(ahead.utility_gain_s, ".3f"),
                *[estimated(ahead.goodput_gain, ".1f", 1e2)] * refusing,
            ]
        )
    return lines


def recovery_lines(recoveries: Sequence[PolicyRecoveries], place: int) -> Lines:
    """Table of each policy's recovery after event number `place` (from 0)."""
    lines = [
        ["policy", "before ms", "peak ms", "settles at ms", "recovers after s", "paid till then", "paid in all", "lost"]
    ]  # fmt: skip
    refusing = any(each.events[place].refused for each in recoveries)
    if refusing:
        lines[0].append("refused")
    for each in recoveries:
        one = each.events[place]
        after, paid = "not in time", "-"
        if each.overloaded:
            after = "overloaded"
        elif one.tolerance_s is None:
            after = "too short"
        elif one.recovered_after_s is not None:
            after = f"{one.recovered_after_s:.1f}"
            paid = number(one.paid_task_s, ".0f")
        levels = [number(level, ".0f", 1e3) for level in (one.before_s, one.peak_s, one.settled_s)]
        counts = [one.lost, one.refused] if refusing else [one.lost]
        ended = [format(round(count, 1), "g") for count in counts]
        lines.append([each.policy, *levels, after, paid, number(one.extra_task_s, ".0f"), *ended])
    return lines


def estimated(one: Estimate | None, form: str, factor: float = 1.0) -> str:
    """A mean with its interval, times `factor`; `-` for None."""
    return "-" if one is None else interval(one.mean, one.low, one.high, form, factor)
