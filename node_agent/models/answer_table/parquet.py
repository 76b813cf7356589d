"""Tables in Parquet, read by pyarrow in a process whose memory is bounded.

Decision 086: a process of its own reads Parquet (docs/decisions/086-parquet-in-its-own-process.md).

`python -m` this module reads a table from its standard input and writes its arrays, as npz, to its standard output.
"""

import importlib.util
import json
import re
import resource
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from node_agent.errors import EnvironmentLacking, InputError
from node_agent.models.answer_table.arrays import Values
from node_agent.models.answer_table.columns import NUMBERS, Columns, array_of, without_plan_rows
from node_agent.models.answer_table.npz import read_npz
from node_agent.models.answer_table.places import Places

if TYPE_CHECKING:
    from pyarrow import ChunkedArray

MOST_MEMORY_BYTES = 6 * 2**30  # address space of the reading process
INSTALL_HINT = ".venv/bin/python -m pip install pyarrow, or save the table as npz or CSV"
_REMAKE = "write it again, for example with pandas' to_parquet, or save it as npz"


def read_parquet(stream: BinaryIO, file: str) -> tuple[dict[str, Values], Places]:
    """Return the arrays of a table, and the names of places in it. Values are not checked.

    Args:
        stream: an ordinary file.
        file: its name in messages.

    Raises:
        EnvironmentLacking: pyarrow is not installed.
        InputError: the file is no Parquet, is damaged or too large, or its columns have wrong names or types.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise EnvironmentLacking(f"{file}: pyarrow is needed to read Parquet", hint=INSTALL_HINT)
    with tempfile.TemporaryFile() as found:
        command = [sys.executable, "-P", "-m", __name__, file]  # -P: not the files of the current folder
        done = subprocess.run(command, stdin=stream, stdout=found, stderr=subprocess.PIPE, check=False)
        if done.returncode:
            raise _failure(file, done.returncode, done.stderr)
        return without_plan_rows(read_npz(found, file, from_columns=True), Places(file))


def _failure(file: str, code: int, stderr: bytes) -> InputError:
    """Return the error that the reading process reports in the last line of its standard error."""
    try:
        message, hint = json.loads(stderr.splitlines()[-1])
    except (ValueError, IndexError):
        message, hint = f"{file}: its reader ended with status {code}", _REMAKE
    return InputError(str(message), hint=str(hint))


def main() -> int:
    """Read a table from the standard input, write npz to the standard output; errors as JSON to the standard error."""
    file = sys.argv[1]
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        np.savez(sys.stdout.buffer, **_arrays(file))  # type: ignore[arg-type]
        sys.stdout.buffer.flush()
    except InputError as error:
        print(json.dumps([str(error), error.hint]), file=sys.stderr)
        return error.exit_code
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        print(json.dumps([f"{file}: {reason}", _REMAKE]), file=sys.stderr)
        return InputError.exit_code
    return 0


def _arrays(file: str) -> dict[str, Values]:
    import pyarrow.parquet as pq  # noqa: PLC0415 - an optional package, only for this process

    # The standard input, not the path: another file may have replaced it.
    table = pq.ParquetFile("/proc/self/fd/0", memory_map=False, pre_buffer=False)
    schema, rows = table.schema_arrow, table.metadata.num_rows
    places = Places(file)
    columns = Columns(places, schema.names)
    columns.check_rows(rows)
    if rows < 1:
        raise InputError(f"{file}: no rows", hint="a row for each sample is needed")
    for name in schema.names:
        _check_type(places, name, str(schema.field(name).type))
    for name in schema.names:
        texts = None if array_of(name) in NUMBERS else [name]
        source = pq.ParquetFile("/proc/self/fd/0", memory_map=False, pre_buffer=False, read_dictionary=texts)
        _add(columns, places, name, source.read(columns=[name], use_threads=False).column(0))
    return columns.arrays()


def _check_type(places: Places, column: str, found: str) -> None:
    """Check a column's type, whose name in Arrow is `found`."""
    kind = NUMBERS.get(array_of(column))
    whole = re.fullmatch(r"u?int(8|16|32|64)", found)
    if kind is None:
        sound, wanted = re.search(r"\bstring\b|large_string", found), "strings"
    elif kind is np.int64:
        sound, wanted = whole, "integers"
    else:
        sound, wanted = whole or re.fullmatch(r"halffloat|float|double", found), "floats"
    if not sound:
        raise InputError(f"{places.file}: column {column} holds {found[:40]}, not {wanted}", hint=_REMAKE)


def _add(columns: Columns, places: Places, name: str, column: "ChunkedArray") -> None:
    """Append a column, chunk by chunk."""
    row = 0
    for chunk in column.chunks:
        if chunk.null_count:
            nulls = chunk.is_null().to_numpy(zero_copy_only=False)
            where = f"{places.file}: row {places.first + row + int(nulls.argmax())}, column {name}"
            raise InputError(f"{where}: no value", hint="each row has a value in each column")
        kind = NUMBERS.get(array_of(name))
        if kind is not None:
            columns.add_numbers(name, chunk.to_numpy(zero_copy_only=False).astype(kind))
        else:
            encoded = chunk if hasattr(chunk, "dictionary") else chunk.dictionary_encode()
            known = encoded.dictionary.to_pylist()
            columns.add_texts(name, row, [known[index] for index in encoded.indices.to_pylist()])
        row += len(chunk)


if __name__ == "__main__":
    sys.exit(main())
