"""The local search: from several starts, move to a better neighbour until there is none.

Neighbours of a candidate differ in one move: another cut, one server in another stage, or two servers of different
stages exchanged. Starts are what the topology states, a greedy one, and random ones; all draws come from one seed.
"""

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

from testbed.placement.candidates import Candidate, Options, neighbours_of
from testbed.placement.progress import Findings
from testbed.placement.ranking import NOTHING, Key, Ranking, Value, least_gain

PHASE = "local search"
TRIES = 20  # random starts may end in a network without ways


class Climber:
    """A local search of one site."""

    def __init__(self, ranking: Ranking, findings: Findings, seed: int) -> None:
        self._ranking, self._findings = ranking, findings
        self._site = ranking.site
        self._random = random.Random(seed)
        self._seen: set[Candidate] = set()
        self._most: int | None = None
        self._starts: list[tuple[Candidate, Value]] = []
        self._stages = tuple(range(1, self._site.stages + 1))

    def begin(self) -> None:
        """Compute the stated candidate and a greedy one: starts of all searches.

        Raises:
            TimeIsUp: the time limit of the findings is over, here and in `run`.
        """
        self._findings.phase = "first candidates"
        stated = self._site.stated
        if stated.cut in self._site.cuts:
            self._begin_at(stated)
        if (greedy := self._greedy()) is not None:
            self._begin_at(greedy)

    def _begin_at(self, start: Candidate) -> None:
        value = self._value(start, NOTHING)
        if value is not None:
            self._starts.append((start, value))

    def run(self, restarts: int, most: int | None = None) -> None:
        """Climb from the candidates of `begin`, and from `restarts` random ones; compute up to `most` candidates."""
        self._findings.phase = PHASE
        self._most = None if most is None else self._ranking.solved + most
        for start, value in self._starts:
            self._climb(start, value)
        for _ in range(restarts):
            if self._is_over():
                return
            drawn = self._random_start()
            if drawn is not None and (found := self._value(drawn, NOTHING)) is not None:
                self._climb(drawn, found)

    def _is_over(self) -> bool:
        return self._most is not None and self._ranking.solved >= self._most

    def _climb(self, here: Candidate, value: Value) -> None:
        while True:
            for other in self._neighbours(here):
                if self._is_over():
                    return
                found = self._value(other, least_gain(value))
                if found is not None and found.key < least_gain(value):
                    here, value = other, found
                    break
            else:
                return

    def _value(self, candidate: Candidate, enough: Key) -> Value | None:
        """The value of a candidate; None if it was looked at before, cannot run, or serves nothing."""
        same = self._canonical(candidate)
        if same in self._seen or self._site.trouble(candidate) is not None:
            return None
        self._seen.add(same)
        value = self._ranking.value(candidate, enough)
        self._findings.add(candidate, value)
        self._findings.check()
        return None if value.key >= NOTHING else value

    def _canonical(self, candidate: Candidate) -> Candidate:
        """The same for all candidates that differ only in which of several equal servers host which stages."""
        stages = list(candidate.stages)
        for members in self._site.classes:
            for number, stage in zip(members, sorted(stages[each] for each in members), strict=True):
                stages[number] = stage
        return Candidate(candidate.cut, tuple(stages))

    def _neighbours(self, here: Candidate) -> Iterator[Candidate]:
        near = [replace(here, cut=cut) for cut in neighbours_of(here.cut, self._site.cuts)]
        moved = [
            replace(here, stages=(*here.stages[:number], stage, *here.stages[number + 1 :]))
            for number, now in enumerate(here.stages)
            for stage in self._stages
            if stage != now
        ]
        swapped = []
        for one, other in combinations(range(len(here.stages)), 2):
            if here.stages[one] != here.stages[other]:
                stages = list(here.stages)
                stages[one], stages[other] = stages[other], stages[one]
                swapped.append(replace(here, stages=tuple(stages)))
        self._random.shuffle(moved)
        self._random.shuffle(swapped)
        yield from (*near, *moved, *swapped)

    def _greedy(self) -> Candidate | None:
        """Decide the fastest server first, each time for the stage whose bound is best."""
        values = {cut: self._bound(cut, self._site.options(cut)) for cut in self._site.cuts}
        cut = min(values, key=lambda each: values[each])
        if values[cut] >= NOTHING:
            return None
        order = sorted(range(len(self._site.servers)), key=lambda n: -self._site.servers[n].capacity_flop_per_s)
        options = self._site.options(cut)
        for number in order:
            tried = {stage: _decided(options, number, stage) for stage in options[number]}
            bounds = {stage: self._bound(cut, each) for stage, each in tried.items()}
            if not bounds or min(bounds.values()) >= NOTHING:
                return None
            options = tried[min(bounds, key=lambda each: bounds[each])]
        return Candidate(cut, tuple(each[0] for each in options))

    def _bound(self, cut: tuple[int, ...], options: Options) -> Key:
        if self._site.links_trouble(options, self._site.stages) is not None:
            return NOTHING
        value = self._ranking.bound(cut, options, quick=True)
        self._findings.check()
        return value.bound

    def _random_start(self) -> Candidate | None:
        """Decide servers in random order for random stages, so that every offloader may still reach a receiver."""
        for _ in range(TRIES):
            cut = self._random.choice(self._site.cuts)
            options: Options | None = self._site.options(cut)
            for number in self._random.sample(range(len(self._site.servers)), len(self._site.servers)):
                options = options and self._random_choice(options, number)
            if options is not None:
                return Candidate(cut, tuple(each[0] for each in options))
        return None

    def _random_choice(self, options: Options, number: int) -> Options | None:
        for stage in self._random.sample(options[number], len(options[number])):
            tried = _decided(options, number, stage)
            if self._site.links_trouble(tried, self._site.stages) is None:
                return tried
        return None


def _decided(options: Options, number: int, stage: int) -> Options:
    return (*options[:number], (stage,), *options[number + 1 :])
