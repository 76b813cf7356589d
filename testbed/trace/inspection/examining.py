"""Examining a trace of any kind: a network trace, a workload, or requests in a format that can be imported."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from testbed.trace.importers.contract import Columns
from testbed.trace.importers.formats import importer_of, is_importable
from testbed.trace.importers.requests import Sieve, Tally, check_kept, requests_of
from testbed.trace.importers.spool import Spool
from testbed.trace.inspection.workload_summary import MOST_NAMES, OTHERS, Gathered
from testbed.trace.link_reading import parse_link_trace
from testbed.trace.link_trace import LinkTrace
from testbed.trace.peeked import PeekedFile, is_workload, peeked
from testbed.trace.workload import MAX_LINE_BYTES, read_lines

UNNAMED = "(all)"
_SEED = 1  # of the places of requests in tables of counts


@dataclass(frozen=True, slots=True)
class ExaminedWorkload:
    """A workload or other requests.

    Attributes:
        gathered: the tasks.
        form: the format, as imports name it.
        keyed: the source states devices, users or functions.
    """

    gathered: Gathered
    form: str
    keyed: bool

    @property
    def noun(self) -> str:
        """The word for one of them."""
        return "task" if self.form == "testbed" else "request"


def examine(
    path: Path | str, *, every_s: float | None = None, form: str | None = None, columns: Columns | None = None
) -> ExaminedWorkload | LinkTrace:
    """Read a trace, in constant memory if it is one of a workload.

    Args:
        path: the file, packed by gzip or not.
        every_s: for a network trace, the length of its steps [s].
        form: the format of requests; None: by the first line.
        columns: of a table of requests.

    Raises:
        TraceError: the file is of no known kind, or a faulty trace.
        InputError: the file cannot be read.
    """
    columns = Columns() if columns is None else columns
    with peeked(path) as file:
        if form is None and columns.time is None and not is_importable(file.first):
            if not is_workload(file.first, file.source):
                return parse_link_trace(file.content(), file.source, every_s=every_s)
            form = "testbed"
        if form == "testbed":
            gathered = Gathered()
            gathered.add_arrivals(read_lines(file.lines(MAX_LINE_BYTES), file.source))
            return ExaminedWorkload(gathered, "testbed", keyed=True)
        return _requests(file, form, columns)


def _requests(file: PeekedFile, form: str | None, columns: Columns) -> ExaminedWorkload:
    """The requests of a file of another form, sorted."""
    tally = Tally()
    places: dict[str, int] = {}
    keyed = False
    random = np.random.Generator(np.random.PCG64(_SEED))
    with Spool() as spool:
        for batch in requests_of(file, importer_of(file, form, columns), columns, Sieve(), tally, random):
            keyed = keyed or batch.keys is not None
            keys = batch.keys if batch.keys is not None else [UNNAMED] * len(batch.ticks)
            devices = np.array([_place(places, key) for key in keys], dtype=np.int64)
            samples = np.full(len(devices), -1) if batch.samples is None else batch.samples
            spool.add(batch.ticks, devices, samples)
        check_kept(tally, file.source)
        names = [*places, *[OTHERS] * (MOST_NAMES - len(places) + 1)]
        gathered = Gathered()
        zero = tally.earliest or 0
        for block in spool.sorted():
            stated = block["sample"].astype(np.int64) if block["sample"].max() >= 0 else None
            gathered.add(block["ticks"] - zero, names, block["device"].astype(np.int64), stated)
    return ExaminedWorkload(gathered, tally.form, keyed=keyed)


def _place(places: dict[str, int], key: str) -> int:
    """The number of a key; those beyond MOST_NAMES have one in common."""
    found = places.get(key)
    if found is None:
        found = len(places)
        if found < MOST_NAMES:
            places[key] = found
    return min(found, MOST_NAMES)
