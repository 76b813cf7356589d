"""Figures from rows and tasks, against figures computed by hand."""

import dataclasses

import numpy as np
import pytest

from testbed.compare.recovery import Tasks
from testbed.compare.table import RunRow, aggregate, fidelity_notes, refusal_notes
from testbed.record.backlog import backlog, overload

ROW = RunRow(
    policy="ours", repeat=0, seed=1, run_directory="ours/seed-1", overloaded=False, outstanding_s=0.2, offered=100,
    completed=99, lost=1, counted=90, delay_mean_s=0.2, delay_p50_s=0.15, delay_p95_s=0.5, delay_p99_s=0.7,
    accuracy=0.9, exit_share=(0.5, 0.5), utility_s=1.6,
)  # fmt: skip


def row(policy, seed, delay_s, accuracy=0.9, **fields):
    changes = {"delay_mean_s": delay_s, "accuracy": accuracy, "utility_s": 2 * accuracy - delay_s}
    return dataclasses.replace(ROW, policy=policy, seed=seed, **changes | fields)


def test_means_and_paired_differences_by_hand():
    rows = [
        row("ours", 1, 0.2, 0.90), row("ours", 2, 0.3, 0.88),
        row("theirs", 1, 0.4, 0.91), row("theirs", 2, 0.4, 0.90, lost=3),
    ]  # fmt: skip
    ours, theirs = aggregate(rows, ["ours", "theirs"])
    assert ours.first_ahead_by is None
    assert (ours.runs, ours.lost, ours.offered, theirs.lost) == (2, 2, 200, 4)
    assert ours.delay_mean_s.mean == pytest.approx(0.25)
    assert (ours.delay_mean_s.low, ours.delay_mean_s.high) == pytest.approx((0.2, 0.3))
    assert [share.mean for share in ours.exit_share] == [0.5, 0.5]
    ahead = theirs.first_ahead_by
    assert ahead.delay_reduction.mean == pytest.approx((0.5 + 0.25) / 2)
    assert (ahead.delay_reduction.low, ahead.delay_reduction.high) == pytest.approx((0.25, 0.5))
    assert ahead.accuracy_gain.mean == pytest.approx(-0.015)
    assert ahead.utility_gain_s.mean == pytest.approx(((1.6 - 1.42) + (1.46 - 1.4)) / 2)


def test_refusals_add_up_and_goodput_is_a_mean():
    rows = [row("ours", 1, 0.2, goodput=0.5, refused=3), row("ours", 2, 0.2, goodput=0.7, refused=4)]
    rows += [row("theirs", 1, 0.2, goodput=None), row("theirs", 2, 0.2, goodput=0.7)]
    ours, theirs = aggregate(rows, ["ours", "theirs"])
    assert (ours.refused, theirs.refused) == (7, 0)
    assert ours.goodput.mean == pytest.approx(0.6)
    assert theirs.goodput is None, "a run of an earlier version has none"
    assert theirs.first_ahead_by.goodput_gain is None


def test_the_goodput_gain_is_the_mean_of_paired_differences():
    rows = [row("ours", 1, 0.2, goodput=0.5), row("ours", 2, 0.2, goodput=0.7)]
    rows += [row("theirs", 1, 0.2, goodput=0.6), row("theirs", 2, 0.2, goodput=0.9)]
    gain = aggregate(rows, ["ours", "theirs"])[1].first_ahead_by.goodput_gain
    assert (gain.mean, gain.low, gain.high) == pytest.approx((-0.15, -0.2, -0.1))


@pytest.mark.parametrize(("refused", "notes"), [((0, 0), 0), ((20, 20), 0), ((20, 10), 1), ((20, 0), 1)])
def test_a_note_warns_where_policies_refused_different_shares(refused, notes):
    rows = [row(name, 1, 0.2, refused=count) for name, count in zip(("ours", "theirs"), refused, strict=True)]
    said = list(refusal_notes(aggregate(rows, ["ours", "theirs", "not run"])))
    assert len(said) == notes
    assert all(note.endswith("those of admitted tasks; compare goodput, too") for note in said)


