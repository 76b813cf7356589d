"""The centralised bound: the least mean delay and the greatest utility that any plan could reach in a scenario.

The scenario is cut where events change it. For every segment, a solver that knows the whole network
(`testbed.optimum.flow_programme`) optimises the flow model (`testbed.optimum.flow_model`), together with the thresholds
(`testbed.optimum.threshold_search`).

Certified, within the model: for given thresholds the delay is least up to the stated gap. After a search, no plan with
thresholds on the grid, per stage or per server, has a utility above the stated bound. Both hold for servers whose
arrivals have the variability that they have under the plan found. Not certified: that the thresholds per server are the
best ones; the gap bounds how much better others could be.

The model neglects transients: every segment is in steady state from its first moment, so a queue that one segment
leaves to the next does not count. Results and control messages never wait. A policy that sees current queues, task by
task, knows more than any plan. So a run may come in below the bound of the model. The plans are therefore also played
against the tasks of the run (`testbed.optimum.task_replay`), with real queues.

Decision 082: the variability of arrivals is that of the plan that is found, held fixed while solving
(docs/decisions/082-variability-in-the-bound.md).

If samples differ in work and size, the model takes both for independent of the exit. Played tasks have their own.

Exits and accuracy are those of the samples that the tasks carry; with a trace, of the samples that it offers. The nodes
of a run know only the validation table, so the bound also has the advantage of hindsight. The grid of thresholds is
that of the nodes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from node_agent.dtoee.exit_table import ExitTable
from node_agent.dtoee.staged import Rows
from node_agent.dtoee.thresholds import NEVER
from node_agent.errors import InputError
from node_agent.models.data_types import SubModelProfile
from node_agent.models.interface import Model
from testbed.json_values import without_infinities
from testbed.network.routes import Ways
from testbed.optimum.flow_model import CutOff, FlowModel, TimeSegment, flow_model, segments
from testbed.optimum.settling import Settling
from testbed.optimum.task_replay import Played, SampleShares, play
from testbed.optimum.threshold_search import FlowPlan, ThresholdGrid, ThresholdSearch, grid_of, threshold_choices
from testbed.record.reading import read_recorded
from testbed.scenario import Scenario, UtilityOf
from testbed.simulation.transfers import outside_validation
from testbed.sizes import largest_task_bytes, task_bytes
from testbed.trace.workload import Arrival, generate
from testbed.wording import percent

SCHEMA = 1
ROUNDING = 1e-9  # share of a mean delay below which a difference is rounding
SHOWN_SHARE = 1e-4  # a smaller entry of a plan is the solver's zero
MOST_SEARCHES = 2  # each with the variability of arrivals under the plan found before
PRICES_S = np.array([0.0, *np.geomspace(1e-2, 1e3, 101)])  # prices of accuracy tried in `Optimum.least_delay_s`


@dataclass(frozen=True, slots=True)
class PlanFigures:
    """The figures of the best plan found, and bounds on those of any plan.

    `mean_delay_s` and `accuracy` (0..1) are those of the plan. No plan of at least this accuracy has less mean delay
    than `lower_bound_s`; `gap_s` is the distance of the plan from it. `utility_s` = theta * accuracy - mean delay -
    `energy_s`; no plan has more than `utility_bound_s`. `energy_s` is the priced energy per task, that of idle nodes
    included; with a price, `lower_bound_s` holds for plans with no more energy.
    """

    mean_delay_s: float
    lower_bound_s: float
    gap_s: float
    accuracy: float
    utility_s: float
    utility_bound_s: float
    energy_s: float = 0.0

    @classmethod
    def of(
        cls, mean_delay_s: float, accuracy: float, objective_bound_s: float, theta_s: float, energy_s: float = 0.0
    ) -> "PlanFigures":
        """The figures of a plan, from a lower bound on mean delay + priced energy - theta * accuracy [s]."""
        objective_s = mean_delay_s + energy_s - theta_s * accuracy
        if 0 < objective_bound_s - objective_s < ROUNDING * max(1.0, mean_delay_s):
            objective_bound_s = objective_s  # the plan equals the bound up to rounding
        lower_s = objective_bound_s + theta_s * accuracy - energy_s
        return cls(
            mean_delay_s=float(mean_delay_s),
            lower_bound_s=float(lower_s),
            gap_s=float(objective_s - objective_bound_s),
            accuracy=float(accuracy),
            utility_s=float(-objective_s),
            utility_bound_s=float(-objective_bound_s),
            energy_s=float(energy_s),
        )


@dataclass(frozen=True, slots=True)
class SegmentOptimum:
    """The optimum between two events. If no plan can serve all tasks, `figures` is None and `trouble` says why.

    `weight` is the expected number of tasks that a run's summary counts (those after the warm-up).
    Stage h is at index h - 1 of `stage_thresholds` (H - 1,) and of `exit_share` (H,).
    """

    begin_s: float
    end_s: float
    weight: float
    trouble: str
    figures: PlanFigures | None
    stage_thresholds: tuple[float, ...]  # the best ones if all servers of a stage have the same threshold
    thresholds: Mapping[str, float]  # the best ones found, by server before the last stage
    exit_share: tuple[float, ...]  # of all tasks, by stage
    plan: Mapping[str, Mapping[str, float]]  # node -> receiver -> probability
    utilisation: Mapping[str, float]  # by server, 0..1
    solver_gap_s: float  # Frank-Wolfe gap: delay that better rows could save at the stage thresholds
    busiest_link: float  # highest utilisation (0..1) of a link by the tasks of one pair
    delay_bounds_s: tuple[float, ...]  # lower bounds on mean delay - price * accuracy, at PRICES_S


@dataclass(frozen=True, slots=True)
class Optimum:
    """The bound of a scenario.

    Attributes:
        topology: the topology's name.
        theta_s: mean delay that one unit of accuracy is worth [s].
        searched: true if thresholds were searched, false if they were given.
        overall: figures of all segments, weighted by their tasks, without those that no plan can serve; None if no
            plan can serve any.
        played: figures of the plans, played against the tasks; None if some segment has no plan.
        segments: the optimum between each two events, in order of time.
        links_outside_validation: lossy and jittery links for which the simulation was not validated.
        utility_of: right answers that the utility of `played` counts, all or those in time; `overall` counts all.
    """

    topology: str
    theta_s: float
    searched: bool
    overall: PlanFigures | None
    played: Played | None
    segments: tuple[SegmentOptimum, ...]
    links_outside_validation: tuple[str, ...] = ()
    utility_of: UtilityOf = "accuracy"

    @property
    def unserved(self) -> tuple[SegmentOptimum, ...]:
        """Segments that count, and in which no plan can serve all tasks."""
        return tuple(segment for segment in self.segments if segment.figures is None and segment.weight > 0)

    def least_delay_s(self, accuracy: float) -> float | None:
        """A lower bound on the mean delay [s] of every plan with at least this accuracy (0..1) over the whole run.

        By duality: at every price of accuracy, delay - price * accuracy is bounded, so delay is too. Tight near the
        optimum's own accuracy, weaker far from it. None if no plan can serve the tasks, or none is that accurate, or if
        energy has a price: then delay and energy are bounded together only.
        """
        served = [segment for segment in self.segments if segment.figures is not None and segment.weight > 0]
        if not served or any(segment.figures.energy_s for segment in served if segment.figures is not None):
            return None
        weights = np.array([segment.weight for segment in served])
        bounds = weights @ np.array([segment.delay_bounds_s for segment in served]) / weights.sum()
        found = bounds + PRICES_S * accuracy
        # If the bound still grows at the highest price, not even an infinite delay buys this accuracy.
        return None if found.argmax() == len(found) - 1 else max(0.0, float(found.max()))

    def as_dict(self) -> dict[str, Any]:
        """The fields for JSON; a figure that is not finite is None, since JSON has no infinity."""
        listed = [asdict(segment) for segment in self.segments]
        for segment in listed:
            del segment["delay_bounds_s"]
        found = without_infinities({"schema": SCHEMA, **asdict(replace(self, segments=())), "segments": listed})
        assert isinstance(found, dict)
        return found


def bound_for(
    scenario: Scenario,
    model: Model,
    *,
    arrivals: Sequence[Arrival] | None = None,
    thresholds: Sequence[float] | None = None,
) -> Optimum:
    """The optimum of a scenario.

    Args:
        scenario: for example `load_topology(path).resolve()`.
        model: the model, for example `scenario.model.open()`.
        arrivals: a trace, from which rates are counted and against which the plans are played. Without one, rates are
            those of the scenario, and the plans are played against the trace that a run of it draws.
        thresholds: one for all early stages, or one for each, (H - 1,), from 0 to 1 (infinite: never); None searches
            for the best.

    Returns:
        The bound, with a plan for each segment.

    Raises:
        InputError: the number or a value of the thresholds is wrong, or the model does not fit the cut.
    """
    table = offered_table(scenario, model, arrivals)
    grid = grid_for(model.exit_table(scenario.model.cut), table, thresholds)
    solver = _Solver(scenario, table, model.profiles(scenario.model.cut, scenario.model.activation), grid)
    found = tuple(solver.segment(segment) for segment in segments(scenario, arrivals))
    served = [segment for segment in found if segment.figures is not None]
    weights = np.array([segment.weight for segment in served])
    overall = None
    if weights.sum() > 0:

        def mean(name: str) -> float:
            return float(weights @ [getattr(segment.figures, name) for segment in served] / weights.sum())

        figures = mean("mean_delay_s"), mean("accuracy"), -mean("utility_bound_s"), scenario.theta_s
        overall = PlanFigures.of(*figures, mean("energy_s"))
    played = None
    if len(served) == len(found):
        played = play(
            solver.plans,
            generate(scenario, sample_count=model.sample_count) if arrivals is None else arrivals,
            offered_table(scenario, model),
            warm_up_s=scenario.warm_up_s,
            theta_s=scenario.theta_s,
            seed=scenario.seed,
            draws=scenario.draws,
            shares=_shares(scenario, model),
            deadlines_s=scenario.deadlines_s,
            utility_of=scenario.utility,
        )
    forms = model.input_forms(scenario.model.cut, scenario.model.activation)
    outside = outside_validation(scenario, largest_task_bytes(forms))
    return Optimum(
        scenario.name, scenario.theta_s, thresholds is None, overall, played, found, outside, scenario.utility
    )


def offered_table(scenario: Scenario, model: Model, arrivals: Sequence[Arrival] | None = None) -> ExitTable:
    """The answers of the exits to the offered samples: all for evaluation, or those of a trace after the warm-up."""
    scores, labels = model.scores(scenario.model.cut), model.labels
    table = ExitTable(scores.confidence.astype(np.float64, copy=False), scores.prediction == labels[:, None])
    offered = [arrival.sample for arrival in arrivals or () if arrival.time_s >= scenario.warm_up_s]
    return ExitTable(table.confidence[offered], table.correct[offered]) if offered else table


def _shares(scenario: Scenario, model: Model) -> SampleShares | None:
    """The costs of each sample over their means; None if all samples cost the same."""
    choice = scenario.model.cut, scenario.model.activation
    costs = model.sample_costs(*choice)
    if costs is None:
        return None
    forms, profiles = model.input_forms(*choice), model.profiles(*choice)
    sizes = []
    for h, (form, profile) in enumerate(zip(forms, profiles, strict=True), start=1):
        row_bytes, usual = form.sized(1).byte_count, task_bytes(h, profile.input_bytes)
        header_bytes = usual - profile.input_bytes
        sizes.append((costs.length[:, h - 1] * row_bytes + header_bytes) / usual)
    work = costs.flop / np.array([float(profile.flop) for profile in profiles])
    return SampleShares(work.tolist(), np.stack(sizes, axis=1).tolist())


def grid_for(known: ExitTable, offered: ExitTable, thresholds: Sequence[float] | None) -> ThresholdGrid:
    """The grid of thresholds: the choices of nodes that know the table `known`, or the given ones.

    Outcomes are those for the table `offered`. Given thresholds are as in `bound_for`, as is the error.
    """
    if thresholds is None:
        return grid_of(offered, threshold_choices(known))
    early = known.stages - 1
    if len(thresholds) not in {1, early}:
        raise InputError(
            f"{len(thresholds)} thresholds for {early} early stages", hint="give one for all stages, or one for each"
        )
    chosen = [thresholds[0]] * early if len(thresholds) == 1 else list(thresholds)
    if not all(0 <= threshold <= 1 or threshold == math.inf for threshold in chosen):
        raise InputError(f"thresholds {chosen} outside 0..1", hint="for no exit at a stage state never")
    return grid_of(offered, [np.array([min(threshold, NEVER)]) for threshold in chosen])


class _Solver:
    """Optimises one segment after another, each from the optimum of the last."""

    def __init__(
        self, scenario: Scenario, table: ExitTable, profiles: Sequence[SubModelProfile], grid: ThresholdGrid
    ) -> None:
        self._scenario = scenario
        self._table = table
        self._profiles = profiles
        self._grid = grid
        self._ways = Ways(scenario)
        self._settling = Settling.of(scenario)
        self.plans: list[tuple[float, FlowPlan]] = []  # (begin [s], best plan) of each segment that has one
        self._done: dict[object, tuple[SegmentOptimum, FlowPlan | None]] = {}
        self._last: FlowPlan | None = None

    def segment(self, segment: TimeSegment) -> SegmentOptimum:
        """The optimum of a segment; equal segments are solved only once."""
        now = segment.scenario
        key = (now.devices, now.servers, now.links, segment.down)
        if key not in self._done:
            self._done[key] = self._solve(segment)
        counted_s = max(0.0, segment.end_s - max(segment.begin_s, now.warm_up_s))
        rate_per_s = sum(device.rate_per_s for device in now.devices if device.name not in segment.down)
        optimum, plan = self._done[key]
        if plan is not None:
            self.plans.append((segment.begin_s, plan))
        return replace(optimum, begin_s=segment.begin_s, end_s=segment.end_s, weight=rate_per_s * counted_s)

    def _solve(self, segment: TimeSegment) -> tuple[SegmentOptimum, FlowPlan | None]:
        try:
            model = flow_model(
                segment.scenario, self._profiles, self._table, down=segment.down, ways=self._ways, priced=True
            )
        except CutOff as error:
            return _unserved(str(error)), None
        start = [float(values[0]) for values in self._last.thresholds] if self._last else None
        rows = self._rows_before(model)
        nearest = np.abs(self._grid.combinations - (0.8 if start is None else np.array(start))).sum(-1).argmin()
        settled = self._settling.plan(model, self._grid.combinations[nearest], rows)
        for turn in range(MOST_SEARCHES):
            search = ThresholdSearch(settled.model, self._grid, self._scenario.theta_s)
            uniform = search.run(start, settled.rows)
            if uniform is None:
                busy = percent(search.least_utilisation(), ".0f")
                return _unserved(f"overloaded: the busiest server or link would have to work {busy} of the time"), None
            if turn == MOST_SEARCHES - 1 or self._settling.agrees(uniform):
                break
            start = [float(values[0]) for values in uniform.thresholds]
            settled = self._settling.plan(uniform.model, start, uniform.rows)
        assert uniform is not None
        self._last = uniform
        best = search.refine(uniform)
        return self._optimum(search, uniform, best), best

    def _rows_before(self, model: FlowModel) -> Rows | None:
        last = self._last
        same = last is not None and last.model.names == model.names
        return last.rows if last is not None and same else None

    def _optimum(self, search: ThresholdSearch, uniform: FlowPlan, best: FlowPlan) -> SegmentOptimum:
        names, theta_s = best.model.names, self._scenario.theta_s
        servers = [name for stage in names[1:] for name in stage]
        early = [name for stage in names[1:-1] for name in stage]
        idle_s = best.model.idle_energy_s
        return SegmentOptimum(
            begin_s=0.0,
            end_s=0.0,
            weight=0.0,
            trouble="",
            figures=PlanFigures.of(
                best.mean_delay_s - best.energy_s,
                best.flows.accuracy,
                search.bound_s(theta_s) + idle_s,
                theta_s,
                best.energy_s + idle_s,
            ),
            stage_thresholds=tuple(float(values[0]) for values in uniform.thresholds),
            thresholds=dict(zip(early, (float(c) for stage in best.thresholds for c in stage), strict=True)),
            exit_share=tuple(best.flows.exit_share.tolist()),
            plan=_plan(best),
            utilisation=dict(zip(servers, (float(rho) for stage in best.utilisation for rho in stage), strict=True)),
            solver_gap_s=uniform.solver_gap_s,
            busiest_link=best.busiest_link,
            delay_bounds_s=tuple(search.bound_s(float(price_s)) for price_s in PRICES_S),
        )


def _plan(plan: FlowPlan) -> dict[str, dict[str, float]]:
    found = {}
    tiers = zip(plan.model.names, plan.model.network.tiers, plan.rows, plan.model.names[1:], strict=False)
    for offloaders, tier, rows, receivers in tiers:
        for name, row, places, exists in zip(offloaders, rows, tier.receivers, tier.exists, strict=True):
            kept = exists & (row > SHOWN_SHARE)
            shares = row[kept] / row[kept].sum()
            found[name] = {receivers[place]: float(share) for place, share in zip(places[kept], shares, strict=True)}
    return found


def _unserved(trouble: str) -> SegmentOptimum:
    return SegmentOptimum(0.0, 0.0, 0.0, trouble, None, (), {}, (), {}, {}, 0.0, 0.0, ())


def bound_for_run(path: Path, *, thresholds: Sequence[float] | None = None) -> tuple[Optimum, Mapping[str, Any]]:
    """The optimum for the tasks of a recorded run; tasks that devices refused are left out.

    Args:
        path: directory of a complete run.
        thresholds: one for all early stages, or one for each, (H - 1,), from 0 to 1 (infinite: never); None searches
            for the best.

    Returns:
        The bound, and the content of the run's summary.json.

    Raises:
        InputError: not the directory of a complete run, its inputs or its model have changed since, or an argument of
            `bound_for` is wrong.
    """
    recorded = read_recorded(path)
    summary, scenario = recorded.summary(), recorded.scenario()
    model = scenario.model.open()
    recorded.check_model(model)
    return bound_for(scenario, model, arrivals=recorded.admitted(), thresholds=thresholds), summary
