"""A scenario as a queueing network, from which the centralised bound is computed.

Devices offer tasks at their mean rates. A server serves one task at a time in exactly work / capacity seconds (paced
service does not vary). The transfer of a task takes the delays of all links of its route and the time of its bytes on
the slowest link. It also takes the time of one segment on every other link, since TCP forwards while it receives. The
same holds for the result's way back to the device. On links that lose or jitter frames, a transfer also takes the mean
extra time of TCP's repetitions and of reordered segments under light load (`testbed.simulation.transfers`); TCP's
throughput there limits the rate.

Decision 076: an offloader's tasks queue for the slowest link of their route, one queue per pair of offloader and
receiver (docs/decisions/076-one-queue-per-pair.md).

Decision 077: results and control messages queue nowhere (docs/decisions/077-results-queue-nowhere.md).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from node_agent.dtoee.exit_table import ExitTable
from node_agent.dtoee.queueing import Array, Mask
from node_agent.dtoee.receiver import Overload
from node_agent.dtoee.staged import Flows, Rows, StagedNetwork, Tier
from node_agent.errors import TestbedError
from node_agent.models.data_types import SubModelProfile
from testbed.energy.hop_energy import HopEnergies
from testbed.network.routes import Ways
from testbed.scenario import Direction, Event, LinkShape, Scenario
from testbed.simulation.transfers import Transfers, is_troubled, most_byte_per_s, transfers
from testbed.sizes import SEGMENT_BYTES, result_bytes, task_bytes
from testbed.trace.following import mean_shape, traced_courses
from testbed.trace.workload import Arrival

BITS_PER_MBIT = 1e6
MOST_TRACED_SEGMENTS = 30  # each must be solved

# Decision 078: the bound has no penalty on high utilisation (docs/decisions/078-no-penalty-in-the-bound.md).
NO_PENALTY = Overload(rho_max=1.0, kappa_s2=0.0)


class CutOff(TestbedError):
    """A device reaches no living chain of servers: its tasks cannot end."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class TimeSegment:
    """A stretch of the run in which nothing changes: the scenario at that time, and the nodes that are down."""

    begin_s: float
    end_s: float
    scenario: Scenario
    down: frozenset[str] = frozenset()


def segments(scenario: Scenario, arrivals: Sequence[Arrival] | None = None) -> tuple[TimeSegment, ...]:
    """The scenario over time, cut where events change links, capacities, rates or the nodes that are up.

    Decision 080: with links that follow traces, it is also cut from slot to slot, and such a link has its mean rate and
    delay in between (docs/decisions/080-traced-links-by-slot.md). So it is with an arrival process whose rate changes
    over the run: within a segment the rate is its mean there.

    Args:
        arrivals: a trace; with it, a device's rate is counted in each segment instead of the stated one.
    """
    courses, incidents = traced_courses(scenario), scenario.incidents
    cuts_s = _slots_s(scenario) if courses or scenario.arrivals.varies else ()
    times_s = sorted({0.0, *cuts_s, *(event.at_s for event in incidents if event.at_s < scenario.duration_s)})
    found = []
    now, down = replace(scenario, events=()), frozenset[str]()
    for begin_s, end_s in zip(times_s, (*times_s[1:], scenario.duration_s), strict=True):
        changes = [event for event in incidents if event.at_s == begin_s]
        one_each = {id(course): mean_shape(course, begin_s, end_s) for course in courses.values()}
        means = {ends: one_each[id(course)] for ends, course in courses.items()}
        now = _changed(now, changes, means)
        for node, up in ((node, up) for event in changes for node, up in event.switched.items()):
            down = down - {node} if up else down | {node}
        expected = _expected(now, begin_s, end_s) if scenario.arrivals.varies else now
        offered = expected if arrivals is None else _counted(now, arrivals, begin_s, end_s)
        found.append(TimeSegment(begin_s, end_s, offered, down))
    return tuple(found)


def _slots_s(scenario: Scenario) -> tuple[float, ...]:
    """The beginnings of the slots of a run [s]; in a long run, of every second, third, ... slot."""
    slots = math.ceil(scenario.duration_s / scenario.slot_s - 1e-9)
    together = math.ceil(slots / MOST_TRACED_SEGMENTS)
    return tuple(number * scenario.slot_s for number in range(0, slots, together))