def test_pairing_takes_out_what_all_policies_meet_alike():
    """Workloads differ tenfold, policies by 20 % in each: the difference is exact, the means are not."""
    rows = [row("ours", seed, 0.1 * seed) for seed in range(1, 11)]
    rows += [row("theirs", seed, 0.125 * seed) for seed in range(1, 11)]
    ours, theirs = aggregate(rows, ["ours", "theirs"])
    reduction = theirs.first_ahead_by.delay_reduction
    assert (reduction.mean, reduction.low, reduction.high) == pytest.approx((0.2, 0.2, 0.2))
    assert ours.delay_mean_s.high > theirs.delay_mean_s.low


def test_one_repeat_has_no_interval():
    ours, theirs = aggregate([row("ours", 1, 0.2), row("theirs", 1, 0.4)], ["ours", "theirs"])
    for one in (ours.delay_mean_s, ours.accuracy, theirs.first_ahead_by.delay_reduction):
        assert one.low is one.high is None


def test_an_overloaded_run_keeps_its_policy_out():
    rows = [row("ours", 1, 0.2), row("ours", 2, 0.2), row("theirs", 1, 0.4), row("theirs", 2, 9.0, overloaded=True)]
    ours, theirs = aggregate(rows, ["ours", "theirs"])
    assert theirs.overloaded
    assert (theirs.runs, theirs.overloaded_runs) == (2, 1)
    assert theirs.delay_mean_s is theirs.accuracy is theirs.utility_s is theirs.first_ahead_by is None
    assert ours.delay_mean_s.mean == 0.2
    turned = aggregate(rows, ["theirs", "ours"])
    assert turned[1].first_ahead_by is None
    assert turned[1].delay_mean_s.mean == 0.2


def test_runs_that_are_missing_and_runs_without_figures():
    ours, theirs, none = aggregate([row("ours", 1, 0.2), row("theirs", 2, 0.4)], ["ours", "theirs", "none"])
    assert theirs.first_ahead_by is None  # no repeat in common
    assert (none.runs, none.delay_mean_s, none.exit_share) == (0, None, ())
    empty = row("ours", 1, 0.2, delay_mean_s=None, accuracy=0.0, exit_share=(None, None))
    (ours,) = aggregate([empty], ["ours"])
    assert ours.delay_mean_s is None
    assert ours.exit_share == (None, None)


def queue(load, *, rate_per_s=20.0, duration_s=60.0, share=1.0, seed=1, lost=0.0):
    """Tasks of which `share` pass a queue with this load; the others do not wait."""
    random = np.random.default_rng(seed)
    created_s = np.sort(random.uniform(0, duration_s, random.poisson(rate_per_s * duration_s)))
    service_s = load / (rate_per_s * share)
    completed_s = created_s + 0.05
    free_s = 0.0
    for index in np.nonzero(random.random(created_s.size) < share)[0]:
        free_s = max(free_s, created_s[index]) + random.exponential(service_s)
        completed_s[index] = free_s
    gone = random.random(created_s.size) < lost
    completed_s[gone] = np.inf
    return Tasks(created_s, completed_s, ["no result" if one else None for one in gone])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("scale", [1.0, 30.0])  # of network and time: the same answer
def test_overload_is_told_from_load_at_any_scale(seed, scale):
    def overloaded(load, **options):
        tasks = queue(load, rate_per_s=20 * scale, seed=seed, **options)
        slow = Tasks(tasks.created_s * scale, tasks.completed_s * scale, tasks.reasons)
        assert overload(slow, 60.0 * scale)[0] == overload(tasks, 60.0)[0]
        return overload(tasks, 60.0)[0]

    assert overloaded(1.4)
    assert overloaded(1.4, share=0.3)  # one of several servers floods; most tasks do not wait
    assert not overloaded(0.3)
    assert not overloaded(0.7)
    assert not overloaded(0.7, share=0.3)


def test_outstanding_work_is_in_seconds_of_arrivals():
    created_s = np.arange(0, 10, 0.1)
    tasks = Tasks(created_s, np.where(created_s < 5, created_s + 0.3, 20.0), [None] * 100)
    assert backlog(tasks, 10.0) == 50
    assert overload(tasks, 10.0) == (True, pytest.approx(5.0))


