"""Links that follow network traces: the files of a topology, and from their steps to the changes of a run."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from node_agent.errors import InputError
from testbed.scenario import DRAIN_S, LinkChange, LinkShape
from testbed.topology.link_forms import TracedLinkEntry, TraceEntry, TracePair
from testbed.topology.places import Path as EntryPath
from testbed.topology.shapes import shape_fault
from testbed.trace.link_trace import LULL_MBIT_PER_S, LinkTrace, parse_link_trace, read_bytes
from testbed.trace.outages import emulated
from testbed.trace.workload import TraceError

if TYPE_CHECKING:
    from testbed.topology.compiler import Compiler

MAX_TOTAL_BYTES = 64 << 20
MAX_CHANGES = 500_000  # in a run, over all links
SENSIBLE_CHANGES_PER_S = 500.0  # in real time, over all links: with the relay a change costs 0.1 ms of CPU time
MICROSECOND_S = 1e-6  # times of a run are told to the microsecond
_ROUND_STEPS_S = tuple(factor * 10.0**power for power in range(-1, 9) for factor in (1, 2, 5))
_TOLD = {"rate": "rate_mbit_per_s", "delay": "delay_s", "jitter": "jitter_s", "loss": "loss"}


@dataclass(slots=True)
class TraceFiles:
    """The trace files of one topology, each read once: a run is of what was read, whatever becomes of the file.

    `folder` is what paths are relative to; `copies` are files to read instead, by path as the topology states it.
    `contents` are those read so far.
    """

    folder: str
    copies: Mapping[str, Path] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    _parsed: dict[tuple[str, str | None, float | None], LinkTrace] = field(default_factory=dict)
    _emulated: dict[tuple[object, ...], LinkTrace] = field(default_factory=dict)

    def trace(self, entry: TraceEntry) -> LinkTrace:
        """The trace that an entry means. Raises InputError if it cannot be used."""
        key = (entry.file, entry.format, entry.every)
        if key not in self._parsed:
            if entry.file not in self.contents:
                path = self.copies.get(entry.file, Path(os.path.join(self.folder, entry.file)))
                content = read_bytes(path)
                if sum(map(len, self.contents.values())) + len(content) > MAX_TOTAL_BYTES:
                    message = f"{entry.file}: more than {MAX_TOTAL_BYTES >> 20} MiB of traces in all"
                    raise TraceError([message], hint="take parts of them")
                self.contents[entry.file] = content
            content = self.contents[entry.file]
            self._parsed[key] = parse_link_trace(content, entry.file, entry.format, every_s=entry.every)
        return self._parsed[key]

    def emulated(self, entry: TraceEntry) -> LinkTrace:
        """The same as links follow it: scaled, with a least rate in outages, and each step a change."""
        key = (entry.file, entry.format, entry.every, entry.scale, entry.repeat)
        if key not in self._emulated:
            self._emulated[key] = emulated(self.trace(entry), scale=entry.scale, repeats=entry.repeat)
        return self._emulated[key]


def followed_traces(compiler: "Compiler", index: int) -> tuple[LinkTrace, ...]:
    """The trace that a link entry follows, or those of its two directions; none, perhaps with a complaint, if none."""
    entry = compiler.document.links[index]
    if not isinstance(entry, TracedLinkEntry):
        return ()
    paths: list[EntryPath] = [("links", index, "trace")]
    if isinstance(entry.trace, TracePair):
        paths = [(*paths[0], way) for way in ("up", "down")]
    traces = []
    for path, one in zip(paths, entry.traces, strict=True):
        try:
            traces.append(compiler.files.emulated(one))
        except InputError as error:
            compiler.complain(path, f"network trace {error}", error.hint)
    if len(traces) < len(paths):
        return ()
    sound = True
    for key, series in _TOLD.items():
        told, stated = [getattr(trace, series) is not None for trace in traces], key in entry.model_fields_set
        if all(told) and stated:
            compiler.complain(("links", index, key), f"`{key}` is what the trace tells", "remove it", of_key=True)
        elif not all(told) and not stated and key in {"rate", "delay"}:
            which = f"the trace {entry.traces[told.index(False)].file}" if any(told) else "the trace"
            compiler.complain(("links", index), f"`{key}` is missing: {which} tells none", f"state the link's {key}")
        else:
            continue
        sound = False
    for path, one, trace in zip(paths, entry.traces, traces, strict=True):
        if not one.repeat and one.offset.high >= trace.length_s:
            message = f"the offset may lie beyond the trace's end ({trace.length_s:g} s)"
            compiler.complain((*path, "offset"), message, "lower it, or let the trace repeat")
            sound = False
    return tuple(traces) if sound else ()


@dataclass(frozen=True, slots=True)
class Follower:
    """A link that follows a trace: `base` is its shape but for what the trace tells, `offset_s` where it begins.

    The trace is one of `TraceFiles.emulated`.
    """

    trace: LinkTrace
    entry: TraceEntry
    base: LinkShape
    offset_s: float

    def shapes(self, duration_s: float) -> Iterator[tuple[float, LinkShape]]:
        """(from when on [s], shape) in the order of time, the first at 0 s; each differs from the one before."""
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
        """How often the trace changes the link in a run of this length; the shape at its start is no change."""
        trace, begin_s = self.trace, self._begin_s
        laps, end_s = divmod(begin_s + duration_s, trace.length_s) if self.entry.repeat else (0.0, begin_s + duration_s)
        a_lap = len(trace.starts_s) - (self._shape(0) == self._shape(-1))
        return int(laps) * a_lap + trace.at(end_s) - trace.at(begin_s)

    @property
    def _begin_s(self) -> float:
        """Where in the trace's first lap the link begins; a microsecond before a step is that step."""
        if not self.entry.repeat:
            return self.offset_s + MICROSECOND_S
        return (self.offset_s + MICROSECOND_S) % self.trace.length_s

    def _steps(self) -> Iterator[tuple[int, float]]:
        """(number of the step, when it begins in the run [s]), from the one at the offset on."""
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


