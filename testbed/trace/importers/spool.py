"""Sorting requests by time in constant memory: sorted runs on disk, merged block by block."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from node_agent.errors import InputError

RECORD = np.dtype([("ticks", "<i8"), ("device", "<i4"), ("sample", "<i4")])
Records = npt.NDArray[np.void]  # of RECORD, (n,)

RUN_RECORDS = 1 << 16
_NOTHING = np.empty(0, dtype=RECORD)
MERGED_RECORDS = 1 << 17  # in memory while runs are merged


@dataclass(slots=True)
class _Run:
    """A sorted run in the file: its records [begin, end), of which those before `begin` have been read."""

    begin: int
    end: int
    first: int
    last: int
    block: Records


class Spool:
    """Records that are added in any order and read in that of time; records of one time come in an order of their own.

    Args:
        folder: for a nameless file of 16 bytes a record; None: the folder for temporary files.
        run_records: records that are sorted at a time.
    """

    def __init__(self, folder: Path | None = None, run_records: int = RUN_RECORDS) -> None:
        """Open the file. Raises InputError if it cannot be opened."""
        self._run_records = run_records
        self._waiting: list[Records] = []
        self._count = 0
        self._runs: list[_Run] = []
        try:
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - `close` closes it
        except OSError as error:
            raise _unwritable(error) from error
        self.total = 0

    def __enter__(self) -> Self:
        """Return the spool."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file, which removes it."""
        self._file.close()

    def add(self, ticks: npt.NDArray[np.int64], devices: npt.NDArray[np.int64], samples: npt.NDArray[np.int64]) -> None:
        """Add requests: their times [us], devices and samples, (n,). Raises InputError if the disk is full."""
        records = np.empty(len(ticks), dtype=RECORD)
        records["ticks"], records["device"], records["sample"] = ticks, devices, samples
        self._waiting.append(records)
        self._count += len(records)
        self.total += len(records)
        if self._count >= self._run_records:
            self._write()

    def sorted(self) -> Iterator[Records]:
        """Yield all records in the order of time, in blocks. Raises InputError if the disk is full."""
        if self._count:
            self._write()
        runs = self._runs
        if all(one.last <= other.first for one, other in pairwise(runs)):
            for run in runs:
                while len(block := self._next(run, MERGED_RECORDS)):
                    yield block
            return
        at_once = max(256, MERGED_RECORDS // len(runs))
        for run in runs:
            run.block = self._next(run, at_once)
        live = list(runs)
        while live:
            # Up to the least last time of all blocks, no record can come that is not in memory.
            bound = min(int(run.block["ticks"][-1]) for run in live)
            parts = []
            for run in live:
                until = int(np.searchsorted(run.block["ticks"], bound, side="right"))
                parts.append(run.block[:until])
                run.block = run.block[until:]
                if not len(run.block):
                    run.block = self._next(run, at_once)
            together = np.concatenate(parts)
            yield together[np.argsort(together["ticks"], kind="stable")]
            live = [run for run in live if len(run.block)]

    def _write(self) -> None:
        together = np.concatenate(self._waiting)
        together = together[np.argsort(together["ticks"], kind="stable")]
        begin = self._runs[-1].end if self._runs else 0
        try:
            self._file.seek(begin * RECORD.itemsize)
            self._file.write(together.tobytes())
            self._file.flush()
        except OSError as error:
            raise _unwritable(error) from error
        first, last = int(together["ticks"][0]), int(together["ticks"][-1])
        self._runs.append(_Run(begin, begin + len(together), first, last, _NOTHING))
        self._waiting, self._count = [], 0

    def _next(self, run: _Run, most: int) -> Records:
        """Read the next records of a run, none at its end."""
        count = min(most, run.end - run.begin)
        self._file.seek(run.begin * RECORD.itemsize)
        run.begin += count
        return np.frombuffer(self._file.read(count * RECORD.itemsize), dtype=RECORD)


def _unwritable(error: OSError) -> InputError:
    reason = error.strerror or str(error)
    hint = "it takes 16 bytes a request beside the file to write, or in TMPDIR"
    return InputError(f"requests cannot be sorted on disk: {reason}", hint=hint)
