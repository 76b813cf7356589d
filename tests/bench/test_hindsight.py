"""The search for a rival's best threshold: on a curve that is known, on a small network, and with its cache."""

import json
import math

import pytest

from node_agent.errors import InputError
from tests.bench import hindsight
from tests.testbed.small import SMALL


@pytest.fixture
def topology(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


@pytest.fixture
def asked(monkeypatch):
    """The texts of all simulated policies; their utility peaks at a threshold of 0.7."""
    asked = []

    def summaries_of(asks):
        asked.extend(asks)
        return [{"utility": 2 - (float(ask.policy.rpartition("=")[2]) - 0.7) ** 2 + ask.seed} for ask in asks]

    monkeypatch.setattr(hindsight, "summaries_of", summaries_of)
    return asked


def test_the_peak_is_found_with_the_same_seeds_at_each_threshold(topology, asked):
    best = hindsight.best_threshold(topology, "two-choices:report_every=1", (3, 4), (0.5, 0.6, 0.72, 0.9))
    assert best == 0.72
    assert [(ask.policy.rpartition(",")[2], ask.seed) for ask in asked] == [
        (f"threshold={c}", seed) for c in (0.5, 0.6, 0.72, 0.9) for seed in (3, 4)
    ]


def test_equals_give_the_lower_one_and_a_run_without_an_answer_never_wins(topology, monkeypatch):
    gained = {"0.6": [None, 9.0], "0.7": [1.0, 3.0], "0.8": [2.0, 2.0]}
    monkeypatch.setattr(
        hindsight, "summaries_of",
        lambda asks: [{"utility": gained[ask.policy.rpartition("=")[2]][ask.seed]} for ask in asks],
    )  # fmt: skip
    assert hindsight.best_threshold(topology, "uniform", (0, 1), (0.8, 0.7, 0.6)) == 0.7
    assert hindsight.utilities_s(topology, "uniform", (0, 1), (0.6, 0.7)) == {0.6: -math.inf, 0.7: 2.0}


def test_what_is_kept_is_not_simulated_again_unless_something_has_changed(topology, asked, tmp_path, monkeypatch):
    def search(policy="uniform", seeds=(1,), thresholds=(0.6, 0.7)):
        before = len(asked)
        best = hindsight.best_threshold(topology, policy, seeds, thresholds, cache_file=tmp_path / "kept" / "best.json")
        assert best == 0.7
        return len(asked) - before

    assert search() == 2
    assert search() == 0
    assert search(thresholds=(0.6, 0.7, 0.9)) == 1  # the new one only
    assert search("two-choices") == 2
    assert search(seeds=(2,)) == 2
    monkeypatch.setattr(hindsight, "_code", lambda: "other code")
    assert search() == 2
    topology.write_text(SMALL.replace("rate: 5 /s", "rate: 6 /s"))
    assert search() == 2
    assert len(json.loads((tmp_path / "kept" / "best.json").read_text())) == 5


def test_a_stated_threshold_is_refused(topology):
    with pytest.raises(InputError, match="states its threshold"):
        hindsight.best_threshold(topology, "uniform:threshold=0.5")


def test_a_real_search_prefers_accuracy_where_it_is_worth_much(tmp_path):
    found = {}
    for theta in ("0.1 s", "30 s"):
        path = tmp_path / f"{theta[:3].strip()}.yaml"
        path.write_text(SMALL.replace("slot: 2 s", f"slot: 2 s\ntheta: {theta}").replace("rate: 5 /s", "rate: 2 /s"))
        found[theta] = hindsight.best_threshold(path, "shortest-expected-delay", (5,), (0.3, 0.9))
    assert found == {"0.1 s": 0.3, "30 s": 0.9}
