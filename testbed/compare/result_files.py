"""The files of a comparison: compare.json for programs, two tables as CSV, and the picture.

compare.json          all figures
compare.csv           a row per policy and repeat
compare-summary.csv   a row per policy: means, their intervals, and the advantage of the first policy
compare.png           mean delay against accuracy
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from testbed.cells.intervals import Estimate
from testbed.cells.result_directory import Marker
from testbed.compare.result import Comparison
from testbed.compare.table import PolicyFigures, RunRow
from testbed.record.run_directory import replace_file, write_json
from testbed.record.run_figures import FIGURES

COMPARE_JSON, ROWS_CSV, SUMMARY_CSV, PICTURE = "compare.json", "compare.csv", "compare-summary.csv", "compare.png"
MARKER = Marker(COMPARE_JSON, kind="dtoee-comparison", schema=1, what="comparison")


def write_files(comparison: Comparison) -> None:
    """Write or replace all files of a comparison.

    Raises:
        RecordingError: a file cannot be written.
    """
    from testbed.compare.picture import draw  # noqa: PLC0415 - loads matplotlib

    directory = comparison.directory
    write_json(directory / COMPARE_JSON, as_json(comparison))
    _write_csv(directory / ROWS_CSV, [_row_fields(row) for row in comparison.rows])
    _write_csv(directory / SUMMARY_CSV, [_summary_fields(figures) for figures in comparison.table])
    draw(comparison, directory / PICTURE)


def as_json(comparison: Comparison) -> dict[str, Any]:
    """The content of compare.json: the fields of `Comparison` but its directory, with those of the marker."""
    content = asdict(comparison)
    del content["directory"]
    for figures, entry in zip(comparison.table, content["table"], strict=True):
        entry["overloaded"] = figures.overloaded
    return {**MARKER.fields, **content}


def _row_fields(row: RunRow) -> dict[str, object]:
    fields = asdict(row)
    shares, figures = fields.pop("exit_share"), fields.pop("figures")
    fields |= {f"exit_share_{stage}": share for stage, share in enumerate(shares, start=1)}
    return fields | {figure.column: figures.get(figure.name) for figure in FIGURES if figure.column not in fields}


def _summary_fields(figures: PolicyFigures) -> dict[str, object]:
    ahead = figures.first_ahead_by
    estimates: dict[str, Estimate | None] = {
        "delay_mean_s": figures.delay_mean_s,
        "delay_p95_s": figures.delay_p95_s,
        "accuracy": figures.accuracy,
        "utility_s": figures.utility_s,
        **{f"exit_share_{stage}": share for stage, share in enumerate(figures.exit_share, start=1)},
        "first_delay_reduction": ahead.delay_reduction if ahead else None,
        "first_accuracy_gain": ahead.accuracy_gain if ahead else None,
        "first_utility_gain_s": ahead.utility_gain_s if ahead else None,
        "goodput": figures.goodput,
        "first_goodput_gain": ahead.goodput_gain if ahead else None,
        "first_in_time_gain": ahead.in_time_gain if ahead else None,
    }
    known = {"offered", "lost", "refused", *estimates}  # counts are totals over all runs
    further = {each.column: figures.figures.get(each.name) for each in FIGURES if each.column not in known}
    return {
        "policy": figures.policy,
        "runs": figures.runs,
        "overloaded_runs": figures.overloaded_runs,
        "unheld_runs": figures.unheld_runs,
        "left_out": figures.left_out,
        "offered": figures.offered,
        "lost": figures.lost,
        **dict(_spread(estimates)),
        "refused": figures.refused,
        **dict(_spread(further)),
    }


def _spread(estimates: Mapping[str, Estimate | None]) -> Iterator[tuple[str, float | None]]:
    for name, one in estimates.items():
        yield name, one.mean if one else None
        yield f"{name}_low", one.low if one else None
        yield f"{name}_high", one.high if one else None


def _write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows as CSV; a figure that does not exist is an empty cell."""
    columns = list({name: None for row in rows for name in row})
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    replace_file(path, text.getvalue().encode())
