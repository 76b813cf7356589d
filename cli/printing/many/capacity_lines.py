"""A capacity as a table on standard output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.printing.columns import Lines, print_table
from cli.printing.many.comparison_lines import estimated
from testbed.wording import number

if TYPE_CHECKING:
    from testbed.capacity import Capacity
    from testbed.capacity.capacity_result import PolicyCapacity


def print_capacity(capacity: Capacity) -> None:
    """Print the capacity of each policy, and the notes."""
    title = f"{capacity.topology}: highest load at which {' and '.join(capacity.objective)}"
    print_table(capacity_lines(capacity), title=title)
    for note in capacity.notes:
        click.echo(f"note: {note}")
    click.echo(f"files: {capacity.directory}")


def capacity_lines(capacity: Capacity) -> Lines:
    """Table of the capacity of each policy: load, tasks per second, loads that hold and miss on all seeds."""
    first = capacity.policies[0]
    lines = [["policy", "load x", "tasks/s", "holds on all seeds at", "misses on all at", "probes"]]
    lines[0] += [f"{first} carries more by %"] * (len(capacity.table) > 1)
    for one in capacity.table:
        cells = [one.policy, _load(one, capacity), number(one.offered_per_s, ".1f")]
        cells += [_factor(one.holds_on_all), _factor(one.misses_on_all), str(sum(each.probes for each in one.seeds))]
        lines.append([*cells, *[estimated(one.first_ahead_by, ".1f", 1e2)] * (len(capacity.table) > 1)])
    return lines


def _load(one: PolicyCapacity, capacity: Capacity) -> str:
    if one.state == "found":
        return estimated(one.load, ".3g")
    return {
        "everywhere": f"above {capacity.search_to:g}: holds everywhere",
        "nowhere": f"below {capacity.search_from:g}: holds nowhere",
        "mixed": "beyond the search on some seeds",
        "unfinished": "not known yet",
    }[one.state]


def _factor(load: float | None) -> str:
    return "-" if load is None else f"x{load:.3g}"
