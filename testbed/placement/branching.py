"""The exact search: decide the stage of one server after another, and drop what cannot be better than the best found.

A node of the search is a cut and the stages of the first servers; the others are open. The larger network, in which
open servers host every stage at once, bounds all candidates of the node (`testbed.placement.ranking`). The node with
the best bound is opened next. When no open node can be better than the best candidate, that candidate is proved best.

Servers that can be exchanged without any effect are counted once: among them, stages rise with the servers' numbers.
"""

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from testbed.placement.candidates import Candidate, Options, Site
from testbed.placement.progress import Findings
from testbed.placement.ranking import NO_BOUND, NOTHING, Key, Ranking, least_gain

PHASE = "exact search"


@dataclass(slots=True)
class Tally:
    """The number of candidates by their fate; those that differ only in the names of equal servers count once."""

    all: int = 0
    computed: int = 0  # to the end, or until they were proved worse
    memory: int = 0
    links: int = 0
    capacity: int = 0  # of those not computed one by one
    worse: int = 0  # proved together to be no better


@dataclass(frozen=True, slots=True)
class Branching:
    """The result: no candidate has a lower key than `bound`; `complete` if none is left."""

    bound: Key
    complete: bool
    tally: Tally


@dataclass
class _Order:
    """The servers in the order in which they are decided, those of a class one after the other, the fastest first."""

    site: Site
    servers: list[int] = field(default_factory=list)
    ranks: list[tuple[int, int]] = field(default_factory=list)  # (place in its class, members left), by position

    def __post_init__(self) -> None:
        speed = [server.capacity_flop_per_s for server in self.site.servers]
        for members in sorted(self.site.classes, key=lambda each: -speed[each[0]]):
            for place, number in enumerate(members):
                self.servers.append(number)
                self.ranks.append((place, len(members) - place))

    def options(self, allowed: Options, decided: tuple[int, ...]) -> Options:
        """The stages that each server may still host, in the order of the site."""
        found = list(allowed)
        for position, number in enumerate(self.servers):
            if position < len(decided):
                found[number] = (decided[position],)
            elif position == len(decided):
                found[number] = self.choices(allowed, decided)
            elif self.ranks[position][0] > position - len(decided):  # still the class of the last one decided
                found[number] = tuple(h for h in allowed[number] if h >= decided[-1])
        return tuple(found)

    def choices(self, allowed: Options, decided: tuple[int, ...]) -> tuple[int, ...]:
        """The stages of the next server."""
        least = decided[-1] if decided and self.ranks[len(decided)][0] > 0 else 0
        return tuple(h for h in allowed[self.servers[len(decided)]] if h >= least)

    def completions(self, allowed: Options, decided: tuple[int, ...]) -> int:
        """The number of candidates of a node."""
        number, position = 1, len(decided)
        while position < len(self.servers):
            members = self.ranks[position][1]
            choices = self.choices(allowed, decided) if position == len(decided) else allowed[self.servers[position]]
            number *= math.comb(len(choices) + members - 1, members) if choices else 0
            position += members
        return number


def candidate_count(site: Site) -> int:
    """The number of candidates of a site, before any check; those with exchanged equal servers count once."""
    each = (math.comb(site.stages + len(members) - 1, len(members)) for members in site.classes)
    return len(site.cuts) * math.prod(each)


def branch(ranking: Ranking, findings: Findings, most_nodes: int | None = None) -> Branching:
    """Search all candidates; `findings` may begin with good ones.

    Args:
        ranking: computes values and bounds.
        findings: takes the best candidates.
        most_nodes: number of nodes to compute at most; None computes all.

    Raises:
        TimeIsUp: the time limit of `findings` is over.
    """
    return Brancher(ranking, findings).run(most_nodes)


