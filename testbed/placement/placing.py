"""Find the best placement of a topology: read it, search, and compute the best few candidates in full."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

from testbed.json_values import without_infinities
from testbed.optimum.bound import Optimum, PlanFigures, bound_for
from testbed.placement.branching import Brancher, Tally
from testbed.placement.candidates import Candidate, Site, Stages
from testbed.placement.climbing import Climber
from testbed.placement.progress import Findings, PlacementObserver, RankedCandidate, SilentPlacement, TimeIsUp, is_equal
from testbed.placement.ranking import ALIKE_S, NOTHING, Key, Ranking, alike_s

SCHEMA = 1
MOST_EXACT = 20_000  # candidates for which the exact search takes its time
MOST_NODES = 4_000  # networks that the exact search computes
OPEN_NODES = 200  # and if there are more candidates, before the local search and after it
RESTARTS = 4
MOST_LOOKED = 500  # candidates that the local search computes
FINALISTS = 3  # candidates computed in full
FULL = "the best in full"


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A candidate, its rank value, and its optimum in full; `optimum` is None if it was not computed.

    `trouble` says why it cannot run, or why no plan serves some of its tasks; empty if there is no trouble.
    """

    candidate: Candidate
    ranked: RankedCandidate | None
    optimum: Optimum | None
    trouble: str = ""

    @property
    def figures(self) -> PlanFigures | None:
        """The figures of the best plan, if some plan serves all tasks."""
        return None if self.optimum is None or self.optimum.unserved else self.optimum.overall


@dataclass(frozen=True, slots=True)
class Placement:
    """The result of a search.

    Attributes:
        topology: the topology's name.
        theta_s: mean delay that one unit of accuracy is worth [s].
        site: the network.
        stated: what the topology states.
        best: the best candidate; None if none can run.
        finalists: the candidates that were computed in full, `best` among them, the best first.
        bound_utility_s: no candidate has more utility [s], in the model by which candidates are ranked.
        exact: true if every candidate was computed or proved no better than `best`, up to the tolerance `alike_s` of
            the search. Its own utility may lie below `bound_utility_s` by what the bound cannot know.
        ended: "complete", "nodes", "time" or "interrupted".
        tally: what became of all candidates.
        computed: number of networks computed, larger ones included.
    """

    topology: str
    theta_s: float
    site: Site
    stated: Evaluated
    best: Evaluated | None
    finalists: tuple[Evaluated, ...]
    bound_utility_s: float | None
    exact: bool
    ended: str
    tally: Tally
    computed: int

    @property
    def changed(self) -> bool:
        """True if the best candidate differs from what the topology states."""
        return self.best is not None and self.best.candidate != self.site.stated

    def as_dict(self) -> dict[str, Any]:
        """The fields for JSON; times in seconds, shares 0..1."""
        site = self.site
        found = {
            "schema": SCHEMA,
            "topology": self.topology,
            "theta_s": self.theta_s,
            "stages": site.stages,
            "exact": self.exact,
            "ended": self.ended,
            "bound_utility_s": self.bound_utility_s,
            "candidates": {name: getattr(self.tally, name) for name in Tally.__slots__},
            "computed": self.computed,
            "stated": _as_dict(site, self.stated),
            "best": None if self.best is None else _as_dict(site, self.best),
            "finalists": [_as_dict(site, each) for each in self.finalists],
        }
        tidy = without_infinities(found)
        assert isinstance(tidy, dict)
        return tidy


def _as_dict(site: Site, each: Evaluated) -> dict[str, Any]:
    value, optimum = None if each.ranked is None else each.ranked.value, each.optimum
    return {
        "cut": list(each.candidate.cut),
        "stages": dict(zip(site.names, each.candidate.stages, strict=True)),
        "trouble": each.trouble,
        "ranked": None
        if value is None
        else {
            "utility_s": value.utility_s,
            "mean_delay_s": value.mean_delay_s,
            "accuracy": value.accuracy,
            "unserved": value.key[0],
        },
        "optimum": None if optimum is None else {key: optimum.as_dict()[key] for key in ("overall", "played")},
    }


