"""The exact search against brute force, and its bounds."""

import random

import pytest

from testbed.placement.branching import Brancher, all_candidates, branch, candidate_count
from testbed.placement.candidates import Candidate
from testbed.placement.progress import Findings, SilentPlacement, TimeIsUp
from testbed.placement.ranking import NOTHING, Ranking, alike_s
from tests.testbed.placement.small_sites import brute_force, small_site

# Each draws other links, speeds, memory and events; without thresholds they are searched, too, which takes longer.
NETWORKS = [(seed, 2, (0.8,)) for seed in range(8)] + [(9, 3, (0.8,)), (10, 3, (0.7, 0.9)), (11, 2, None)]


@pytest.mark.parametrize(("seed", "stages", "thresholds"), NETWORKS)
def test_the_best_is_that_of_brute_force(tmp_path, seed, stages, thresholds):
    site = small_site(tmp_path, seed, stages).site
    findings = Findings(SilentPlacement(), 3)
    found = branch(Ranking(site, thresholds), findings)
    keys = brute_force(seed, stages, thresholds)
    best = min(keys.values(), default=NOTHING)
    assert found.complete
    if best >= NOTHING:
        assert findings.first is None
        return
    value = findings.first.value
    assert value.key[0] == pytest.approx(best[0], abs=1e-9)
    assert value.key[1] == pytest.approx(best[1], abs=2 * alike_s(value))
    assert keys[findings.first.candidate] == pytest.approx(value.key, abs=alike_s(value))
    assert found.bound[0] <= best[0] + 1e-9
    assert found.bound[1] <= best[1] + alike_s(value)
    tally = found.tally
    assert tally.all == tally.computed + tally.memory + tally.links + tally.capacity + tally.worse
    assert tally.all == candidate_count(site)


def test_the_networks_of_these_tests_differ():
    """They would prove little if memory, links, or capacity never excluded a candidate."""
    sizes = {
        (seed, stages): len(brute_force(seed, stages, (0.8,))) for seed, stages in ((0, 2), (3, 2), (5, 2), (6, 2))
    }
    assert len(set(sizes.values())) >= 3
    assert all(0 < size < 48 for size in sizes.values())


@pytest.mark.parametrize("seed", [0, 1, 2, 4])
def test_candidates_that_differ_in_equal_servers_count_once(tmp_path, seed):
    site = small_site(tmp_path, seed, 2).site
    once = list(all_candidates(site))
    assert len(set(once)) == len(once)
    keys = brute_force(seed, 2, (0.8,))
    orbits = {_orbit(site, candidate) for candidate in keys}
    listed = {_orbit(site, candidate) for candidate in once if site.trouble(candidate) is None}
    assert orbits == listed
    by_orbit: dict[object, list[float]] = {}
    for candidate, key in keys.items():
        by_orbit.setdefault(_orbit(site, candidate), []).append(key[1])
    assert all(max(each) - min(each) < 1e-4 for each in by_orbit.values() if max(each) < float("inf"))


def _orbit(site, candidate: Candidate) -> object:
    return candidate.cut, tuple(tuple(sorted(candidate.stages[n] for n in members)) for members in site.classes)


def test_equal_servers_are_found(tmp_path):
    sizes = {tuple(sorted(map(len, small_site(tmp_path, seed, 2).site.classes))) for seed in range(12)}
    assert {(1, 1, 1, 1)} < sizes  # some networks have equal servers, others have none


@pytest.mark.parametrize("seed", [0, 2, 5])
def test_open_servers_bound_all_their_candidates(tmp_path, seed):
    site = small_site(tmp_path, seed, 2).site
    ranking, draw = Ranking(site, (0.8,)), random.Random(seed)
    keys = brute_force(seed, 2, (0.8,))
    for _ in range(12):
        cut = draw.choice(site.cuts)
        options = tuple(draw.choice([each, each[:1], each[-1:]]) for each in site.options(cut))
        inside = [
            key
            for candidate, key in keys.items()
            if candidate.cut == cut and all(h in each for h, each in zip(candidate.stages, options, strict=True))
        ]
        for quick in (True, False):
            bound = ranking.bound(cut, options, quick=quick).bound
            assert all(bound[0] <= key[0] + 1e-9 for key in inside)
            assert all(bound <= (key[0] + 1e-9, key[1] + 1e-4) for key in inside)


def test_a_limit_of_nodes_leaves_a_valid_bound(tmp_path):
    site = small_site(tmp_path, 2, 3).site
    best = min(brute_force(2, 3, (0.8,)).values())
    brancher = Brancher(Ranking(site, (0.8,)), Findings(SilentPlacement(), 3))
    found = [brancher.run(2) for _ in range(3)]
    assert not any(each.complete for each in found)
    bounds = [each.bound for each in found]
    assert bounds == sorted(bounds)
    assert all(bound <= (best[0], best[1] + 1e-3) for bound in bounds)
    assert brancher.run(None).complete


def test_time_is_up(tmp_path):
    clock = iter(range(100))
    findings = Findings(SilentPlacement(), 3, limit_s=4.5, clock=lambda: float(next(clock)))
    with pytest.raises(TimeIsUp):
        branch(Ranking(small_site(tmp_path, 0, 2).site, (0.8,)), findings)
    assert findings.number == 5
