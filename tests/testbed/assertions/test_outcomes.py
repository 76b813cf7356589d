"""The outcomes of assertions on one run, and on all runs of a policy."""

import json
from dataclasses import asdict

import pytest

from testbed.assertions import AssertionsMissed, findings_of, parse_assertion, policy_findings, refuse_missed


def summary(p95, lost=0, verdict="held", **fields):
    known = {"policy": "ours", "delay_s": {"p95": p95}, "tasks": {"lost": lost}, "fidelity": {"verdict": verdict}}
    return known | fields


def over(texts, runs, counting=None):
    assertions = [parse_assertion(text) for text in texts]
    found = policy_findings(assertions, "ours", runs, runs if counting is None else counting)
    return [(finding.value, finding.holds) for finding in found]


def in_words(finding):
    return finding.value_in_words, finding.bound_in_words, finding.margin_in_words


def test_a_run_states_what_was_asserted():
    found = findings_of([parse_assertion("p95<600ms"), parse_assertion("accuracy >= 1 %")], summary(0.7123456))
    assert asdict(found[0]) == {
        "policy": "ours", "assertion": "p95 < 600 ms", "figure": "p95", "value": 0.7123456, "bound": 0.6,
        "holds": False, "margin": pytest.approx(-0.1123456),
    }  # fmt: skip
    assert in_words(found[0]) == ("712.3 ms", "< 600 ms", "112 ms")
    assert (found[1].value, found[1].holds, *in_words(found[1])) == (None, False, "none", ">= 1 %", "-")
    assert json.loads(json.dumps(asdict(found[1]), allow_nan=False))["value"] is None


def test_a_share_misses_by_points():
    (found,) = findings_of([parse_assertion("accuracy >= 85 %")], summary(0.1, accuracy=0.8))
    assert (found.value_in_words, found.margin_in_words) == ("80 %", "5 points")


def test_means_over_runs_and_sums_of_counts():
    runs = [summary(0.4, 1), summary(0.8, 2)]
    assert over(["p95 < 0.7 s", "p95 < 0.6 s", "lost == 3", "lost < 2"], runs) == [
        (pytest.approx(0.6), True), (pytest.approx(0.6), False), (3.0, True), (3.0, False),
    ]  # fmt: skip


def test_runs_that_do_not_count_are_in_sums_only():
    runs = [summary(0.4, 1), summary(9.0, 2)]
    assert over(["p95 < 0.5 s", "lost == 3"], runs, runs[:1]) == [(0.4, True), (3.0, True)]
    assert over(["p95 < 9 s", "lost == 3"], runs, []) == [(None, False), (3.0, True)]


def test_a_figure_that_one_run_lacks_has_no_value():
    assert over(["p95 < 9 s"], [summary(0.4), summary(None)]) == [(None, False)]
    assert over(["lost == 0"], [summary(0.4), {"policy": "ours"}]) == [(None, False)]
    assert over(["lost == 0", "fidelity.verdict == held"], []) == [(None, False)] * 2


def test_a_word_holds_in_every_run():
    runs = [summary(0.4), summary(0.4, verdict="strained")]
    texts = ["fidelity.verdict == held", "fidelity.verdict != broken"]
    assert over(texts, runs) == [("strained", False), ("held", True)]


def test_an_assertion_may_concern_one_policy():
    texts = ["ours: p95 < 1 s", "theirs: p95 < 1 s", "p95 < 1 s"]
    assert [finding.assertion for finding in policy_findings(
        [parse_assertion(text) for text in texts], "ours", [summary(0.4)], [summary(0.4)]
    )] == ["ours: p95 < 1000 ms", "p95 < 1000 ms"]  # fmt: skip


def test_missed_ones_end_with_code_5():
    found = findings_of([parse_assertion("p95 < 1 s"), parse_assertion("lost == 0")], summary(0.4, 2))
    with pytest.raises(AssertionsMissed, match=r"1 of 2 assertions missed: lost == 0 \(2\)") as caught:
        refuse_missed(found)
    assert caught.value.exit_code == 5
    refuse_missed(found[:1])
    refuse_missed([])
