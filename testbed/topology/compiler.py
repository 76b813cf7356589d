"""Compile a checked form into a `Scenario`: expand groups, draw ranges, resolve references, report every misfit.

The seed of each drawn value depends only on the topology's seed, the name of the node or link, and the field. Adding a
node therefore changes no value of the others.
"""

import math
from collections.abc import Mapping

from node_agent.suggest import listed
from testbed.scenario import Device, Scenario, Server
from testbed.topology.choices import policy_problem
from testbed.topology.drawing import draw
from testbed.topology.event_schedule import compile_events
from testbed.topology.form.values import MAX_NAME_CHARACTERS
from testbed.topology.form.yaml_places import Path
from testbed.topology.graph import Network
from testbed.topology.link_expansion import expand_links
from testbed.topology.model_choice import memory_problems, model_choice, model_problems, quota_problem
from testbed.topology.slowest_hop import longest_hop_s
from testbed.topology.unfinished import UnfinishedScenario
from testbed.wording import milliseconds

MAX_NODES = 20_000
LEAST_DURATION_S = 1.0
LEAST_SLOT_S = 1e-3


class Compiler(UnfinishedScenario):
    """The compiler of one document: collects problems, and builds the scenario if there are none."""

    def compile(self) -> Scenario | None:
        """Return the scenario, or None if there are `problems`."""
        document = self.document
        self._expand_nodes()
        self._check_model()
        expand_links(self)
        if not self._damaged & {"model", "devices", "servers", "switches", "links", "offload"}:
            self._route()
        events = compile_events(self)
        if not self.recorded:
            self._check_times()
        warm_up_s = document.warm_up.seconds(self.duration_s)
        if not warm_up_s < self.duration_s:
            self.complain(
                ("warm_up",),
                f"the warm-up ({warm_up_s:g} s) fills the whole duration ({self.duration_s:g} s)",
                "shorten it, or state it in %",
            )
        if self.problems:
            return None
        scenario = Scenario(
            name=document.name,
            seed=self.seed,
            duration_s=self.duration_s,
            warm_up_s=warm_up_s,
            slot_s=self.slot_s,
            time_scale=document.time_scale,
            compute=document.compute,
            arrivals=document.arrivals,
            model=self.model,
            policy=self.policy,
            devices=tuple(self.devices),
            servers=tuple(self.servers.values()),
            switches=tuple(document.switches),
            links=tuple(self.links.values()),
            offload_to=dict(self.offload_to),
            events=events,
            theta_s=document.theta,
        )
        if not self.recorded:
            self._check_round(scenario)
        return None if self.problems else scenario

    def _check_times(self) -> None:
        """Report a run or a slot that is too short to decide or measure anything."""
        duration_s, slot_s = self.duration_s, self.slot_s
        if self.intact("duration") and duration_s < LEAST_DURATION_S:
            message = f"a run of {duration_s:g} s is too short to measure anything: {LEAST_DURATION_S:g} s is the least"
            self.complain(("duration",), message, "for example duration: 60 s")
        if not self.intact("slot"):
            return
        if slot_s < LEAST_SLOT_S:
            found, least = (milliseconds(time_s, "g") for time_s in (slot_s, LEAST_SLOT_S))
            message = f"a slot of {found} is too short: {least} is the least"
            self.complain(("slot",), message, "for example slot: 5 s")
        elif self.intact("duration") and slot_s > duration_s:
            message = f"a slot of {slot_s:g} s is longer than the run ({duration_s:g} s)"
            self.complain(("slot",), message, "shorten the slot, or lengthen the duration")

    def _check_round(self, scenario: Scenario) -> None:
        """Report a slot that is too short for one round of messages."""
        round_s = 2 * scenario.stages * longest_hop_s(scenario)
        if scenario.slot_s <= round_s:
            message = (
                f"a slot of {scenario.slot_s:g} s is too short: one round of messages there and back takes up to "
                f"{round_s:g} s on these links"
            )
            least_s = _rounded_up_s(round_s)
            hint = f"state a slot of {least_s:g} s or more"
            self.complain(("slot",), message, hint if least_s <= self.duration_s else f"{hint}, and a longer duration")

    # Nodes ------------------------------------------------------------------------------------------------------

    def _expand_nodes(self) -> None:
        for group, device in self.document.devices.items():
            for name in self._claim(("devices", group), group, device.count, "device"):
                rate = draw(device.rate, self.seed, "device", name, "rate")
                self.devices.append(Device(name, rate, device.delay_bound))
        for group, server in self.document.servers.items():
            for name in self._claim(("servers", group), group, server.count, "server"):
                capacity = draw(server.capacity, self.seed, "server", name, "capacity")
                memory = None if server.memory is None else round(server.memory)
                self.servers[name] = Server(name, server.stage, capacity, memory)
        for index, switch in enumerate(self.document.switches):
            self._claim(("switches", index), switch, None, "switch")

    def _claim(self, path: Path, group: str, count: int | None, kind: str) -> list[str]:
        names = [group] if count is None else [f"{group}-{number}" for number in range(1, count + 1)]
        if len(names[-1]) > MAX_NAME_CHARACTERS:
            self.complain(
                path,
                f"the name {names[-1]!r} is longer than {MAX_NAME_CHARACTERS} characters",
                "shorten the group's name",
                of_key=True,
            )
        if len(self.kinds) + len(names) > MAX_NODES:
            self.complain(path, f"more than {MAX_NODES} nodes in all", "lower a group's count", of_key=True)
            self._doubtful.add(group)
            return []
        taken = [name for name in dict.fromkeys([group, *names]) if name in self._homes]
        if taken:
            line, _ = self.place.find(self._homes[taken[0]], of_key=True)
            self.complain(path, f"the name {taken[0]!r} is used in line {line}", "rename one of them", of_key=True)
            return []
        for name in dict.fromkeys([group, *names]):
            self._homes[name] = path
        self.groups[group] = tuple(names)
        self.kinds.update(dict.fromkeys(names, kind))
        return names

    # Model and policy -------------------------------------------------------------------------------------------

    def _check_model(self) -> None:
        if self.intact("model"):
            for path, message, hint in model_problems(self.document.model, self.files.folder):
                self.complain(path, message, hint)
        if self.intact("model"):
            self.model = model_choice(self.document.model, self.files.folder)
            if self.document.compute == "quota" and (refusal := quota_problem(self.model)) is not None:
                self.complain(("compute",), *refusal)
        if self.intact("policy") and (found := policy_problem(self.policy, recorded=self.recorded)) is not None:
            self.complain(*found)
        if not self.intact("model", "servers"):
            return
        stages = len(self.model.cut)
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
            for path, message, hint in memory_problems(self.document, self.files.folder):
                self.complain(path, message, hint)

    # Offloaders and their receivers -----------------------------------------------------------------------------

    def _route(self) -> None:
        nodes = [name for name, kind in self.kinds.items() if kind != "switch"]
        network = Network(nodes, self.document.switches, (link.ends for link in self.links.values()))
        self._check_network(network)
        if not self.intact("devices", "servers", "switches", "links"):
            return  # further checks would only repeat that the network is not connected
        stated = self._stated_receivers(network)
        servers_of = {
            stage: [server.name for server in self.servers.values() if server.stage == stage]
            for stage in range(1, len(self.model.cut) + 1)
        }
        for name in nodes:
            stage = self._receiving_stage(name)
            if stage is None:
                continue
            if name in stated:
                self.offload_to[name] = stated[name]
                continue
            receivers = tuple(other for other in servers_of[stage] if network.joined(name, other))
            if not receivers and self.intact("offload"):
                self.complain(
                    self._homes[name],
                    f"{name!r} reaches no server of stage {stage}",
                    "link them directly or through switches (servers do not pass frames on)",
                    of_key=True,
                )
            self.offload_to[name] = receivers

    def _check_network(self, network: Network) -> None:
        for name, others in network.neighbours.items():
            if not others:
                self.complain(self._homes[name], f"{name!r} has no link", "add an entry under links", of_key=True)
        islands = [island for island in network.islands() if len(island) > 1 or network.neighbours[island[0]]]
        for island in islands[1:]:
            self.complain(
                self._homes[island[0]],
                f"no path joins {island[0]!r} and {islands[0][0]!r}, so results cannot return",
                "the network must be connected: add a link",
                of_key=True,
            )

    def _stated_receivers(self, network: Network) -> Mapping[str, tuple[str, ...]]:
        stated: dict[str, tuple[int, tuple[str, ...]]] = {}
        for key, names in self.document.offload.items():
            receivers: dict[str, None] = {}
            for position, name in enumerate(names):
                path: Path = ("offload", key, position)
                for receiver in self.members(name, path):
                    if receiver in receivers:
                        self.complain(path, f"{receiver!r} is named twice in this list", "name it once")
                        break
                    receivers[receiver] = None
            told: set[int] = set()
            for name in self.members(key, ("offload", key), of_key=True):
                single = int(key == name)
                if name in stated and stated[name][0] >= single:
                    continue  # this node's own entry, stated earlier, wins over its group's
                self._check_receivers(network, name, key, tuple(receivers), told)
                stated[name] = (single, tuple(receivers))
        return {name: receivers for name, (_, receivers) in stated.items()}

    def _check_receivers(
        self, network: Network, name: str, key: str, receivers: tuple[str, ...], told: set[int]
    ) -> None:
        """Check one offloader's stated receivers.

        `told` collects the list positions already reported, so that a group's entry is reported once, not per member.
        """
        path: Path = ("offload", key)
        stage = self._receiving_stage(name)
        if stage is None:
            what = "a switch" if self.kinds[name] == "switch" else "a server of the last stage"
            self.complain(path, f"{name!r} is {what} and offloads to nobody", "remove this entry", of_key=True)
            return
        stated = self.document.offload[key]
        for receiver in receivers:
            position = next(i for i, said in enumerate(stated) if receiver in self.groups.get(said, (said,)))
            if position in told:
                continue
            if receiver not in self.servers or self.servers[receiver].stage != stage:
                fitting = [server.name for server in self.servers.values() if server.stage == stage]
                message = f"{receiver!r} is not a server of stage {stage}, to which {name!r} offloads"
                hint = f"stage {stage}: {listed(fitting)}"
            elif not network.joined(name, receiver):
                message = f"the network does not join {name!r} and {receiver!r}"
                hint = "link them directly or through switches (servers do not pass frames on)"
            else:
                continue
            told.add(position)
            self.complain((*path, position), message, hint)

    def _receiving_stage(self, name: str) -> int | None:
        """Return the stage (from 1) to which a node offloads; None for a switch and for a server of the last stage."""
        if self.kinds[name] == "device":
            return 1
        if name not in self.servers or self.servers[name].stage == len(self.model.cut):
            return None
        return self.servers[name].stage + 1


def _rounded_up_s(bound_s: float) -> float:
    """Round up to two digits: a time [s] above the bound, by a tenth at most."""
    step_s = 10.0 ** (math.floor(math.log10(bound_s)) - 1) if bound_s > 0 else LEAST_SLOT_S
    return round((math.floor(bound_s / step_s) + 1) * step_s, 12)