def compile_steps(compiler: "Compiler") -> list[LinkChange]:
    """The changes of all links that follow a trace, in no order, but for their first shapes.

    They go on after the end of the run, while its tasks drain: for DRAIN_S, or as much of it, halved and halved again,
    as MAX_CHANGES leaves room for. What the links are then, they remain. A run that ends in an outage thus leaves it.
    """
    everyone = [follower for _, followers in compiler.followers.values() for follower in followers]
    changed = sum(follower.changes_within(compiler.duration_s) for follower in everyone)
    if changed > MAX_CHANGES:
        message = f"the links' traces make up to {changed} changes, and {MAX_CHANGES} are possible"
        path = ("links", min(index for index, _ in compiler.followers.values()), "trace")
        every_s = _fitting_step_s(everyone, compiler.duration_s)
        longer = "" if every_s is None else f"longer steps ({_shown_step(every_s)}), or "
        compiler.complain(path, message, f"state {longer}a shorter duration")
        return []
    until_s = _followed_until_s(everyone, compiler.duration_s)
    changes: list[LinkChange] = []
    for pair, (index, followers) in compiler.followers.items():
        ends = compiler.links[pair].ends
        senders: tuple[str | None, ...] = (None,) if len(followers) == 1 else ends
        for sender, follower in zip(senders, followers, strict=True):
            for at_s, shape in follower.shapes(until_s):
                if compiler.intact("links") and (fault := shape_fault(shape, compiler.document.time_scale)):
                    where = f"the link {ends[0]} - {ends[1]} at {at_s:g} s"
                    compiler.complain(
                        ("links", index, "trace"), f"{where}: {fault.message}", f"mend the trace, or {fault.hint}"
                    )
                    break
                if at_s > 0:
                    changes.append(LinkChange(at_s, ends, shape, traced=True, sender=sender))
    return changes


def _followed_until_s(followers: Sequence[Follower], duration_s: float) -> float:
    """Until when links follow their traces, with which they change no more often than is possible."""
    for halvings in range(8):
        until_s = duration_s + DRAIN_S / (1 << halvings)
        if sum(follower.changes_within(until_s) for follower in followers) <= MAX_CHANGES:
            return until_s
    return duration_s


def _fitting_step_s(followers: Sequence[Follower], duration_s: float) -> float | None:
    """A length of steps with which these links surely change no more often than is possible, if any does.

    Lulls keep steps of their own, however long the others are.
    """
    edges = [_lull_edges(follower.trace) for follower in followers]
    for every_s in _ROUND_STEPS_S:
        changed = 0.0
        for follower, of_lulls in zip(followers, edges, strict=True):
            length_s = follower.trace.length_s
            if every_s < length_s or of_lulls:  # else one step holds the whole trace, and there is no change
                laps = duration_s / length_s + 1 if follower.entry.repeat else 1
                changed += (math.ceil(length_s / every_s) + of_lulls) * laps
        if changed <= MAX_CHANGES:
            return every_s
    return None


def _lull_edges(trace: LinkTrace) -> int:
    """How often lulls begin or end in an emulated trace."""
    low = [rate <= LULL_MBIT_PER_S for rate in trace.rate_mbit_per_s or ()]
    return sum(one != next_one for one, next_one in pairwise(low))


def sensible_step(followers: int, time_scale: float) -> str:
    """The length of steps, as a topology states it, with which so many links change no more often than is sensible."""
    least_s = followers / (SENSIBLE_CHANGES_PER_S * time_scale)
    return _shown_step(next(every_s for every_s in _ROUND_STEPS_S if every_s >= least_s))


def _shown_step(every_s: float) -> str:
    return f"every: {every_s * 1e3:g} ms" if every_s < 1 else f"every: {every_s:g} s"
