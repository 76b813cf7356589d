"""Tables in columns, from CSV or Parquet: the columns' names, and the arrays that they make.

Each row is a sample; figures that do not differ between samples are repeated in each row. Columns of exits and segments
have a number from 1: `confidence_1`, `confidence_2`, ...
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from node_agent.errors import InputError
from node_agent.models.answer_table.arrays import (
    DOCUMENTED,
    MOST_CELLS,
    MOST_EXITS,
    OTHER_CRITERIA,
    PLAN_ROWS,
    REQUIRED,
    Values,
    check_names,
    short,
)
from node_agent.models.answer_table.places import Places
from node_agent.suggest import advice

Kind = type[np.float32 | np.float64 | np.int64]
NUMBERS: Mapping[str, Kind] = {
    "confidence": np.float32,
    **dict.fromkeys(OTHER_CRITERIA, np.float32),
    "flop": np.float64,
    "prediction": np.int64,
    "input_bytes": np.int64,
    "length": np.int64,
    "parameters_bytes": np.int64,
    "label": np.int64,
}
_EACH_EXIT = ("confidence", "prediction", "flop", "input", "input_bytes", "length", "parameters_bytes", *OTHER_CRITERIA)
_EACH_SAMPLE = (
    "confidence",
    "prediction",
    "label",
    "length",
    *OTHER_CRITERIA,
)  # arrays that always have an axis of samples
_SOME_SAMPLES = ("flop", "input_bytes")  # that have one if they differ between samples
_EACH_ROW = ("label", "length", "use")
_USES = ("task", "plan")
_NUMBERED = re.compile(r"(\w+)_([1-9]\d{0,2})")


class _Part(NamedTuple):
    """A batch of a column's values."""

    values: npt.NDArray[Any]
    constant: float | int | None  # the value of all; None if they differ


def array_of(column: str) -> str:
    """Return the name of the array that a column belongs to; that of an unknown column is not known either."""
    found = _NUMBERED.fullmatch(column)
    return column if found is None else found[1]


def check_columns(file: str, columns: Sequence[str]) -> int:
    """Check the names of a table's columns, and return the number of its exits.

    Raises:
        InputError: a column is missing, unknown or there twice, or there are too many exits.
    """
    for column, times in Counter(columns).items():
        if times > 1:
            raise InputError(f"{file}: column {short(column)} is there {times} times", hint="remove all but one")
        _check_column(file, column)
    numbers = [int(column.rpartition("_")[2]) for column in columns if array_of(column) == "confidence"]
    exits = max(numbers, default=0)
    if exits > MOST_EXITS:
        raise InputError(f"{file}: column confidence_{exits}", hint=f"a table has at most {MOST_EXITS} exits")
    found = {array_of(column) for column in columns}
    for name in REQUIRED:
        if name not in found:
            raise InputError(f"{file}: no column {name}{'' if name in _EACH_ROW else '_1'}", hint=DOCUMENTED)
    check_names(file, found - {"use"}, what="column")
    for name in found.intersection(_EACH_EXIT) - (set(columns) & set(_EACH_ROW)):
        for number in range(1, exits + 1):
            if f"{name}_{number}" not in columns:
                raise InputError(f"{file}: no column {name}_{number}", hint=f"there are {exits} exits; {DOCUMENTED}")
    for column in columns:
        if column not in _EACH_ROW and int(column.rpartition("_")[2]) > exits:
            raise InputError(f"{file}: column {column}, but no confidence_{exits + 1}", hint=DOCUMENTED)
    if "length" in columns and "length_1" in columns:
        raise InputError(f"{file}: columns length and length_1", hint="give one length, or one for each segment")
    return exits


def _check_column(file: str, column: str) -> None:
    name = array_of(column)
    if column in _EACH_ROW or (name in _EACH_EXIT and name != column):
        return
    known = [*_EACH_ROW, *(f"{each}_1" for each in _EACH_EXIT)]
    hint = "columns are separated by commas" if re.search(r"[;\t]", column) else advice(column, known)
    raise InputError(f"{file}: unknown column {short(column)}", hint=hint)


