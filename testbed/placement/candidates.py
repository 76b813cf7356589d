"""Candidates of a placement: where the model is cut, and which stage each server hosts; and what rules a candidate out.

A candidate's cut ends at exits that the model has. Devices' own processors stay in stage 1; every other server hosts
one stage, whose sub-model its memory must hold. Receivers follow the links: an offloader has all servers of the next
stage that the network joins to it.

Decision 114: an explicit list of receivers holds as far as its servers host the next stage of its offloader; if none
does, the list is dropped (docs/decisions/114-placements-are-ranked-by-a-model-of-their-own.md).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

from node_agent.errors import InputError
from node_agent.models.data_types import SubModelProfile
from node_agent.models.interface import Model
from testbed.scenario import LinkShape, Scenario, Server
from testbed.topology.graph import Network

Stages = tuple[int, ...]  # the stage of each server in `Site.servers`
Options = tuple[tuple[int, ...], ...]  # the stages that each of them may still host
MOST_CUTS = 5000
FEW_CUTS = 20  # all of them are neighbours of each other


@dataclass(frozen=True, slots=True)
class Candidate:
    """A cut, and the stage of every server that may move, in the order of `Site.servers`."""

    cut: tuple[int, ...]
    stages: Stages


@dataclass(frozen=True, slots=True)
class Unfit:
    """A reason why a candidate cannot run: its sort, which counts are kept by, and a sentence."""

    sort: str  # "memory" or "links"
    sentence: str


@dataclass(frozen=True)
class Site:
    """A network on which a model is to be placed.

    Attributes:
        scenario: as stated; its servers have no memory limits.
        model: the model.
        memory_bytes: the memory of each server that has a limit, own processors included.
        lists: the receivers that the topology states, by offloader; a device's list also has those of its own
            processor.
        stages: number of stages H of every candidate.
    """

    scenario: Scenario
    model: Model
    memory_bytes: Mapping[str, int]
    lists: Mapping[str, tuple[str, ...]]
    stages: int

    @cached_property
    def servers(self) -> tuple[Server, ...]:
        """The servers that may move: all but the devices' own processors."""
        return tuple(server for server in self.scenario.servers if server.device is None)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of `servers`."""
        return tuple(server.name for server in self.servers)

    @cached_property
    def stated(self) -> Candidate:
        """The cut and the stages that the topology states; its number of stages may be another one."""
        return Candidate(self.scenario.model.cut, tuple(server.stage for server in self.servers))

    @cached_property
    def cuts(self) -> tuple[tuple[int, ...], ...]:
        """All cuts into H sub-models that the model allows.

        Raises:
            InputError: there is none, or there are more than MOST_CUTS.
        """
        exits = self.model.exits
        if not 1 <= self.stages <= len(exits):
            blocks = ", ".join(map(str, exits))
            raise InputError(
                f"the model cannot be cut into {self.stages} stages: it has exits after blocks {blocks}",
                hint=f"state --stages from 1 to {len(exits)}",
            )
        number = math.comb(len(exits) - 1, self.stages - 1)
        if number > MOST_CUTS:
            raise InputError(f"the model can be cut in {number} ways: too many to search", hint="state fewer --stages")
        possible = (cut for cut in combinations(exits[:-1], self.stages - 1))
        found = tuple(cut for cut in ((*early, exits[-1]) for early in possible) if self.trouble_of(cut) is None)
        if not found:
            first = (*exits[: self.stages - 1], exits[-1])
            raise InputError(f"no cut into {self.stages} stages: {self.trouble_of(first)}", hint="state other --stages")
        return found

    def trouble_of(self, cut: tuple[int, ...]) -> str | None:
        """The reason why the model cannot be cut so; None if it can."""
        try:
            self.profiles(cut)
            self.model.scores(cut)
            self.model.exit_table(cut)
            self.model.input_forms(cut, self.scenario.model.activation)
        except InputError as error:
            return str(error)
        return None

    def profiles(self, cut: tuple[int, ...]) -> tuple[SubModelProfile, ...]:
        """The costs of the sub-models of a cut."""
        return self.model.profiles(cut, self.scenario.model.activation)

    def needed_bytes(self, cut: tuple[int, ...]) -> tuple[int, ...]:
        """The memory that each sub-model of a cut needs [byte], as `topology validate` counts it."""
        return tuple(each.parameters_bytes + each.input_bytes + each.output_bytes for each in self.profiles(cut))

    def options(self, cut: tuple[int, ...]) -> Options:
        """The stages whose sub-models the memory of each server holds; none where a server holds no sub-model."""
        needed = self.needed_bytes(cut)
        return tuple(
            tuple(h for h, least in enumerate(needed, start=1) if self.memory_bytes.get(name, math.inf) >= least)
            for name in self.names
        )

    def memory_trouble(self, candidate: Candidate) -> Unfit | None:
        """The first server, or own processor, whose memory cannot hold its sub-model; None if there is none."""
        needed = self.needed_bytes(candidate.cut)
        hosted = dict(zip(self.names, candidate.stages, strict=True))
        hosted |= {server.name: 1 for server in self.scenario.own_processors}
        for name, stage in hosted.items():
            if (held := self.memory_bytes.get(name)) is not None and held < needed[stage - 1]:
                sentence = f"{name} has {held} bytes of memory, its sub-model (stage {stage}) needs {needed[stage - 1]}"
                return Unfit("memory", sentence)
        return None

    def trouble(self, candidate: Candidate) -> Unfit | None:
        """The first reason why no run can have this candidate; None if there is none. Capacity is judged elsewhere."""
        if (unfit := self.memory_trouble(candidate)) is not None:
            return unfit
        return self.links_trouble(tuple((stage,) for stage in candidate.stages), len(candidate.cut))

    def links_trouble(self, options: Options, stages: int) -> Unfit | None:
        """The first offloader that reaches no receiver, whichever of its `options` each server takes."""
        for stage in range(1, stages + 1):
            own = stage == 1 and bool(self.scenario.own_processors)
            if not own and not any(stage in each for each in options):
                return Unfit("links", f"no server hosts stage {stage}")
        hosts = {h: {n for n, each in zip(self.names, options, strict=True) if h in each} for h in range(1, stages + 1)}
        owners = {server.device for server in self.scenario.own_processors}
        for device in self.scenario.devices:
            if device.name not in owners and not self.joined[device.name] & hosts[1]:
                return Unfit("links", f"device {device.name} reaches no server of stage 1")
            if device.name in owners and stages > 1 and not self.joined[device.name] & hosts[2]:
                return Unfit("links", f"the processor of {device.name} reaches no server of stage 2")
        for name, each in zip(self.names, options, strict=True):
            onward = (h == stages or bool(self.joined[name] & hosts[h + 1] - {name}) for h in each)
            if not any(onward):
                shown = " or ".join(str(h + 1) for h in each) or "1"
                return Unfit("links", f"server {name} reaches no server of stage {shown}")
        return None

    @cached_property
    def joined(self) -> Mapping[str, frozenset[str]]:
        """The servers of `names` that the network joins to each device and each of these servers."""
        places = [device.name for device in self.scenario.devices]
        network = Network([*places, *self.names], self.scenario.switches, (link.ends for link in self.scenario.links))
        return {
            place: frozenset(other for other in self.names if other != place and network.joined(place, other))
            for place in (*places, *self.names)
        }

    def receivers(self, stage_of: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
        """The receivers of every offloader, as the reader of topologies finds them, if servers host these stages."""
        stages, found = self.stages, {}
        own = {server.device: server.name for server in self.scenario.own_processors}
        for device in self.scenario.devices:
            listed = self._listed(device.name, stage_of)
            first = listed[0] if listed is not None else self._reached(device.name, 1, stage_of)
            processor = own.get(device.name)
            found[device.name] = first if processor is None else (processor, *first)
        for server in self.scenario.servers:
            stage = stage_of[server.name]
            if stage == stages:
                continue
            listed = self._listed(server.device or server.name, stage_of)
            linked = self._reached(server.device or server.name, stage + 1, stage_of)
            found[server.name] = linked if listed is None else listed[-1]
        return found

    def kept_lists(self, stage_of: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
        """The lists of receivers that hold, as far as they do, by offloader."""
        kept = {}
        for name in self.lists:
            parts = self._listed(name, stage_of)
            if parts is not None:
                kept[name] = tuple(receiver for part in parts for receiver in part)
        return kept

    def _listed(self, name: str, stage_of: Mapping[str, int]) -> tuple[tuple[str, ...], ...] | None:
        """The receivers that a list leaves to an offloader, in one part; those of a device with a processor in two.

        None if there is no list, or none of its servers hosts the stage to which it must lead.
        """
        if name not in self.lists:
            return None
        owners = {server.device for server in self.scenario.own_processors}
        stage = stage_of.get(name, 0) + 1
        wanted = [1, 2] if name in owners and self.stages > 1 else [stage]
        parts = tuple(
            tuple(other for other in self.lists[name] if stage_of.get(other) == each and other in self.joined[name])
            for each in wanted
        )
        needed = parts[-1] if name not in owners or self.stages > 1 else True
        return parts if needed and stage <= self.stages else None

    def _reached(self, place: str, stage: int, stage_of: Mapping[str, int]) -> tuple[str, ...]:
        return tuple(name for name in self.names if stage_of[name] == stage and name in self.joined[place])

    def stage_of(self, candidate: Candidate) -> dict[str, int]:
        """The stage of every server, own processors included."""
        found = {server.name: 1 for server in self.scenario.own_processors}
        return found | dict(zip(self.names, candidate.stages, strict=True))

    def placed(self, candidate: Candidate) -> Scenario:
        """The scenario with a candidate in place of what the topology states."""
        site = self if len(candidate.cut) == self.stages else replace(self, stages=len(candidate.cut))
        stage_of = site.stage_of(candidate)
        return replace(
            self.scenario,
            model=replace(self.scenario.model, cut=candidate.cut),
            servers=tuple(
                replace(server, stage=stage_of[server.name], memory_bytes=self.memory_bytes.get(server.name))
                for server in self.scenario.servers
            ),
            offload_to=site.receivers(stage_of),
        )

    @cached_property
    def classes(self) -> tuple[tuple[int, ...], ...]:
        """The servers (by number) in sets that can be exchanged without any effect; most sets have one member.

        The members of a set have the same capacity and links, at all times; their memory holds the same sub-models;
        and no list names them.
        """
        found: list[list[int]] = []
        for number in range(len(self.servers)):
            for others in found:
                if self._twins(others[0], number):
                    others.append(number)
                    break
            else:
                found.append([number])
        return tuple(map(tuple, found))

    def _twins(self, first: int, second: int) -> bool:
        one, other = self.names[first], self.names[second]
        return self._traits[one] == self._traits[other] and self._links_of(one, other) == self._links_of(other, one)

    def _links_of(self, name: str, twin: str) -> dict[str, tuple[object, ...]]:
        """The courses of a server's links, by their other ends, as if it were called `it` and its twin `twin`."""
        ends = {other: course for other, course in self._courses[name].items() if other != twin}
        return ends | ({"twin": self._courses[name][twin]} if twin in self._courses[name] else {})

    @cached_property
    def _traits(self) -> Mapping[str, tuple[object, ...]]:
        """All that distinguishes servers, but their links."""
        named = set(self.lists).union(*self.lists.values())
        changes: dict[str, list[object]] = {name: [] for name in self.names}
        for event in self.scenario.incidents:
            for effects in (event.capacities_flop_per_s, event.switched):
                for name, value in effects.items():
                    if name in changes:
                        changes[name].append((event.at_s, value))
        return {
            server.name: (
                server.capacity_flop_per_s,
                tuple(self.options(cut)[number] for cut in self.cuts),
                tuple(changes[server.name]),
                server.name if server.name in named else None,
            )
            for number, server in enumerate(self.servers)
        }

    @cached_property
    def _courses(self) -> Mapping[str, Mapping[str, tuple[object, ...]]]:
        """The shapes that links have over time, to and from each server, by their other ends."""
        changes: dict[tuple[str, str], list[tuple[float, LinkShape]]] = {}
        for event in self.scenario.events:
            for ends, shape in event.shapes.items():
                changes.setdefault(ends, []).append((event.at_s, shape))
        found: dict[str, dict[str, tuple[object, ...]]] = {name: {} for name in self.names}
        for link in self.scenario.links:
            there, back = link.shapes
            for (near, far), out, into in ((link.ends, there, back), (link.ends[::-1], back, there)):
                if near in found:
                    course = (out, into, changes.get((near, far), []), changes.get((far, near), []), link.traces)
                    found[near][far] = course
        return found


def neighbours_of(cut: Sequence[int], cuts: Sequence[tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
    """The other cuts if there are few, else those that differ in one block; those that differ least first."""
    few = len(cuts) <= FEW_CUTS
    differing = {other: sum(a != b for a, b in zip(cut, other, strict=True)) for other in cuts}
    near = [other for other, blocks in differing.items() if blocks == 1 or (few and blocks)]
    yield from sorted(near, key=lambda other: sum(abs(a - b) for a, b in zip(cut, other, strict=True)))
