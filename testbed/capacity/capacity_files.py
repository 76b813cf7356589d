"""The files of a capacity: capacity.json for programs, the probes as CSV, and the picture.

capacity.json        all figures
capacity.csv         a row per run
capacity.png, .svg   the figure over the load; of the second assertion capacity-2.png, and so on
"""

import csv
import io
from dataclasses import asdict
from typing import Any

from testbed.capacity.capacity_result import Capacity
from testbed.cells.result_directory import Marker
from testbed.record.run_directory import replace_file, write_json

CAPACITY_JSON, PROBES_CSV, PICTURE = "capacity.json", "capacity.csv", "capacity"
MARKER = Marker(CAPACITY_JSON, kind="dtoee-capacity", schema=1, what="capacity")
COLUMNS = (
    "policy", "seed", "load", "holds", "overloaded", "lost", "fidelity", "run_directory",
)  # fmt: skip


def write_files(capacity: Capacity) -> None:
    """Write or replace all files of a capacity.

    Raises:
        RecordingError: a file cannot be written.
    """
    from testbed.capacity.capacity_picture import draw  # noqa: PLC0415 - loads matplotlib

    directory = capacity.directory
    write_json(directory / CAPACITY_JSON, as_json(capacity))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *capacity.paths])
    writer.writerows([*(getattr(probe, column) for column in COLUMNS), *probe.values] for probe in capacity.probes)
    replace_file(directory / PROBES_CSV, text.getvalue().encode())
    draw(capacity, directory / PICTURE)


def as_json(capacity: Capacity) -> dict[str, Any]:
    """The content of capacity.json: the fields of `Capacity` but its directory, with those of the marker."""
    content = asdict(capacity)
    del content["directory"]
    return {**MARKER.fields, **content}
