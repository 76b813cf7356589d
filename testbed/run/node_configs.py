"""Node configurations: each node's place in the scenario, its peers, its policy and its time-outs."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from node_agent.core.config import NodeConfig, Timeouts
from node_agent.core.offloading.probing import BULK_BYTES, FIRST_PROBES
from node_agent.models.data_types import SubModelProfile
from node_agent.policies import make_policy
from node_agent.problem import Place
from node_agent.wire import InputForm
from testbed.energy.hop_energy import hop_prices
from testbed.scenario import Scenario
from testbed.topology.slowest_hop import longest_hop_s

ROUND_PATIENCE = 4.0  # a round waits, per stage, for this many times the slowest hop's time
PROBE_PATIENCE = 4.0  # neighbours probe over shared links, and over connections that are still starting
CONNECT_S = 0.05  # per link, for its connections: all links connect at the same time [real s]


def node_configs(
    scenario: Scenario, profiles: Sequence[SubModelProfile], forms: Sequence[InputForm], *,
    story: bool = True, debug: bool = False,
) -> dict[str, NodeConfig]:  # fmt: skip
    """Return every node's configuration by name, devices first.

    Args:
        scenario: the scenario.
        profiles: costs of the sub-models; stage h at index h - 1.
        forms: inputs of the sub-models; stage h at index h - 1.
        story: nodes keep their last events and effects.
        debug: nodes check their state after each event.
    """
    offloaders: dict[str, list[str]] = defaultdict(list)
    for offloader, receivers in scenario.offload_to.items():
        for receiver in receivers:
            offloaders[receiver].append(offloader)
    declared = {device.name: (0, device.rate_per_s) for device in scenario.devices}
    declared |= {s.name: (s.stage, s.capacity_flop_per_s / profiles[s.stage - 1].flop) for s in scenario.servers}
    bounds = {device.name: device.delay_bound_s for device in scenario.devices if device.delay_bound_s is not None}
    in_stage = Counter(stage for stage, _ in declared.values())
    next_rank = dict.fromkeys(in_stage, 0)
    patience = timeouts(scenario, forms)
    parameters = dict(scenario.policy.parameters)
    coordinator = coordinator_of(scenario)
    places = {name: Place(stage, tuple(scenario.offload_to.get(name, ()))) for name, (stage, _) in declared.items()}
    sources, prices = _sources(declared, offloaders), hop_prices(scenario, profiles)
    configs = {}
    for name, (stage, rate_per_s) in declared.items():
        configs[name] = NodeConfig(
            name=name,
            stage=stage,
            stages=scenario.stages,
            offloaders=tuple(offloaders[name]),
            receivers=tuple(scenario.offload_to.get(name, ())),
            rank=next_rank[stage],
            peers_in_stage=in_stage[stage],
            declared_rate_per_s=rate_per_s,
            slot_s=scenario.slot_s,
            policy=scenario.policy.name,
            parameters=parameters,
            theta_s=scenario.theta_s,
            seed=scenario.seed,
            input_form=forms[stage - 1] if stage else None,
            onward_form=forms[stage] if stage < scenario.stages else None,
            criterion=scenario.model.criterion,
            draws=scenario.draws,
            devices=sources[name] if stage > 1 else (),
            coordinator=coordinator,
            places=places if name == coordinator else {},
            delay_bound_s=bounds.get(name),
            bounded=tuple(other for other in offloaders[name] if not bounds.keys().isdisjoint(sources[other])),
            timeouts=patience,
            counts_bytes=scenario.states_link_energy,
            hop_prices=prices.get(name, {}),
            story=story,
            debug=debug,
        )
        next_rank[stage] += 1
    return configs


def _sources(
    declared: Mapping[str, tuple[int, float]], offloaders: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    """Return, for each node, the devices whose tasks can reach it."""
    found: dict[str, tuple[str, ...]] = {}
    for name, (stage, _) in sorted(declared.items(), key=lambda item: item[1][0]):
        upstream = offloaders.get(name, ())
        found[name] = (name,) if stage == 0 else tuple(dict.fromkeys(d for peer in upstream for d in found[peer]))
    return found


def coordinator_of(scenario: Scenario) -> str | None:
    """Return the coordinator of a central policy: the fastest server of the last stage. None for other policies.

    It has a place of its own: all nodes must reach it.
    """
    policy = make_policy(scenario.policy.name, scenario.policy.parameters, theta_s=scenario.theta_s)
    if not policy.central:
        return None
    last = [server for server in scenario.servers_of_stage(scenario.stages) if server.device is None]
    return max(last, key=lambda server: server.capacity_flop_per_s).name


def timeouts(scenario: Scenario, forms: Sequence[InputForm]) -> Timeouts:
    """Return time-outs [emulated s] that suit this scenario's links; `forms` are the stages' inputs."""
    usual = Timeouts()
    largest_bytes = max(form.largest.byte_count for form in forms) + BULK_BYTES
    slowest_mbit_per_s = min((shape.rate_mbit_per_s for link in scenario.links for shape in link.shapes), default=1.0)
    probe_s = largest_bytes * 8e-6 / slowest_mbit_per_s + 2 * longest_hop_s(scenario)
    connect_s = CONNECT_S * len(scenario.links) / scenario.time_scale
    return Timeouts(
        round_s=max(usual.round_s, ROUND_PATIENCE * longest_hop_s(scenario)),
        probe_s=max(usual.probe_s, PROBE_PATIENCE * 3 * FIRST_PROBES * probe_s, connect_s),
    )
