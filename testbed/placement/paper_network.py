"""The flow model of a candidate, or of many at once, built quickly: the ways and times of a network are found once.

A server of which the stage is still open stands in every stage that it may host, with its whole capacity each time, and
all links lead on to it. Every candidate that remains possible is then a part of this larger network, and each of its
plans is a plan of the larger one. So a lower bound on the objective there bounds all these candidates.

Arrivals at servers count as Poisson processes; see `testbed.placement.ranking`.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from node_agent.dtoee.exit_table import ExitTable
from node_agent.dtoee.queueing import Array, Mask
from node_agent.dtoee.staged import StagedNetwork, Tier
from node_agent.models.data_types import SubModelProfile
from testbed.network.routes import Ways
from testbed.optimum.flow_model import (
    NO_PENALTY,
    CutOff,
    FlowModel,
    TimeSegment,
    lateness,
    slowest_byte_per_s,
    transfer_s,
)
from testbed.placement.candidates import Options, Site
from testbed.sizes import result_bytes, task_bytes

Node = tuple[str, int]  # a node, and the stage that it hosts; devices are at stage 0


class PaperNetwork:
    """The network of a site between two events: flow models of candidates in it."""

    def __init__(self, site: Site, segment: TimeSegment, ways: Ways) -> None:
        """`ways`: the routes at the start of the scenario."""
        self._site = site
        self._segment = segment
        self._ways = ways
        now = segment.scenario
        self._rate = {device.name: device.rate_per_s for device in now.devices}
        self._capacity = {server.name: server.capacity_flop_per_s for server in now.servers}
        self._owner = {server.name: server.device for server in now.own_processors}
        self._own = {device: name for name, device in self._owner.items()}
        self._shapes = {
            (end, number): shape
            for number, link in enumerate(now.links)
            for end, shape in zip(link.ends, link.shapes, strict=True)
        }
        self._times: dict[tuple[str, str, int], tuple[float, float]] = {}

    def model(self, profiles: Sequence[SubModelProfile], table: ExitTable, options: Options) -> FlowModel:
        """The flow model in which every server hosts all of its `options`, at once if there are several.

        Args:
            profiles: costs of the sub-models, that of stage h at index h - 1.
            table: the exit table, one column per stage.
            options: the stages of each server of the site.

        Raises:
            CutOff: a device that offers tasks reaches no living chain of servers.
        """
        stages = len(profiles)
        nodes, receivers = self._living(options, stages)
        tiers = tuple(
            self._tier(nodes[h - 1], nodes[h], receivers, task_bytes(h, profiles[h - 1].input_bytes))
            for h in range(1, stages + 1)
        )
        network = StagedNetwork(
            device_rate_per_s=np.array([self._rate[name] for name, _ in nodes[0]]),
            tiers=tiers,
            service_per_s=tuple(
                np.array([self._capacity[name] / profile.flop for name, _ in servers])
                for servers, profile in zip(nodes[1:], profiles, strict=True)
            ),
            variability=tuple(
                np.full(len(servers), profile.variability) for servers, profile in zip(nodes[1:], profiles, strict=True)
            ),
            overload=NO_PENALTY,
            table=table,
        )
        return_s = tuple(self._returns(nodes[h], nodes[0], result_bytes(h)) for h in range(1, stages + 1))
        return FlowModel(network, tuple(tuple(name for name, _ in each) for each in nodes), return_s)

    def _living(self, options: Options, stages: int) -> tuple[list[list[Node]], Mapping[Node, tuple[Node, ...]]]:
        """The nodes that lead to the last stage, devices at index 0 and stage h at index h, and their receivers."""
        site, down = self._site, self._segment.down
        hosts: list[list[Node]] = [[] for _ in range(stages + 1)]
        hosts[0] = [(name, 0) for name, rate in self._rate.items() if rate > 0 and name not in down]
        for name, each in zip(site.names, options, strict=True):
            for stage in each if name not in down else ():
                hosts[stage].append((name, stage))
        hosts[1] += [(name, 1) for name in self._owner if name not in down]
        decided = all(len(each) == 1 for each in options)
        stage_of = {name: each[0] for name, each in zip(site.names, options, strict=True) if len(each) == 1}
        stated = site.receivers(stage_of | dict.fromkeys(self._owner, 1)) if decided else {}
        alive, receivers = set(hosts[stages]), {}
        for stage in reversed(range(stages)):
            for node in hosts[stage]:
                name = node[0]
                led = stated[name] if decided else self._reached(name, stage)
                receivers[node] = tuple((other, stage + 1) for other in led if (other, stage + 1) in alive)
            alive = {node for node in hosts[stage] if receivers[node]}
            if stage > 0:
                hosts[stage] = [node for node in hosts[stage] if node in alive]
        if not hosts[0]:
            raise CutOff("no device offers a task", hint="give a device a rate above zero")
        for node in hosts[0]:
            if not receivers[node]:
                raise CutOff(f"{node[0]!r} reaches no living chain of servers", hint="another server must stay up")
        return hosts, receivers

    def _reached(self, name: str, stage: int) -> tuple[str, ...]:
        """All servers to which a node of `stage` might offload."""
        linked = tuple(other for other in self._site.names if other in self._site.joined[self._owner.get(name) or name])
        own = self._own.get(name) if stage == 0 else None
        return linked if own is None else (own, *linked)

    def _tier(
        self, offloaders: Sequence[Node], servers: Sequence[Node], receivers: Mapping[Node, tuple[Node, ...]],
        byte_count: int,
    ) -> Tier:  # fmt: skip
        index = {node: number for number, node in enumerate(servers)}
        size = (len(offloaders), max(len(receivers[node]) for node in offloaders))
        place = np.zeros(size, dtype=np.int64)
        exists: Mask = np.zeros(size, dtype=np.bool_)
        needs_s, rate_per_s = np.zeros(size), np.full(size, np.inf)
        for i, node in enumerate(offloaders):
            for k, other in enumerate(receivers[node]):
                place[i, k], exists[i, k] = index[other], True
                needs_s[i, k], rate_per_s[i, k] = self._transfer(node[0], other[0], byte_count)
        return Tier(receivers=place, exists=exists, transfer_s=needs_s, link_rate_per_s=rate_per_s)

    def _returns(self, servers: Sequence[Node], devices: Sequence[Node], byte_count: int) -> Array:
        """Times of results [s], (n_h, D); an own processor answers its device only, the other entries are not used."""
        found = np.zeros((len(servers), len(devices)))
        for j, (server, _) in enumerate(servers):
            for i, (device, _) in enumerate(devices):
                if self._owner.get(server, device) == device:
                    found[j, i] = self._transfer(server, device, byte_count)[0]
        return found

    def _transfer(self, sender: str, receiver: str, byte_count: int) -> tuple[float, float]:
        """Mean time of a message without queueing [s], and the greatest rate of such messages [1/s]."""
        key = (sender, receiver, byte_count)
        if key not in self._times:
            shapes = [self._shapes[hop] for hop in self._ways.hops(sender, receiver)]
            self._times[key] = 0.0, math.inf
            if shapes:
                needs_s, rate_per_s = transfer_s(shapes, byte_count), slowest_byte_per_s(shapes) / byte_count
                late = lateness(shapes, byte_count, self._segment.scenario.time_scale)
                if late is not None:
                    needs_s, rate_per_s = needs_s + late.mean_late_s, min(rate_per_s, late.rate_per_s)
                self._times[key] = needs_s, rate_per_s
        return self._times[key]