class Brancher:
    """An exact search under way; `bound` and `tally` are valid at any time."""

    def __init__(self, ranking: Ranking, findings: Findings) -> None:
        self._ranking, self._findings = ranking, findings
        self._site, self._order = ranking.site, _Order(ranking.site)
        self.tally = Tally(all=candidate_count(ranking.site))
        self._closed: Key = NOTHING  # the least bound of all candidates that were dropped or computed
        self._heap: list[tuple[Key, int, tuple[int, ...], tuple[int, ...]]] = []
        self._made, self._begun = 0, False
        self._allowed = {cut: self._site.options(cut) for cut in self._site.cuts}
        self._under_way: Key = NO_BOUND  # of the node that is being opened; all before the first

    @property
    def bound(self) -> Key:
        """No candidate has a lower key."""
        return min(self._closed, self._under_way, *(node[0] for node in self._heap[:1]))

    def run(self, most_nodes: int | None = None) -> Branching:
        """Search until nothing is left, or `most_nodes` have been computed; go on where the last call ended."""
        self._findings.phase = PHASE
        if not self._begun:
            self._begin()
        began = self._ranking.solved
        while self._heap:
            bound, _, cut, decided = heapq.heappop(self._heap)
            self._under_way = bound
            if bound >= self._good_enough():
                self._drop(cut, decided, bound)
                continue
            for stage in self._order.choices(self._allowed[cut], decided):
                self._meet(cut, (*decided, stage), bound)
            self._under_way = NOTHING
            if most_nodes is not None and self._ranking.solved - began >= most_nodes:
                break
        self._under_way = NOTHING
        return Branching(self.bound, not self._heap, self.tally)

    def _begin(self) -> None:
        self._begun = True
        for cut in self._site.cuts:
            allowed = self._allowed[cut]
            every = tuple(range(1, self._site.stages + 1))
            whole = self._order.completions((every,) * len(self._site.servers), ())
            fits = 0 if self._own_too_small(cut) else self._order.completions(allowed, ())
            self.tally.memory += whole - fits
            if fits:
                self._meet(cut, (), NO_BOUND)

    def _good_enough(self) -> Key:
        value = self._findings.value
        return NOTHING if value is None else least_gain(value)

    def _own_too_small(self, cut: tuple[int, ...]) -> bool:
        needed, held = self._site.needed_bytes(cut), self._site.memory_bytes
        own = self._site.scenario.own_processors
        return any(held.get(server.name, math.inf) < needed[0] for server in own)

    def _meet(self, cut: tuple[int, ...], decided: tuple[int, ...], parent: Key) -> None:
        """Compute a node: drop it, keep it for later, or, if all its servers are decided, take it as a candidate."""
        allowed = self._allowed[cut]
        number = self._order.completions(allowed, decided)
        if not number:
            return
        options = self._order.options(allowed, decided)
        if self._site.links_trouble(options, self._site.stages) is not None:
            self.tally.links += number
            return
        decided_all = len(decided) == len(self._order.servers)
        value = self._ranking.bound(cut, options, self._good_enough(), quick=not decided_all)
        bound = max(parent, value.bound)
        if decided_all:
            self.tally.computed += 1
            self._closed = min(self._closed, bound)
            self._findings.add(Candidate(cut, tuple(each[0] for each in options)), value)
        elif bound >= NOTHING:
            self.tally.capacity += number
        elif bound >= self._good_enough():
            self._drop(cut, decided, bound)
        else:
            self._made += 1
            heapq.heappush(self._heap, (bound, self._made, cut, decided))
        self._findings.check()

    def _drop(self, cut: tuple[int, ...], decided: tuple[int, ...], bound: Key) -> None:
        self.tally.worse += self._order.completions(self._allowed[cut], decided)
        self._closed = min(self._closed, bound)


def all_candidates(site: Site) -> Iterator[Candidate]:
    """All candidates whose memory suffices, in the order of the search; equal servers are exchanged only once."""
    order = _Order(site)
    for cut in site.cuts:
        allowed, open_nodes = site.options(cut), [()]
        nodes: list[tuple[int, ...]] = list(open_nodes)
        while nodes:
            decided = nodes.pop()
            if len(decided) == len(order.servers):
                yield Candidate(cut, tuple(each[0] for each in order.options(allowed, decided)))
                continue
            nodes += [(*decided, stage) for stage in reversed(order.choices(allowed, decided))]
