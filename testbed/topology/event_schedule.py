"""The events of a topology in the order of their time, each with the complete state that it brings about."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from testbed.scenario import CapacityChange, Event, Link, LinkChange, LinkShape, NodeChange, RateChange
from testbed.topology.followed_traces import compile_steps
from testbed.topology.form import entries as form
from testbed.topology.form.yaml_places import Path
from testbed.topology.shapes import shape_fault
from testbed.topology.unfinished import UnfinishedScenario


@dataclass(frozen=True, slots=True)
class _Timed:
    at_s: float
    index: int  # in the file
    entry: form.DeviceEvent | form.ServerEvent | form.LinkEvent | form.NodeEvent


def compile_events(compiler: UnfinishedScenario) -> tuple[Event, ...]:
    """All events sorted by time (equal times in the order of the file); complains to `compiler` about misfits.

    A link event changes what it states and keeps what earlier events have made of the rest; factors always refer to
    the topology's own value. The steps of network traces are merged in; at one instant they come first.
    """
    shapes = {pair: link.shape for pair, link in compiler.links.items()}
    rates = {device.name: device.rate_per_s for device in compiler.devices}
    up = dict.fromkeys(compiler.kinds, True)
    events: list[Event] = [*compile_steps(compiler)]
    for timed in _in_order(compiler):
        if isinstance(timed.entry, form.ServerEvent):
            events += _capacity_changes(compiler, timed, timed.entry)
        elif isinstance(timed.entry, form.DeviceEvent):
            events += _rate_changes(compiler, timed, timed.entry, rates)
        elif isinstance(timed.entry, form.LinkEvent):
            events += _link_changes(compiler, timed, timed.entry, shapes)
        else:
            events += _node_changes(compiler, timed, timed.entry, up)
    return tuple(sorted(events, key=lambda event: event.at_s))


def _in_order(compiler: UnfinishedScenario) -> list[_Timed]:
    duration_s = compiler.duration_s
    timed = []
    for index, entry in enumerate(compiler.document.events):
        at_s = entry.at.seconds(duration_s)
        if at_s >= duration_s:
            compiler.complain(
                ("events", index, "at"),
                f"the event at {at_s:g} s does not lie before the end of the run ({duration_s:g} s)",
                "lengthen the duration, or state the time in % of it",
            )
        timed.append(_Timed(at_s, index, entry))
    return sorted(timed, key=lambda event: event.at_s)


def _capacity_changes(compiler: UnfinishedScenario, timed: _Timed, entry: form.ServerEvent) -> list[Event]:
    path = ("events", timed.index, "server")
    changes: list[Event] = []
    for name in compiler.members(entry.server, path, what="server"):
        server = compiler.servers.get(name)
        if server is None:
            kind = compiler.kinds[name]
            compiler.complain(path, f"{name!r} is a {kind}, not a server", "only servers have a capacity")
            break
        changes.append(CapacityChange(timed.at_s, name, entry.capacity.applied_to(server.capacity_flop_per_s)))
    return changes


def _rate_changes(
    compiler: UnfinishedScenario, timed: _Timed, entry: form.DeviceEvent, rates: Mapping[str, float]
) -> list[Event]:
    path = ("events", timed.index, "device")
    changes: list[Event] = []
    for name in compiler.members(entry.device, path, what="device"):
        if name not in rates:
            kind = compiler.kinds[name]
            compiler.complain(path, f"{name!r} is a {kind}, not a device", "only devices offer tasks")
            break
        changes.append(RateChange(timed.at_s, name, entry.rate.applied_to(rates[name])))
    return changes


def _link_changes(
    compiler: UnfinishedScenario, timed: _Timed, entry: form.LinkEvent, shapes: dict[tuple[str, str], LinkShape]
) -> list[Event]:
    path = ("events", timed.index, "link")
    ends = [compiler.members(name, (*path, position)) for position, name in enumerate(entry.link)]
    pairs = [tuple(sorted((first, second))) for first in ends[0] for second in ends[1]]
    found = [link for first, second in pairs if (link := compiler.links.get((first, second))) is not None]
    if not found and all(ends) and compiler.intact("links", "devices", "servers", "switches"):
        compiler.complain(path, f"no link joins {entry.link[0]!r} and {entry.link[1]!r}", "name the ends of a link")
    changes: list[Event] = []
    for link in found:
        pair = min(link.ends), max(link.ends)
        if link.trace is not None:
            # Decision: refused; rejected: a factor on top, which would say the same as `scale` and a second trace.
            follows = f"follows {' and '.join(link.traces)}"
            message = f"the link {link.ends[0]} - {link.ends[1]} {follows}: events do not change it"
            compiler.complain(path, message, "put the change into the trace, or state the link without one")
            break
        shape = shapes[pair] = _changed(shapes[pair], link, entry)
        if fault := shape_fault(shape, compiler.document.time_scale):
            where: Path = ("events", timed.index, fault.key) if fault.key in entry.model_fields_set else path[:2]
            compiler.complain(where, f"the link {link.ends[0]} - {link.ends[1]}: {fault.message}", fault.hint)
            break
        changes.append(LinkChange(timed.at_s, link.ends, shape))
    return changes


def _changed(now: LinkShape, link: Link, entry: form.LinkEvent) -> LinkShape:
    base = link.shape
    if entry.rate is not None:
        now = replace(now, rate_mbit_per_s=entry.rate.applied_to(base.rate_mbit_per_s))
    if entry.delay is not None:
        now = replace(now, delay_s=entry.delay.applied_to(base.delay_s))
    if entry.jitter is not None:
        now = replace(now, jitter_s=entry.jitter.applied_to(base.jitter_s))
    if entry.loss is not None:
        now = replace(now, loss=entry.loss.applied_to(base.loss))
    if entry.queue is not None:
        now = replace(now, queue_packets=entry.queue)
    return now


def _node_changes(
    compiler: UnfinishedScenario, timed: _Timed, entry: form.NodeEvent, up: dict[str, bool]
) -> list[Event]:
    path = ("events", timed.index, "node")
    changes: list[Event] = []
    for name in compiler.members(entry.node, path):
        if compiler.kinds[name] == "switch":
            compiler.complain(path, f"{name!r} is a switch and runs no agent", "name a device or a server")
            break
        if up[name] == (entry.state == "up"):
            compiler.complain(
                ("events", timed.index, "state"),
                f"{name!r} is already {entry.state} at {timed.at_s:g} s",
                "every node begins up; down and up take turns",
            )
            break
        up[name] = entry.state == "up"
        changes.append(NodeChange(timed.at_s, name, up[name]))
    return changes
