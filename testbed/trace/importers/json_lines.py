"""Traces of JSON lines: Mooncake's, and the testbed's own workload traces."""

from collections.abc import Iterator
from itertools import islice
from typing import Annotated, ClassVar

import msgspec
import numpy as np

from node_agent.errors import InputError
from testbed.trace.error import TraceError
from testbed.trace.importers.contract import BATCH_ROWS, TICKS_PER_S, Batch, Columns, Importer
from testbed.trace.importers.csv_table import shown, text_lines
from testbed.trace.peeked import PeekedFile
from testbed.trace.workload import MAX_LINE_BYTES, read_lines
from testbed.wording import printable

_MILLISECOND_TICKS = TICKS_PER_S // 1000


class _Request(msgspec.Struct):
    timestamp: Annotated[float, msgspec.Meta(ge=0, le=1e12)]  # [ms]
    input_length: Annotated[int, msgspec.Meta(ge=0, lt=2**31)]


class Mooncake(Importer):
    """The traces of Mooncake: requests to Kimi, with the lengths of inputs and outputs and the hashes of blocks."""

    name: ClassVar[str] = "mooncake"
    about: ClassVar[str] = '{"timestamp": ms, "input_length": …, "output_length": …, "hash_ids": […]} by line'

    def recognises(self, first: bytes) -> bool:
        """True if the line is an object with these keys."""
        return first.startswith(b"{") and b'"input_length"' in first and b'"timestamp"' in first

    def batches(self, file: PeekedFile, columns: Columns, part: int) -> Iterator[Batch]:  # noqa: ARG002
        """Yield the requests of a file, as in `Importer`."""
        _refuse(columns, self.name)
        decoder = msgspec.json.Decoder(_Request)
        hint = f"a line is {self.about.removesuffix(' by line')}"
        found: list[_Request] = []
        lines: list[int] = []
        for line, text in enumerate(text_lines(file), start=1):
            if not text.strip():
                continue
            try:
                found.append(decoder.decode(text))
            except msgspec.DecodeError as error:
                what = printable(str(error)[:100])
                raise TraceError([f"{file.source}:{line}: {what}: {shown(text)}"], hint=hint) from None
            lines.append(line)
            if len(found) == BATCH_ROWS:
                yield _batch(found, lines)
                found, lines = [], []
        if found:
            yield _batch(found, lines)


class OwnTrace(Importer):
    """A workload trace of the testbed, for a part of it."""

    name: ClassVar[str] = "testbed"
    about: ClassVar[str] = '{"time_s": …, "device": …, "sample": …} by line'
    key: ClassVar[str | None] = "device"
    states_device: ClassVar[bool] = True

    def recognises(self, first: bytes) -> bool:
        """True if the line is an object with the key of times."""
        return first.startswith(b"{") and b'"time_s"' in first

    def batches(self, file: PeekedFile, columns: Columns, part: int) -> Iterator[Batch]:  # noqa: ARG002
        """Yield the tasks of a file, as in `Importer`."""
        _refuse(columns, self.name)
        arrivals = read_lines(file.lines(MAX_LINE_BYTES), file.source)
        line = 1
        while found := list(islice(arrivals, BATCH_ROWS)):
            yield Batch(
                "seconds",
                np.array([round(arrival.time_s * TICKS_PER_S) for arrival in found], dtype=np.int64),
                range(line, line + len(found)),
                keys=[arrival.device for arrival in found],
                samples=np.array([arrival.sample for arrival in found], dtype=np.int64),
            )
            line += len(found)


def _batch(found: list[_Request], lines: list[int]) -> Batch:
    ticks = np.array([round(request.timestamp * _MILLISECOND_TICKS) for request in found], dtype=np.int64)
    tokens = np.array([request.input_length for request in found], dtype=np.int64)
    return Batch("seconds", ticks, lines, tokens=tokens)


def _refuse(columns: Columns, name: str) -> None:
    if columns != Columns():
        raise InputError(f"{name} has no columns to name", hint="leave --time-column and its like out")
