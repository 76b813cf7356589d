"""Verdicts on figures: what nonsense must not pass, and the exit status that follows."""

import json
import math
import sys

import pytest

from testbed.host.load import HostUse
from tests.bench import table
from tests.bench.agreement import same_order
from tests.bench.city.growth import exponent
from tests.bench.city.idle import reference
from tests.bench.convergence import rounds_to
from tests.bench.fidelity.second_kernel import held
from tests.bench.policies import best_of
from tests.bench.surroundings import disturbance
from tests.bench.table import PERCENT, POSITIVE, SHARE, collect, exit_status, invalidated, row, text, verdict
from tests.bench.thresholds import most_gained

QUIET, BUSY = HostUse(0.02, 0.0, 0.01, 0.0), HostUse(0.6, 0.0, 0.3, 0.0)


@pytest.mark.parametrize(("value", "goal", "expected"), [
    (9.9, {"most": 10}, "ok"), (10, {"most": 10}, "ok"), (10.1, {"most": 10}, "missed"),
    (0.9, {"least": 0.85}, "ok"), (0.8, {"least": 0.85}, "missed"), (3, {}, None),
    (1.0, {"most": 1.1, "least": 0.9}, "ok"), (0.5, {"most": 1.1, "least": 0.9}, "missed"),
    (1.5, {"most": 1.1, "least": 0.9}, "missed"),
])  # fmt: skip
def test_a_possible_figure_meets_its_goals_or_misses_one(value, goal, expected):
    assert verdict(row("a figure", value, "s", **goal)) == expected


@pytest.mark.parametrize(("value", "options", "reason"), [
    (-55.48, {"most": 10.0}, "below 0"),
    (-55.48, {"most": 10.0, "possible": PERCENT}, "below 0"),
    (104.0, {"least": 45.0, "possible": PERCENT}, "above 100"),
    (1.2, {"possible": SHARE}, "above 1"),
    (0.0, {"most": 5.0, "possible": POSITIVE}, "not above 0"),
    (math.nan, {"most": 10.0}, "nan is no figure"),
    (math.nan, {}, "nan is no figure"),
    (math.inf, {"least": 1.0}, "inf is no figure"),
    (-math.inf, {"most": 1.0}, "-inf is no figure"),
    (None, {"most": 10.0}, "there is no figure"),
    (3.0, {"most": 10.0, "invalid": "the machine was busy"}, "the machine was busy"),
    (3.0, {"interval": (4.0, math.nan)}, "no interval"),
    (3.0, {"interval": (4.0, 2.0)}, "no interval"),
])  # fmt: skip
def test_a_figure_that_cannot_be_is_neither_ok_nor_missed(value, options, reason):
    entry = row("a figure", value, "%", **options)
    assert verdict(entry) == "invalid"
    assert entry["ok"] is None
    assert reason in entry["invalid"]
    json.dumps(entry, allow_nan=False)


@pytest.mark.parametrize("options", [
    {"most": math.nan}, {"least": math.nan}, {"most": math.inf}, {"most": 1.0, "least": 2.0},
    {"least": 150.0, "possible": PERCENT}, {"most": 0.0, "possible": POSITIVE},
])  # fmt: skip
def test_a_goal_that_nothing_can_meet_is_refused(options):
    with pytest.raises(ValueError, match="a figure"):
        row("a figure", 1.0, "%", **options)


def test_a_figure_may_be_below_zero_where_that_means_something():
    assert verdict(row("accuracy gained", -0.3, "points")) is None
    assert verdict(row("accuracy gained", -0.3, "points", least=4.0)) == "missed"
    assert verdict(row("excess", -0.3, "ms", most=1.0, possible=(-1.0, 10.0))) == "ok"


def test_text_is_kept_unless_there_is_none():
    assert verdict(text("monitor", ["quickstart", ""])) is None
    assert verdict(text("monitor", ["", " "])) == "invalid"
    assert verdict(text("monitor", [])) == "invalid"


@pytest.mark.parametrize(("entries", "failed", "expected"), [
    ([row("a", 1, "")], False, 0),
    ([row("a", 1, ""), row("b", 2, "", most=1)], False, 5),
    ([row("a", -1, "", most=1), row("b", 2, "", most=1)], False, 4),
    ([row("a", -1, "", most=1)], True, 1),
    ([], False, 1),
])  # fmt: skip
def test_exit_status_tells_failed_from_invalid_from_missed(entries, failed, expected):
    assert exit_status(entries, failed=failed) == expected


@pytest.mark.parametrize(("rows", "status"), [
    ([row("a", 1, "s", most=2)], 0), ([row("a", 3, "s", most=2)], 5), ([row("a", -3, "s", most=2)], 4), ([], 1),
])  # fmt: skip
def test_a_single_bench_ends_with_it_too(rows, status, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["bench", "--json", str(tmp_path / "rows.json")])
    with pytest.raises(SystemExit) as ended:
        table.main(lambda: rows, "about")
    assert ended.value.code == status
    assert json.loads((tmp_path / "rows.json").read_text()) == rows


