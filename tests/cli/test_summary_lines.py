from pathlib import Path

import pytest

from cli.printing.summary_lines import print_summary, render_summary
from testbed.record.summary import summarise
from tests.testbed.record.task_lines import task_line

RUN = Path("runs/20260101T000000Z-demo-dto-ee-1a2b")
FIDELITY = {
    "network_backend": "userspace", "frames_relayed": 20000, "frames_late": 3, "frames_dropped": 5,
    "worst_frame_lateness_s": 0.0041, "relay_cpu_s": 4.1, "agents_cpu_s": 12.3, "host_cpu_share": 0.5,
    "compute_overruns": 0, "replay_lateness_p99_s": 0.0009, "verdict": "held", "reasons": [],
    "expected_delay_s": {"mean": 0.199, "p50": 0.2, "p95": 0.288, "p99": 0.2979},
    "delay_off": {"mean": 0.005, "p50": 0.0, "p95": 0.0069, "p99": 0.0003},
}  # fmt: skip


def task(created_s, delay_s, **fields):
    return task_line(created_s=created_s, delay_s=delay_s, **fields)


def summary_of(tasks, fidelity):
    figures = summarise(tasks, policy="dto-ee", theta_s=2.0, warm_up_s=6.0, duplicates=0, stages=3, fidelity=fidelity)
    return {**figures, "seed": 7, "topology": "demo", "setup_s": {"network": 1.04, "agents": 4.4}}


@pytest.fixture
def summary():
    tasks = [task(1.0, 9.0), task(8.0, 0.1), task(9.0, 0.3, correct=False, exit_stage=3, attempts=2)]
    return summary_of([*tasks, task(10.0, None, reason="its device was down")], FIDELITY)


def test_it_says_what_happened(summary):
    text = render_summary(summary, RUN)
    for expected in (
        "Run        demo under dto-ee, seed 7",
        "Tasks      4 offered, 3 completed, 1 lost\n           lost: 1 because its device was down",
        "sent again: 1 (at most 2 attempts)",
        "Delay      mean 200 ms   p50 200 ms   p95 290 ms   p99 298 ms",
        "Accuracy   50.0 %",
        "Exits      stage 1 50.0 %   stage 2 0.0 %   stage 3 50.0 %",
        "Utility    0.800 s = 2 s x accuracy - mean delay",
        "over the 2 tasks completed of those offered after 6 s",
        "Fidelity   held\n           expected: mean 199 ms (+0.5 %)   p50 200 ms (+0.0 %)\n"
        "                     p95 288 ms (+0.7 %)   p99 298 ms (+0.0 %)\n",
        "network (userspace): 5 frames lost that should not have been",
        "frames over 1 ms late: 3 of 20000 (0.01 %); the worst 4.1 ms",
        "compute: every task was served in its emulated time",
        "Set-up     network after 1.0 s, agents after 4.4 s",
        f"Files      {RUN}",
    ):
        assert expected in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_goodput_counts_what_was_lost_or_refused(summary):
    assert "\nGoodput    33.3 % of all tasks got a right answer\n" in render_summary(summary, RUN)
    assert "refused" not in render_summary(summary, RUN)
    refused = [task(20.0, None, status="refused", reason="too long") for _ in range(2)]
    text = render_summary(summary_of([task(8.0, 0.1), task(9.0, 0.3), *refused], {}), RUN)
    assert "Tasks      4 offered, 2 completed, 0 lost, 2 refused\n" in text
    assert "Accuracy   100.0 %\nGoodput    50.0 % of all tasks got a right answer\n" in text
    assert "Goodput" not in render_summary(summary_of([task(8.0, 0.1)], {}), RUN)


def test_deadlines_have_a_line_and_a_further_one_for_each_of_a_few_groups(summary):
    def due(device, delay_s, **fields):
        return task(20.0, delay_s, device=device, deadline_s=0.2, **fields)

    tasks = [due("a", 0.1), due("a", 0.2, correct=False), due("b", 0.3), due("b", None), task(20.0, 9.0)]
    text = render_summary(summary_of(tasks, {}), RUN)
    assert "\nDeadlines  50.0 % in time, 25.0 % right and in time; 2 of 4 tasks missed\n" in text
    assert "\n           a: 100.0 % in time, 50.0 % right and in time\n" in text
    assert "\n           b: 0.0 % in time, 0.0 % right and in time\nExits" in text
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "\n           a: " not in render_summary(summary_of(tasks[:2], {}), RUN), "one group is all of them"
    many = [due(f"d{number}", 0.1) for number in range(9)]
    assert "d1" not in render_summary(summary_of(many, {}), RUN)
    assert "Deadlines" not in render_summary(summary, RUN)
    early = render_summary(summary_of([task(1.0, 0.1, deadline_s=0.2)], {}), RUN)
    assert "Deadlines" not in early, "no task after the warm-up has one"


def test_the_utility_with_deadlines_is_named(summary):
    text = render_summary({**summary, "utility_of": "deadlines"}, RUN)
    assert "Utility    0.800 s = 2 s x right and in time - mean delay" in text
    del summary["utility_of"], summary["deadlines"]  # as earlier versions recorded it
    assert "= 2 s x accuracy - mean delay" in render_summary(summary, RUN)


