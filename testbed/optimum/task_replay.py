"""The best plans, played against the tasks of a run: first come first served, task by task, in virtual time.

The flow model has one number for how evenly tasks arrive at a server, and takes every segment for steady. In fact,
queues pass from one segment to the next. Here the plans of all segments,
each in force from the time of its event, serve the tasks of a trace. Their figures are the measure for a run, which
knows neither the events nor the best plan in advance.

Extra times by loss and jitter are drawn from the distribution whose mean the flow model takes; tasks between two nodes
keep their order. There are no messages and no rounds, and nothing is learned. A task keeps the speed with which its
service began, and a server that goes down still serves its queue.
"""

import heapq
import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random

import numpy as np

from node_agent.core.config import Draws
from node_agent.core.offloading.spreading import Spreading, spreading
from node_agent.dtoee.exit_table import ExitTable
from testbed.optimum.threshold_search import FlowPlan
from testbed.scenario import UtilityOf
from testbed.trace.workload import Arrival

MOST_TASKS = 100_000  # played in all; a short trace is played several times, with different draws
MOST_TIMES = 10


@dataclass(frozen=True, slots=True)
class Played:
    """Figures over the tasks created after the warm-up, and over all `times` that the trace was played.

    `accuracy` is 0..1, `utility_s` = theta * accuracy - mean delay - priced energy; `tasks` is the number of tasks in
    one playback. `in_time` and `correct_in_time` are shares (0..1) of the tasks with a deadline; None without any.
    """

    mean_delay_s: float
    p95_delay_s: float
    accuracy: float
    utility_s: float
    tasks: int
    times: int
    in_time: float | None = None
    correct_in_time: float | None = None


@dataclass(frozen=True, slots=True)
class SampleShares:
    """Costs of each sample over their means. N samples, H stages; stage h stands in column h - 1."""

    work: Sequence[Sequence[float]]  # [N, H]
    size: Sequence[Sequence[float]]  # [N, H], of the message that brings the sample to the stage


@dataclass(slots=True)
class _Way:
    """The way from a node to a receiver, and the times of a task on it."""

    receiver: str
    transmission_s: float
    rest_s: float  # delays and further links, without loss and jitter
    late_s: Sequence[float] = ()  # extra times by loss and jitter, all equally likely
    energy_s: float = 0.0  # priced energy of a task on it; of a device, that of idle nodes included


@dataclass(slots=True)
class _Node:
    """A node under one plan."""

    stage: int  # 0 for devices
    service_s: float = 0.0
    threshold: float = 0.0
    ways: list[_Way] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    back_s: Mapping[str, float] = field(default_factory=dict)  # by device, without loss and jitter
    late_back_s: Mapping[str, Sequence[float]] = field(default_factory=dict)  # by device with lossy or jittery links


