"""From a checked form to a `Scenario`: expand groups, draw ranges, resolve references, and complain about all misfits.

Every range is drawn from a number that hangs on the seed, the name of the node or link, and the field alone, so that
adding a node leaves the values of all others as they were.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

from testbed.scenario import Device, Link, LinkShape, ModelChoice, PolicyChoice, Scenario, Server
from testbed.topology import document as form
from testbed.topology.choices import cut_problems, memory_problems, policy_problem
from testbed.topology.events import compile_events
from testbed.topology.form import Draft
from testbed.topology.graph import Network
from testbed.topology.places import Path, Problem
from testbed.units import Span

MAX_NODES = 20_000
MAX_LINKS = 200_000


@dataclass(frozen=True, slots=True)
class Statement:
    """Which `links` entry describes a pair, and how many of its two ends that entry names one by one."""

    index: int
    ends: tuple[str, str]
    single_ends: int


def draw(span: Span, seed: int, *key: str) -> float:
    """A value drawn evenly from `span`, the same for the same seed and key on every machine."""
    if span.low == span.high:
        return span.low
    digest = hashlib.blake2b("\0".join(key).encode(), digest_size=16).digest()
    words = np.random.SeedSequence([seed, int.from_bytes(digest)]).generate_state(1, np.uint64)
    return span.low + (span.high - span.low) * (int(words[0]) / 2**64)


class Compiler:
    """One pass over a document; collects problems and builds the scenario if there are none."""

    def __init__(self, draft: Draft, source: str, *, seed: int, duration_s: float, policy: PolicyChoice) -> None:
        assert draft.document is not None
        self.document = draft.document
        self.source = source
        self.seed = seed
        self.duration_s = duration_s
        self.policy = policy
        self.problems: list[Problem] = []
        self.kinds: dict[str, str] = {}  # node or switch -> device, server or switch
        self.groups: dict[str, tuple[str, ...]] = {}  # name as the file states it -> its members
        self.devices: list[Device] = []
        self.servers: dict[str, Server] = {}
        self.links: dict[tuple[str, str], Link] = {}  # sorted ends -> link
        self.offload_to: dict[str, tuple[str, ...]] = {}
        self._place = draft.place
        self._damaged = set(draft.damaged)
        self._doubtful = set(draft.doubtful)
        self._names_lost = draft.names_lost
        self._homes: dict[str, Path] = {}  # node -> the entry that makes it

    def complain(self, path: Path, message: str, hint: str = "", *, of_key: bool = False) -> None:
        """Note a problem at `path`, and that its section cannot be relied on."""
        line, column = self._place.find(path, of_key=of_key)
        self.problems.append(Problem(self.source, line, column, message, hint))
        if path:
            self._damaged.add(str(path[0]))

    def compile(self) -> Scenario | None:
        """The scenario, or None if `problems` tells why there is none."""
        document = self.document
        self._expand_nodes()
        self._check_model()
        self._expand_links()
        if not self._damaged & {"model", "devices", "servers", "switches", "links", "offload"}:
            self._route()
        events = compile_events(self)
        warm_up_s = document.warm_up.seconds(self.duration_s)
        if not warm_up_s < self.duration_s:
            self.complain(
                ("warm_up",),
                f"the warm-up ({warm_up_s:g} s) fills the whole duration ({self.duration_s:g} s)",
                "shorten it, or state it in %",
            )
        if self.problems:
            return None
        return Scenario(
            name=document.name,
            seed=self.seed,
            duration_s=self.duration_s,
            warm_up_s=warm_up_s,
            slot_s=document.slot,
            time_scale=document.time_scale,
            compute=document.compute,
            arrivals=document.arrivals,
            model=ModelChoice(document.model.name, tuple(document.model.cut), document.model.activation),
            policy=self.policy,
            devices=tuple(self.devices),
            servers=tuple(self.servers.values()),
            switches=tuple(document.switches),
            links=tuple(self.links.values()),
            offload_to=dict(self.offload_to),
            events=events,
            theta_s=document.theta,
        )

    def members(self, name: str, path: Path, *, what: str = "node", of_key: bool = False) -> tuple[str, ...]:
        """The nodes that `name` stands for; none, with a complaint at `path`, if there is no such name."""
        if name in self.groups:
            return self.groups[name]
        if name in self.kinds:
            return (name,)
        doubtful = any(name == group or name.startswith(f"{group}-") for group in self._doubtful)
        if not doubtful and not self._names_lost:
            known = [*self.groups, *(known for known in self.kinds if known not in self.groups)]
            close = get_close_matches(name, known, n=1, cutoff=0.7)
            hint = f"did you mean {close[0]}?" if close else f"known: {_some(list(self.groups))}"
            self.complain(path, f"unknown {what} {name!r}", hint, of_key=of_key)
        return ()

    def intact(self, *sections: str) -> bool:
        """Whether nothing is wrong so far in these sections, so that what follows from them can be judged."""
        return not self._damaged.intersection(sections)

    # Nodes ------------------------------------------------------------------------------------------------------

    def _expand_nodes(self) -> None:
        for group, device in self.document.devices.items():
            for name in self._claim(("devices", group), group, device.count, "device"):
                rate = draw(device.rate, self.seed, "device", name, "rate")
                self.devices.append(Device(name, rate))
        for group, server in self.document.servers.items():
            for name in self._claim(("servers", group), group, server.count, "server"):
                capacity = draw(server.capacity, self.seed, "server", name, "capacity")
                memory = None if server.memory is None else round(server.memory)
                self.servers[name] = Server(name, server.stage, capacity, memory)
        for index, switch in enumerate(self.document.switches):
            self._claim(("switches", index), switch, None, "switch")

    def _claim(self, path: Path, group: str, count: int | None, kind: str) -> list[str]:
        names = [group] if count is None else [f"{group}-{number}" for number in range(1, count + 1)]
        if len(names[-1]) > form.MAX_NAME_CHARACTERS:
            self.complain(
                path,
                f"the name {names[-1]!r} is longer than {form.MAX_NAME_CHARACTERS} characters",
                "shorten the group's name",
                of_key=True,
            )
        if len(self.kinds) + len(names) > MAX_NODES:
            self.complain(path, f"more than {MAX_NODES} nodes in all", "lower count", of_key=True)
            self._doubtful.add(group)
            return []
        taken = [name for name in dict.fromkeys([group, *names]) if name in self._homes]
        if taken:
            line, _ = self._place.find(self._homes[taken[0]], of_key=True)
            self.complain(path, f"the name {taken[0]!r} is taken by line {line}", "rename one of them", of_key=True)
            return []
        for name in dict.fromkeys([group, *names]):
            self._homes[name] = path
        self.groups[group] = tuple(names)
        self.kinds.update(dict.fromkeys(names, kind))
        return names

    # Model and policy -------------------------------------------------------------------------------------------

    def _check_model(self) -> None:
        if self.intact("model"):
            for path, message, hint in cut_problems(self.document.model):
                self.complain(path, message, hint)
        if self.intact("policy") and (found := policy_problem(self.policy)) is not None:
            self.complain(*found)
        if not self.intact("model", "servers"):
            return
        stages = len(self.document.model.cut)
        for group, server in self.document.servers.items():
            if server.stage > stages:
                self.complain(
                    ("servers", group, "stage"),
                    f"stage {server.stage} does not exist: the cut makes {stages} sub-models",
                    "lower the stage, or cut the model once more",
                )
        served = {server.stage for server in self.document.servers.values()}
        for stage in range(1, stages + 1):
            if stage not in served:
                self.complain(
                    ("model", "cut"),
                    f"no server hosts stage {stage} of {stages}",
                    f"add a server with stage: {stage}, or cut the model less often",
                )
        if self.intact("model", "servers"):
            for path, message, hint in memory_problems(self.document):
                self.complain(path, message, hint)

    # Links ------------------------------------------------------------------------------------------------------

    def _expand_links(self) -> None:
        chosen: dict[tuple[str, str], Statement] = {}
        for index, entry in enumerate(self.document.links):
            self._check_shape(index, entry)
            told: set[str] = set()  # one complaint of a kind per entry, not one per pair
            for statement in self._pairs(index, entry, told):
                pair = _sorted(statement.ends)
                earlier = chosen.get(pair)
                if earlier is not None and statement.single_ends <= earlier.single_ends:
                    if "twice" not in told:
                        self._complain_of_pair(statement, earlier)
                    told.add("twice")
                    continue
                chosen[pair] = statement
            if len(chosen) > MAX_LINKS:
                self.complain(("links", index), f"more than {MAX_LINKS} links in all", "link through a switch")
                return
        for pair, statement in chosen.items():
            self.links[pair] = Link(statement.ends, self._draw_shape(statement))

    def _pairs(self, index: int, entry: form.LinkEntry, told: set[str]) -> Iterator[Statement]:
        ends = [self._end(index, "from", entry.from_), self._end(index, "to", entry.to)]
        if len(ends[0]) * len(ends[1]) > MAX_LINKS:
            self.complain(("links", index), f"more than {MAX_LINKS} links in all", "link through a switch")
            return
        for first, first_single in ends[0].items():
            for second, second_single in ends[1].items():
                if first != second:
                    yield Statement(index, (first, second), first_single + second_single)
                elif "self" not in told:
                    told.add("self")
                    self.complain(("links", index), f"links {first!r} to itself", "name two different nodes")

    def _end(self, index: int, key: str, names: list[str]) -> dict[str, int]:
        """The nodes at one end of an entry, each with 1 if it is named singly and 0 if it comes from a group."""
        members: dict[str, int] = {}
        for position, name in enumerate(names):
            path: Path = ("links", index, key, position)
            found = self.members(name, path)
            for member in found:
                if member in members:
                    self.complain(path, f"{member!r} stands in this list twice", "name it once")
                    break
                members[member] = int(name == member)
        return members

    def _complain_of_pair(self, statement: Statement, earlier: Statement) -> None:
        first, second = statement.ends
        path: Path = ("links", statement.index)
        if statement.index == earlier.index:
            self.complain(path, f"states the link {first} - {second} twice", "each pair once")
            return
        line, _ = self._place.find(("links", earlier.index))
        hint = "keep one; an entry that names nodes one by one may follow one that names groups"
        if statement.single_ends < earlier.single_ends:
            hint = "put the entry that names groups first: later, more specific entries override it"
        self.complain(path, f"the link {first} - {second} is already stated in line {line}", hint)

    def _check_shape(self, index: int, entry: form.LinkEntry) -> None:
        if entry.jitter.high > entry.delay.low:
            self.complain(
                ("links", index, "jitter"),
                f"the jitter ({entry.jitter.high * 1e3:g} ms) can exceed the delay ({entry.delay.low * 1e3:g} ms)",
                "lower the jitter or raise the lower end of the delay",
            )
        if entry.loss.high >= 1:
            self.complain(
                ("links", index, "loss"), "a link that loses everything is no link", "lower it, or remove the link"
            )

    def _draw_shape(self, statement: Statement) -> LinkShape:
        entry = self.document.links[statement.index]
        key = ("link", *_sorted(statement.ends))
        return LinkShape(
            rate_mbit_per_s=draw(entry.rate, self.seed, *key, "rate"),
            delay_s=draw(entry.delay, self.seed, *key, "delay"),
            jitter_s=draw(entry.jitter, self.seed, *key, "jitter"),
            loss=draw(entry.loss, self.seed, *key, "loss"),
            queue_packets=entry.queue,
        )

    # Who may offload to whom ------------------------------------------------------------------------------------

    def _route(self) -> None:
        nodes = [name for name, kind in self.kinds.items() if kind != "switch"]
        network = Network(nodes, self.document.switches, (link.ends for link in self.links.values()))
        self._check_network(network)
        if not self.intact("devices", "servers", "switches", "links"):
            return  # what follows would only repeat that the network does not hold together
        stated = self._stated_receivers(network)
        stages = len(self.document.model.cut)
        next_stage = {
            stage: [server.name for server in self.servers.values() if server.stage == stage + 1]
            for stage in range(stages)
        }
        for name in nodes:
            stage = self._stage(name)
            if stage == stages:
                continue
            if name in stated:
                self.offload_to[name] = stated[name]
                continue
            receivers = tuple(other for other in next_stage[stage] if network.joined(name, other))
            if not receivers and self.intact("offload"):
                self.complain(
                    self._homes[name],
                    f"{name!r} reaches no server of stage {stage + 1}",
                    "link them directly or through switches (servers do not pass frames on)",
                    of_key=True,
                )
            self.offload_to[name] = receivers

    def _check_network(self, network: Network) -> None:
        for name, others in network.neighbours.items():
            if not others:
                self.complain(self._homes[name], f"{name!r} has no link", "add an entry under links", of_key=True)
        for ends in network.looping:
            self.complain(
                self._link_path(ends),
                f"the link {ends[0]} - {ends[1]} closes a loop of switches",
                "remove a link: the switches run without a spanning tree",
            )
        islands = [island for island in network.islands() if len(island) > 1 or network.neighbours[island[0]]]
        for island in islands[1:]:
            self.complain(
                self._homes[island[0]],
                f"no path joins {island[0]!r} and {islands[0][0]!r}, so results cannot return",
                "the network must hold together: add a link",
                of_key=True,
            )

    def _link_path(self, ends: tuple[str, str]) -> Path:
        for index, entry in enumerate(self.document.links):
            first = {member for name in entry.from_ for member in self.groups.get(name, (name,))}
            second = {member for name in entry.to for member in self.groups.get(name, (name,))}
            if ends[0] in first and ends[1] in second:
                return ("links", index)
        return ("links",)

    def _stated_receivers(self, network: Network) -> Mapping[str, tuple[str, ...]]:
        stated: dict[str, tuple[int, tuple[str, ...]]] = {}
        for key, names in self.document.offload.items():
            receivers: dict[str, None] = {}
            for position, name in enumerate(names):
                path: Path = ("offload", key, position)
                for receiver in self.members(name, path):
                    if receiver in receivers:
                        self.complain(path, f"{receiver!r} stands in this list twice", "name it once")
                        break
                    receivers[receiver] = None
            told: set[int] = set()
            for name in self.members(key, ("offload", key), of_key=True):
                single = int(key == name)
                if name in stated and stated[name][0] >= single:
                    continue  # the group's entry stands after the one of this very node, which wins
                self._check_receivers(network, name, key, tuple(receivers), told)
                stated[name] = (single, tuple(receivers))
        return {name: receivers for name, (_, receivers) in stated.items()}

    def _check_receivers(
        self, network: Network, name: str, key: str, receivers: tuple[str, ...], told: set[int]
    ) -> None:
        """`told` collects the list positions complained about, so that a group's entry is not blamed per member."""
        path: Path = ("offload", key)
        stage = self._stage(name)
        if self.kinds[name] == "switch" or stage == len(self.document.model.cut):
            what = "a switch" if self.kinds[name] == "switch" else "a server of the last stage"
            self.complain(path, f"{name!r} is {what} and offloads to nobody", "remove it here", of_key=True)
            return
        stated = self.document.offload[key]
        for receiver in receivers:
            position = next(i for i, said in enumerate(stated) if receiver in self.groups.get(said, (said,)))
            if position in told:
                continue
            if self._stage(receiver) != stage + 1:
                fitting = [server.name for server in self.servers.values() if server.stage == stage + 1]
                message = f"{receiver!r} is no server of stage {stage + 1}, to which {name!r} offloads"
                hint = f"stage {stage + 1}: {_some(fitting)}"
            elif not network.joined(name, receiver):
                message = f"the network does not join {name!r} and {receiver!r}"
                hint = "link them directly or through switches (servers do not pass frames on)"
            else:
                continue
            told.add(position)
            self.complain((*path, position), message, hint)

    def _stage(self, name: str) -> int:
        """Stage of a node: 0 for a device, -1 for a switch."""
        if name in self.servers:
            return self.servers[name].stage
        return 0 if self.kinds[name] == "device" else -1


def _sorted(ends: tuple[str, str]) -> tuple[str, str]:
    return ends if ends[0] <= ends[1] else (ends[1], ends[0])


def _some(names: list[str], most: int = 8) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, … ({len(names)} in all)"
