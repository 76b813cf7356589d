"""Agent configurations: the node's configuration, its peers' addresses, its share of the workload."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from node_agent.models.interface import Model
from node_agent.process.agent import AgentConfig, ScheduledTask
from testbed.live.agent_parents import Warm
from testbed.run.node_configs import node_configs
from testbed.scenario import ModelChoice, Scenario
from testbed.trace import workload


def agent_configs(
    scenario: Scenario,
    arrivals: Sequence[workload.Arrival],
    warm: Warm,
    *,
    address: Callable[[str], str],
    telemetry: str,
    quota_procs_paths: Mapping[str, tuple[str, ...]],
    debug: bool = False,
) -> dict[str, AgentConfig]:
    """Return each agent's configuration, by node.

    Args:
        scenario: the scenario.
        arrivals: the whole workload; a task's id is its index there.
        warm: the sub-models' costs and input forms.
        address: returns a node's address on the emulated network.
        telemetry: ZeroMQ endpoint of the experiment.
        quota_procs_paths: control group files by server; empty unless compute is limited by quota.
        debug: agents check their state after each event.
    """
    shares: dict[str, list[ScheduledTask]] = defaultdict(list)
    for task_id, arrival in enumerate(arrivals):
        shares[arrival.device].append(ScheduledTask(arrival.time_s, task_id, arrival.sample))

    capacity_of = {server.name: server.capacity_flop_per_s for server in scenario.servers}
    configs = {}
    for name, node in node_configs(scenario, warm.profiles, warm.input_forms, debug=debug).items():
        # A server of stage 1 answers over the device's connection; a server of a later stage makes its own.
        answers = [device.name for device in scenario.devices] if node.stage > 1 else []
        coordinators = [node.coordinator] if node.coordinator else []
        configs[name] = AgentConfig(
            node=node,
            address=address(name),
            connect_data={peer: address(peer) for peer in (*node.receivers, *answers)},
            connect_control={peer: address(peer) for peer in (*node.receivers, *coordinators) if peer != name},
            answers_from=tuple(server.name for server in scenario.servers) if node.is_device else (),
            telemetry=telemetry,
            time_scale=scenario.time_scale,
            capacity_flop_per_s=capacity_of.get(name, 0.0),
            quota_procs_paths=quota_procs_paths.get(name, ()),
            arrivals=tuple(shares[name]),
        )
    return configs


def stated_costs(model: Model, choice: ModelChoice) -> Warm:
    """Return the sub-models' costs and inputs as the model's files state them; nothing is measured."""
    cut, activation = choice.cut, choice.activation
    return Warm(model.profiles(cut, activation), model.input_forms(cut, activation), cpu_s=())
