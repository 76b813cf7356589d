"""What each agent is told: its place in the scenario, its peers' addresses, its share of the workload."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from node_agent.agent import AgentConfig, Arrival
from node_agent.config import NodeConfig, Timeouts
from node_agent.probing import BULK_BYTES, FIRST_PROBES
from testbed.nursery import Warm
from testbed.scenario import LinkChange, Scenario
from testbed.trace import workload

ROUND_PATIENCE = 4.0  # a round waits this many times as long as the slowest link needs, per stage
PROBE_PATIENCE = 4.0  # probes of neighbours share links, and find their connections starting


def agent_configs(
    scenario: Scenario,
    arrivals: Sequence[workload.Arrival],
    warm: Warm,
    *,
    address: Callable[[str], str],
    control_room: str,
    quota_procs_paths: Mapping[str, tuple[str, ...]],
) -> dict[str, AgentConfig]:
    """One configuration per node, by name.

    Args:
        arrivals: the whole workload; a task's id is its place in it.
        warm: the sub-models' costs and input forms.
        address: a node's address on the emulated network.
        control_room: ZeroMQ endpoint of the experiment.
        quota_procs_paths: control group files by server, where compute is limited by quota.
    """
    offloaders: dict[str, list[str]] = defaultdict(list)
    for offloader, receivers in scenario.offload_to.items():
        for receiver in receivers:
            offloaders[receiver].append(offloader)
    shares: dict[str, list[Arrival]] = defaultdict(list)
    for task_id, arrival in enumerate(arrivals):
        shares[arrival.device].append(Arrival(arrival.time_s, task_id, arrival.sample))

    stage_of = {device.name: 0 for device in scenario.devices} | {s.name: s.stage for s in scenario.servers}
    rate_of = {device.name: device.rate_per_s for device in scenario.devices}
    capacity_of = {server.name: server.capacity_flop_per_s for server in scenario.servers}
    patience = timeouts(scenario, warm)
    configs = {}
    for name, stage in stage_of.items():
        peers = [other for other, its_stage in stage_of.items() if its_stage == stage]
        work_flop = float(warm.profiles[stage - 1].flop) if stage else 0.0
        receivers = tuple(scenario.offload_to.get(name, ()))
        node = NodeConfig(
            name=name,
            stage=stage,
            stages=scenario.stages,
            offloaders=tuple(offloaders[name]),
            receivers=receivers,
            rank=peers.index(name),
            peers_in_stage=len(peers),
            declared_rate_per_s=capacity_of[name] / work_flop if stage else rate_of[name],
            slot_s=scenario.slot_s,
            policy=scenario.policy.name,
            parameters=dict(scenario.policy.parameters),
            theta_s=scenario.theta_s,
            seed=scenario.seed,
            input_form=warm.input_forms[stage - 1] if stage else None,
            onward_form=warm.input_forms[stage] if stage < scenario.stages else None,
            timeouts=patience,
        )
        # A server answers devices over the connection their tasks came by, or, deeper in, over one of its own.
        answers = [device.name for device in scenario.devices] if stage > 1 else []
        configs[name] = AgentConfig(
            node=node,
            address=address(name),
            connect_data={peer: address(peer) for peer in (*receivers, *answers)},
            connect_control={peer: address(peer) for peer in receivers},
            answers_from=() if stage else tuple(server.name for server in scenario.servers),
            control_room=control_room,
            time_scale=scenario.time_scale,
            capacity_flop_per_s=capacity_of.get(name, 0.0),
            work_flop=work_flop,
            activation=scenario.model.activation,
            quota_procs_paths=quota_procs_paths.get(name, ()),
            arrivals=tuple(shares[name]),
        )
    return configs


def longest_hop_s(scenario: Scenario) -> float:
    """What a small message takes at most from one stage to the next, whatever the events do to the links [s]."""
    shapes = [link.shape for link in scenario.links]
    shapes += [event.shape for event in scenario.events if isinstance(event, LinkChange)]
    slowest_s = max((shape.delay_s + 4 * shape.jitter_s for shape in shapes), default=0.0)
    return slowest_s * (1 + min(len(scenario.switches), 2))


def timeouts(scenario: Scenario, warm: Warm) -> Timeouts:
    """How patient nodes must be on this scenario's links."""
    usual = Timeouts()
    largest_bytes = max(form.byte_count for form in warm.input_forms) + BULK_BYTES
    slowest_mbit_per_s = min((link.shape.rate_mbit_per_s for link in scenario.links), default=1.0)
    probe_s = largest_bytes * 8e-6 / slowest_mbit_per_s + 2 * longest_hop_s(scenario)
    return Timeouts(
        round_s=max(usual.round_s, ROUND_PATIENCE * longest_hop_s(scenario)),
        probe_s=max(usual.probe_s, PROBE_PATIENCE * 2 * FIRST_PROBES * probe_s),
    )
