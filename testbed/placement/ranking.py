"""The value of a candidate, by which candidates are ranked, and bounds on the values of many candidates at once.

The value is that of the best plan in the optimum's flow model (`testbed.optimum.flow_model`) with two simplifications:
tasks arrive at every server as a Poisson process, and all servers of a stage have one threshold. Then nothing in the
model depends on the plan that was found before, and the same model holds for every candidate. So bounds are certified.

Decision 114: candidates are ranked in a simpler model than the optimum's; the best few are then computed in full
(docs/decisions/114-placements-are-ranked-by-a-model-of-their-own.md).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from node_agent.dtoee.exit_table import ExitTable
from node_agent.dtoee.staged import Rows
from node_agent.errors import InputError
from node_agent.models.data_types import SubModelProfile
from testbed.network.routes import Ways
from testbed.optimum.bound import grid_for, offered_table
from testbed.optimum.flow_model import CutOff, FlowModel, TimeSegment, segments
from testbed.optimum.threshold_search import Effort, FlowPlan, ThresholdGrid, ThresholdSearch
from testbed.placement.candidates import Candidate, Options, Site
from testbed.placement.paper_network import PaperNetwork

Key = tuple[float, float]  # share of the tasks that no plan can serve (0..1), mean delay - theta * accuracy [s]
NOTHING: Key = (1.0, math.inf)  # the key of a candidate that serves no task
NO_BOUND: Key = (-1.0, -math.inf)
# A candidate counts as no better than another if its objective is less by at most this share of the mean delay of the
# other, or by the time: the search of thresholds, and the solver, stop at such gaps.
QUICK = Effort(relative_gap=1e-2, most_rounds=30)  # enough to prove that most candidates are worse
THOROUGH = Effort(relative_gap=2e-4, most_rounds=300)  # the solver would try long where hardly anything can be served
ALIKE_SHARE = 5e-4
ALIKE_S = 3e-4
SHARE_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Value:
    """The value of a candidate, or of the larger network that contains several.

    Attributes:
        bound: no plan has a lower key.
        key: the key of the best plan found; above `bound` if the search stopped early. NOTHING if no task is served.
        mean_delay_s: mean delay of this plan [s]; infinite without one.
        accuracy: accuracy of this plan, 0..1.
        trouble: the reason why some tasks cannot be served, or an empty text.
    """

    bound: Key
    key: Key
    mean_delay_s: float
    accuracy: float
    trouble: str = ""

    @property
    def utility_s(self) -> float:
        """theta * accuracy - mean delay, over the tasks that can be served [s]."""
        return -self.key[1]


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A state of the network, and the share of the tasks that are created in it."""

    network: PaperNetwork
    share: float
    span: str


@dataclass(frozen=True, slots=True)
class _CutCosts:
    """All that a cut decides."""

    profiles: tuple[SubModelProfile, ...]
    table: ExitTable
    grid: ThresholdGrid


@dataclass(frozen=True, slots=True)
class _Start:
    """A plan of one network as a start for others: thresholds (H - 1,), and rows by the names of the nodes."""

    thresholds: tuple[float, ...]
    shares: Mapping[tuple[int, str, str], float]  # (tier from 0, offloader, receiver) -> probability

    @classmethod
    def of(cls, plan: FlowPlan) -> "_Start":
        names, shares = plan.model.names, {}
        for number, (tier, rows) in enumerate(zip(plan.model.network.tiers, plan.rows, strict=True)):
            for i, k in zip(*np.nonzero(tier.exists), strict=True):
                shares[number, names[number][i], names[number + 1][tier.receivers[i, k]]] = float(rows[i, k])
        return cls(tuple(float(values[0]) for values in plan.thresholds), shares)

    def rows(self, model: FlowModel) -> Rows:
        """Rows of a model: the known shares, and some of each row for new receivers."""
        found = []
        for number, (tier, usual) in enumerate(zip(model.network.tiers, model.network.speed_rows(), strict=True)):
            senders, receivers = model.names[number : number + 2]
            row = 0.1 * usual
            for i, k in zip(*np.nonzero(tier.exists), strict=True):
                row[i, k] += self.shares.get((number, senders[i], receivers[tier.receivers[i, k]]), 0.0)
            found.append(row / row.sum(axis=1, keepdims=True))
        return tuple(found)


