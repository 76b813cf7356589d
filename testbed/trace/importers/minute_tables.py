"""Tables of counts per minute: a row per function, a column per minute of the day (Azure Functions, 2019)."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

from node_agent.errors import InputError
from testbed.trace.error import TraceError
from testbed.trace.importers.contract import TICKS_PER_S, Batch, Columns, Importer
from testbed.trace.importers.csv_table import CsvTable, names_of, shown
from testbed.trace.peeked import PeekedFile

MINUTES_OF_A_DAY = 1440
MINUTE_TICKS = 60 * TICKS_PER_S
MOST_PER_MINUTE = 10_000_000


class AzureFunctions2019(Importer):
    """The invocations of Azure Functions per minute in two weeks of 2019; one file is one day.

    Requests of one count come at random within their minute: a Poisson process, given its count.
    """

    name: ClassVar[str] = "azure-functions-2019"
    about: ClassVar[str] = "HashOwner,HashApp,HashFunction,Trigger,1,…,1440: counts per minute"
    key: ClassVar[str | None] = "HashFunction"

    def recognises(self, first: bytes) -> bool:
        """True if the header has functions and minutes."""
        return {"hashfunction", "1"} <= names_of(first)

    def batches(self, file: PeekedFile, columns: Columns, part: int) -> Iterator[Batch]:
        """Yield the counts of a file, a batch for each function; the file of number `part` is that day, from 0."""
        if columns.time or columns.unit != "auto" or columns.sample:
            raise InputError(f"{self.name} has no column of times or samples", hint="leave the option out")
        table = CsvTable(file)
        key = table.column(columns.device or "HashFunction")
        places = [place for place, name in enumerate(table.names) if name.isascii() and name.isdigit()]
        minutes = [int(table.names[place]) for place in places if len(table.names[place]) <= 4]
        if len(minutes) < len(places) or not places or not 1 <= min(minutes) <= max(minutes) <= MINUTES_OF_A_DAY:
            message = f"{file.source}:1: there are no columns of minutes, 1 to {MINUTES_OF_A_DAY}"
            raise TraceError([message], hint=f"the columns are {self.about}")
        ticks = (np.array(minutes) - 1 + part * MINUTES_OF_A_DAY) * MINUTE_TICKS
        for rows in table.batches():
            for line, row in zip(rows.lines, rows.cells, strict=True):
                try:
                    counts = np.array([_count(row[place]) for place in places], dtype=np.int64)
                except ValueError:
                    raise self._fault(file.source, line, table, row, places) from None
                some = counts > 0
                lines = [line] * int(some.sum())
                yield Batch(
                    "seconds", ticks[some], lines, keys=[row[key]] * len(lines), counts=counts[some],
                    span_ticks=MINUTE_TICKS,
                )  # fmt: skip

    def _fault(self, source: str, line: int, table: CsvTable, row: Sequence[str], places: Sequence[int]) -> TraceError:
        wrong = next(place for place in places if not _is_count(row[place]))
        message = f"{source}:{line}: column {shown(table.names[wrong])}: not a count: {shown(row[wrong])}"
        return TraceError([message], hint=f"a whole number from 0 to {MOST_PER_MINUTE}")


def _count(text: str) -> int:
    if len(text) > 20 or "_" in text:
        raise ValueError("not a count")
    value = int(text)
    if not 0 <= value <= MOST_PER_MINUTE:
        raise ValueError("not a count")
    return value


def _is_count(text: str) -> bool:
    try:
        _count(text)
    except ValueError:
        return False
    return True
