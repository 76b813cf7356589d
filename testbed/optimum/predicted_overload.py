"""Prediction of overload: whether the tasks of a scenario will pile up, before any of them is offered."""

from collections.abc import Iterator

from node_agent.models.interface import Model
from node_agent.policies import make_policy
from node_agent.policies.parameters import NEVER_WORD
from testbed.network.routes import Ways
from testbed.optimum.flow_model import CutOff, FlowModel, flow_model, segments
from testbed.optimum.flow_programme import FlowProgramme
from testbed.scenario import Scenario
from testbed.wording import percent


def predicted_overloads(scenario: Scenario, model: Model) -> Iterator[str]:
    """Sentences that say when, and under which conditions, tasks will pile up; none if some plan serves all tasks.

    For each segment of the run, a linear programme (`FlowProgramme`) finds the least utilisation of the busiest server
    or link over all plans. It does so at the policy's first threshold, and with every task leaving at the first exit,
    which is the least possible work. Adjoining segments with the same sentence are joined.
    """
    spans: list[tuple[float, float, str]] = []
    for begin_s, end_s, said in _by_segment(scenario, model):
        if spans and spans[-1][1:] == (begin_s, said):
            begin_s = spans.pop()[0]  # noqa: PLW2901
        spans.append((begin_s, end_s, said))
    for begin_s, end_s, said in spans:
        whole = begin_s <= 0 and end_s >= scenario.duration_s
        yield said if whole else f"from {begin_s:g} to {end_s:g} s: {said}"


def _by_segment(scenario: Scenario, model: Model) -> Iterator[tuple[float, float, str]]:
    """(begin [s], end [s], sentence) of the segments in which tasks will pile up."""
    cut, activation = scenario.model.cut, scenario.model.activation
    profiles, table = model.profiles(cut, activation), model.exit_table(cut)
    threshold = make_policy(scenario.policy.name, scenario.policy.parameters).first_threshold
    ways = Ways(scenario)
    for segment in segments(scenario):
        try:
            flows = flow_model(segment.scenario, profiles, table, down=segment.down, ways=ways, capacities_only=True)
        except CutOff as error:
            yield segment.begin_s, segment.end_s, str(error)
            continue
        least, stated = (_least_utilisation(flows, at) for at in (0.0, threshold))
        if least >= 1:
            said = (
                "tasks will pile up: even if all of them leave at the first exit, the "
                f"busiest server or link would have to work {percent(least, '.0f')} of the time"
            )
        elif stated >= 1:
            shown = f"{threshold:g}" if threshold <= 1 else NEVER_WORD
            said = (
                f"tasks will pile up at a threshold of {shown}, where the busiest "
                f"server or link would have to work {percent(stated, '.0f')} of the time"
            )
        else:
            continue
        yield segment.begin_s, segment.end_s, said


def _least_utilisation(model: FlowModel, threshold: float) -> float:
    """The least utilisation of the busiest server or link over all plans, with this threshold at all servers."""
    network = model.network
    thresholds = network.uniform_thresholds(*(threshold,) * (network.stages - 1))
    remaining = network.flows(network.speed_rows(), thresholds).remaining
    return FlowProgramme(network, remaining).least_utilisation()
