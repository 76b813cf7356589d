"""The place of a fault in a table: file, row and column."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from node_agent.errors import InputError
from node_agent.models.answer_table.arrays import Values

Rows = npt.NDArray[np.int64]
_PLAN = "plan_"
_ONLY_ROWS = ("label", "length")  # arrays that have an axis of samples where they have one axis only


@dataclass(frozen=True, slots=True)
class Places:
    """Names of places in one table. Rows, lines, exits and segments count from 1 in messages."""

    file: str  # name of the file in messages
    word: str = "row"  # "line" in a CSV file, whose head is line 1
    first: int = 1  # number of the first row
    tasks: Rows | None = None  # row of the file, from 0, of each sample; None: samples and rows are the same
    plan: Rows | None = None  # row of the file, from 0, of each plan row; None: plan rows have arrays of their own

    def fault(
        self, array: str, problem: str, hint: str, *, row: int | None = None, exit_number: int | None = None
    ) -> InputError:
        """Return the error for a fault in an array.

        Args:
            array: name of the array.
            problem: what is wrong there.
            hint: how to mend it.
            row: row of the array, from 0; None: all rows.
            exit_number: number of the exit or segment, from 1; None: the array has no exits.
        """
        rows = self.plan if array.startswith(_PLAN) else self.tasks
        if array.startswith(_PLAN) and rows is not None:
            array = array.removeprefix(_PLAN)
        column = array if exit_number is None else f"{array}_{exit_number}"
        where = f"column {column}"
        if row is not None:
            where = f"{self.word} {self.first + int(row if rows is None else rows[row])}, {where}"
        return InputError(f"{self.file}: {where}: {problem}", hint=hint)

    def check_range(
        self, array: str, values: Values, low: float, high: float, hint: str, *, exit_number: int | None = None
    ) -> None:
        """Raise InputError for the first value, row by row, that is not within `low` and `high`; NaN never is.

        Args:
            array: name of the array.
            values: numbers, [E], [N] or [N, E].
            low: least value.
            high: greatest value.
            hint: how to mend a value outside.
            exit_number: the exit, from 1, if the values are those of one exit only.
        """
        numbers: npt.NDArray[np.float64] = values  # type: ignore[assignment]  # of any type
        if numbers.min() >= low and numbers.max() <= high:  # False for NaN
            return
        place = np.unravel_index(int(np.argmax(~((numbers >= low) & (numbers <= high)))), numbers.shape)
        row, number = None, exit_number
        if numbers.ndim == 2:
            row, number = int(place[0]), int(place[1]) + 1
        elif array in _ONLY_ROWS or exit_number is not None:
            row = int(place[0])
        else:
            number = int(place[0]) + 1
        problem = f"{numbers[place]:.12g} is outside {low:.10g}..{high:.10g}"
        raise self.fault(array, problem, hint, row=row, exit_number=number)
