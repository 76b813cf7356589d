"""Read a topology as a site for placements; a server with too little memory for its stated stage is no error here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from node_agent.errors import InputError
from testbed.placement.candidates import Site
from testbed.topology import Topology, TopologyError, load_topology, load_topology_text
from testbed.topology.form.draft import read_form
from testbed.topology.form.entries import TopologyDocument
from testbed.topology.form.yaml_places import read_yaml
from testbed.topology.overrides import Override, overridden
from testbed.topology.slowest_hop import longest_hop_s


@dataclass(frozen=True, slots=True)
class StatedSite:
    """A site, and the topology from which it was read, with its text as data."""

    site: Site
    topology: Topology
    data: dict[str, Any]
    document: TopologyDocument
    members: Mapping[str, tuple[str, ...]]  # of every group and single node, by the name that the file states


def read_site(
    path: Path,
    *,
    stages: int | None = None,
    seed: int | None = None,
    duration_s: float | None = None,
    model: str | None = None,
    cut: Sequence[int] | None = None,
    criterion: str | None = None,
    overrides: Sequence[Override] = (),
) -> StatedSite:
    """Read a topology; the arguments but `stages` are as in `load_topology` and `Topology.resolve`.

    Args:
        path: the file.
        stages: number of stages of the candidates; None means that of the topology.

    Raises:
        InputError: the topology has faults, apart from too little memory; or an argument is wrong.
    """
    options: dict[str, Any] = {"model": model, "cut": cut, "criterion": criterion}
    try:
        topology = load_topology(path, overrides=overrides, **options)
        document = topology.document
    except TopologyError as error:
        topology, document = _without_memory(path, overrides, options, error)
    data, _, _ = read_yaml(topology.text, topology.source)
    assert isinstance(data, dict)
    scenario = topology.resolve(seed=seed, duration_s=duration_s)
    members = {name: _members(name, entry.count) for name, entry in document.devices.items()}
    members |= {f"{name}-cpu": tuple(f"{each}-cpu" for each in members[name]) for name in members}
    members |= {name: _members(name, entry.count) for name, entry in document.servers.items()}
    memory = {
        member: round(entry.memory)
        for name, entry in document.servers.items()
        if entry.memory is not None
        for member in members[name]
    }
    own = {server.device: server.name for server in scenario.own_processors}
    memory |= {
        own[member]: round(entry.memory)
        for name, entry in document.devices.items()
        if entry.memory is not None
        for member in members[name]
    }
    lists: dict[str, tuple[str, ...]] = {}
    for name in document.offload:
        for member in members.get(name, (name,)):
            listed = scenario.offload_to[member]
            if member in own:
                listed = (
                    *(other for other in listed if other != own[member]),
                    *scenario.offload_to.get(own[member], ()),
                )
            lists[member] = listed
    site = Site(
        replace(scenario, servers=tuple(replace(server, memory_bytes=None) for server in scenario.servers)),
        scenario.model.open(),
        memory,
        lists,
        scenario.stages if stages is None else stages,
    )
    _check_slot(site)
    return StatedSite(site, topology, data, document, members)


def _check_slot(site: Site) -> None:
    """Raise InputError if a round of messages might not fit into a slot, whichever servers follow each other."""
    scenario = site.scenario
    everywhere = replace(scenario, offload_to={name: tuple(sorted(others)) for name, others in site.joined.items()})
    round_s = 2 * site.stages * longest_hop_s(everywhere)
    if scenario.slot_s <= round_s:
        raise InputError(
            f"a slot of {scenario.slot_s:g} s is too short for {site.stages} stages: one round of messages there and "
            f"back might take {round_s:g} s on these links",
            hint="state a longer one, for example with --slot",
        )


def _members(name: str, count: int | None) -> tuple[str, ...]:
    return (name,) if count is None else tuple(f"{name}-{number}" for number in range(1, count + 1))


def _without_memory(
    path: Path, overrides: Sequence[Override], options: Mapping[str, Any], error: TopologyError
) -> tuple[Topology, TopologyDocument]:
    """The topology without its memory limits, and its document with them; raises `error` if it has other faults."""
    text = overridden(path.read_text(encoding="utf-8-sig"), str(path), overrides)
    data, place, _ = read_yaml(text, str(path))
    document = read_form(data, place, str(path)).document
    if document is None or not isinstance(data, dict):
        raise error
    for section in ("servers", "devices"):
        for entry in data[section].values():
            if isinstance(entry, dict):
                entry.pop("memory", None)
    bare = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    try:
        loaded = load_topology_text(bare, str(path), folder=str(path.parent), **options)
    except TopologyError:
        raise error from None
    return replace(loaded, text=text), document
