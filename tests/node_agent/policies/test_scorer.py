"""The trained function and what it sees: the figures of candidates, scores, chance, and files of weights."""

import math
import random
from pathlib import Path

import numpy as np
import pytest

from node_agent import policies
from node_agent.errors import InputError
from node_agent.policies import make_policy
from node_agent.policies.base import Candidate
from node_agent.policies.observation import FIGURES, LARGEST, figures, observe, shown
from node_agent.policies.scorer import Scorer

NEAR = Candidate(share=0.6, link_s=0.01, backlog=1, service_per_s=20.0, onward_delay_s=0.1, exit_return_s=0.01)
FAR = Candidate(share=0.4, link_s=0.06, backlog=0, service_per_s=40.0, onward_delay_s=0.2, exit_return_s=0.06)
SHIPPED = Path(policies.__file__).with_name("learned.npz")
UNIT_S = 0.01 + 2 / 20 + 0.1  # the predicted delay of the near one, the lesser of the two


def random_candidates(dice, count):
    return [
        Candidate(0.0, dice.uniform(0, 0.05), dice.randint(0, 4), dice.uniform(5, 50), dice.uniform(0, 0.2),
                  dice.uniform(0, 0.05))
        for _ in range(count)
    ]  # fmt: skip


def test_the_figures_of_candidates():
    found = {name: column.tolist() for name, column in zip(FIGURES, figures([NEAR, FAR]).T, strict=True)}
    assert found["present"] == [1, 1]
    assert found["share"] == [0.6, 0.4]
    assert found["link"] == pytest.approx([0.01 / UNIT_S, 0.06 / UNIT_S])
    assert found["wait"] == pytest.approx([0.05 / UNIT_S, 0])
    assert found["service"] == pytest.approx([0.05 / UNIT_S, 0.025 / UNIT_S])
    assert found["onward"] == pytest.approx([0.1 / UNIT_S, 0.2 / UNIT_S])
    assert found["exit_return"] == pytest.approx([0.01 / UNIT_S, 0.06 / UNIT_S])
    assert found["queue"] == [0.5, 0]
    assert found["load"] == [0, 0]
    assert found["age"] == [1, 1]  # no statement of the queues yet


def test_the_figures_of_fresh_knowledge():
    fresh = Candidate(0.5, 0.02, 0.8, 20.0, 0.1, work_s=0.04, age_s=0.3, link_marginal_s=0.03, arrival_per_s=12.0,
                      onward_marginal_s=0.15)  # fmt: skip
    (found,) = [dict(zip(FIGURES, row, strict=True)) for row in figures([fresh]).tolist()]
    unit_s = 0.02 + 1.8 / 20 + 0.1
    assert found["load"] == pytest.approx(0.6)
    assert found["age"] == pytest.approx(0.75)
    assert found["price"] == pytest.approx(fresh.price_s / unit_s)
    assert fresh.price_s > 0.03 + 0.04 + 1 / 20 + 0.15  # its own delay, and what later tasks wait for it


def test_figures_do_not_depend_on_the_unit_of_time():
    def slower(one):
        return Candidate(
            one.share, 7 * one.link_s, one.backlog, one.service_per_s / 7, 7 * one.onward_delay_s,
            7 * one.exit_return_s,
        )  # fmt: skip

    assert figures([slower(NEAR), slower(FAR)]) == pytest.approx(figures([NEAR, FAR]))


def test_figures_are_bounded():
    jammed = Candidate(share=0.0, link_s=50.0, backlog=900, service_per_s=0.01, onward_delay_s=0.0)
    assert figures([NEAR, jammed]).max() == LARGEST


def test_an_observation_has_the_best_candidates_in_their_order_and_zeros_behind():
    assert shown([FAR, NEAR, FAR], 2) == (0, 1)
    late = Candidate(share=0.0, link_s=3.0, backlog=0, service_per_s=40.0, onward_delay_s=0.2)
    assert shown([late, FAR, NEAR], 2) == (1, 2)
    assert observe([late, FAR, NEAR], 2) == pytest.approx(figures([FAR, NEAR]).ravel())
    padded = observe([NEAR, FAR], 4).reshape(4, -1)
    assert padded[:2] == pytest.approx(figures([NEAR, FAR]))
    assert not padded[2:].any()


def test_before_training_it_is_shortest_expected_delay():
    dice, scorer = random.Random(4), Scorer.shortest()._replace(log_tau=np.array(-30.0))
    shortest = make_policy("shortest-expected-delay")
    for _ in range(300):
        candidates = random_candidates(dice, dice.randint(1, 6))
        assert scorer.choose(figures(candidates), dice) == shortest.pick(candidates, dice)


def test_candidates_are_chosen_in_proportion_to_the_exponential_of_their_scores():
    tau = 0.5
    scorer = Scorer.shortest()._replace(log_tau=np.array(math.log(tau)))
    seen = figures([NEAR, FAR, NEAR])
    wanted = np.exp(scorer.scores(seen) / tau)
    dice = random.Random(1)
    counts = np.bincount([scorer.choose(seen, dice) for _ in range(20_000)], minlength=3)
    assert counts / 20_000 == pytest.approx(wanted / wanted.sum(), abs=0.012)


def test_scores_follow_the_formula_and_do_not_depend_on_the_order():
    scorer = Scorer.of(np.random.default_rng(3).normal(size=Scorer.shortest().vector.size))
    seen = figures(random_candidates(random.Random(2), 5))
    expected = [sum(a * f for a, f in zip(scorer.weights, row, strict=True)) for row in seen]
    assert scorer.scores(seen) == pytest.approx(expected)
    assert scorer.scores(seen[::-1]) == pytest.approx(expected[::-1])
    assert np.array_equal(Scorer.of(scorer.vector).vector, scorer.vector)


def test_weights_survive_a_file(tmp_path):
    scorer = Scorer.of(np.random.default_rng(3).normal(size=Scorer.shortest().vector.size))
    scorer.save(tmp_path / "w.npz", made_by="a test")
    assert np.array_equal(Scorer.load(tmp_path / "w.npz").vector, scorer.vector)
    own = make_policy("learned", {"weights": str(tmp_path / "w.npz")})
    candidates = random_candidates(random.Random(5), 4)
    assert own.pick(candidates, random.Random(6)) == scorer.choose(figures(candidates), random.Random(6))


@pytest.mark.parametrize("fault", ["missing", "text", "another", "shape", "figures", "nan"])
def test_files_that_are_no_weights_are_refused(tmp_path, fault):
    file, scorer = tmp_path / "w.npz", Scorer.shortest()
    match fault:
        case "text":
            file.write_text("no weights")
        case "another":
            np.savez(file, other=np.zeros(3))
        case "shape":
            scorer._replace(weights=np.zeros(3)).save(file)
        case "figures":
            scorer.save(file)
            with np.load(file) as archive:
                arrays = dict(archive)
            np.savez(file, **{**arrays, "figures": np.array(FIGURES[::-1])})
        case "nan":
            scorer._replace(weights=np.full_like(scorer.weights, np.nan)).save(file)
    with pytest.raises(InputError, match=r"no weights of a learned policy|do not suit this version") as caught:
        make_policy("learned", {"weights": str(file)})
    assert "testbed.learning.train" in caught.value.hint


def test_the_shipped_weights_say_how_they_were_made_and_what_they_save():
    with np.load(SHIPPED) as archive:
        assert archive["made_by"].item().startswith("python -m testbed.learning.train --iterations ")
        assert abs(archive["saved"].item()) < 0.2
        assert 0 < archive["standard_error"].item() < 0.05
    assert SHIPPED.stat().st_size < 10_000
