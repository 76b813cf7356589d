"""Training climbs where the way up is known, judges its result on other networks, and writes weights that load."""

import json
import math
import random

import numpy as np
import pytest

from node_agent.policies.scorer import Scorer
from testbed.learning import train as training
from testbed.learning.train import PROOF_SEED, Trial, gains_of, main, proof, return_of, train

RIVAL = Scorer.shortest()._replace(log_tau=np.array(-20.0)).vector


def test_it_climbs_towards_the_best_weights():
    start = Scorer.shortest().vector
    best = start + np.random.default_rng(2).normal(0, 0.05, len(start))
    asked = []

    def distance(vector):
        return float(np.linalg.norm(vector - best))

    def play(trials):
        asked.extend(trials)
        return [-1 - distance(trial.vector) ** 2 for trial in trials]

    *_, last = train(play, iterations=80, pairs=30, seed=1)
    assert last.iteration == 80
    assert distance(last.mean) < 0.75 * distance(start)
    # The two of a pair lie on opposite sides, on one network; each pair has its own network, none of them the judge's.
    for one, other in zip(asked[::2], asked[1::2], strict=True):
        assert one.seed == other.seed < PROOF_SEED
        assert not np.array_equal(one.vector, other.vector)
    assert asked[0].vector + asked[1].vector == pytest.approx(2 * start)
    assert len({trial.seed for trial in asked}) > 2390


def test_the_gain_of_a_pair_is_relative_and_bounded():
    assert gains_of([-0.48, -0.5, -4.0, -1.0, 0.0, 0.0]) == pytest.approx([0.02 / 0.98, -0.05, 0.0])


def test_the_proof_compares_on_networks_of_its_own():
    asked = []

    def play(trials):
        asked.extend(trials)
        return [-1.0 if np.array_equal(trial.vector, RIVAL) else -0.8 - 0.1 * (trial.seed % 2) for trial in trials]

    saved, error = proof(play, Scorer.shortest().vector, 4)
    assert saved == pytest.approx(0.15)
    assert error == pytest.approx(np.std([0.2, 0.1, 0.2, 0.1], ddof=1) / 2)
    assert sorted({trial.seed for trial in asked}) == list(range(PROOF_SEED, PROOF_SEED + 4))


def test_an_episode_of_the_rival_is_a_run_of_shortest_expected_delay():
    env = training._environment()
    env.reset(options={"run_seed": 3})
    total, ended, done = 0.0, 0, False
    while not done:
        _, reward, done, _, info = env.step(training.PLACES - 1 if env.decision is None else _shortest(env))
        total, ended = total + reward, ended + info["ended"]
    assert return_of(Trial(RIVAL, 3)) == pytest.approx(total / ended)
    assert return_of(Trial(Scorer.shortest().vector, 3)) == return_of(Trial(Scorer.shortest().vector, 3))


def _shortest(env):
    return min(
        range(len(env.decision.candidates)),
        key=lambda k: env.decision.candidates[k].expected_delay_s + env.decision.candidates[k].exit_return_s,
    )


def test_the_command_writes_weights_with_their_making(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training, "return_of", lambda trial: -1 - random.Random(trial.seed).random())
    monkeypatch.setattr(training, "PROOF_NETWORKS", 2)
    out = tmp_path / "weights.npz"
    assert main(["--out", str(out), "--iterations", "2", "--pairs", "3", "--seed", "5"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("1 of 2: pairs differ by")
    assert printed[-1].endswith(f"weights in {out}")
    assert np.isfinite(Scorer.load(out).vector).all()
    with np.load(out) as archive:
        facts = {name: archive[name].item() for name in ("made_by", "minutes", "saved", "standard_error")}
    assert facts["made_by"] == "python -m testbed.learning.train --iterations 2 --pairs 3 --seed 5"
    assert math.isfinite(json.loads(json.dumps(facts["saved"])))
