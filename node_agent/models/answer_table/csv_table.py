"""Tables in CSV: a head with the columns' names, then a line for each row."""

import csv
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from node_agent.errors import InputError
from node_agent.models.answer_table.arrays import Values, short
from node_agent.models.answer_table.columns import NUMBERS, Columns, Kind, array_of, without_plan_rows
from node_agent.models.answer_table.places import Places

MOST_LINE_BYTES = 2**16
_BATCH_ROWS = 10_000
_HEAD = "the first line has the names of the columns, separated by commas"


def read_csv(stream: BinaryIO, file: str) -> tuple[dict[str, Values], Places]:
    """Return the arrays of a table, and the names of places in it. Values are not checked.

    Args:
        stream: the file, from its beginning.
        file: its name in messages.

    Raises:
        InputError: the file is no CSV in UTF-8, columns are missing or unknown, a line is too short or too long, or a
            value is no number.
    """
    places = Places(file, word="line", first=2)
    reader = csv.reader(_lines(stream, file), strict=True)
    try:
        names = [name.strip() for name in next(reader, [])]
        if not names:
            raise InputError(f"{file}: no head", hint=_HEAD)
        columns, row = Columns(places, names), 0
        while rows := list(islice(reader, _BATCH_ROWS)):
            columns.check_rows(row + len(rows))
            _add(columns, places, names, rows, row)
            row += len(rows)
    except csv.Error as error:
        raise InputError(f"{file}: line {reader.line_num}: {error}", hint="quotes are not needed") from error
    if not row:
        raise InputError(f"{file}: no rows", hint="a line for each sample follows the head")
    return without_plan_rows(columns.arrays(), places)


def _lines(stream: BinaryIO, file: str) -> Iterator[str]:
    """Yield the lines of the file, none of which is kept."""
    number = 0
    while line := stream.readline(MOST_LINE_BYTES + 1):
        number += 1
        if len(line) > MOST_LINE_BYTES:
            raise InputError(
                f"{file}: line {number}: more than {MOST_LINE_BYTES} bytes", hint="no table has such lines"
            )
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            problem = f"byte {error.start + 1} is no UTF-8"
            raise InputError(f"{file}: line {number}: {problem}", hint="save the file as CSV in UTF-8") from error


def _add(columns: Columns, places: Places, names: Sequence[str], rows: Sequence[Sequence[str]], first_row: int) -> None:
    """Append a batch of rows, which begins at row `first_row` (from 0)."""
    for row, values in enumerate(rows, start=first_row):
        if len(values) != len(names):
            where = f"{places.file}: line {places.first + row}"
            raise InputError(f"{where}: {len(values)} values, but {len(names)} columns", hint=_HEAD)
    for name, texts in zip(names, zip(*rows, strict=True), strict=True):
        kind = NUMBERS.get(array_of(name))
        if kind is None:
            columns.add_texts(name, first_row, [text.strip() for text in texts])
        else:
            columns.add_numbers(name, _numbers(places, name, texts, kind, first_row))


def _numbers(places: Places, column: str, texts: Sequence[str], kind: Kind, first_row: int) -> npt.NDArray[Any]:
    convert: Callable[[str], float] = int if kind is np.int64 else float
    try:
        return np.fromiter(map(convert, texts), kind, len(texts))
    except (ValueError, OverflowError):
        row = next(row for row, text in enumerate(texts) if not _converts(convert, kind, text))
    wanted = "whole number" if convert is int else "number"
    where = f"{places.file}: line {places.first + first_row + row}, column {column}"
    raise InputError(f"{where}: {short(texts[row])} is no {wanted}", hint="numbers are written like 0.5 or 1e9")


def _converts(convert: Callable[[str], float], kind: Kind, text: str) -> bool:
    try:
        np.array(convert(text), kind)
    except (ValueError, OverflowError):
        return False
    return True
