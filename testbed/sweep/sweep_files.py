"""The files of a sweep: sweep.json for programs, a tidy table as CSV and Parquet, and pictures.

sweep.json        all figures
sweep.csv         a row per run: a column per key and figure
sweep.parquet     the same table, if pyarrow is installed
sweep-KEY-FIGURE.png and .svg   a figure against a key
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from testbed.cells.result_directory import Marker
from testbed.record.run_directory import replace_file, write_json
from testbed.record.run_figures import FIGURES
from testbed.sweep.parquet_file import MISSING, can_write, write_parquet
from testbed.sweep.sweep_picture import Plot, draw_plots
from testbed.sweep.sweep_result import Sweep, SweepRow

SWEEP_JSON, ROWS_CSV, ROWS_PARQUET = "sweep.json", "sweep.csv", "sweep.parquet"
MARKER = Marker(SWEEP_JSON, kind="dtoee-sweep", schema=1, what="sweep")


def write_files(sweep: Sweep, plots: Sequence[Plot]) -> Sweep:
    """Write or replace all files of a sweep, and return it with the names of its pictures.

    Raises:
        RecordingError: a file cannot be written.
    """
    sweep = replace(sweep, pictures=draw_plots(sweep, plots))
    undrawn = [plot for plot in dict.fromkeys(plots) if f"{plot.name}.png" not in sweep.pictures]
    reason = "no run that counts has this figure"
    notes = [f"no picture of {plot.figure} against {plot.key}: {reason}" for plot in undrawn]
    sweep = replace(sweep, notes=(*sweep.notes, *notes))
    if not can_write():
        sweep = replace(sweep, notes=(*sweep.notes, MISSING))
    write_json(sweep.directory / SWEEP_JSON, as_json(sweep))
    rows = [_row_fields(row) for row in sweep.rows]
    names = list({name: None for row in rows for name in row})
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    replace_file(sweep.directory / ROWS_CSV, text.getvalue().encode())
    if can_write():
        columns = {name: [row.get(name) for row in rows] for name in names}
        units = {key.key: key.unit for key in sweep.keys if key.unit is not None}
        write_parquet(sweep.directory / ROWS_PARQUET, columns, units)
    return sweep


def as_json(sweep: Sweep) -> dict[str, Any]:
    """The content of sweep.json: the fields of `Sweep` but its directory, with those of the marker."""
    content = asdict(sweep)
    del content["directory"]
    for point, entry in zip(sweep.points, content["points"], strict=True):
        for figures, one in zip(point.table, entry["table"], strict=True):
            one["overloaded"] = figures.overloaded
    return {**MARKER.fields, **content}


def _row_fields(row: SweepRow) -> dict[str, object]:
    """A row of the tables: the values of the keys, then the fields of the run, then its further figures."""
    fields = asdict(row.run)
    shares, figures = fields.pop("exit_share"), fields.pop("figures")
    fields |= {f"exit_share_{stage}": share for stage, share in enumerate(shares, start=1)}
    further = {figure.column: figures.get(figure.name) for figure in FIGURES if figure.column not in fields}
    return {**row.values, "point": row.point, **fields, **further}