def _changed(scenario: Scenario, events: Sequence[Event], means: Mapping[Direction, LinkShape]) -> Scenario:
    """The scenario after `events`; `means` are the shapes of the links that follow a trace."""
    shapes: dict[Direction, LinkShape] = {}
    capacities: dict[str, float] = {}
    rates: dict[str, float] = {}
    for event in events:
        shapes |= event.shapes
        capacities |= event.capacities_flop_per_s
        rates |= event.rates_per_s
    shapes |= means
    return replace(
        scenario,
        links=tuple(
            replace(
                link,
                shape=shapes.get(link.ends, link.shape),
                down_shape=link.down_shape and shapes.get(link.ends[::-1], link.down_shape),
            )
            for link in scenario.links
        ),
        servers=tuple(
            replace(server, capacity_flop_per_s=capacities.get(server.name, server.capacity_flop_per_s))
            for server in scenario.servers
        ),
        devices=tuple(
            replace(device, rate_per_s=rates.get(device.name, device.rate_per_s)) for device in scenario.devices
        ),
    )


def _expected(scenario: Scenario, begin_s: float, end_s: float) -> Scenario:
    """The scenario with the mean rates of its arrival process in [begin, end) [s]."""
    factor = scenario.arrivals.mean_factor(begin_s, end_s, scenario.duration_s)
    devices = (replace(device, rate_per_s=factor * device.rate_per_s) for device in scenario.devices)
    return replace(scenario, devices=tuple(devices))


def _counted(scenario: Scenario, arrivals: Sequence[Arrival], begin_s: float, end_s: float) -> Scenario:
    """The scenario with rates counted in [begin, end) [s]; the last segment includes its end."""
    last = end_s >= scenario.duration_s
    counts = dict.fromkeys((device.name for device in scenario.devices), 0)
    for arrival in arrivals:
        if begin_s <= arrival.time_s < end_s or (last and arrival.time_s >= end_s):
            counts[arrival.device] += 1
    devices = (replace(device, rate_per_s=counts[device.name] / (end_s - begin_s)) for device in scenario.devices)
    return replace(scenario, devices=tuple(devices))


def transfer_s(shapes: Sequence[LinkShape], byte_count: int) -> float:
    """Time that a message takes over these links in a row, without queueing [s]."""
    rates = [shape.rate_mbit_per_s * BITS_PER_MBIT / 8 for shape in shapes]  # byte/s
    slowest = min(rates)
    segment_bytes = min(byte_count, SEGMENT_BYTES)
    relayed_s = sum(segment_bytes / rate for rate in rates) - segment_bytes / slowest
    return sum(shape.delay_s for shape in shapes) + byte_count / slowest + relayed_s


def lateness(shapes: Sequence[LinkShape], byte_count: int, time_scale: float) -> Transfers | None:
    """The effect of loss and jitter on messages of this size over links in a row; None without loss and jitter."""
    return transfers(shapes, byte_count, time_scale) if is_troubled(shapes) else None


def slowest_byte_per_s(shapes: Sequence[LinkShape]) -> float:
    """Rate of the slowest link [byte/s]."""
    return min(shape.rate_mbit_per_s for shape in shapes) * BITS_PER_MBIT / 8


@dataclass(frozen=True, slots=True)
class FlowModel:
    """The flows of a scenario: the network of queues, the names of its nodes, and the times of results.

    `names` are those of the devices (index 0), then of the servers of stage h = 1..H (index h), in the order of the
    network's arrays. Nodes that are down, offer nothing or lead nowhere are not in the model. The network itself does
    not count the way back. `late` is the effect of loss and jitter on tasks and results, by (sender, receiver); its
    means are part of the times here.

    With a price of energy, the transfer times of the network include `energy_s`, the priced energy of a task on each
    hop [s]: an energy that is linear in the flow is a cost like a transfer. `idle_energy_s` is the priced energy of the
    idle power, per task [s]; no plan changes it, so it is in no cost.
    """

    network: StagedNetwork
    names: tuple[tuple[str, ...], ...]
    return_s: tuple[Array, ...]  # stage h at index h - 1, (n_h, D): a result's time from each server to each device
    late: Mapping[tuple[str, str], Transfers] = field(default_factory=dict)
    energy_s: tuple[Array, ...] = ()  # per tier (n, K); none without a price
    idle_energy_s: float = 0.0

    def with_returns(self, flows: Flows, rows: Rows) -> StagedNetwork:
        """The network with the results' way back, for these flows and the rows that cause them.

        A task of device i that enters server j of stage 1 pays (1 - I_j) ret_ji, as part of its transfer; deeper
        servers pay the mean over their tasks. The cost at these flows is exact. At other flows it is approximate: the
        mix of devices at the deeper servers is still that of these flows.
        """
        first, first_ratio = self.network.tiers[0], flows.remaining[0]
        device = np.arange(len(first.receivers))[:, None]
        back = (1 - first_ratio[first.receivers]) * self.return_s[0][first.receivers, device]
        tiers = (replace(first, transfer_s=first.transfer_s + back), *self.network.tiers[1:])
        mixes = self.origins(flows, rows)
        means = [(mix * ret).sum(-1) / mix.sum(-1) for mix, ret in zip(mixes, self.return_s, strict=True)]
        return replace(self.network, tiers=tiers, return_s=(np.zeros(len(first_ratio)), *means[1:]))

    def origins(self, flows: Flows, rows: Rows) -> tuple[Array, ...]:
        """Arrival rate at every server by device, per stage (n_h, D) [task/s]; an idle server gets the overall mix.

        Exact if the servers of a stage have the same threshold; else tasks of all devices count as equally hard.
        """
        rates = self.network.device_rate_per_s
        found, sent = [], np.diag(rates)
        for stage, (tier, row) in enumerate(zip(self.network.tiers, rows, strict=True), start=1):
            arrived = tier.carry(row, sent, len(self.names[stage]))
            found.append(np.where(arrived.sum(-1, keepdims=True) > 0, arrived, 1e-12 * rates))
            sent = arrived * flows.remaining[stage - 1][:, None]
        return tuple(found)


