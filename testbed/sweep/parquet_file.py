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
TEXTS = ("fidelity",)  # columns of text that may be empty
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
    arrays = {name: pa.array(*_typed(name, values)) for name, values in content["columns"].items()}
    units = content["units"]
    fields = [
        pa.field(name, array.type, metadata={"unit": units[name]} if name in units else None)
        for name, array in arrays.items()
    ]
    pq.write_table(pa.table(list(arrays.values()), schema=pa.schema(fields)), sys.argv[1])


def _typed(name: str, values: list[object]) -> tuple[list[object], str]:
    """The values of a column and their type in Arrow; without any value they are text or numbers, by the name."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and name not in TEXTS:
        return values, "int64" if kinds == {int} else "float64"
    if kinds == {bool}:
        return values, "bool"
    return [None if value is None else str(value) for value in values], "string"


if __name__ == "__main__":
    _main()
