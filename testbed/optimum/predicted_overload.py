"""Prediction of overload: whether the tasks of a scenario will pile up, before any of them is offered."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from node_agent.models.interface import Model
from node_agent.policies import make_policy
from node_agent.policies.parameters import NEVER_WORD
from testbed.network.routes import Ways
from testbed.optimum.flow_model import CutOff, FlowModel, TimeSegment, flow_model, segments
from testbed.optimum.flow_programme import FlowProgramme
from testbed.optimum.spans import joined
from testbed.scenario import Device, Scenario
from testbed.wording import percent


def predicted_overloads(scenario: Scenario, model: Model) -> Iterator[str]:
    """Sentences that say when, and under which conditions, tasks will pile up; none if some plan serves all tasks.

    For each segment of the run, a linear programme (`FlowProgramme`) finds the least utilisation of the busiest server
    or link over all plans. It does so at the policy's first threshold, and with every task leaving at the first exit,
    which is the least possible work. Adjoining segments with the same sentence are joined.

    Tasks of devices with a delay bound do not pile up: their devices refuse them. The sentence then says so, unless the
    other devices alone offer too much.
    """
    yield from joined(_by_segment(scenario, model), scenario.duration_s)


def _by_segment(scenario: Scenario, model: Model) -> Iterator[tuple[float, float, str]]:
    """(begin [s], end [s], sentence) of the segments in which tasks will pile up."""
    cut, activation = scenario.model.cut, scenario.model.activation
    profiles, table = model.profiles(cut, activation), model.exit_table(cut)
    threshold = make_policy(scenario.policy.name, scenario.policy.parameters).first_threshold
    ways = Ways(scenario)

    def busiest(segment: TimeSegment, devices: Sequence[Device], at: float) -> float:
        offering = replace(segment.scenario, devices=tuple(devices))
        flows = flow_model(offering, profiles, table, down=segment.down, ways=ways, capacities_only=True)
        return _least_utilisation(flows, at)

    for segment in segments(scenario):
        devices = segment.scenario.devices
        unbounded = [device for device in devices if device.delay_bound_s is None and device.rate_per_s > 0]
        try:
            least, stated = (busiest(segment, devices, at) for at in (0.0, threshold))
        except CutOff as error:
            yield segment.begin_s, segment.end_s, str(error)
            continue
        if least < 1 and stated < 1:
            continue
        at = 0.0 if least >= 1 else threshold
        piles_up = len(unbounded) == len(devices) or (unbounded and busiest(segment, unbounded, at) >= 1)
        what = "tasks will pile up" if piles_up else "devices will refuse tasks"
        if least >= 1:
            said = (
                f"{what}: even if all of them leave at the first exit, the "
                f"busiest server or link would have to work {percent(least, '.0f')} of the time"
            )
        else:
            shown = f"{threshold:g}" if threshold <= 1 else NEVER_WORD
            said = (
                f"{what} at a threshold of {shown}, where the busiest "
                f"server or link would have to work {percent(stated, '.0f')} of the time"
            )
        yield segment.begin_s, segment.end_s, said


def _least_utilisation(model: FlowModel, threshold: float) -> float:
    """The least utilisation of the busiest server or link over all plans, with this threshold at all servers."""
    network = model.network
    thresholds = network.uniform_thresholds(*(threshold,) * (network.stages - 1))
    remaining = network.flows(network.speed_rows(), thresholds).remaining
    return FlowProgramme(network, remaining).least_utilisation()
