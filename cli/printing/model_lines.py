"""Models as text: the list of `model list`, and the tables of `model profile`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cli.printing.columns import Lines
from testbed.wording import number, side_by_side

WIDTH = 96  # of a line in a list


def list_lines(row: Mapping[str, Any]) -> Iterator[str]:
    """A model of `model list` in a few lines, and an empty one."""
    family = f" of the family {row['family']}" if row["family"] else ""
    kind = f"network{family}" if row["real"] == "network" else "table: its answers were recorded elsewhere"
    classes = f", {row['class_count']:,} classes" if row["class_count"] else ""
    yield f"{row['name']}: {kind}; {row['blocks']} blocks{classes}, {row['samples']} samples"
    exits = " / ".join(row["accuracy"])
    accuracy = side_by_side(row["accuracy"].values(), ".3f")
    yield from _folded("exits", f"after blocks {exits}: accuracy {accuracy} (on the exit table's samples)")
    sizes = [f"{number(row['flop'], '.1f', 1e-6)} MFLOP", f"input {row['input_bytes']} B"]
    if row["parameters"] is not None:
        sizes.append(f"{row['parameters']:,} parameters")
    elif row["parameters_bytes"]:
        sizes.append(f"parameters {number(row['parameters_bytes'], '.1f', 1e-6)} MB")
    yield from _folded("costs", f"{', '.join(sizes)}; {number(row['disk_bytes'], '.2f', 1e-6)} MB on disk")
    if row["licence"]:
        yield from _folded("licence", row["licence"])
    if said := labels_text(row):
        yield from _folded("labels", said)
    if row["borrows"]:
        yield from _folded("weights", f"in the package {row['borrows']}; the bundle holds the early exit heads")
    if row["missing"]:
        yield from _folded("to run" if row["borrows"] else "to train", row["missing"])
    yield ""


def labels_text(row: Mapping[str, Any]) -> str:
    """The source of a model's labels, and the share that early exits cannot answer; empty for ordinary labels."""
    if not row.get("labels"):
        return ""
    said = f"right is {row['labels']}"
    if (outside := row.get("outside")) is None:
        return said
    share = number(outside["share"], ".1f", 1e2)
    return f"{said}; {share} % are outside the {outside['tokens']:,} tokens that early exits know, and count as wrong"


def _folded(label: str, text: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=f"  {label:<9} ", subsequent_indent=" " * 12, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def cost_lines(rows: Sequence[Mapping[str, Any]]) -> Lines:
    """The table of published costs."""
    lines = [["cost", "blocks", "tokens", "GFLOP", "in kB", "M parameters", "architecture"]]
    for row in rows:
        flop, size = number(row["flop"], ".2f", 1e-9), number(row["input_bytes"], ".1f", 1e-3)
        tokens = "-" if row["tokens"] is None else str(row["tokens"])
        parameters = number(row["parameters_bytes"], ".1f", 1e-6 / 4)
        lines.append([row["name"], str(row["blocks"]), tokens, flop, size, parameters, row["title"]])
    return lines


def stage_lines(stages: Sequence[Mapping[str, Any]]) -> Lines:
    """The costs of the stages of `model profile`."""
    lines = [["stage", "blocks", "MFLOP", "in B", "out B", "weights B", "CPU ms", "GFLOP/s"]]
    for row in stages:
        sizes = (str(row[name]) for name in ("input_bytes", "output_bytes", "parameters_bytes"))
        speed = number(None if row["cpu_s"] is None else row["flop"] / row["cpu_s"], ".1f", 1e-9)
        figures = (number(row["cpu_s"], ".3f", 1e3), speed)
        lines.append([str(row["stage"]), row["blocks"], number(row["flop"], ".2f", 1e-6), *sizes, *figures])
    return lines


def exit_lines(stages: Sequence[Mapping[str, Any]]) -> Lines:
    """The exits of `model profile`: accuracy and calibration."""
    lines = [["exit of stage", "accuracy", "ECE", "AUROC"]]
    for row in stages:
        figures = (number(row[name], ".3f") for name in ("accuracy", "ece", "auroc"))
        lines.append([str(row["stage"]), *figures])
    return lines


def threshold_lines(thresholds: Sequence[Mapping[str, Any]]) -> Lines:
    """The effect of thresholds in `model profile`."""
    lines = [["threshold", "share leaving at each stage", "accuracy"]]
    for row in thresholds:
        shares = side_by_side(row["exit_share"], ".1f", 1e2)
        lines.append([number(row["threshold"], ".2f"), f"{shares} %", number(row["accuracy"], ".3f")])
    return lines


def criterion_lines(rows: Sequence[Mapping[str, Any]]) -> Lines:
    """The exit criteria of `model profile`, at equal work."""
    lines = [["criterion", "threshold", "share leaving at each stage", "kB/task", "accuracy"]]
    for row in rows:
        shares = f"{side_by_side(row['exit_share'], '.1f', 1e2)} %"
        figures = (number(row["bytes_per_task"], ".2f", 1e-3), number(row["accuracy"], ".3f"))
        lines.append([row["criterion"], number(row["threshold"], ".3f"), shares, *figures])
    return lines


def format_lines(rows: Sequence[Mapping[str, Any]]) -> Lines:
    """The activation formats of `model profile`."""
    lines = [["activation", "accuracy of the exits", "other answers", "kB/task", "CPU ms", "accuracy"]]
    for row in rows:
        figures = (
            side_by_side(row["exit_accuracy"], ".3f"),
            f"{side_by_side(row['changed'], '.2f', 1e2)} %",
            number(row["bytes_per_task"], ".2f", 1e-3),
            number(row["cpu_s_per_task"], ".2f", 1e3),
            number(row["accuracy"], ".3f"),
        )
        lines.append([row["activation"], *figures])
    return lines


def simulated_lines(rows: Sequence[Mapping[str, Any]]) -> Lines:
    """The simulated delays of `model profile`; with refused tasks and goodput if devices refused tasks."""
    refusing = any(row["refused"] for row in rows)
    lines = [["activation", "criterion", "mean ms", "p95 ms", "accuracy", "leave at each stage"]]
    lines[0] += ["refused", "goodput"] * refusing
    for row in rows:
        figures = (number(row["mean_delay_s"], ".1f", 1e3), number(row["p95_delay_s"], ".1f", 1e3))
        shares = f"{side_by_side(row['exit_share'], '.1f', 1e2)} %"
        ended = [f"{row['refused']} of {row['offered']}", number(row["goodput"], ".3f")] * refusing
        lines.append([row["activation"], row["criterion"], *figures, number(row["accuracy"], ".3f"), shares, *ended])
    return lines