@pytest.mark.parametrize("since_s", [1.0, 20.0, 50.0])
def test_a_network_that_stands_still_is_overloaded_however_late_it_began(since_s):
    created_s = np.arange(0, 60, 0.05)
    completed_s = np.where(created_s < since_s, created_s + 0.3, 80.0)
    assert overload(Tasks(created_s, completed_s, [None] * created_s.size), 60.0)[0]


def test_lost_tasks_pile_up_but_not_those_of_a_dead_device():
    assert overload(queue(0.3, lost=0.1), 60.0)[0]
    quiet = queue(0.3, lost=0.1)
    down = Tasks(quiet.created_s, quiet.completed_s, ["its device was down" if one else None for one in quiet.reasons])
    assert not overload(down, 60.0)[0]


def test_a_run_that_has_come_over_a_bad_start_is_not_overloaded():
    created_s = np.arange(0, 60, 0.05)
    delay_s = np.where(created_s < 10, 40.0 - created_s, 2.0)
    assert not overload(Tasks(created_s, created_s + delay_s, [None] * created_s.size), 60.0)[0]


def test_no_task_is_no_overload():
    assert overload(Tasks(np.empty(0), np.empty(0), []), 60.0) == (False, 0.0)


def test_runs_whose_emulation_did_not_hold_are_named_and_kept_out_of_the_means():
    rows = [
        row("ours", 1, 0.9, fidelity="broken"), row("ours", 2, 0.2, fidelity="held"), row("ours", 3, 0.2),
        row("theirs", 1, 0.4, fidelity="held"), row("theirs", 2, 0.4, fidelity="strained"), row("theirs", 3, 0.4),
        row("never", 1, 0.4, fidelity="unknown"), row("never", 2, 0.4, fidelity="broken"),
        row("never", 3, 0.4, fidelity="broken"),
    ]  # fmt: skip
    names = ["ours", "theirs", "never"]
    ours, theirs, never = aggregate(rows, names)
    assert (ours.runs, ours.unheld_runs, ours.left_out) == (3, 1, 1)
    assert ours.delay_mean_s.mean == pytest.approx(0.2)
    assert theirs.delay_mean_s.mean == pytest.approx(0.4)
    assert theirs.first_ahead_by.delay_reduction.mean == pytest.approx(0.5)  # seed 3 alone: both held there
    assert never.delay_mean_s is None
    assert never.first_ahead_by is None
    why = "the fidelity in each summary.json says why"
    named = "ours (1 of 3 runs), theirs (1 of 3 runs), never (3 of 3 runs)"
    assert list(fidelity_notes([ours, theirs, never])) == [
        "* runs whose emulation did not hold are excluded from the means (--include-unheld counts them); "
        f"{why}: {named}"
    ]
    ours, theirs, never = aggregate(rows, names, include_unheld=True)
    assert ours.delay_mean_s.mean == pytest.approx((0.9 + 0.2 + 0.2) / 3)
    assert (ours.unheld_runs, ours.left_out) == (1, 0)
    assert never.delay_mean_s.mean == pytest.approx(0.4)
    assert list(fidelity_notes([ours, theirs, never])) == [
        f"* runs whose emulation did not hold are included; {why}: {named}"
    ]
    held = aggregate([row("ours", 1, 0.2), row("theirs", 1, 0.3, fidelity="held")], ["ours", "theirs"])
    assert not list(fidelity_notes(held))


@pytest.mark.parametrize(("waiting", "piled_up"), [(5, False), (12, True)])
def test_a_few_tasks_at_the_end_of_a_short_run_are_chance(waiting, piled_up):
    """Ten seconds at 12 tasks/s, of .15 s each: 1.8 tasks are under way on average, five by chance, twelve not."""
    created_s = np.linspace(0.0, 10.0, 120, endpoint=False)
    completed_s = created_s + 0.15
    completed_s[-waiting:] = 10.4
    found, outstanding_s = overload(Tasks(created_s, completed_s, (None,) * 120), 10.0)
    assert outstanding_s == pytest.approx(waiting / 12)
    assert outstanding_s - 0.15 > 0.025 * 10
    assert found is piled_up