@pytest.mark.parametrize(("before", "after", "expected"), [
    (QUIET, QUIET, None), (BUSY, QUIET, "busy before: 60 %"), (QUIET, BUSY, "busy after: 60 %"),
    (QUIET, HostUse(0.05, 0.0, 0.3, 0.0), "waited 30 %"),
    (QUIET, HostUse(), "does not tell"), (QUIET, HostUse(cpu_share=0.02), None),
])  # fmt: skip
def test_a_machine_that_did_something_else_is_no_reference(before, after, expected):
    found = disturbance(before, after)
    assert (found is None) if expected is None else expected.replace(" %", "%") in found


def test_timed_figures_of_a_busy_machine_are_all_invalid(monkeypatch, capsys):
    found = [row("of another bench", 1.0, "s")]
    uses = [QUIET, BUSY]
    monkeypatch.setattr(table, "glance", lambda: uses.pop(0))
    collect([row("a", 1.0, "s", most=2), row("b", -1.0, "s", most=2)], found, timed=True)
    assert [verdict(entry) for entry in found] == [None, "invalid", "invalid"]
    assert "busy after" in found[1]["invalid"]
    assert "below 0" in found[2]["invalid"]  # what was wrong before stays
    assert "INVALID, all of it" in capsys.readouterr().out


def test_timed_figures_of_a_machine_at_rest_stand(monkeypatch):
    found = []
    monkeypatch.setattr(table, "glance", lambda: QUIET)
    collect([row("a", 1.0, "s", most=2)], found, timed=True)
    assert [verdict(entry) for entry in found] == ["ok"]


def test_an_invalid_row_says_why_where_it_is_printed(capsys):
    table.print_row(invalidated(row("CPU of everything", -55.48, "%", possible=(-100, 100), most=10.0), "busy before"))
    printed = capsys.readouterr().out
    assert "INVALID (busy before)" in printed
    assert ": ok" not in printed
    assert "MISSED" not in printed


def test_the_rest_of_a_machine_is_its_reference_only_if_it_stays_the_same():
    cores, invalid = reference(HostUse(0.010, 0, 0.0, 0), HostUse(0.012, 0, 0.0, 0))
    assert cores > 0
    assert invalid is None
    assert "stand still" in reference(HostUse(0.01, 0, 0.0, 0), HostUse(0.09, 0, 0.0, 0))[1]
    assert "busy before" in reference(BUSY, QUIET)[1]
    assert "does not tell" in reference(QUIET, HostUse())[1]


def test_no_rival_that_carries_the_load_is_no_gain():
    assert verdict(best_of("reduction", {"ga": 30.0, "uniform": 25.0}, ("ga", "uniform"))) == "ok"
    assert verdict(best_of("reduction", {"ga": 30.0, "uniform": 5.0}, ("ga", "uniform"))) == "missed"
    assert verdict(best_of("reduction", {}, ("ga", "uniform"))) == "invalid"


def test_an_optimum_that_is_no_delay_is_not_reached_at_once():
    for best_s in (math.inf, math.nan, 0.0):
        with pytest.raises(ValueError, match="the best delay"):
            rounds_to(None, best_s, (0.05,), None)


def test_an_exponent_needs_values_that_have_logarithms():
    assert exponent([1, 2, 4], [1.0, 2.0, 4.0]) == pytest.approx(1)
    assert exponent([1, 2, 4], [1.0, -2.0, 4.0]) is None
    assert exponent([1, 2, 4], [1.0, math.nan, 4.0]) is None


@pytest.mark.parametrize(("one", "other", "same"), [
    (1.2, 1.3, True), (0.8, 0.7, True), (1.2, 0.8, False), (1.01, 0.97, True), (1.0, 1.1, True), (1.0, 2.0, False),
])  # fmt: skip
def test_a_tie_one_way_does_not_excuse_any_order_the_other_way(one, other, same):
    assert same_order(one, other) == same
    assert same_order(other, one) == same


def test_gains_over_nothing_are_none():
    assert most_gained([], [(1.0, 0.9)]) == (None, None)
    assert most_gained([(1.0, 0.8), (2.0, 0.9)], [(3.0, 0.95)]) == (None, None)
    assert most_gained([(1.0, 0.8), (2.0, 0.9)], [(1.5, 0.9)]) == (1.5, pytest.approx(0.05))


@pytest.mark.parametrize(("deviation_ms", "expected"), [(2.0, "ok"), (2.5, "missed"), (0.0, "missed")])
def test_a_link_without_its_jitter_misses_the_goal(deviation_ms, expected):
    assert verdict(held(row("links: jitter of 2 ms, deviation found", deviation_ms, "ms"))) == expected


def test_what_was_invalid_inside_the_second_kernel_stays_so():
    assert verdict(held(row("links: round trip, idle: p50 error", None, "ms"))) == "invalid"