def flow_model(
    scenario: Scenario,
    profiles: Sequence[SubModelProfile],
    table: ExitTable,
    *,
    down: frozenset[str] = frozenset(),
    ways: Ways | None = None,
    capacities_only: bool = False,
    priced: bool = False,
) -> FlowModel:
    """The flow model of a scenario in its current state, without its events.

    Args:
        profiles: costs of the sub-models, that of stage h at index h - 1.
        table: the exit table, one column per stage.
        down: nodes that do not run.
        ways: routes of the scenario at its start, if it has changed since.
        capacities_only: ignore the time that loss and jitter cost, and estimate TCP's throughput on lossy links. That
            is enough for utilisations, and avoids a simulation of each kind of route.
        priced: count the energy of tasks at the scenario's price.

    Raises:
        CutOff: a device that offers tasks reaches no living chain of servers.
    """
    names, receivers = _living(scenario, down)
    routes = _Routes(scenario, ways or Ways(scenario), capacities_only=capacities_only)
    capacity = {server.name: server.capacity_flop_per_s for server in scenario.servers}
    rate = {device.name: device.rate_per_s for device in scenario.devices}
    tiers = tuple(
        _tier(names[h - 1], names[h], receivers, routes, task_bytes(h, profiles[h - 1].input_bytes))
        for h in range(1, scenario.stages + 1)
    )
    network = StagedNetwork(
        device_rate_per_s=np.array([rate[name] for name in names[0]]),
        tiers=tiers,
        service_per_s=tuple(
            np.array([capacity[name] / profiles[h - 1].flop for name in names[h]])
            for h in range(1, scenario.stages + 1)
        ),
        variability=tuple(
            np.full(len(servers), profile.variability) for servers, profile in zip(names[1:], profiles, strict=True)
        ),
        overload=NO_PENALTY,
        table=table,
    )
    owner = {server.name: server.device for server in scenario.own_processors}
    return_s = tuple(
        np.array([
            [
                # An own processor answers its device only; the other entries are never used.
                routes.transfer(server, device, result_bytes(h))[0] if owner.get(server, device) == device else 0.0
                for device in names[0]
            ]
            for server in names[h]
        ])
        for h in range(1, scenario.stages + 1)
    )  # fmt: skip
    model = FlowModel(network, names, return_s, routes.late)
    return with_energy(model, scenario, HopEnergies(scenario, profiles, ways), down) if priced else model


def with_energy(model: FlowModel, scenario: Scenario, energies: HopEnergies, down: frozenset[str]) -> FlowModel:
    """The model with the energy of tasks at the scenario's price; unchanged without one."""
    price, network = scenario.energy_price_s_per_j, model.network
    if price == 0:
        return model
    found = []
    for stage, (tier, service) in enumerate(zip(network.tiers, network.service_per_s, strict=True), start=1):
        energy_s = np.zeros(tier.transfer_s.shape)
        for i, k in zip(*np.nonzero(tier.exists), strict=True):
            receiver = tier.receivers[i, k]
            hop = energies.of(model.names[stage - 1][i], model.names[stage][receiver])
            energy_s[i, k] = price * hop.of_task_j(float(service[receiver]))
        found.append(energy_s)
    tiers = tuple(
        replace(tier, transfer_s=tier.transfer_s + energy_s)
        for tier, energy_s in zip(network.tiers, found, strict=True)
    )
    powers = [node.power for node in scenario.devices if node.name not in down]
    powers += [node.power for node in scenario.servers if node.name not in down]
    idle_w = sum(power.idle_w for power in powers if power is not None)
    return replace(
        model, network=replace(network, tiers=tiers), energy_s=tuple(found),
        idle_energy_s=price * idle_w / network.total_rate_per_s,
    )  # fmt: skip


