"""An agreement as text: the verdicts on the live runs, then live and simulated figures side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from cli.printing.columns import Lines, print_lines, print_table
from cli.printing.many.comparison_lines import estimated
from testbed.wording import number

if TYPE_CHECKING:
    from testbed.agree import Agreement, Apart, ComparedFigure, Decisions, NodeDecisions

MOST_NODES = 5  # in the table of decisions: those whose decisions differ most


def print_agreement(agreement: Agreement) -> None:
    """Print an agreement to standard output: verdicts, then tables (drawn on a terminal, aligned text elsewhere)."""
    print_lines(verdict_lines(agreement))
    click.echo()
    print_table(result_lines(agreement))
    title = "Where the time goes: mean of each step in ms, over the tasks that took it"
    print_table(step_lines(agreement), title=title)
    if agreement.decisions is not None and (lines := decision_lines(agreement.decisions)):
        print_table(lines, title="Decisions: how far apart, beside how far each moves from slot to slot by itself")
    for note in agreement.notes:
        click.echo(f"note: {note}")
    click.echo(f"files: {agreement.directory}")


def verdict_lines(agreement: Agreement) -> Iterator[tuple[str, str]]:
    """Lines (label, text): the run, and for each repeat whether its live run held."""
    seeds = ", ".join(map(str, agreement.seeds))
    yield "Run", f"{agreement.topology} under {agreement.policy}, seed {seeds}, {agreement.duration_s:g} s each"
    label = "Fidelity"
    for repeat in agreement.repeats:
        which = f" (seed {repeat.seed})" if len(agreement.repeats) > 1 else ""
        yield label, f"the live run{which}: {repeat.fidelity}"
        for reason in repeat.reasons:
            yield "", f"  {reason}"
        label = ""


def result_lines(agreement: Agreement) -> Lines:
    """Table of delays [ms], accuracy [%], exits [%], gaps [%], losses [tasks]; with refusals, these and goodput [%]."""
    figures = agreement.figures
    lines = [["figure", "live", "simulated", "live - simulated", "live / simulated"]]
    for name in ("mean", "p50", "p95", "p99"):
        key = f"delay_{name}_s"
        lines.append([f"{name} delay ms", *_cells(figures[key], ".1f", 1e3), estimated(figures[key].ratio, ".3f")])
    for name, key in (
        ("accuracy %", "accuracy"),
        *((f"exits at stage {stage} %", f"exit_share_{stage}") for stage in range(1, agreement.stages + 1)),
    ):
        lines.append([name, *_cells(figures[key], ".1f", 1e2), ""])
    for name, key in (("certified gap %, first slots", "gap_first_slots"), ("certified gap %, all slots", "gap")):
        certified = figures[key].live or figures[key].simulated  # 0 if the policy certifies nothing
        lines.append([name, *(_cells(figures[key], ".2f", 1e2) if certified else ("-", "-", "-")), ""])
    lines.append(["lost tasks", *_cells(figures["lost"], "g"), ""])
    refused = figures["refused"]
    if refused.live or refused.simulated:
        lines.append(["refused tasks", *_cells(refused, "g"), ""])
        lines.append(["goodput %", *_cells(figures["goodput"], ".1f", 1e2), ""])
    return lines


def step_lines(agreement: Agreement) -> Lines:
    """Table of the mean time of each step [ms]."""
    from testbed.agree import STEPS, step_name

    lines = [["step", "live", "simulated", "live - simulated"]]
    lines.append(["offering", *_cells(agreement.figures["offering_s"], ".2f", 1e3)])
    for stage in range(1, agreement.stages + 1):
        for step in STEPS:
            lines.append([f"stage {stage} {step}", *_cells(agreement.figures[step_name(stage, step)], ".2f", 1e3)])
    return lines


def decision_lines(decisions: Decisions) -> Lines:
    """Table of differences between decisions: all nodes together, then the MOST_NODES nodes that differ most.

    Empty if no node decided anything.
    """
    if decisions.every.probabilities is None and decisions.every.thresholds is None:
        return []
    head = ["node", "probabilities %", "live moves", "simulated moves", "thresholds", "live moves", "simulated moves"]
    furthest = sorted(decisions.nodes, key=_apart, reverse=True)[:MOST_NODES]
    return [head, *(_decision_line(one) for one in (decisions.every, *furthest))]


def _decision_line(one: NodeDecisions) -> list[str]:
    return [one.node, *_apart_cells(one.probabilities, ".1f", 1e2), *_apart_cells(one.thresholds, ".3f", 1.0)]


def _apart_cells(apart: Apart | None, form: str, factor: float) -> list[str]:
    if apart is None:
        return ["-", "-", "-"]
    moves = (number(moved, form, factor) for moved in (apart.live_moves, apart.simulated_moves))
    return [estimated(apart.apart.estimate, form, factor), *moves]


def _apart(one: NodeDecisions) -> float:
    parts = (each.apart.estimate for each in (one.probabilities, one.thresholds) if each is not None)
    return sum(part.mean for part in parts if part is not None)


def _cells(figure: ComparedFigure, form: str, factor: float = 1.0) -> list[str]:
    """Cells of a figure: live, simulated, their difference."""
    sides = (number(value, form, factor) for value in (figure.live, figure.simulated))
    return [*sides, estimated(figure.difference, form, factor)]
