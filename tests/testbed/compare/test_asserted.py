"""Assertions and deadlines over the runs of a comparison, against its own figures."""

import json

import pytest

from testbed.assertions import parse_assertion
from testbed.compare.comparison import compare
from testbed.compare.table import aggregate, counting_runs, utility_notes
from tests.testbed.compare.test_table import row
from tests.testbed.compare.topology import SMALL, write

TEXT = SMALL.replace("rate: 4..6 /s", "rate: 4..6 /s, deadline: 120 ms") + "utility: deadlines\n"
TEXTS = ("p95 < 300 ms", "uniform: accuracy >= 50 %", "lost == 0", "missed < 5", "exit_share.2 > 0", "exit_share.3 > 0",
         "overloaded == false")  # fmt: skip


def compared(folder, *texts):
    assertions = [parse_assertion(text) for text in texts]
    return compare(
        folder / "small.yaml", ["uniform", "dto-ee"], repeats=2, simulate=True, jobs=1, out=folder / "out",
        assertions=assertions,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("asserted")
    write(folder, TEXT)
    return folder


@pytest.fixture(scope="module")
def comparison(folder):
    return compared(folder, *TEXTS)


def test_each_policy_has_its_means_and_sums(comparison):
    found = {(one.policy, one.figure): one for one in comparison.assertions}
    assert len(found) == 2 * len(TEXTS) - 1, "one concerns a single policy"
    for figures in comparison.table:
        rows = [one for one in comparison.rows if one.policy == figures.policy]
        assert found[figures.policy, "p95"].value == pytest.approx(figures.delay_p95_s.mean)
        assert found[figures.policy, "lost"].value == sum(one.lost for one in rows)
        assert found[figures.policy, "missed"].value == sum(one.figures["missed"] for one in rows) > 5
        assert found[figures.policy, "missed"].holds is False
        assert found[figures.policy, "exit_share.2"].value == pytest.approx(figures.exit_share[1].mean)
        nothing, steady = found[figures.policy, "exit_share.3"], found[figures.policy, "overloaded"]
        assert (nothing.value, nothing.holds, steady.value, steady.holds) == (None, False, "false", True)
    assert found["uniform", "accuracy"].holds


def test_they_stand_in_the_file_and_change_with_the_next_call(folder, comparison):
    written = json.loads((folder / "out/compare.json").read_text())
    assert len(written["assertions"]) == len(comparison.assertions)
    assert [entry["assertion"] for entry in written["assertions"][:2]] == ["p95 < 300 ms", "uniform: accuracy >= 50 %"]
    assert compared(folder).assertions == ()
    assert json.loads((folder / "out/compare.json").read_text())["assertions"] == []


def test_deadlines_are_compared_on_the_same_workloads(comparison):
    first, other = comparison.table
    shares = {one.policy: [] for one in comparison.table}
    for one in comparison.rows:
        shares[one.policy].append(one.figures["correct_in_time"])
        assert one.figures["in_time"] >= one.figures["correct_in_time"] > 0
    gains = [mine - theirs for mine, theirs in zip(*shares.values(), strict=True)]
    assert other.first_ahead_by.in_time_gain.mean == pytest.approx(sum(gains) / 2)
    assert first.figures["in_time"].mean < 1


def test_the_utility_is_that_with_deadlines(comparison):
    """All devices have a deadline, so that its share is the one over all tasks."""
    for one in comparison.rows:
        assert one.utility_s == pytest.approx(2.0 * one.figures["correct_in_time"] - one.delay_mean_s)
    assert any(note.startswith("utility = theta * share of all tasks") for note in comparison.notes)
    assert list(utility_notes("accuracy")) == []


def test_runs_of_earlier_versions_have_no_deadlines():
    table = aggregate([row("a", 1, 0.2), row("b", 1, 0.2)], ["a", "b"])
    assert table[1].first_ahead_by.in_time_gain is None
    assert table[0].figures["in_time"] is None, "nor shares"


def test_which_runs_count_in_means():
    held, broken = row("a", 1, 0.2, fidelity="held"), row("a", 2, 0.2, fidelity="broken")
    summaries = [{"n": 1}, {"n": 2}]
    assert counting_runs([held, broken], summaries, include_unheld=False) == [{"n": 1}]
    assert counting_runs([held, broken], summaries, include_unheld=True) == summaries
    assert counting_runs([held, row("a", 2, 0.2, overloaded=True)], summaries, include_unheld=True) == []
