"""Write a table as Parquet, in a process of its own: pyarrow starts threads, and agents are forked without any.

The process is `python -m testbed.sweep.parquet_file FILE` with the columns as JSON on standard input. See decision 086
(docs/decisions/086-parquet-in-its-own-process.md).
"""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from testbed.record.run_directory import RecordingError

PACKAGE = "pyarrow"
MISSING = f"no table in Parquet: it needs {PACKAGE} (.venv/bin/python -m pip install {PACKAGE})"


def can_write() -> bool:
    """True if pyarrow is installed."""
    return importlib.util.find_spec(PACKAGE) is not None


def write_parquet(path: Path, columns: Mapping[str, Sequence[object]], units: Mapping[str, str]) -> None:
    """Write a table with these columns; `units` become metadata of columns.

    Raises:
        RecordingError: the file cannot be written.
    """
    beside = path.with_name(f".{path.name}.tmp")
    content = json.dumps({"columns": columns, "units": units})
    command = [sys.executable, "-m", "testbed.sweep.parquet_file", str(beside.absolute())]
    done = subprocess.run(command, input=content, text=True, capture_output=True, check=False)
    if done.returncode:
        beside.unlink(missing_ok=True)
        why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise RecordingError(f"{path}: cannot be written: {why}")
    beside.replace(path)


def _main() -> None:
    import pyarrow as pa  # noqa: PLC0415 - an optional package, only for this process
    import pyarrow.parquet as pq  # noqa: PLC0415

    content = json.load(sys.stdin)
    arrays = {name: pa.array(_of_one_kind(values)) for name, values in content["columns"].items()}
    fields = [
        pa.field(name, array.type, metadata={"unit": content["units"].get(name, "")}) for name, array in arrays.items()
    ]
    pq.write_table(pa.table(list(arrays.values()), schema=pa.schema(fields)), sys.argv[1])


def _of_one_kind(values: list[object]) -> list[object]:
    """The values of a column: if they are of several kinds, all as numbers, or all as text."""
    present = [value for value in values if value is not None]
    if {type(value) for value in present} == {int, float}:
        return [None if value is None else float(str(value)) for value in values]
    if len({type(value) for value in present}) > 1:
        return [None if value is None else str(value) for value in values]
    return values


if __name__ == "__main__":
    _main()
