"""Whole searches: networks whose stated cut or placement is bad are repaired, and simulations confirm the gain."""

import json

import numpy as np
import pytest

from testbed.placement import Placer, read_site, rewritten
from testbed.placement.progress import Findings, SilentPlacement
from testbed.placement.ranking import NOTHING, Ranking, alike_s
from tests.testbed.placement.small_sites import small_site
from tests.testbed.simulated import simulate

SEEDS = (1, 2, 3, 4)
# The stage with most work has the slowest server, although all are on one switch.
SLOW_STAGE = """
name: slow-stage
model: {name: glyphs, cut: [2, 3, 5], activation: float16}
policy: dto-ee
theta: 3 s
slot: 3 s
duration: 60 s
devices:
  cam: {count: 3, rate: 3 /s}
servers:
  fast: {stage: 2, capacity: 0.5 GFLOP/s}
  usual: {stage: 1, capacity: 0.35 GFLOP/s}
  slow: {stage: 3, capacity: 0.2 GFLOP/s}
switches: [hub]
links:
  - {from: [cam, fast, usual, slow], to: hub, rate: 50 Mbit/s, delay: 3 ms}
"""
# Three of four tasks cross the thin link if the first part ends at block 2; a later cut needs it less.
THIN_LINK = """
name: thin-link
model: {name: glyphs, cut: [2, 5]}
policy: dto-ee
theta: 3 s
slot: 3 s
duration: 60 s
devices:
  cam: {count: 3, rate: 1 /s}
servers:
  near: {stage: 1, count: 2, capacity: 0.4 GFLOP/s}
  core: {stage: 2, capacity: 1 GFLOP/s}
links:
  - {from: cam, to: near, rate: 20 Mbit/s, delay: 3 ms}
  - {from: near, to: core, rate: 0.8 Mbit/s, delay: 5 ms}
"""
# The fast server's memory holds no deep stage, so that it must stay in stage 1.
SMALL_MEMORY = SLOW_STAGE.replace("slow-stage", "small-memory").replace(
    "fast: {stage: 2, capacity: 0.5 GFLOP/s}", "fast: {stage: 2, capacity: 0.5 GFLOP/s, memory: 90 kB}"
)


def _placed(folder, text, **options):
    path = folder / "stated.yaml"
    path.write_text(text)
    stated = read_site(path)
    return stated, Placer(stated.site, **options).run()


def _simulated(folder, text):
    """Means over SEEDS of a run's mean delay [s], accuracy and utility [s], (3,)."""
    found = []
    for seed in SEEDS:
        run = simulate(folder / str(seed), text, seed=seed)
        summary = json.loads((run.run_directory / "summary.json").read_text())
        found.append((summary["delay_s"]["mean"], summary["accuracy"], summary["utility"]))
    return np.array(found)


@pytest.mark.parametrize("text", [SLOW_STAGE, THIN_LINK], ids=["slow stage", "thin link"])
def test_a_bad_placement_is_repaired_and_simulations_confirm_it(tmp_path, text):
    stated, found = _placed(tmp_path, text)
    assert (found.exact, found.ended, found.changed) == (True, "complete", True)
    before, after = found.stated.figures, found.best.figures
    gain_s = after.utility_s - before.utility_s
    assert gain_s > 0.05
    assert found.best.optimum.played.utility_s > found.stated.optimum.played.utility_s + 0.05
    better = rewritten(stated, found.best.candidate).text
    runs = [_simulated(tmp_path / name, each) for name, each in (("before", text), ("after", better))]
    gains_s = (runs[1] - runs[0])[:, 2]
    assert (gains_s > 0).all()
    assert gains_s.mean() == pytest.approx(gain_s, rel=0.5)


def test_memory_excludes_the_best_and_a_stated_placement(tmp_path):
    _, free = _placed(tmp_path, SLOW_STAGE, in_full=False)
    stated, found = _placed(tmp_path, SMALL_MEMORY)
    assert found.stated.trouble.startswith("fast has 90000 bytes of memory, its sub-model (stage 2) needs")
    assert found.stated.figures is None
    assert found.exact
    site = stated.site
    assert site.stage_of(found.best.candidate)["fast"] == 1
    assert site.memory_trouble(free.best.candidate) is not None
    assert found.best.ranked.value.utility_s < free.best.ranked.value.utility_s
    assert found.tally.memory > 0
    run = simulate(tmp_path / "run", rewritten(stated, found.best.candidate).text)
    summary = json.loads((run.run_directory / "summary.json").read_text())
    assert summary["delay_s"]["mean"] == pytest.approx(found.best.figures.mean_delay_s, rel=0.25)


def test_no_server_may_hold_a_sub_model(tmp_path):
    text = SLOW_STAGE.replace("0.5 GFLOP/s", "0.5 GFLOP/s, memory: 1 kB")
    _, found = _placed(tmp_path, text)
    assert (found.best, found.finalists, found.exact) == (None, (), False)
    assert found.tally.memory == found.tally.all


