"""Assertions: what they read, what they refuse, and when they hold."""

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from node_agent.errors import InputError
from testbed.assertions import Assertion, parse_assertion
from testbed.assertions.known_figures import KNOWN
from testbed.record.run_figures import FIGURES

SUMMARY = {
    "delay_s": {"mean": 0.25, "p95": 0.6, "p99": None},
    "accuracy": 0.57,
    "tasks": {"lost": 0, "offered": 120},
    "exit_share": {"1": 0.4, "2": 0.6},
    "utility": -0.25,
    "overloaded": False,
    "outstanding_s": float("nan"),
    "deadlines": {"in_time": None, "groups": {"cam-a": {"in_time": 0.9}}},
    "fidelity": {"verdict": "held", "delay_off": {"p95": -0.01}},
}


@pytest.mark.parametrize(
    ("text", "path", "bound", "printed"),
    [
        ("p95 < 0.6 s", "delay_s.p95", 0.6, "p95 < 600 ms"),
        ("p95<600ms", "delay_s.p95", 0.6, "p95 < 600 ms"),
        ("  p95  <  0.6 ", "delay_s.p95", 0.6, "p95 < 600 ms"),
        ("delay_s.p95 ≤ 2 min", "delay_s.p95", 120.0, "delay_s.p95 <= 120 s"),
        ("accuracy >= 85 %", "accuracy", 0.85, "accuracy >= 85 %"),
        ("accuracy >= .85", "accuracy", 0.85, "accuracy >= 85 %"),
        ("lost == 0", "tasks.lost", 0.0, "lost == 0"),
        ("tasks.lost != 3", "tasks.lost", 3.0, "tasks.lost != 3"),
        ("exit_share.1 > 0.1", "exit_share.1", 0.1, "exit_share.1 > 10 %"),
        ("utility > -250 ms", "utility", -0.25, "utility > -250 ms"),
        ("utility > −0.25 s", "utility", -0.25, "utility > -250 ms"),
        ("fidelity.delay_off.p95 > -2 %", "fidelity.delay_off.p95", -0.02, "fidelity.delay_off.p95 > -2 %"),
        ("deadlines.groups.cam-a.in_time>=90%", "deadlines.groups.cam-a.in_time", 0.9,
         "deadlines.groups.cam-a.in_time >= 90 %"),
    ],
)  # fmt: skip
def test_a_bound_is_in_the_unit_of_the_summary(text, path, bound, printed):
    found = parse_assertion(text)
    assert (found.text, found.path, found.bound, str(found)) == (text, path, bound, printed)
    assert found.policy is None


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("dto-ee: p95 < 1 s", "dto-ee"),
        ("dto-ee:p95 < 1 s", "dto-ee"),
        ("fixed-threshold:threshold=0.7: p95 < 1 s", "fixed-threshold:threshold=0.7"),
        ("my own: p95 < 1 s", "my own"),
        ("uniform (2): p95 < 1 s", "uniform (2)"),
    ],
)
def test_the_label_of_a_policy_may_come_first(text, policy):
    found = parse_assertion(text)
    assert (found.policy, found.path, found.bound) == (policy, "delay_s.p95", 1.0)
    assert parse_assertion(str(found)).policy == policy


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "is no assertion", "for example 'p95 < 600 ms'"),
        ("p95 <", "is no assertion", "for example"),
        ("0.6 s > p95", "is no assertion", "for example"),
        ("p95 = 0.6 s", "is no assertion", "write =="),
        ("p95 < 1 s < 2 s", "is a time", ""),
        ("p" * 400 + " < 1", "is no assertion", ""),
        ("acuracy > 0.8", "no figure 'acuracy'", "did you mean accuracy?"),
        ("p9 < 1 s", "no figure 'p9'", "did you mean p9"),
        ("tasks.list == 0", "no figure 'tasks.list'", "did you mean tasks.lost?"),
        ("delay_s < 1 s", "no figure 'delay_s'", "one of delay_s.mean, delay_s.p50"),
        ("exit_share.0 > 0", "no figure 'exit_share.0'", "did you mean exit_share.1?"),
        ("lost_reasons.gone == 0", "no figure", "bounds a single figure"),
        ("fidelity.links == 0", "no figure", "bounds a single figure"),
        ("p95 < 600 sec", "delay_s.p95 is a time: 'sec' is not a unit", "did you mean s?"),
        ("p95 < 5 Mbit/s", "is not a unit of time", "units: s, ms"),
        ("p95 < 1..2 s", "a range (1..2 s) is not allowed", ""),
        ("p95 < 1,5 s", "is not a time", "decimal point"),
        ("p95 < 2e9", "is too large for a time", "the most is 1000000000 s"),
        ("p95 < nan", "must be a finite number", ""),
        ("p95 < --5", "must not be negative", ""),
        ("lost == 0 s", "tasks.lost is a count", "without unit"),
        ("lost == none", "tasks.lost is a count", "without unit"),
        ("accuracy > 85", "accuracy is a share from 0 to 1", "write 85 % or a number from 0 to 1"),
        ("accuracy > -1 %", "accuracy is a share from 0 to 1", ""),
        ("accuracy > 120 %", "too large for a share", ""),
        ("accuracy > 0.8 s", "accuracy is a share: 's' is not a unit", ""),
        ("fidelity.verdict == hold", "is never 'hold'", "did you mean held?"),
        ("fidelity.verdict < held", "is a word", "one of held, strained"),
        ("overloaded == no", "is never 'no'", "true, false"),
        ("dto-ee: means < 1 s", "no figure 'means'", "did you mean mean?"),
    ],
)  # fmt: skip
def test_what_is_none_is_refused_with_advice(text, message, hint):
    with pytest.raises(InputError) as caught:
        parse_assertion(text)
    assert message in str(caught.value)
    assert hint in caught.value.hint
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "holds", "value", "margin"),
    [
        ("mean < 0.3 s", True, 0.25, 0.05),
        ("mean < 250 ms", False, 0.25, 0.0),
        ("mean <= 250 ms", True, 0.25, 0.0),
        ("mean > 0.3 s", False, 0.25, -0.05),
        ("p95 <= 600 ms", True, 0.6, 0.0),
        ("accuracy >= 57 %", True, 0.57, 0.0),
        ("accuracy > 57 %", False, 0.57, 0.0),
        ("accuracy == 57 %", True, 0.57, 0.0),
        ("accuracy != 57 %", False, 0.57, None),
        ("lost == 0", True, 0.0, 0.0),
        ("offered == 100", False, 120.0, -20.0),
        ("utility > -0.3 s", True, -0.25, 0.05),
        ("exit_share.2 >= 60 %", True, 0.6, 0.0),
        ("p99 < 9 s", False, None, None),
        ("p99 != 9 s", False, None, None),
        ("in_time >= 0", False, None, None),
        ("missed == 0", False, None, None),
        ("outstanding_s < 9 s", False, None, None),
        ("exit_share.7 < 1", False, None, None),
        ("deadlines.groups.cam-a.in_time > 80 %", True, 0.9, 0.1),
    ],
)
def test_it_holds_by_its_comparison_and_never_without_a_value(text, holds, value, margin):
    outcome = parse_assertion(text).check(SUMMARY)
    assert (outcome.holds, outcome.value) == (holds, value)
    assert outcome.margin == (None if margin is None else pytest.approx(margin))


