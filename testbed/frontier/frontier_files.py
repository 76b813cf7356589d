"""The files of a frontier: frontier.json for programs, two tables as CSV, and the picture.

frontier.json         all figures
frontier.csv          a row per run
frontier-points.csv   a row per point: means and their intervals
frontier.png, .svg    accuracy against the figure
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from testbed.cells.result_directory import Marker
from testbed.frontier.frontier_result import Frontier, FrontierPoint, FrontierRun
from testbed.record.run_directory import replace_file, write_json
from testbed.record.run_figures import BY_NAME, FIGURES

FRONTIER_JSON, RUNS_CSV, POINTS_CSV, PICTURE = "frontier.json", "frontier.csv", "frontier-points.csv", "frontier"
MARKER = Marker(FRONTIER_JSON, kind="dtoee-frontier", schema=1, what="frontier")


def write_files(frontier: Frontier) -> None:
    """Write or replace all files of a frontier.

    Raises:
        RecordingError: a file cannot be written.
    """
    from testbed.frontier.frontier_picture import draw  # noqa: PLC0415 - loads matplotlib

    directory = frontier.directory
    write_json(directory / FRONTIER_JSON, as_json(frontier))
    _write_csv(directory / RUNS_CSV, [_run_fields(row) for row in frontier.rows])
    column = BY_NAME[frontier.figure].column
    _write_csv(directory / POINTS_CSV, [_point_fields(point, column) for point in frontier.points])
    draw(frontier, directory / PICTURE)


def as_json(frontier: Frontier) -> dict[str, Any]:
    """The content of frontier.json: the fields of `Frontier` but its directory, with those of the marker."""
    content = asdict(frontier)
    del content["directory"]
    return {**MARKER.fields, **content}


def _run_fields(row: FrontierRun) -> dict[str, object]:
    fields = asdict(row)
    figures = fields.pop("figures")
    return fields | {figure.column: figures.get(figure.name) for figure in FIGURES}


def _point_fields(point: FrontierPoint, column: str) -> dict[str, object]:
    fields = asdict(point)
    for name, shown in (("accuracy", "accuracy"), ("cost", column)):
        one = fields.pop(name) or {}
        fields |= {shown: one.get("mean"), f"{shown}_low": one.get("low"), f"{shown}_high": one.get("high")}
    return fields


def _write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows as CSV; a figure that does not exist is an empty cell."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list({name: None for row in rows for name in row}), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    replace_file(path, text.getvalue().encode())
