"""What each agent is told: its place in the scenario, its peers' addresses, its share of the workload."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from node_agent.agent import AgentConfig, Arrival
from node_agent.config import NodeConfig
from testbed.nursery import Warm
from testbed.scenario import Scenario
from testbed.trace import workload

UNREACHED_FLOP_PER_S = 1e9  # stands for "not computing": devices only


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
        )
        # A server answers devices over the connection their tasks came by, or, deeper in, over one of its own.
        answers = [] if stage == 0 else [d.name for d in scenario.devices if d.name not in offloaders[name]]
        configs[name] = AgentConfig(
            node=node,
            address=address(name),
            connect_data={peer: address(peer) for peer in (*receivers, *answers)},
            connect_control={peer: address(peer) for peer in receivers},
            answers_from=() if stage else tuple(server.name for server in scenario.servers),
            control_room=control_room,
            time_scale=scenario.time_scale,
            capacity_flop_per_s=capacity_of.get(name, UNREACHED_FLOP_PER_S),
            work_flop=work_flop,
            activation=scenario.model.activation,
            quota_procs_paths=quota_procs_paths.get(name, ()),
            arrivals=tuple(shares[name]),
        )
    return configs
