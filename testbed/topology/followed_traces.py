"""Links that follow network traces: check their entries, and turn the traces' steps into link changes of a run."""

import math
from collections.abc import Sequence
from itertools import pairwise

from node_agent.errors import InputError
from testbed.scenario import DRAIN_S, Scenario
from testbed.topology.event_kinds.link_shape import LinkChange
from testbed.topology.followers import Follower
from testbed.topology.form.link_entries import TracedLinkEntry, TracePair
from testbed.topology.form.yaml_places import Path as EntryPath
from testbed.topology.shapes import shape_fault
from testbed.topology.unfinished import UnfinishedScenario
from testbed.trace.link_trace import LULL_MBIT_PER_S, LinkTrace

MAX_CHANGES = 500_000  # in a run, over all links
# In real time, over all links. Decision 048: a live run warns above this rate of link changes
# (docs/decisions/048-sensible-link-changes.md).
SENSIBLE_CHANGES_PER_S = 500.0
_ROUND_STEPS_S = tuple(factor * 10.0**power for power in range(-1, 9) for factor in (1, 2, 5))
_TOLD = {"rate": "rate_mbit_per_s", "delay": "delay_s", "jitter": "jitter_s", "loss": "loss"}


def followed_traces(compiler: UnfinishedScenario, index: int) -> tuple[LinkTrace, ...]:
    """Return the trace that a link entry follows, or those of its two directions.

    Returns an empty tuple for an entry without a trace, and, after reporting to `compiler`, for a faulty one.
    """
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
            message, hint = f"the trace already states `{key}`", f"remove `{key}` from this link"
            compiler.complain(("links", index, key), message, hint, of_key=True)
        elif not all(told) and not stated and key in {"rate", "delay"}:
            which = f"the trace {entry.traces[told.index(False)].file}" if any(told) else "the trace"
            compiler.complain(("links", index), f"`{key}` is missing: {which} has none", f"state the link's {key}")
        else:
            continue
        sound = False
    for path, one, trace in zip(paths, entry.traces, traces, strict=True):
        if not one.repeat and one.offset.high >= trace.length_s:
            message = f"the offset may lie beyond the trace's end ({trace.length_s:g} s)"
            compiler.complain((*path, "offset"), message, "lower it, or let the trace repeat")
            sound = False
    return tuple(traces) if sound else ()


def compile_steps(compiler: UnfinishedScenario) -> list[LinkChange]:
    """Return the changes of all links that follow a trace, in no particular order, without the links' first shapes.

    The changes go on for DRAIN_S after the end of the run, while its tasks drain, so that a run that ends in an outage
    leaves it. If that would exceed MAX_CHANGES, DRAIN_S is halved until they fit. Then links keep their last shape.
    """
    everyone = [follower for _, followers in compiler.followers.values() for follower in followers]
    changed = sum(follower.changes_within(compiler.duration_s) for follower in everyone)
    if changed > MAX_CHANGES:
        message = f"the links' traces make up to {changed} changes; at most {MAX_CHANGES} are possible"
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
    """Return the time [s] until which links follow their traces without exceeding MAX_CHANGES."""
    for halvings in range(8):
        until_s = duration_s + DRAIN_S / (1 << halvings)
        if sum(follower.changes_within(until_s) for follower in followers) <= MAX_CHANGES:
            return until_s
    return duration_s


def _fitting_step_s(followers: Sequence[Follower], duration_s: float) -> float | None:
    """Return a step length [s] at which these links surely make at most MAX_CHANGES changes; None if there is none.

    Lulls keep steps of their own, however long the other steps are.
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
    """Count the beginnings and ends of lulls in an emulated trace."""
    low = [rate <= LULL_MBIT_PER_S for rate in trace.rate_mbit_per_s or ()]
    return sum(one != next_one for one, next_one in pairwise(low))


def too_many_changes(scenario: Scenario) -> str | None:
    """Warn, with advice, if the links of a live run would change more than SENSIBLE_CHANGES_PER_S; None if not."""
    per_s = scenario.link_changes_per_s / scenario.time_scale
    if per_s <= SENSIBLE_CHANGES_PER_S:
        return None
    step = sensible_step(sum(len(link.traces) for link in scenario.links), scenario.time_scale)
    return (
        f"traces change links {per_s:.0f} times a second, and a machine keeps up with {SENSIBLE_CHANGES_PER_S:.0f}; "
        f"state longer steps for the traces ({step})"
    )


def sensible_step(followers: int, time_scale: float) -> str:
    """Return the step length, as a topology states it, at which this many followers stay sensible.

    `followers` counts directions of links that follow a trace of their own; see SENSIBLE_CHANGES_PER_S.
    """
    least_s = followers / (SENSIBLE_CHANGES_PER_S * time_scale)
    return _shown_step(next(every_s for every_s in _ROUND_STEPS_S if every_s >= least_s))


def _shown_step(every_s: float) -> str:
    return f"every: {every_s * 1e3:g} ms" if every_s < 1 else f"every: {every_s:g} s"