def _living(
    scenario: Scenario, down: frozenset[str]
) -> tuple[tuple[tuple[str, ...], ...], Mapping[str, tuple[str, ...]]]:
    """Names (devices at index 0, stage h at index h) and receivers of the nodes that lead to the last stage."""
    offering = [device.name for device in scenario.devices if device.rate_per_s > 0 and device.name not in down]
    names = [offering]
    names += [[server.name for server in scenario.servers_of_stage(h) if server.name not in down]
              for h in range(1, scenario.stages + 1)]  # fmt: skip
    alive = set(names[-1])
    receivers: dict[str, tuple[str, ...]] = {}
    for stage in reversed(range(scenario.stages)):
        for name in names[stage]:
            receivers[name] = tuple(other for other in scenario.offload_to[name] if other in alive)
        alive = {name for name in names[stage] if receivers[name]}
        if stage > 0:
            names[stage] = [name for name in names[stage] if name in alive]
    lost = [name for name in offering if not receivers[name]]
    if lost:
        raise CutOff(f"{lost[0]!r} reaches no living chain of servers", hint="another server must stay up")
    if not offering:
        raise CutOff("no device offers a task", hint="give a device a rate above zero")
    return tuple(map(tuple, names)), receivers


class _Routes:
    """Transfer times from node to node; `late` collects the effects of loss and jitter, by (sender, receiver)."""

    def __init__(self, scenario: Scenario, ways: Ways, *, capacities_only: bool) -> None:
        self.late: dict[tuple[str, str], Transfers] = {}
        self._ways = ways
        self._time_scale = scenario.time_scale
        self._capacities_only = capacities_only
        self._shapes = {
            (end, number): shape
            for number, link in enumerate(scenario.links)
            for end, shape in zip(link.ends, link.shapes, strict=True)
        }

    def transfer(self, sender: str, receiver: str, byte_count: int) -> tuple[float, float]:
        """Mean time of a message without queueing [s], and the greatest rate of such messages [1/s].

        Between nodes at one place these are zero and infinite.
        """
        shapes = [self._shapes[hop] for hop in self._ways.hops(sender, receiver)]
        if not shapes:
            return 0.0, math.inf
        needs_s, rate_per_s = transfer_s(shapes, byte_count), slowest_byte_per_s(shapes) / byte_count
        late = self._lateness(shapes, byte_count)
        if late is None:
            return needs_s, rate_per_s
        if not self._capacities_only:
            self.late[sender, receiver] = late
        return needs_s + late.mean_late_s, min(rate_per_s, late.rate_per_s)

    def _lateness(self, shapes: Sequence[LinkShape], byte_count: int) -> Transfers | None:
        if self._capacities_only:
            return Transfers((0.0,), most_byte_per_s(shapes, self._time_scale) / byte_count)
        return lateness(shapes, byte_count, self._time_scale)


def _tier(
    offloaders: Sequence[str],
    servers: Sequence[str],
    receivers: Mapping[str, tuple[str, ...]],
    routes: _Routes,
    byte_count: int,
) -> Tier:
    index = {name: number for number, name in enumerate(servers)}
    chosen = [[name for name in receivers[offloader] if name in index] for offloader in offloaders]
    size = (len(offloaders), max(len(names) for names in chosen))
    place = np.zeros(size, dtype=np.int64)
    exists: Mask = np.zeros(size, dtype=np.bool_)
    needs_s, rate_per_s = np.zeros(size), np.full(size, np.inf)
    for i, (offloader, names) in enumerate(zip(offloaders, chosen, strict=True)):
        for k, name in enumerate(names):
            place[i, k], exists[i, k] = index[name], True
            needs_s[i, k], rate_per_s[i, k] = routes.transfer(offloader, name, byte_count)
    return Tier(receivers=place, exists=exists, transfer_s=needs_s, link_rate_per_s=rate_per_s)