@dataclass
class Placer:
    """A search of the best placement.

    Attributes:
        site: the network.
        thresholds: as in `bound_for`.
        seed: of the local search.
        limit_s: real time after which the search ends with the best candidate so far [s]; None: no limit.
        observer: is informed of the progress.
        most_nodes: networks that the exact search computes at most.
        restarts: random starts of the local search.
        in_full: False leaves out the full computation of the best candidates.
    """

    site: Site
    thresholds: Sequence[float] | None = None
    seed: int = 1
    limit_s: float | None = None
    observer: PlacementObserver = field(default_factory=SilentPlacement)
    most_nodes: int = MOST_NODES
    restarts: int = RESTARTS
    in_full: bool = True

    def run(self) -> Placement:
        """Search, and return the best candidate; Ctrl-C ends the search with the best one so far.

        Raises:
            InputError: the model has no such cut, or a threshold is wrong.
        """
        site = self.site
        ranking = Ranking(site, self.thresholds)
        findings = Findings(self.observer, FINALISTS, self.limit_s)
        brancher = Brancher(ranking, findings)
        few = brancher.tally.all <= MOST_EXACT
        stated, finalists = Evaluated(site.stated, None, None), list[Evaluated]()
        ended = "complete"
        try:
            stated = self._stated()
            climber = Climber(ranking, findings, self.seed)
            climber.begin()
            if not brancher.run(self.most_nodes if few else min(self.most_nodes, OPEN_NODES)).complete:
                climber.run(self.restarts, MOST_LOOKED)
                ended = "complete" if brancher.run(min(self.most_nodes, OPEN_NODES)).complete else "nodes"
        except TimeIsUp:
            ended = "time"
        except KeyboardInterrupt:
            ended = "interrupted"
        finalists = [Evaluated(each.candidate, each, None) for each in self._simplified(ranking, findings.best, ended)]
        if ended != "interrupted" and self.in_full:
            try:
                stated, finalists = self._in_full(stated, finalists, ranking.solved)
            except KeyboardInterrupt:
                ended = "interrupted"
        best = finalists[0] if finalists else None
        return Placement(
            topology=site.scenario.name,
            theta_s=site.scenario.theta_s,
            site=site,
            stated=stated,
            best=best,
            finalists=tuple(finalists),
            bound_utility_s=-brancher.bound[1] if math.isfinite(brancher.bound[1]) else None,
            exact=ended == "complete" and best is not None and _is_first(best, findings.first),
            ended=ended,
            tally=brancher.tally,
            computed=ranking.solved,
        )

    def _simplified(self, ranking: Ranking, best: Sequence[RankedCandidate], ended: str) -> list[RankedCandidate]:
        """The candidates; the best one without changes of the stated one that gain nothing."""
        stated = self.site.stated
        if not best or ended == "interrupted" or len(stated.cut) != self.site.stages:
            return list(best)
        first = best[0]
        limit = first.value.key[0], first.value.key[1] + alike_s(first.value)
        number = 0
        ways = list(_ways_back(first.candidate.stages, stated.stages))
        while number < len(ways):
            other = Candidate(first.candidate.cut, ways[number])
            number += 1
            if self.site.trouble(other) is None and (value := ranking.value(other)).key <= limit:
                first, number = RankedCandidate(other, value), 0
                ways = list(_ways_back(other.stages, stated.stages))
        return [first, *(each for each in best[1:] if not is_equal(each.value, first.value))]

    def _stated(self) -> Evaluated:
        """The stated candidate with its value, in a model of its own if it has another number of stages."""
        site, stated = replace(self.site, stages=len(self.site.stated.cut)), self.site.stated
        if (unfit := site.trouble(stated)) is not None:
            return Evaluated(stated, None, None, unfit.sentence)
        value = Ranking(site, self.thresholds).value(stated)
        return Evaluated(stated, RankedCandidate(stated, value), None, value.trouble)

    def _in_full(
        self, stated: Evaluated, finalists: Sequence[Evaluated], computed: int
    ) -> tuple[Evaluated, list[Evaluated]]:
        """The stated candidate and the finalists with their optima, the best finalist first.

        The stated one becomes a finalist if it has as many stages.
        """
        optima: dict[Candidate, Optimum] = {}
        wanted = [each for each in (stated, *finalists) if each.ranked is not None]
        for number, each in enumerate(wanted, start=1):
            first = finalists[0].ranked if finalists else None
            self.observer.looked(f"{FULL}: {number} of {len(wanted)}", computed, first)
            if each.candidate not in optima:
                placed = self.site.placed(each.candidate)
                optima[each.candidate] = bound_for(placed, self.site.model, thresholds=self.thresholds)
        stated = _with_optimum(stated, optima)
        found = {each.candidate: _with_optimum(each, optima) for each in finalists}
        if stated.ranked is not None and len(stated.candidate.cut) == self.site.stages:
            found[stated.candidate] = stated
        return stated, sorted(found.values(), key=lambda each: _order(each, ALIKE_S if each == stated else 0.0))


def _ways_back(stages: Stages, stated: Stages) -> Iterator[Stages]:
    """The stages with two servers exchanged, so that both have their stated ones, or with one server as stated."""
    moved = [number for number, stage in enumerate(stages) if stage != stated[number]]
    for one, other in combinations(moved, 2):
        if (stages[one], stages[other]) == (stated[other], stated[one]):
            yield tuple(stated[n] if n in (one, other) else stage for n, stage in enumerate(stages))
    for number in moved:
        yield (*stages[:number], stated[number], *stages[number + 1 :])


def _with_optimum(each: Evaluated, optima: Mapping[Candidate, Optimum]) -> Evaluated:
    optimum = optima.get(each.candidate)
    if optimum is None:
        return each
    unserved = [f"{s.begin_s:g}-{s.end_s:g} s: {s.trouble}" for s in optimum.unserved]
    return replace(each, optimum=optimum, trouble=unserved[0] if unserved else "")


def _order(each: Evaluated, ahead_s: float) -> Key:
    """Finalists in order: the tasks left out, then the utility plus `ahead_s` [s], of the optimum in full.

    The stated candidate is ahead by the tolerance of the search: a change must gain something.
    """
    optimum = each.optimum
    if optimum is None or optimum.overall is None:
        return NOTHING
    unserved = sum(segment.weight for segment in optimum.unserved)
    whole = sum(segment.weight for segment in optimum.segments)
    return unserved / whole, -optimum.overall.utility_s - ahead_s


def _is_first(best: Evaluated, first: RankedCandidate | None) -> bool:
    """True if the candidate has the best value found, up to the search's tolerance."""
    if best.ranked is None or first is None:
        return False
    value = best.ranked.value
    return value.key <= (first.value.key[0], first.value.key[1] + alike_s(first.value))
