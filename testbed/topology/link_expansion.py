"""Expand link entries into links between single nodes: pairs of ends, precedence of entries, drawn shapes."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from testbed.power import LinkEnergy
from testbed.scenario import Link, LinkShape
from testbed.topology.drawing import draw
from testbed.topology.followed_traces import followed_traces
from testbed.topology.followers import Follower
from testbed.topology.form.link_entries import AnyLinkEntry, TracedLinkEntry
from testbed.topology.form.power_entries import LinkEnergyEntry
from testbed.topology.form.yaml_places import Path
from testbed.topology.shapes import stated_faults
from testbed.topology.unfinished import UnfinishedScenario
from testbed.trace.link_trace import LinkTrace
from testbed.units import Span

MAX_LINKS = 200_000
_LEFT_TO_TRACE = Span(1.0, 1.0)  # stands in for a value that the trace states


@dataclass(frozen=True, slots=True)
class Statement:
    """The `links` entry (by index) that describes a pair, and how many of its two ends the entry names singly."""

    index: int
    ends: tuple[str, str]
    single_ends: int


def expand_links(compiler: UnfinishedScenario) -> None:
    """Fill in `links` and `followers` of `compiler`; report misfits to it."""
    chosen: dict[tuple[str, str], Statement] = {}
    traces: dict[int, tuple[LinkTrace, ...]] = {}
    for index, entry in enumerate(compiler.document.links):
        for fault in stated_faults(entry, compiler.document.time_scale):
            compiler.complain(("links", index, fault.key), fault.message, fault.hint)
        traces[index] = followed_traces(compiler, index)
        told: set[str] = set()  # kinds of problems already reported of this entry, so that pairs do not repeat them
        for statement in _pairs(compiler, index, entry, told):
            pair = min(statement.ends), max(statement.ends)
            earlier = chosen.get(pair)
            if earlier is not None and statement.single_ends <= earlier.single_ends:
                if "twice" not in told:
                    _complain_of_pair(compiler, statement, earlier)
                told.add("twice")
                continue
            chosen[pair] = statement
        if len(chosen) > MAX_LINKS:
            compiler.complain(("links", index), f"more than {MAX_LINKS} links in all", "join the nodes by a switch")
            return
    for pair, statement in chosen.items():
        compiler.links[pair] = _draw_link(compiler, pair, statement, traces[statement.index])


def _pairs(compiler: UnfinishedScenario, index: int, entry: AnyLinkEntry, told: set[str]) -> Iterator[Statement]:
    ends = [_end(compiler, index, "from", entry.from_), _end(compiler, index, "to", entry.to)]
    if len(ends[0]) * len(ends[1]) > MAX_LINKS:
        compiler.complain(("links", index), f"more than {MAX_LINKS} links in all", "join the nodes by a switch")
        return
    for first, first_single in ends[0].items():
        for second, second_single in ends[1].items():
            if first != second:
                yield Statement(index, (first, second), first_single + second_single)
            elif "self" not in told:
                told.add("self")
                compiler.complain(("links", index), f"this entry links {first!r} to itself", "name two different nodes")


def _end(compiler: UnfinishedScenario, index: int, key: str, names: list[str]) -> dict[str, int]:
    """Return the nodes at one end of an entry, each with 1 if it is named singly and 0 if it comes from a group."""
    members: dict[str, int] = {}
    for position, name in enumerate(names):
        path: Path = ("links", index, key, position)
        found = compiler.members(name, path)
        if found and (device := compiler.device_of(found[0])) is not None:
            compiler.complain(path, f"{found[0]!r} is an own processor, without links", f"link its device, {device!r}")
            continue
        for member in found:
            if member in members:
                compiler.complain(path, f"{member!r} is named twice in this list", "name it once")
                break
            members[member] = int(name == member)
    return members


def _complain_of_pair(compiler: UnfinishedScenario, statement: Statement, earlier: Statement) -> None:
    first, second = statement.ends
    path: Path = ("links", statement.index)
    if statement.index == earlier.index:
        compiler.complain(path, f"this entry states the link {first} - {second} twice", "name each pair once")
        return
    line, _ = compiler.place.find(("links", earlier.index))
    hint = "keep one; an entry that names nodes one by one may follow one that names groups"
    if statement.single_ends < earlier.single_ends:
        hint = "put the entry that names groups first: later, more specific entries override it"
    compiler.complain(path, f"the link {first} - {second} is already stated in line {line}", hint)


def _draw_link(
    compiler: UnfinishedScenario, pair: tuple[str, str], statement: Statement, traces: tuple[LinkTrace, ...]
) -> Link:
    entry, seed = compiler.document.links[statement.index], compiler.seed
    key = ("link", *pair)
    shape = LinkShape(
        rate_mbit_per_s=draw(entry.rate or _LEFT_TO_TRACE, seed, *key, "rate"),
        delay_s=draw(entry.delay or _LEFT_TO_TRACE, seed, *key, "delay"),
        jitter_s=draw(entry.jitter, seed, *key, "jitter"),
        loss=draw(entry.loss, seed, *key, "loss"),
        queue_packets=entry.queue,
    )
    energies = None if entry.energy is None else _energies(entry.energy, seed, key)
    if not traces or not isinstance(entry, TracedLinkEntry):
        return Link(statement.ends, shape, energies=energies)
    # Both directions draw from the same seed: with equal ranges they get the same offset, as if recorded together.
    followers = tuple(
        Follower(trace, one, shape, draw(one.offset, seed, *key, "trace"))
        for trace, one in zip(traces, entry.traces, strict=True)
    )
    compiler.followers[pair] = statement.index, followers
    firsts = [next(follower.shapes(compiler.duration_s))[1] for follower in followers]
    link = Link(statement.ends, firsts[0], entry.traces[0].file, energies=energies)
    return link if len(firsts) == 1 else replace(link, down_shape=firsts[1], down_trace=entry.traces[1].file)


def _energies(entry: LinkEnergyEntry, seed: int, key: tuple[str, ...]) -> tuple[LinkEnergy, LinkEnergy]:
    """Draw the energies of a link's two directions; with equal ranges both get the same value."""
    up = entry.up.drawn(seed, *key, "energy")
    return up, up if entry.down == entry.up else entry.down.drawn(seed, *key, "energy down")
