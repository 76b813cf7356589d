"""Tables with a time stamp in each row: any CSV, and the published ones that differ in their columns alone."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

from testbed.trace.error import TraceError
from testbed.trace.importers.contract import Batch, Columns, Importer, Integers
from testbed.trace.importers.csv_table import CsvTable, Rows, names_of, whole_number
from testbed.trace.importers.time_stamps import Clock, clock_of
from testbed.trace.link_reading import format_of_line
from testbed.trace.peeked import PeekedFile

TIME_COLUMNS = (
    "time_s", "time", "timestamp", "timestamp_s", "time_ms", "timestamp_ms", "arrival_time", "arrival", "arrived_at",
    "start_time", "start", "datetime", "date", "created_at", "ts",
)  # fmt: skip
_LINK_COLUMNS = frozenset({"rate_mbit_per_s", "delay_ms", "delay_s", "jitter_ms", "jitter_s", "loss"})
_TIME_HINT = "name the column of times by --time-column, and their unit by --time-unit if it is not s"


class StampTable(Importer):
    """A table with a row for each request; a subclass names its columns."""

    time: ClassVar[str | None] = None
    needed: ClassVar[frozenset[str]] = frozenset()  # in lower case, for recognition
    tokens: ClassVar[str | None] = None
    answer_tokens: ClassVar[str | None] = None  # 0 means that the request failed
    duration: ClassVar[str | None] = None  # [s]; the times are those of ends
    key_within: ClassVar[str | None] = None  # the column within whose values alone a key is unique

    def recognises(self, first: bytes) -> bool:
        """True if the header has the columns of the format."""
        return bool(self.needed) and self.needed <= names_of(first)

    def batches(self, file: PeekedFile, columns: Columns, part: int) -> Iterator[Batch]:  # noqa: ARG002
        """Yield the requests of a file, as in `Importer`."""
        table = CsvTable(file)
        time = self._time_column(table, columns)
        key, sample, tokens, answer, duration = (
            None if name is None else table.column(name)
            for name in (columns.device or self.key, columns.sample, self.tokens, self.answer_tokens, self.duration)
        )
        group = None if self.key_within is None or columns.device is not None else table.column(self.key_within)
        clock: Clock | None = None
        for rows in table.batches():
            if clock is None:
                clock = _clock(rows, time, columns)
            ticks = np.array(rows.read(time, clock.read, hint=_TIME_HINT), dtype=np.int64)
            if duration is not None:
                ticks -= np.array(rows.read(duration, _seconds, hint="a duration in seconds"), dtype=np.int64)
            answers = None if answer is None else _numbers(rows, answer)
            yield Batch(
                clock.axis,
                ticks,
                rows.lines,
                keys=None if key is None else _keys(rows, key, group),
                tokens=None if tokens is None else _numbers(rows, tokens),
                samples=None if sample is None else _numbers(rows, sample),
                failed=None if answers is None else answers == 0,
            )

    def _time_column(self, table: CsvTable, columns: Columns) -> int:
        name = columns.time or self.time
        if name is not None:
            return table.column(name)
        for each in TIME_COLUMNS:
            if (found := table.find(each)) is not None:
                return found
        known = ", ".join(repr(each[:40]) for each in table.names[:8])
        message = f"{table.source}:1: no column looks like times: {known}"
        raise TraceError([message], hint="name it: --time-column NAME")


class StampedCsv(StampTable):
    """Any table with a column of times."""

    name: ClassVar[str] = "csv"
    about: ClassVar[str] = "a column of times; columns for device and sample if you name them"

    def recognises(self, first: bytes) -> bool:
        """True if a column is named as times are, and none as those of a network trace."""
        names = names_of(first)
        return bool(names & set(TIME_COLUMNS)) and not names & _LINK_COLUMNS and not first.startswith(b"{")


class AzureLlm(StampTable):
    """The Azure LLM inference traces of 2023 and 2024."""

    name: ClassVar[str] = "azure-llm"
    about: ClassVar[str] = "TIMESTAMP,ContextTokens,GeneratedTokens"
    time: ClassVar[str | None] = "TIMESTAMP"
    tokens: ClassVar[str | None] = "ContextTokens"
    needed: ClassVar[frozenset[str]] = frozenset({"timestamp", "contexttokens"})


class BurstGpt(StampTable):
    """BurstGPT: requests to ChatGPT and GPT-4 at a university; those without a response failed."""

    name: ClassVar[str] = "burstgpt"
    about: ClassVar[str] = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"
    time: ClassVar[str | None] = "Timestamp"
    tokens: ClassVar[str | None] = "Request tokens"
    answer_tokens: ClassVar[str | None] = "Response tokens"
    needed: ClassVar[frozenset[str]] = frozenset({"timestamp", "request tokens", "response tokens"})


class AzureFunctions2021(StampTable):
    """The invocations of Azure Functions in two weeks of 2021, each with its end and its duration."""

    name: ClassVar[str] = "azure-functions-2021"
    about: ClassVar[str] = "app,func,end_timestamp,duration"
    key: ClassVar[str | None] = "func"
    key_within: ClassVar[str | None] = "app"
    time: ClassVar[str | None] = "end_timestamp"
    duration: ClassVar[str | None] = "duration"
    needed: ClassVar[frozenset[str]] = frozenset({"app", "func", "end_timestamp", "duration"})


def is_link_header(first: bytes) -> bool:
    """True if the first line is that of a network trace, not of requests."""
    form = format_of_line(first)
    return form == "mahimahi" or (form == "csv" and bool(names_of(first) & _LINK_COLUMNS))


def _clock(rows: Rows, time: int, columns: Columns) -> Clock:
    found: list[Clock] = []

    def read(text: str) -> int:
        found.append(clock_of(columns.unit, rows.names[time], text))
        return 0

    first: Sequence[Sequence[str]] = rows.cells[:1]
    Rows(rows.source, rows.names, first, rows.lines[:1]).read(time, read, hint=_TIME_HINT)
    return found[0]


def _keys(rows: Rows, key: int, group: int | None) -> list[str]:
    if group is None:
        return [row[key] for row in rows.cells]
    return [f"{row[group]}/{row[key]}" for row in rows.cells]


def _numbers(rows: Rows, column: int) -> Integers:
    return np.array(rows.read(column, whole_number, hint="a whole number such as 17"), dtype=np.int64)


def _seconds(text: str) -> int:
    number = float(text)
    if not 0 <= number < 1e9:
        raise ValueError("not a number of seconds")
    return round(number * 1e6)