@pytest.mark.parametrize(
    ("text", "holds", "word"),
    [
        ("fidelity.verdict == held", True, "held"),
        ("fidelity.verdict != broken", True, "held"),
        ("fidelity.verdict == strained", False, "held"),
        ("overloaded == false", True, "false"),
        ("overloaded == true", False, "false"),
        ("fidelity.oracle == true", False, None),
        ("fidelity.oracle != true", False, None),
    ],
)
def test_words_are_equal_or_not(text, holds, word):
    outcome = parse_assertion(text).check(SUMMARY)
    assert (outcome.holds, outcome.word, outcome.value, outcome.margin) == (holds, word, None, None)


def test_a_value_of_another_kind_is_none():
    assert parse_assertion("lost == 1").outcome(value=True).holds is False
    assert parse_assertion("mean < 1 s").outcome("0.5").holds is False


def test_per_cent_are_read_as_decimals():
    """In binary 57 x 0.01 is above 0.57: a figure of exactly as many per cent must reach its bound."""
    for percents in range(101):
        bound = parse_assertion(f"accuracy >= {percents} %")
        assert bound.check({"accuracy": percents / 100}).holds


NAMES = st.sampled_from(
    [figure.name for figure in FIGURES]
    + [figure.path.replace("<name>", "near-1").replace("[1-9]", "2") for figure in KNOWN if not figure.words]
)
BOUNDS = st.one_of(
    st.floats(0, 1),
    st.decimals(0, 1, places=4).map(float),
    st.floats(-1e8, 1e8),
    st.integers(-1000, 1000).map(float),
)
LABELS = st.one_of(st.none(), st.sampled_from(["dto-ee", "a:b=0.5", "x: y", "uniform (2)", "p95"]))


@given(NAMES, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), BOUNDS, LABELS)
@example("p95", "<", 1e-300, None)
@example("utility", ">", -0.0, "p95")
def test_what_is_printed_reads_back(name, comparison, bound, policy):
    known = parse_assertion(f"{name} {comparison} 0").known
    if known.kind == "share":
        bound = abs(bound) % 1
    if known.kind == "ratio":
        bound %= 1e6
    first = Assertion("", known.path, comparison, bound, name, None, policy)
    again = parse_assertion(str(first))
    assert (again.path, again.comparison, again.bound, again.name, again.policy) == (
        first.path, comparison, bound, name, policy,
    )  # fmt: skip
    assert str(again) == str(first)


WORDS = "fidelity.verdict exit_share. overloaded < <= == = != : ms s % J held true - − + e .. . 1 0.5 e9999999999999999"
PIECES = st.sampled_from([*(figure.name for figure in FIGURES), *WORDS.split(), " ", "\n"])


@given(st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join), st.text().map("p95 < {}".format)))
def test_no_text_does_more_than_be_refused(text):
    with suppress(InputError):
        found = parse_assertion(text)
        assert parse_assertion(str(found)).bound == found.bound
        assert found.check(SUMMARY).holds in (True, False)
        assert found.check({}).holds is False