def play(
    plans: Sequence[tuple[float, FlowPlan]],
    arrivals: Sequence[Arrival],
    answers: ExitTable,
    *,
    warm_up_s: float,
    theta_s: float,
    seed: int,
    draws: Draws = "smooth",
    shares: SampleShares | None = None,
    deadlines_s: Mapping[str, float] | None = None,
    utility_of: UtilityOf = "accuracy",
) -> Played | None:
    """Play plans against a trace.

    Args:
        plans: (begin [s], plan) in order of time; each is in force until the next. The first begins at 0.
        arrivals: the trace.
        answers: the answer of every exit to every sample, by sample number.
        warm_up_s: tasks created before this time do not count [s].
        theta_s: mean delay that one unit of accuracy is worth [s].
        seed: of the draws.
        draws: how tasks follow the plans' rows.
        shares: the costs of each sample; None if all samples cost the same.
        deadlines_s: the deadline of each device whose tasks have one [s].
        utility_of: right answers that theta rewards: all, or those in time.

    Returns:
        The figures; None if no task counts.
    """
    known = [(begin_s, _nodes(plan)) for begin_s, plan in plans]
    times = max(1, min(MOST_TIMES, MOST_TASKS // max(1, len(arrivals))))
    due_s = deadlines_s or {}
    results = np.array([
        result for turn in range(times)
        for result in _Playback(known, answers, Random(f"{seed}/{turn}"), draws, shares, due_s).play(arrivals)
        if result[0] >= warm_up_s
    ])  # fmt: skip
    if not len(results):
        return None
    delays, correct, deadlines = results[:, 1], results[:, 2] > 0, results[:, 3]
    accuracy, due, in_time = float(correct.mean()), np.isfinite(deadlines), delays <= deadlines
    rewarded = float((correct & in_time).mean()) if utility_of == "deadlines" else accuracy
    return Played(
        mean_delay_s=float(delays.mean()),
        p95_delay_s=float(np.percentile(delays, 95)),
        accuracy=accuracy,
        utility_s=float(theta_s * rewarded - delays.mean() - results[:, 4].mean()),
        tasks=len(results) // times,
        times=times,
        in_time=float(in_time[due].mean()) if due.any() else None,
        correct_in_time=float((correct & in_time)[due].mean()) if due.any() else None,
    )


def _nodes(plan: FlowPlan) -> dict[str, _Node]:
    names, network, late = plan.model.names, plan.model.network, plan.model.late
    nodes = {name: _Node(0) for name in names[0]}
    for stage, servers in enumerate(names[1:], start=1):
        back = plan.model.return_s[stage - 1]
        for j, name in enumerate(servers):
            threshold = float(plan.thresholds[stage - 1][j]) if stage < network.stages else -1.0
            service_s = 1 / float(network.service_per_s[stage - 1][j])
            late_back = {device: late[name, device] for device in names[0] if (name, device) in late}
            back_s = dict(zip(names[0], back[j].tolist(), strict=True))
            back_s |= {device: back_s[device] - found.mean_late_s for device, found in late_back.items()}
            nodes[name] = _Node(
                stage, service_s, threshold, back_s=back_s,
                late_back_s={device: found.late_s for device, found in late_back.items()},
            )  # fmt: skip
    for stage, (tier, rows) in enumerate(zip(network.tiers, plan.rows, strict=True), start=1):
        for i, name in enumerate(names[stage - 1]):
            used = np.flatnonzero(tier.exists[i] & (rows[i] > 0))
            for k in used:
                transmission_s = 1 / float(tier.link_rate_per_s[i, k])
                energy_s = float(plan.model.energy_s[stage - 1][i, k]) if plan.model.energy_s else 0.0
                rest_s = float(tier.transfer_s[i, k]) - energy_s - transmission_s
                receiver = names[stage][tier.receivers[i, k]]
                idle_s = plan.model.idle_energy_s if stage == 1 else 0.0
                way = _Way(receiver, transmission_s, rest_s, energy_s=energy_s + idle_s)
                if found := late.get((name, receiver)):
                    way.rest_s, way.late_s = rest_s - found.mean_late_s, found.late_s
                nodes[name].ways.append(way)
            nodes[name].shares = rows[i, used].tolist()
    return nodes


def _spreading(node: _Node, draws: Draws, random: Random) -> Spreading:
    found = spreading(draws, len(node.shares), random)
    found.follow(node.shares)
    return found


class _Playback:
    """A single playback of the trace."""

    def __init__(
        self,
        plans: Sequence[tuple[float, Mapping[str, _Node]]],
        answers: ExitTable,
        random: Random,
        draws: Draws,
        shares: SampleShares | None,
        deadlines_s: Mapping[str, float],
    ) -> None:
        self._spreads = {
            id(node): _spreading(node, draws, random) for _, nodes in plans for node in nodes.values() if node.ways
        }
        self._shares = shares
        self._deadlines_s = deadlines_s
        self._begins_s = [begin_s for begin_s, _ in plans]
        self._plans = [nodes for _, nodes in plans]
        self._confidence = answers.confidence.tolist()
        self._correct = answers.correct.tolist()
        self._random = random
        self._free_s: dict[object, float] = {}  # when a server, or a pair (offloader, receiver), is free again
        self._last_s: dict[tuple[str, str], float] = {}  # when the last task of such a pair arrives
        self._order = count()
        # (arrival at a server [s], order, task, server, priced energy so far [s])
        self._heap: list[tuple[float, int, Arrival, str, float]] = []

    def play(self, arrivals: Sequence[Arrival]) -> Iterator[tuple[float, float, bool, float, float]]:
        """Yield (created, delay, correct, deadline, priced energy) of every task, by arrival at its exit [s].

        The deadline of a task without one is infinite.
        """
        for arrival in arrivals:
            while self._heap and self._heap[0][0] <= arrival.time_s:
                yield from self._serve()
            self._send(arrival, arrival.device, arrival.time_s, 0.0)
        while self._heap:
            yield from self._serve()

    def _serve(self) -> Iterator[tuple[float, float, bool, float, float]]:
        now_s, _, task, name, energy_s = heapq.heappop(self._heap)
        begin_s = max(now_s, self._free_s.get(name, 0.0))
        served = self._node(name, begin_s)
        share = 1.0 if self._shares is None else self._shares.work[task.sample][served.stage - 1]
        self._free_s[name] = end_s = begin_s + served.service_s * share
        node = self._node(name, end_s)
        if node.ways and self._confidence[task.sample][node.stage - 1] < node.threshold:
            self._send(task, name, end_s, energy_s)
            return
        back_s = node.back_s.get(task.device, 0.0)
        if late_s := node.late_back_s.get(task.device):
            back_s += self._random.choice(late_s)
        delay_s = end_s + back_s - task.time_s
        deadline_s = self._deadlines_s.get(task.device, math.inf)
        yield task.time_s, delay_s, self._correct[task.sample][node.stage - 1], deadline_s, energy_s

    def _send(self, task: Arrival, name: str, now_s: float, energy_s: float) -> None:
        node = self._node(name, now_s)
        way = node.ways[self._spreads[id(node)].one()]
        pair = (name, way.receiver)
        begin_s = max(now_s, self._free_s.get(pair, 0.0))
        share = 1.0 if self._shares is None else self._shares.size[task.sample][node.stage]
        self._free_s[pair] = sent_s = begin_s + way.transmission_s * share
        arrival_s = sent_s + way.rest_s
        if way.late_s:
            arrival_s = max(arrival_s + self._random.choice(way.late_s), self._last_s.get(pair, 0.0))
            self._last_s[pair] = arrival_s
        heapq.heappush(self._heap, (arrival_s, next(self._order), task, way.receiver, energy_s + way.energy_s))

    def _node(self, name: str, now_s: float) -> _Node:
        """The node under the plan in force; if that plan lacks it, under the latest earlier plan, else the next."""
        number = bisect_right(self._begins_s, now_s) - 1
        for plan in (*reversed(self._plans[: number + 1]), *self._plans[number + 1 :]):
            if name in plan:
                return plan[name]
        raise KeyError(name)