class Ranking:
    """Computes values of candidates of a site."""

    def __init__(self, site: Site, thresholds: Sequence[float] | None = None) -> None:
        """`thresholds`: one for all early stages, or one for each (infinite: never); None searches for the best."""
        self.site = site
        self._thresholds = thresholds
        self._stretches = _stretches(site)
        self._cuts: dict[tuple[int, ...], _CutCosts] = {}
        self._starts: dict[tuple[tuple[int, ...], int], _Start] = {}  # by cut and number of the stretch
        self.solved = 0

    def value(self, candidate: Candidate, enough: Key = NOTHING) -> Value:
        """The value of a candidate without `Site.trouble`; `enough` as in `bound`."""
        return self.bound(candidate.cut, tuple((stage,) for stage in candidate.stages), enough)

    def bound(self, cut: tuple[int, ...], options: Options, enough: Key = NOTHING, *, quick: bool = False) -> Value:
        """The value of the network in which each server hosts all its `options`; no candidate among them is better.

        Args:
            cut: the last block of each sub-model.
            options: the stages that each server of the site may host.
            enough: stop once the bound is proved to be at least this.
            quick: True gives a bound that may be lower, in less time.
        """
        self.solved += 1
        costs = self._costs(cut)
        models = [self._model(stretch, costs, options) for stretch in self._stretches]
        if quick or enough < NOTHING:
            found = self._searched(cut, models, QUICK, enough)
            if quick or found.bound >= enough:
                return found
        return self._searched(cut, models, THOROUGH, enough)

    def _searched(self, cut: tuple[int, ...], models: Sequence[FlowModel | str], effort: Effort, enough: Key) -> Value:
        """The value of a network with these models of all stretches; stops at a bound of `enough`."""
        grid, theta_s = self._costs(cut).grid, self.site.scenario.theta_s
        searches: list[ThresholdSearch | str] = [
            model if isinstance(model, str) else ThresholdSearch(model, grid, theta_s, effort=effort, crowded=True)
            for model in models
        ]
        for number, search in enumerate(searches):
            if isinstance(search, str):
                continue
            start = self._starts.get((cut, number))
            thresholds, rows = (None, None) if start is None else (start.thresholds, start.rows(search.model))
            for plan in search.steps(thresholds, rows, times=1):
                found = self._sum(searches)
                if found.bound >= enough:
                    self._starts.setdefault((cut, number), _Start.of(plan))
                    return found
            if (best := search.best_solved) is not None:
                self._starts[cut, number] = _Start.of(best)
        return replace(self._sum(searches), trouble=self._trouble(searches))

    def _costs(self, cut: tuple[int, ...]) -> _CutCosts:
        if cut not in self._cuts:
            scenario, model = self.site.scenario, self.site.model
            table = offered_table(replace(scenario, model=replace(scenario.model, cut=cut)), model)
            grid = grid_for(model.exit_table(cut), table, self._thresholds)
            self._cuts[cut] = _CutCosts(self.site.profiles(cut), table, grid)
        return self._cuts[cut]

    def _model(self, stretch: _Stretch, costs: _CutCosts, options: Options) -> FlowModel | str:
        """The flow model of one stretch; the reason if a device is cut off."""
        try:
            return stretch.network.model(costs.profiles, costs.table, options)
        except CutOff as error:
            return str(error)

    def _sum(self, searches: Sequence[ThresholdSearch | str]) -> Value:
        """The value as far as it is known; a stretch not yet begun has the bound zero delay and all answers right."""
        theta_s = self.site.scenario.theta_s
        unserved = unsolved = served = least_s = delay_s = accuracy = 0.0
        for stretch, search in zip(self._stretches, searches, strict=True):
            bound_s = math.inf if isinstance(search, str) else search.least_objective_s
            if math.isinf(bound_s):
                unserved += stretch.share
                continue
            served += stretch.share
            least_s += stretch.share * bound_s
            plan: FlowPlan | None = None if isinstance(search, str) else search.best_solved
            if plan is None:
                unsolved += stretch.share
                continue
            delay_s += stretch.share * plan.mean_delay_s
            accuracy += stretch.share * plan.flows.accuracy
        if served <= 0:
            return Value(NOTHING, NOTHING, math.inf, 0.0)
        unserved = unserved if unserved > SHARE_ROUNDING else 0.0
        bound = (unserved, least_s / served)
        if unsolved:
            return Value(bound, NOTHING, math.inf, 0.0)
        mean_s, right = float(delay_s / served), float(accuracy / served)
        return Value(bound, (unserved, mean_s - theta_s * right), mean_s, right)

    def _trouble(self, searches: Sequence[ThresholdSearch | str]) -> str:
        for stretch, search in zip(self._stretches, searches, strict=True):
            if isinstance(search, str):
                return f"{stretch.span}: {search}"
            if math.isinf(search.least_objective_s):
                return f"{stretch.span}: overloaded"
        return ""


def alike_s(value: Value) -> float:
    """The time by which a candidate must be better than one of this value to count as better [s]."""
    return ALIKE_S + (ALIKE_SHARE * value.mean_delay_s if math.isfinite(value.mean_delay_s) else 0.0)


def least_gain(value: Value) -> Key:
    """A candidate whose bound is at least this is not better than one of this value."""
    return value.key[0], value.key[1] - alike_s(value) if math.isfinite(value.key[1]) else value.key[1]


def _stretches(site: Site) -> tuple[_Stretch, ...]:
    """The states of the network in which tasks count, equal ones taken together."""
    ways = Ways(site.scenario)
    found: dict[object, tuple[TimeSegment, float]] = {}
    for segment in segments(site.scenario):
        now = segment.scenario
        counted_s = max(0.0, segment.end_s - max(segment.begin_s, now.warm_up_s))
        tasks = counted_s * sum(device.rate_per_s for device in now.devices if device.name not in segment.down)
        key = (now.devices, now.servers, now.links, segment.down)
        first, before = found.get(key, (segment, 0.0))
        found[key] = (first, before + tasks)
    whole = sum(tasks for _, tasks in found.values())
    if whole <= 0:
        raise InputError("no device offers a task that counts", hint="give a device a rate above zero")
    return tuple(
        _Stretch(PaperNetwork(site, segment, ways), tasks / whole, f"{segment.begin_s:g}-{segment.end_s:g} s")
        for segment, tasks in found.values()
        if tasks > 0
    )