class Columns:
    """Collects a table's columns, batch by batch, in little memory where a column is constant."""

    def __init__(self, places: Places, names: Sequence[str]) -> None:
        """`names` are the table's columns, which `check_columns` checks.

        Raises:
            InputError: a column is missing, unknown or there twice.
        """
        self._places = places
        self._exits = check_columns(places.file, names)
        self._parts: dict[str, list[_Part]] = {name: [] for name in names}
        self._texts: dict[str, str] = {}

    def check_rows(self, rows: int) -> None:
        """Raise InputError if a table with this number of rows is too large."""
        if rows * self._exits > MOST_CELLS:
            hint = f"rows times exits are at most {MOST_CELLS}; draw a sample of the rows"
            raise InputError(f"{self._places.file}: {rows} or more rows of {self._exits} exits", hint=hint)

    def add_numbers(self, column: str, values: npt.NDArray[Any]) -> None:
        """Append a batch of values to a column."""
        if values.size and values.min() == values.max():  # False for NaN
            repeated = np.broadcast_to(values[:1].copy(), values.shape)
            self._parts[column].append(_Part(repeated, values[0].item()))
        else:
            self._parts[column].append(_Part(values, None))

    def add_texts(self, column: str, first_row: int, texts: Sequence[str]) -> None:
        """Append a batch of texts, which begins at row `first_row` (from 0), to a column.

        Raises:
            InputError: an input differs from that of the first row, or a use is unknown.
        """
        if column == "use":
            for row, text in _others(texts, _USES):
                raise self._fault(column, first_row + row, f"{short(text)} is no use", "a use is task or plan")
            self._parts[column].append(_Part(np.array([text == "plan" for text in texts], np.bool_), None))
            return
        known = self._texts.setdefault(column, texts[0] if texts else "")
        for row, text in _others(texts, (known,)):
            hint = "the input of a segment is the same in each row; lengths may differ"
            raise self._fault(column, first_row + row, f"{short(text)}, but {short(known)} in the first row", hint)

    def _fault(self, column: str, row: int, problem: str, hint: str) -> InputError:
        name, _, number = column.rpartition("_")
        if not name:
            return self._places.fault(column, problem, hint, row=row)
        return self._places.fault(name, problem, hint, row=row, exit_number=int(number))

    def arrays(self) -> dict[str, Values]:
        """Return the arrays of the table, and PLAN_ROWS if some rows have another use than tasks. Empties itself."""
        found: dict[str, Values] = {}
        grouped: dict[str, list[str]] = defaultdict(list)
        for column in self._parts:
            grouped[array_of(column)].append(column)
        for name, columns in grouped.items():
            columns.sort(key=lambda column: int(column.rpartition("_")[2]) if column != name else 0)
            if name == "input":
                found[name] = np.array([self._texts[column] for column in columns])
            elif columns == [name]:
                found[PLAN_ROWS if name == "use" else name] = _whole(self._parts.pop(name))
            else:
                found[name] = self._joined(name, [self._parts.pop(column) for column in columns])
        if PLAN_ROWS in found and not found[PLAN_ROWS].any():
            del found[PLAN_ROWS]
        return found

    def _joined(self, name: str, columns: Sequence[Sequence[_Part]]) -> Values:
        """Return an array [E] if all columns are constant and that is enough, or else [N, E]."""
        constants = [_constant(parts) for parts in columns]
        if name not in _EACH_SAMPLE and None not in constants:
            return np.array(constants)
        if name == "parameters_bytes":
            number = constants.index(None) + 1
            hint = "the parameters of a segment are the same for all samples"
            raise self._places.fault(name, "differs between rows", hint, exit_number=number)
        return np.stack([_whole(parts) for parts in columns], axis=1)


def _others(texts: Sequence[str], known: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield the texts that are not known, each with its index."""
    if not set(texts) <= set(known):
        yield from ((row, text) for row, text in enumerate(texts) if text not in known)


def _constant(parts: Sequence[_Part]) -> float | int | None:
    """Return the value of a column that is constant; None if it is not."""
    found = {part.constant for part in parts}
    return found.pop() if len(found) == 1 else None


def _whole(parts: Sequence[_Part]) -> npt.NDArray[Any]:
    return np.concatenate([part.values for part in parts])


def without_plan_rows(arrays: Mapping[str, Values], places: Places) -> tuple[dict[str, Values], Places]:
    """Return the arrays with the plan's rows moved to arrays of their own, and the names of places in them.

    Raises:
        InputError: no row is a task.
    """
    found = dict(arrays)
    if PLAN_ROWS not in found:
        return found, places
    plan: npt.NDArray[np.bool_] = found.pop(PLAN_ROWS).astype(np.bool_)
    if plan.all():
        raise places.fault("use", "no row is a task", "devices offer the rows whose use is task")
    for name in ("confidence", "prediction", *found.keys() & OTHER_CRITERIA):
        found[f"plan_{name}"] = found[name][plan]
    found["plan_correct"] = found["prediction"][plan] == found["label"][plan, None]
    for name, values in found.items():
        if name in _EACH_SAMPLE or (name in _SOME_SAMPLES and values.ndim == 2):
            found[name] = values[~plan]
    return found, replace(places, tasks=np.flatnonzero(~plan), plan=np.flatnonzero(plan))
