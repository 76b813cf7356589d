"""Compile a checked form into a `Scenario`: expand groups, draw ranges, resolve references, report every misfit.

The seed of each drawn value depends only on the topology's seed, the name of the node or link, and the field. Adding a
node therefore changes no value of the others.
"""

import math

from testbed.power import Power
from testbed.scenario import Device, Scenario, Server
from testbed.topology.choices import policy_problem
from testbed.topology.drawing import draw
from testbed.topology.event_schedule import compile_events
from testbed.topology.form.entries import DeviceEntry, ServerEntry
from testbed.topology.form.power_entries import power_fault
from testbed.topology.form.values import MAX_NAME_CHARACTERS
from testbed.topology.form.yaml_places import Path
from testbed.topology.link_expansion import expand_links
from testbed.topology.model_choice import memory_problems, model_choice, model_problems, quota_problem
from testbed.topology.receivers import find_receivers
from testbed.topology.slowest_hop import longest_hop_s
from testbed.topology.unfinished import UnfinishedScenario
from testbed.wording import milliseconds

MAX_NODES = 20_000
LEAST_DURATION_S = 1.0
LEAST_SLOT_S = 1e-3
PROCESSOR = "-cpu"  # follows the name of a device, or of a group, in that of its own processor


class Compiler(UnfinishedScenario):
    """The compiler of one document: collects problems, and builds the scenario if there are none."""

    def compile(self) -> Scenario | None:
        """Return the scenario, or None if there are `problems`."""
        document = self.document
        self._expand_nodes()
        self._check_model()
        expand_links(self)
        if not self._damaged & {"model", "devices", "servers", "switches", "links", "offload"}:
            find_receivers(self)
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
        if document.utility == "deadlines" and all(entry.deadline is None for entry in document.devices.values()):
            hint = "give one a deadline, for example deadline: 500 ms, or leave utility out"
            self.complain(("utility",), "no device has a deadline", hint)
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
            draws=document.draws,
            utility=document.utility,
            energy_price_s_per_j=document.energy_price,
        )
        self._check_price(scenario)
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
                power = None if device.power is None else device.power.drawn(self.seed, "device", name)
                battery = None if device.battery is None else draw(device.battery, self.seed, "device", name, "battery")
                group_name = None if device.count is None else group
                self.devices.append(Device(name, rate, device.delay_bound, device.deadline, group_name, power, battery))
        for group, server in self.document.servers.items():
            for name in self._claim(("servers", group), group, server.count, "server"):
                capacity = draw(server.capacity, self.seed, "server", name, "capacity")
                memory = None if server.memory is None else round(server.memory)
                power = None if server.power is None else server.power.drawn(self.seed, "server", name)
                self.servers[name] = Server(name, server.stage, capacity, memory, power=power)
        for group, device in self.document.devices.items():
            self._expand_processors(group, device)
        self._check_powers()
        for index, switch in enumerate(self.document.switches):
            self._claim(("switches", index), switch, None, "switch")

    def _expand_processors(self, group: str, entry: DeviceEntry) -> None:
        """Add the own processor of each device of a group, if the entry states one."""
        path: Path = ("devices", group)
        if entry.runs is None:
            for key in ("capacity", "memory"):
                if getattr(entry, key) is not None:
                    message = f"a device without `runs` has no processor, and so no {key}"
                    self.complain((*path, key), message, f"add runs: 1, or remove {key}", of_key=True)
            return
        if entry.capacity is None:
            message = "a device that runs stage 1 needs the capacity of its processor"
            self.complain((*path, "runs"), message, "for example capacity: 0.1 GFLOP/s", of_key=True)
            return
        memory = None if entry.memory is None else round(entry.memory)
        devices = self.groups.get(group, ())
        names = self._claim(path, f"{group}{PROCESSOR}", entry.count, "server") if devices else []
        for device, name in zip(devices, names, strict=False):  # no names if they could not be claimed
            capacity = draw(entry.capacity, self.seed, "server", name, "capacity")
            power = None if entry.power is None else entry.power.drawn(self.seed, "device", device)
            added = None if power is None else Power(0.0, power.computing_w)
            self.servers[name] = Server(name, 1, capacity, memory, device, added)
            self.own_processors[device] = name

    def _check_powers(self) -> None:
        """Report powers that a node cannot have, and batteries without a power that uses them up."""
        document = self.document
        for section, entries in (("devices", document.devices), ("servers", document.servers)):
            for group, entry in entries.items():
                computes = isinstance(entry, ServerEntry) or entry.runs is not None
                if (found := power_fault(entry.power, computes=computes)) is not None:
                    self.complain((section, group, "power"), *found)
        for group, device in document.devices.items():
            if device.battery is not None and device.power is None:
                message = "a device without `power` does not use up its battery"
                self.complain(("devices", group, "battery"), message, "for example power: {idle: 1 W}", of_key=True)

    def _check_price(self, scenario: Scenario) -> None:
        """Report a price of energy where nothing uses any."""
        price = self.document.energy_price
        if price and not scenario.states_energy:
            message = f"a price of energy ({price:g} s/J), but no node states power and no link energy"
            self.complain(("energy_price",), message, "for example power: {idle: 2 W, busy: 5 W} at a server")

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
        taken = [name for name in dict.fromkeys([group, *names]) if name in self.homes]
        if taken:
            line, _ = self.place.find(self.homes[taken[0]], of_key=True)
            self.complain(path, f"the name {taken[0]!r} is used in line {line}", "rename one of them", of_key=True)
            return []
        for name in dict.fromkeys([group, *names]):
            self.homes[name] = path
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
        served |= {1 for device in self.document.devices.values() if device.runs}
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


def _rounded_up_s(bound_s: float) -> float:
    """Round up to two digits: a time [s] above the bound, by a tenth at most."""
    step_s = 10.0 ** (math.floor(math.log10(bound_s)) - 1) if bound_s > 0 else LEAST_SLOT_S
    return round((math.floor(bound_s / step_s) + 1) * step_s, 12)
