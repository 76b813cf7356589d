"""Requests of trace files: chosen by window and chance, in the order of their time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from node_agent.errors import InputError
from testbed.trace.error import TraceError
from testbed.trace.importers.contract import Axis, Batch, Columns, Importer, Integers
from testbed.trace.importers.formats import importer_of
from testbed.trace.importers.time_stamps import ALL_TIMES, Window
from testbed.trace.peeked import PeekedFile, peeked

MOST_REQUESTS = 100_000_000
_AT_ONCE = 1_000_000  # requests drawn from counts


@dataclass(frozen=True, slots=True)
class Sieve:
    """The requests to keep.

    Attributes:
        window: only those within it.
        keep: each with this probability, above 0 and up to 1.
        failed: also those that failed at the source.
    """

    window: Window = ALL_TIMES
    keep: float = 1.0
    failed: bool = True


@dataclass(slots=True)
class Tally:
    """Counts over the files that were read.

    Attributes:
        read: requests in the files.
        within: requests within the window.
        failed: requests within it that failed at the source.
        kept: requests that are kept.
        earliest: the least time of those within the window [us].
        axis: the origin of the times.
        form: the format of the first file.
    """

    read: int = 0
    within: int = 0
    failed: int = 0
    kept: int = 0
    earliest: int | None = None
    axis: Axis | None = None
    form: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Trace files of one format.

    Attributes:
        paths: the files; those without dates follow one another.
        form: the format; None: by the first line of each.
        columns: the columns that the user names.
    """

    paths: Sequence[Path | str]
    form: str | None = None
    columns: Columns = field(default_factory=Columns)

    def batches(self, sieve: Sieve, tally: Tally, random: np.random.Generator) -> Iterator[tuple[Batch, Importer, str]]:
        """Yield the requests to keep, one row for each, with their importer and the file.

        Raises:
            TraceError: a file is of no format, or faulty, or no request lies in the window.
            InputError: a file cannot be read, or the window is stated in other times than the files.
        """
        for part, path in enumerate(self.paths):
            with peeked(path, hint="give the path of a trace of requests") as file:
                importer = importer_of(file, self.form, self.columns)
                for batch in requests_of(file, importer, self.columns, sieve, tally, random, part):
                    yield batch, importer, file.source
        check_kept(tally, ", ".join(map(str, self.paths)))


def requests_of(
    file: PeekedFile, importer: Importer, columns: Columns, sieve: Sieve, tally: Tally,
    random: np.random.Generator, part: int = 0,
) -> Iterator[Batch]:  # fmt: skip
    """Yield the requests of one file to keep, one row for each; as in `Source.batches`."""
    tally.form = tally.form or importer.name
    for batch in importer.batches(file, columns, part):
        if tally.axis not in (None, batch.axis):
            message = f"{file.source}: times of another kind than in the files before"
            raise TraceError([message], hint="import dates and seconds one by one")
        tally.axis = batch.axis
        sieve.window.suits(batch.axis)
        yield from _chosen(batch, sieve, tally, random)


def check_kept(tally: Tally, names: str) -> None:
    """Raise TraceError if no request of the files `names` was kept."""
    if not tally.read:
        raise TraceError([f"{names}: there is no request"], hint="the file has a header only")
    if not tally.within:
        hint = "times are those of the file: widen --window"
        raise TraceError([f"{names}: no request lies in the window"], hint=hint)
    if not tally.kept:
        raise TraceError([f"{names}: no request is kept, of {tally.within}"], hint="keep a larger share: --rate")


def _chosen(batch: Batch, sieve: Sieve, tally: Tally, random: np.random.Generator) -> Iterator[Batch]:
    """Yield the requests of a batch that stay, one row for each."""
    window = sieve.window
    start = -(2**62) if window.start is None else window.start
    end = 2**62 if window.end is None else window.end
    if batch.counts is None:
        tally.read += len(batch.ticks)
        inside = (batch.ticks >= start) & (batch.ticks < end)
        _note_window(batch.ticks[inside], int(inside.sum()), tally)
        if batch.failed is not None:
            tally.failed += int((inside & batch.failed).sum())
            inside &= sieve.failed | ~batch.failed
        if sieve.keep < 1:
            inside &= random.random(len(inside)) < sieve.keep
        yield _rows(batch, np.flatnonzero(inside), tally)
        return
    tally.read += int(batch.counts.sum())
    near = np.flatnonzero((batch.ticks + batch.span_ticks > start) & (batch.ticks < end))
    counts = batch.counts[near]
    # By the count, not the draw of each: a day of a large provider has 10^9 requests.
    kept = random.binomial(counts, sieve.keep) if sieve.keep < 1 else counts
    _note_window(np.maximum(batch.ticks[near], start), int(counts.sum()), tally)
    turns = np.cumsum(kept) // _AT_ONCE
    for turn in np.unique(turns):
        some = near[turns == turn]
        rows = np.repeat(some, kept[turns == turn])
        drawn = replace(batch, counts=None, ticks=batch.ticks)
        ticks = batch.ticks[rows] + random.integers(0, batch.span_ticks, len(rows))
        inside = (ticks >= start) & (ticks < end)
        one_each = _rows(drawn, rows[inside], tally)
        yield replace(one_each, ticks=ticks[inside])


def _note_window(ticks: Integers, count: int, tally: Tally) -> None:
    tally.within += count
    if len(ticks):
        least = int(ticks.min())
        tally.earliest = least if tally.earliest is None else min(tally.earliest, least)


def _rows(batch: Batch, rows: Integers, tally: Tally) -> Batch:
    """The batch with these rows alone."""
    tally.kept += len(rows)
    if tally.kept > MOST_REQUESTS:
        hint = "take a part of the source: trace import with --window or --rate x0.01"
        raise InputError(f"more than {MOST_REQUESTS:,} requests are too many", hint=hint)
    if len(rows) == len(batch.ticks) and (rows == np.arange(len(rows))).all():
        return batch
    places = rows.tolist()
    return Batch(
        batch.axis,
        batch.ticks[rows],
        [batch.lines[place] for place in places],
        keys=None if batch.keys is None else [batch.keys[place] for place in places],
        tokens=None if batch.tokens is None else batch.tokens[rows],
        samples=None if batch.samples is None else batch.samples[rows],
        failed=None if batch.failed is None else batch.failed[rows],
    )
