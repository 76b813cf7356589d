"""The split of a task's delay, from its line in tasks.jsonl and the scenario.

The times of a task follow one another: created, first offer, the offer that counted, received, started, finished, first
handover, sent, and so on to the result. Each span between two of them is one part, but for two: a hop is the time of
idle links and the rest, and a service is work / capacity and the lateness of this machine. So the parts cannot be
negative, and their sum is the delay.
"""

from collections.abc import Sequence

from node_agent.exit_criteria import CRITERIA
from node_agent.models.interface import Model, SampleCosts
from node_agent.wire import InputForm, TensorForm
from testbed.breakdown.idle_links import IdleLinks
from testbed.breakdown.parts import HopParts, TaskParts
from testbed.record.task_line import TaskLine
from testbed.scenario import Scenario
from testbed.sizes import passed_result_bytes, passed_task_bytes


class Splitter:
    """Splits the delays of the tasks of one scenario."""

    def __init__(self, scenario: Scenario, forms: Sequence[InputForm], costs: SampleCosts | None = None) -> None:
        """Prepare the links and the sizes of messages.

        Args:
            scenario: the scenario of the run.
            forms: the inputs of the sub-models; stage h is at index h - 1.
            costs: the sizes of each sample's tensors; None if all have the usual size.
        """
        self.links = IdleLinks(scenario)
        self._forms = forms
        self._costs = costs
        self._carries_answers = not CRITERIA[scenario.model.criterion].of_one_exit
        self._task_bytes: dict[tuple[tuple[str, ...], int], int] = {}
        self._result_bytes: dict[tuple[str, ...], int] = {}
        self._down: dict[str, list[tuple[float, float]]] = {}  # by node: from, until [s]
        for event in scenario.events:
            for node, up in event.switched.items():
                spans = self._down.setdefault(node, [])
                if not up:
                    spans.append((event.at_s, float("inf")))
                elif spans:
                    spans[-1] = (spans[-1][0], min(spans[-1][1], event.at_s))

    @classmethod
    def of(cls, scenario: Scenario, model: Model) -> "Splitter":
        """Return the splitter of a scenario, with the sizes of its model."""
        cut, activation = scenario.model.cut, scenario.model.activation
        return cls(scenario, model.input_forms(cut, activation), model.sample_costs(cut, activation))

    def split(self, line: TaskLine) -> TaskParts | None:
        """Return the parts of a completed task's delay, hop by hop.

        None if it has no result, or if the line lacks what is needed: runs of earlier versions have no offers, so that
        nobody knows when a task that was offered twice was sent.
        """
        if line.completed_s is None or not line.hops or (not line.offers and line.attempts > 1):
            return None
        end_s, nodes = line.completed_s, (line.device, *(hop.node for hop in line.hops))
        offer = line.offer_of(line.hops)
        first_s = line.offers[0].sent_s if line.offers else line.created_s + line.lateness_s
        first_s = _within(first_s, line.created_s, end_s)
        now_s = _within(offer.sent_s, first_s, end_s) if offer is not None else first_s
        sent_s, retries_s = now_s, now_s - first_s
        hops = []
        for number, hop in enumerate(line.hops):
            sender = nodes[number]
            received_s = _within(hop.received_s, now_s, end_s)
            started_s = _within(hop.started_s, received_s, end_s)
            finished_s = _within(hop.finished_s, started_s, end_s)
            first_handover_s = _within(hop.failed[0].sent_s if hop.failed else hop.sent_s, finished_s, end_s)
            onward_s = _within(hop.sent_s, first_handover_s, end_s)
            size_bytes = self.task_bytes(nodes[: number + 1], line.sample)
            took_s = received_s - now_s
            up_s = self.leaves_s(hop.node, sent_s) if self._down else sent_s
            transfer_s = min(self.links.transfer_s(sender, hop.node, size_bytes, up_s), took_s)
            # A node that comes up measures its links before it takes what has waited for it.
            down_s = took_s - transfer_s if up_s > sent_s else 0.0
            served_s = finished_s - started_s
            late_s = min(max(hop.late_s, 0.0), served_s)
            hops.append(
                HopParts(
                    sender, hop.node, sent_s, size_bytes, down_s, transfer_s, took_s - transfer_s - down_s,
                    started_s - received_s, served_s - late_s, late_s + first_handover_s - finished_s,
                    onward_s - first_handover_s,
                )
            )  # fmt: skip
            now_s = sent_s = onward_s
        return TaskParts(first_s - line.created_s, retries_s, tuple(hops), end_s - now_s)

    def leaves_s(self, node: str, sent_s: float) -> float:
        """Return when a message to `node` that is sent at `sent_s` leaves [s]: then, or once `node` is up."""
        for from_s, until_s in self._down.get(node, ()):
            if from_s <= sent_s < until_s < float("inf"):
                return until_s
        return sent_s

    def task_bytes(self, way: tuple[str, ...], sample: int) -> int:
        """Return the bytes of a task that the last node of `way` sends on; `way` starts with the device.

        The numbers in its header have typical lengths: the true size differs by at most ten bytes.
        """
        stage = len(way)
        length = -1 if self._costs is None else int(self._costs.length[sample, stage - 1])
        known = self._task_bytes.get((way, length))
        if known is None:
            form: TensorForm = self._forms[stage - 1].usual if length < 0 else self._forms[stage - 1].sized(length)
            known = self._task_bytes[way, length] = passed_task_bytes(way, form, carries_answers=self._carries_answers)
        return known

    def result_bytes(self, way: tuple[str, ...]) -> int:
        """Return the bytes of a result that the last node of `way` sends to the device, its first node."""
        known = self._result_bytes.get(way)
        if known is None:
            known = self._result_bytes[way] = passed_result_bytes(way)
        return known


def _within(time_s: float, least_s: float, most_s: float) -> float:
    return least_s if time_s < least_s else min(time_s, most_s)