def test_never_worse_than_stated(tmp_path):
    for seed in range(6):
        stated = small_site(tmp_path, seed, 2)
        site = stated.site
        if site.trouble(site.stated) is not None:
            continue
        found = Placer(site, (0.8,)).run()
        before = found.stated.ranked.value
        assert found.best.ranked.value.key <= (before.key[0], before.key[1] + alike_s(before))
        if found.stated.figures is not None and found.best.figures is not None:
            assert found.best.figures.utility_s >= found.stated.figures.utility_s - 1e-9


def test_changes_that_gain_nothing_are_taken_back(tmp_path):
    """The fourth server gets no tasks wherever it is placed, so it stays in its stage."""
    text = SLOW_STAGE.replace("servers:\n", "servers:\n  tiny: {stage: 3, capacity: 0.001 GFLOP/s}\n").replace(
        "usual, slow]", "usual, slow, tiny]"
    )
    stated, found = _placed(tmp_path, text)
    assert found.changed
    assert stated.site.stage_of(found.best.candidate)["tiny"] == 3


def test_another_number_of_stages(tmp_path):
    path = tmp_path / "stated.yaml"
    path.write_text(SLOW_STAGE)
    stated = read_site(path, stages=2)
    found = Placer(stated.site).run()
    assert found.exact
    assert len(found.best.candidate.cut) == 2
    assert len(found.stated.candidate.cut) == 3
    assert found.stated.figures is not None
    assert all(len(each.candidate.cut) == 2 for each in found.finalists)
    assert simulate(tmp_path / "run", rewritten(stated, found.best.candidate).text)


class _Stopping(SilentPlacement):
    """Interrupts a search at a number of networks, as Ctrl-C does."""

    def __init__(self, at: int) -> None:
        self.at = at

    def looked(self, what, number, best):  # noqa: ARG002 - as the protocol has it
        if number == self.at:
            raise KeyboardInterrupt


def test_an_interrupted_search_gives_the_best_so_far(tmp_path):
    _, found = _placed(tmp_path, SLOW_STAGE, observer=_Stopping(8))
    assert (found.ended, found.exact) == ("interrupted", False)
    assert found.best.optimum is None
    assert found.best.ranked.value.key < NOTHING
    complete = _placed(tmp_path, SLOW_STAGE)[1]
    assert found.bound_utility_s is None or found.bound_utility_s >= complete.best.ranked.value.utility_s - 1e-3


def test_a_time_limit_ends_the_search(tmp_path):
    _, found = _placed(tmp_path, SLOW_STAGE, limit_s=0.0)
    assert (found.ended, found.exact) == ("time", False)
    assert found.best is not None
    assert found.best.figures is not None


def test_searches_repeat_themselves(tmp_path):
    site = small_site(tmp_path, 2, 3).site
    one, other = (Placer(site, (0.8,), most_nodes=1, seed=3, in_full=False).run().as_dict() for _ in range(2))
    assert one == other
    assert one["ended"] == "nodes"
    json.dumps(one, allow_nan=False)


def test_the_local_search_finds_the_best(tmp_path):
    """On 12 of 12 small networks, from random starts alone."""
    from testbed.placement.branching import branch
    from testbed.placement.climbing import Climber

    reached = []
    for seed in range(12):
        site = small_site(tmp_path, seed, 2).site
        exact = Findings(SilentPlacement(), 1)
        branch(Ranking(site, (0.8,)), exact)
        local = Findings(SilentPlacement(), 1)
        ranking = Ranking(site, (0.8,))
        climber = Climber(ranking, local, seed)
        climber.begin()
        climber.run(4)
        if exact.first is None:
            assert local.first is None
            continue
        value = exact.first.value
        reached.append(local.first.value.key <= (value.key[0], value.key[1] + 2 * alike_s(value)))
    assert sum(reached) == len(reached) >= 10


def test_the_cheap_model_ranks_as_the_full_one(tmp_path):
    """Kendall's tau of all candidates of a network, between utility in the search's model and in the optimum's."""
    from scipy.stats import kendalltau

    from testbed.optimum.bound import bound_for
    from testbed.placement.branching import all_candidates

    path = tmp_path / "stated.yaml"
    path.write_text(SLOW_STAGE)
    site = read_site(path).site
    ranking = Ranking(site, (0.8,))
    pairs = []
    for candidate in all_candidates(site):
        if site.trouble(candidate) is None and (value := ranking.value(candidate)).key[0] == 0:
            optimum = bound_for(site.placed(candidate), site.model, thresholds=(0.8,))
            pairs.append((value.utility_s, optimum.overall.utility_s))
    assert len(pairs) > 8
    assert kendalltau(*zip(*pairs, strict=True)).statistic > 0.9
