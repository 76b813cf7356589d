"""Prediction of bounds that are too low: devices that would refuse every task, even in an empty network."""

import math
from collections.abc import Iterator

import numpy as np

from node_agent.dtoee.queueing import Array
from node_agent.models.interface import Model
from node_agent.policies import make_policy
from node_agent.policies.parameters import NEVER_WORD
from testbed.network.routes import Ways
from testbed.optimum.flow_model import CutOff, FlowModel, flow_model, segments
from testbed.optimum.spans import joined
from testbed.scenario import Scenario
from testbed.wording import counted, milliseconds


def predicted_refusals(scenario: Scenario, model: Model) -> Iterator[str]:
    """Sentences that name devices whose bound lies below the delay of an empty network, and say when.

    The delay is the least over all ways through the network. It is taken with every task leaving at the first exit,
    which no plan can beat, and at the policy's first threshold, which the policy may lower later. A device that stands
    in the first sentence is not repeated in the second.
    """
    if any(device.delay_bound_s is not None for device in scenario.devices):
        yield from joined(_by_segment(scenario, model), scenario.duration_s)


def _by_segment(scenario: Scenario, model: Model) -> Iterator[tuple[float, float, str]]:
    """(begin [s], end [s], sentence) of the segments in which devices would refuse every task."""
    cut, activation = scenario.model.cut, scenario.model.activation
    profiles, table = model.profiles(cut, activation), model.exit_table(cut)
    threshold = make_policy(scenario.policy.name, scenario.policy.parameters).first_threshold
    shown = f"{threshold:g}" if threshold <= 1 else NEVER_WORD
    cases = (
        ("{} will refuse every task: even if it leaves at the first exit, a task takes", 0.0),
        (f"at thresholds of {shown}, {{}} would refuse every task: it takes", threshold),
    )
    ways = Ways(scenario)
    for segment in segments(scenario):
        try:
            flows = flow_model(segment.scenario, profiles, table, down=segment.down, ways=ways, capacities_only=True)
        except CutOff:
            continue  # the prediction of overload says so
        bounds_s = {d.name: d.delay_bound_s for d in scenario.devices if d.delay_bound_s is not None}
        for said, tried in cases:
            delays_s = dict(zip(flows.names[0], least_delays_s(flows, tried).tolist(), strict=True))
            refusing = [name for name in delays_s if delays_s[name] > bounds_s.get(name, math.inf)]
            if refusing:
                takes, bound = milliseconds(delays_s[refusing[0]], ".3g"), milliseconds(bounds_s[refusing[0]], "g")
                more = f" and {counted(len(refusing) - 1, 'more device')}" if len(refusing) > 1 else ""
                yield (
                    segment.begin_s,
                    segment.end_s,
                    f"{said.format(f'{refusing[0]!r}{more}')} {takes} in an empty network, above the bound of {bound}",
                )
            for name in refusing:
                del bounds_s[name]  # said once


def least_delays_s(model: FlowModel, threshold: float) -> Array:
    """Mean delay of a task of each device in the empty network, over the fastest way [s], (D,).

    t is the transfer time to a server, s its service rate, I the share of its tasks that continue, ret the time of a
    result to the device. From its arrival at server j, a task of device i takes

        m_ji = 1/s_j + (1-I_j) ret_ji + I_j min_k (t_jk + m_ki)

    and the delay of device i is the least t_ij + m_ji.

    Args:
        model: the network with its transfer times.
        threshold: the same at all servers.
    """
    network = model.network
    thresholds = network.uniform_thresholds(*(threshold,) * (network.stages - 1))
    remaining = network.flows(network.speed_rows(), thresholds).remaining
    left_s = 1 / network.service_per_s[-1][:, None] + model.return_s[-1]
    for stage in reversed(range(1, network.stages)):
        tier, ratio = network.tiers[stage], remaining[stage - 1][:, None]
        onward_s = np.full((len(tier.receivers), left_s.shape[1]), np.inf)
        for k in range(tier.receivers.shape[1]):  # one receiver at a time; all at once takes K times the memory
            way_s = np.where(tier.exists[:, k], tier.transfer_s[:, k], np.inf)
            np.minimum(onward_s, way_s[:, None] + left_s[tier.receivers[:, k]], out=onward_s)
        own_s = 1 / network.service_per_s[stage - 1][:, None]
        left_s = own_s + (1 - ratio) * model.return_s[stage - 1] + ratio * onward_s
    first = network.tiers[0]
    device = np.arange(len(first.receivers))[:, None]
    ways_s = np.where(first.exists, first.transfer_s + left_s[first.receivers, device], np.inf)
    return np.asarray(ways_s.min(-1))