def test_figures_over_no_task_are_dashes():
    text = render_summary(summary_of([], {}), RUN)
    for expected in ("mean -   p50 -", "Accuracy   -", "stage 3 -", "Utility    - ="):
        assert expected in text
    assert "Fidelity" not in text


def test_a_run_that_ended_before_its_fidelity_was_known_can_be_told():
    assert "this machine: - busy" in render_summary(summary_of([], {"network_backend": None, "frames_late": None}), RUN)


def fidelity_lines(**changes):
    text = render_summary(summary_of([], FIDELITY | changes), RUN)
    lines = [line[11:] for line in text.splitlines()]
    return lines[next(n for n, line in enumerate(text.splitlines()) if line.startswith("Fidelity")) :]


def test_the_verdict_comes_first_with_its_reasons():
    assert fidelity_lines(verdict="held", reasons=[])[0] == "held"
    reasons = [
        "12 % of the tasks were delayed by this machine (bound 5 %)",
        "this machine is the likely cause: 99 % of its processors' time was in use, processes waited for one 80 % of "
        "the time",
    ]
    lines = fidelity_lines(verdict="strained", reasons=reasons)
    assert " ".join(lines[:4]).startswith(f"strained: {reasons[0]} {reasons[1]} expected: mean 199 ms")
    assert max(map(len, lines)) <= 69
    assert not any(line.startswith("%") for line in lines)  # no number is parted from its unit


def test_where_time_was_lost_is_told_of_runs_that_did_not_hold():
    def late(late_s, **where):
        return {**where, "late_s": late_s, "worst_s": late_s, "steps": 9}

    paths = [late(12.345, path=["near-1", "mid-1"]), late(-0.5, path=["a", "b"])]
    lateness = {"paths": paths, "other_paths": None, "nodes": [late(0.1 * n, node=f"n{n}") for n in (9, 8, 7, 6)]}
    lines = fidelity_lines(verdict="broken", reasons=["late"], lateness=lateness)
    assert "time lost, paths: near-1 - mid-1 +12.35 s, a - b -0.50 s" in lines
    assert "time lost, nodes: n9 +0.90 s, n8 +0.80 s, n7 +0.70 s" in lines
    for verdict, known in (("held", lateness), ("broken", None), ("unknown", {"paths": [], "nodes": []})):
        assert not any("time lost" in line for line in fidelity_lines(verdict=verdict, lateness=known))


def test_the_worst_device_is_compared_with_the_mean_of_devices(summary):
    fairness = {"jain": 0.95, "worst_over_mean": 1.42, "worst_device": "cam-2", "devices": 5}
    text = render_summary({**summary, "fairness": fairness}, RUN)
    assert "Fairness   Jain's index 0.950 over 5 devices; worst cam-2, 1.42 x the devices' mean\n" in text


def test_the_worst_paths_are_named():
    def path(name, measured_s, excess_s):
        return {"path": [name, "switch", "near"], "delay_s": 0.01, "measured_delay_s": measured_s,
                "excess_p10_s": excess_s}  # fmt: skip

    paths = [path("a", 0.0101, 0.0002), path("b", 0.0095, -0.0001), path("c", None, None)]
    lines = fidelity_lines(paths=paths)
    assert "worst path before: b - near, 9.50 ms for 10 ms" in lines
    assert "worst path during: a - near, +0.20 ms" in lines
    early = path("d", 0.01, -0.03)
    assert "worst path during: d - near, -30.00 ms" in fidelity_lines(paths=[*paths, early])
    assert not any("worst path" in line for line in fidelity_lines(paths=paths[2:]))


def test_lateness_of_changes_is_told_if_there_were_any():
    told = {"injected": 581, "skipped": 0, "lateness_p99_s": 0.0061, "worst_lateness_s": 0.0116}
    line = "changes injected: 581, 99 % at most 6.1 ms late, the worst 11.6 ms"
    assert line in fidelity_lines(changes=told)
    assert f"{line}, 7 steps of traces left out" in fidelity_lines(changes=told | {"skipped": 7})
    none = {"injected": 0, "skipped": 0, "lateness_p99_s": None, "worst_lateness_s": None}
    assert not any("changes" in line for line in (*fidelity_lines(changes=none), *fidelity_lines()))


def test_timers_touched_tasks_and_pressure_are_told_where_they_are_known():
    lines = fidelity_lines(
        timers=400, timers_late=2, worst_timer_lateness_s=0.0042, tasks_touched_share=0.031,
        host={"pressure_some_share": 0.25},
    )  # fmt: skip
    assert "timers over 1 ms late: 2 of 400 (0.50 %); the worst 4.2 ms" in lines
    assert "tasks that this machine delayed: 3.1 %" in lines
    assert "processes waited for a processor 25 % of the time" in lines


def test_netem_does_not_tell_how_late_frames_were():
    assert not any("1 ms late" in line for line in fidelity_lines(network_backend="netem"))


def test_piped_it_is_the_same_text_without_colour(summary, capsys):
    print_summary(summary, RUN)
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert printed == render_summary(summary, RUN).splitlines()
