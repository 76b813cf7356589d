"""The trace files that a topology names, and the shape over time of a link that follows one."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from testbed.scenario import LinkShape
from testbed.topology.form.link_entries import TraceEntry
from testbed.trace.error import TraceError
from testbed.trace.link_reading import parse_link_trace, read_bytes
from testbed.trace.link_trace import LULL_MBIT_PER_S, LinkTrace
from testbed.trace.outages import emulated

MAX_TOTAL_BYTES = 64 << 20
MICROSECOND_S = 1e-6  # the resolution of times in a run


@dataclass(slots=True)
class TraceFiles:
    """The trace files of one topology, each read once: a run uses what was read, even if the file changes later.

    Attributes:
        folder: paths are relative to it.
        copies: files to read instead, by path as the topology states it.
        contents: the files' bytes read so far, by path as the topology states it.
    """

    folder: str
    copies: Mapping[str, Path] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    _parsed: dict[tuple[str, str | None, float | None], LinkTrace] = field(default_factory=dict)
    _emulated: dict[tuple[object, ...], LinkTrace] = field(default_factory=dict)

    def trace(self, entry: TraceEntry) -> LinkTrace:
        """Return the trace that an entry names. Raises InputError if it cannot be read or used."""
        key = (entry.file, entry.format, entry.every)
        if key not in self._parsed:
            if entry.file not in self.contents:
                path = self.copies.get(entry.file, Path(os.path.join(self.folder, entry.file)))
                content = read_bytes(path)
                if sum(map(len, self.contents.values())) + len(content) > MAX_TOTAL_BYTES:
                    message = f"{entry.file}: more than {MAX_TOTAL_BYTES >> 20} MiB of traces in all"
                    raise TraceError([message], hint="use parts of the traces")
                self.contents[entry.file] = content
            content = self.contents[entry.file]
            self._parsed[key] = parse_link_trace(content, entry.file, entry.format, every_s=entry.every)
        return self._parsed[key]

    def emulated(self, entry: TraceEntry) -> LinkTrace:
        """Return the entry's trace as links follow it: scaled, with a least rate in outages, without equal steps."""
        key = (entry.file, entry.format, entry.every, entry.scale, entry.repeat)
        if key not in self._emulated:
            self._emulated[key] = emulated(self.trace(entry), scale=entry.scale, repeats=entry.repeat)
        return self._emulated[key]


@dataclass(frozen=True, slots=True)
class Follower:
    """A link that follows a trace of `TraceFiles.emulated`.

    Attributes:
        trace: rates [Mbit/s], delays [s], jitter [s] and loss (0..1), as far as the trace states them.
        entry: the entry that names the trace.
        base: the link's shape; the values of the trace replace its own.
        offset_s: time in the trace at which the run begins [s].
    """

    trace: LinkTrace
    entry: TraceEntry
    base: LinkShape
    offset_s: float

    def shapes(self, duration_s: float) -> Iterator[tuple[float, LinkShape]]:
        """Yield (start [s], shape) in order of time, the first at 0 s; each shape differs from the one before."""
        last = None
        shapes: dict[int, LinkShape] = {}
        for step, at_s in self._steps():
            if at_s >= duration_s:
                return
            shape = shapes.get(step)
            if shape is None:
                shape = shapes[step] = self._shape(step)
            if shape != last:
                yield at_s, shape
            last = shape

    def changes_within(self, duration_s: float) -> int:
        """Count the changes of the link in a run of this length [s], not counting the shape at its start."""
        trace, begin_s = self.trace, self._begin_s
        laps, end_s = divmod(begin_s + duration_s, trace.length_s) if self.entry.repeat else (0.0, begin_s + duration_s)
        a_lap = len(trace.starts_s) - (self._shape(0) == self._shape(-1))
        return int(laps) * a_lap + trace.at(end_s) - trace.at(begin_s)

    @property
    def _begin_s(self) -> float:
        """Start of the link in the trace's first lap [s]; an offset a microsecond before a step means that step."""
        if not self.entry.repeat:
            return self.offset_s + MICROSECOND_S
        return (self.offset_s + MICROSECOND_S) % self.trace.length_s

    def _steps(self) -> Iterator[tuple[int, float]]:
        """Yield (number of the step, its begin in the run [s]), starting with the step at the offset."""
        trace, begin_s = self.trace, self._begin_s
        first = trace.at(begin_s)
        yield first, 0.0
        if len(trace.starts_s) == 1:
            return  # a lap changes nothing, and there may be billions of them
        for lap in count() if self.entry.repeat else (0,):
            for step in range(first + 1 if lap == 0 else 0, len(trace.starts_s)):
                yield step, round(lap * trace.length_s + trace.starts_s[step] - begin_s + MICROSECOND_S, 6)

    def _shape(self, step: int) -> LinkShape:
        trace, shape = self.trace, self.base
        if trace.rate_mbit_per_s is not None:
            rate = trace.rate_mbit_per_s[step]
            shape = replace(shape, rate_mbit_per_s=rate, lull=rate < LULL_MBIT_PER_S)
        if trace.delay_s is not None:
            shape = replace(shape, delay_s=trace.delay_s[step])
        if trace.jitter_s is not None:
            shape = replace(shape, jitter_s=trace.jitter_s[step])
        if trace.loss is not None:
            shape = replace(shape, loss=trace.loss[step])
        return shape
