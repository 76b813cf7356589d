"""The verdict from signs: held, strained or broken, and its reasons."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.fidelity.assessment import assess
from testbed.fidelity.evidence import ChangeTally, Evidence, LinkOutlook, NodeLoad, TaskTally
from testbed.fidelity.report import VERDICTS, EmulationBroken, refuse_broken
from testbed.host.load import HostUse
from testbed.network import LinkStatistics, MeasuredPath, NetworkStatistics, WatchedPath
from testbed.scenario import Link, LinkShape

PATH = MeasuredPath(
    path=("cam", "switch", "near"), delay_s=0.010, measured_delay_s=0.0101, rate_mbit_per_s=20.0,
    measured_rate_mbit_per_s=20.3, probes_sent=5, probes_lost=0, lossy=False, jitter_s=0.0,
)  # fmt: skip
WATCHED = WatchedPath(PATH.path, probes=30, lost=0, excess_p10_s=0.0001, excess_p50_s=0.004)
LINK = LinkStatistics(
    ends=("cam", "near"), frames=10_000, bytes=10**7, lost=0, dropped=0, late=5, lateness_p50_s=5e-5,
    lateness_p99_s=2e-4, worst_lateness_s=0.003,
)  # fmt: skip
BUSY = HostUse(cpu_share=0.99, steal_share=0.03, pressure_some_share=0.8, pressure_full_share=0.0)


def tasks(count: int = 1000, touched: int = 0, late_s: float = 0.02, delay_s: float = 0.1) -> TaskTally:
    tally = TaskTally()
    for number in range(count):
        late = late_s if number < touched else 0.0
        tally.add(replay_lateness_s=0.0002, service_lateness_s=late, delay_s=delay_s)
    return tally


def network(*links: LinkStatistics, **figures) -> NetworkStatistics:
    values = {
        "backend": "userspace", "frames_relayed": sum(link.frames for link in links),
        "frames_late": sum(link.late or 0 for link in links), "worst_lateness_s": 0.003, "frames_lost": 0,
        "frames_dropped": 0, "relay_cpu_s": 1.0, "realtime_priority": True, "links": links,
    }  # fmt: skip
    return NetworkStatistics(**{**values, **figures})


def server(slower: float = 1.0, **figures) -> NodeLoad:
    """Return the load of a server of 1 GFLOP/s that served 100 tasks of 20 MFLOP, `slower` times slower than stated."""
    values = {
        "capacity_flop_per_s": 1e9, "work_flop": 2e9, "due_s": 2.0, "served_s": 2.0 * slower, "served": 100,
        "compute_cpu_s": 0.1, "deadlines": 500, "late_timers": 2,
    }  # fmt: skip
    return NodeLoad(**{**values, **figures})


def changes(late_s: float, count: int = 100, *, worst_s: float = 0.0, skipped: int = 0) -> ChangeTally:
    """Return the tally of `count` changes, all equally late but for one."""
    tally = ChangeTally()
    for number in range(count):
        tally.add(max(late_s, worst_s) if number == 0 else late_s)
    tally.skipped = skipped
    return tally


CALM = Evidence(
    tasks=tasks(), servers={"near": server()}, devices={"cam": NodeLoad(deadlines=500)},
    links=(Link(("near", "cam"), LinkShape(20.0, 0.010)),), measured=(PATH,), watched=(WATCHED,),
    network=network(LINK), host=HostUse(0.3, 0.0, 0.05, 0.0), agents_cpu_s=3.0, service_time_ratio_p50=1.0,
)  # fmt: skip


def verdict(**changes) -> str:
    return assess(replace(CALM, **changes)).verdict


def test_a_calm_run_held_and_nothing_is_said():
    report = assess(CALM)
    assert (report.verdict, report.reasons) == ("held", ())


def test_nothing_known_is_nothing_wrong():
    assert assess(Evidence()).verdict == "held"


@pytest.mark.parametrize("changes", [
    {"measured": (replace(PATH, measured_delay_s=math.nan),)},
    {"measured": (replace(PATH, measured_rate_mbit_per_s=math.nan),)},
    {"watched": (replace(WATCHED, excess_p10_s=math.nan),)},
])  # fmt: skip
def test_a_figure_that_is_no_number_does_not_hold(changes):
    report = assess(replace(CALM, **changes))
    assert report.verdict == "broken"
    assert "nan" in report.reasons[0]


def test_a_busy_machine_that_keeps_its_time_is_no_fault():
    assert verdict(host=BUSY) == "held"


@pytest.mark.parametrize(("touched", "expected"), [(0, "held"), (40, "held"), (120, "strained"), (400, "broken")])
def test_tasks_delayed_by_the_machine(touched, expected):
    report = assess(replace(CALM, tasks=tasks(touched=touched, late_s=0.004)))
    assert report.verdict == expected
    if touched == 120:
        assert report.reasons == ("12 % of the tasks were delayed by this machine (bound 5 %)",)


def test_a_few_tasks_of_a_short_run_are_chance():
    assert verdict(tasks=tasks(20, touched=4, late_s=0.004)) == "held"
    assert verdict(tasks=tasks(20, touched=5, late_s=0.004)) == "strained"


def test_what_is_added_to_the_delay_counts_even_if_it_is_to_few_tasks():
    assert verdict(tasks=tasks(14, touched=4, late_s=2.0)) == "broken"
    assert verdict(tasks=tasks(14, touched=2, late_s=0.05)) == "strained"
    assert verdict(tasks=tasks(14, touched=1, late_s=2.0)) == "held"  # one is chance


@pytest.mark.parametrize(
    ("late_s", "delay_s", "counts"), [(0.0009, 0.01, 0), (0.0011, 0.01, 1), (0.005, 0.3, 0), (0.007, 0.3, 1)]
)
def test_a_task_is_touched_by_what_matters_to_its_delay(late_s, delay_s, counts):
    tally = TaskTally()
    tally.add(replay_lateness_s=late_s / 2, service_lateness_s=late_s / 2, delay_s=delay_s)
    assert tally.touched == counts


def test_few_but_very_late_tasks_show_in_the_mean():
    report = assess(replace(CALM, tasks=tasks(touched=40, late_s=0.3)))
    assert report.reasons == ("12 % of the tasks' delay is this machine's lateness (bound 10 %)",)


@pytest.mark.parametrize(
    ("delay_s", "measured_s", "expected"),
    [
        (0.010, 0.0104, "held"), (0.010, 0.0110, "strained"), (0.010, 0.0130, "broken"), (0.010, 0.0060, "broken"),
        (0.002, 0.0023, "held"), (0.002, 0.0030, "strained"), (0.002, 0.0045, "broken"), (0.050, 0.0520, "held"),
    ],
)  # fmt: skip
def test_delays_before_the_run(delay_s, measured_s, expected):
    assert verdict(measured=(replace(PATH, delay_s=delay_s, measured_delay_s=measured_s),)) == expected


def test_the_worst_path_is_named_and_the_others_counted():
    bad = [replace(PATH, path=(f"cam-{number}", "near"), measured_delay_s=0.0111 + number / 1e4) for number in range(3)]
    assert assess(replace(CALM, measured=(PATH, *bad))).reasons == (
        "before the run, cam-2 - near took 11.3 ms instead of 10.0 ms (bound 0.5 ms off), and 2 more",
    )


def test_a_path_that_lets_nothing_through_is_broken_unless_it_is_lossy():
    silent = replace(PATH, measured_delay_s=None, measured_rate_mbit_per_s=None, probes_lost=5)
    assert verdict(measured=(silent,)) == "broken"
    assert verdict(measured=(replace(silent, lossy=True),)) == "held"


def test_jitter_excuses_the_median_of_few_probes():
    off = replace(PATH, measured_delay_s=0.014)
    assert verdict(measured=(off,)) == "broken"
    assert verdict(measured=(replace(off, jitter_s=0.002),), watched=()) == "held"


@pytest.mark.parametrize(("sent", "lost", "expected"), [(5, 1, "held"), (5, 2, "strained"), (20, 18, "broken")])
def test_probes_that_get_lost_before_the_run(sent, lost, expected):
    path = replace(PATH, probes_sent=sent, probes_lost=lost)
    assert verdict(measured=(PATH, path)) == expected
    assert verdict(measured=(PATH, replace(path, lossy=True))) == "held"


@pytest.mark.parametrize(
    ("rate", "expected"), [(19.0, "held"), (17.0, "strained"), (23.0, "strained"), (9.0, "broken")]
)
def test_rates_before_the_run(rate, expected):
    assert verdict(measured=(replace(PATH, measured_rate_mbit_per_s=rate),)) == expected


@pytest.mark.parametrize(("excess_s", "expected"), [(0.0004, "held"), (0.001, "strained"), (0.004, "broken")])
def test_delays_during_the_run_are_those_of_the_quickest_probes(excess_s, expected):
    assert verdict(watched=(replace(WATCHED, excess_p10_s=excess_s),)) == expected
    assert verdict(watched=(replace(WATCHED, excess_p10_s=excess_s, probes=3),)) == "held"  # too few probes


@pytest.mark.parametrize(
    ("excess_s", "expected"), [(-0.0004, "held"), (-0.001, "strained"), (-0.004, "broken"), (-0.045, "broken")]
)
def test_a_link_that_is_too_quick_is_no_better(excess_s, expected):
    early = replace(WATCHED, excess_p10_s=excess_s)
    assert verdict(watched=(early,)) == expected
    assert verdict(watched=(replace(early, probes=9),)) == "held"  # the quickest tenth is a single probe
    if expected == "broken":
        report = assess(replace(CALM, watched=(early,)))
        assert report.reasons == (
            f"during the run, cam - near was {-excess_s * 1e3:.1f} ms faster than asked (bound 2.5 ms)",
        )


def test_on_a_link_that_changes_a_few_may_come_early_but_not_half():
    outlook = LinkOutlook(changing=frozenset([frozenset(("near", "switch"))]))
    early = replace(WATCHED, excess_p10_s=-0.045)
    assert verdict(watched=(early,), outlook=outlook) == "held"
    assert verdict(watched=(replace(early, excess_p50_s=-0.045),), outlook=outlook) == "broken"
    elsewhere = LinkOutlook(changing=frozenset([frozenset(("cam", "near"))]))  # no link of this path
    assert verdict(watched=(early,), outlook=elsewhere) == "broken"


@pytest.mark.parametrize(("off_s", "expected"), [(0.0, "held"), (0.003, "strained"), (-0.003, "strained"),
                                                 (0.006, "broken"), (-0.006, "broken")])  # fmt: skip
def test_the_quickest_tenth_is_held_against_what_jitter_makes_of_it(off_s, expected):
    jittery = replace(PATH, jitter_s=0.002)
    seen = replace(WATCHED, probes=100, excess_p10_s=off_s - 1.28 * 0.002, excess_p50_s=off_s)
    assert verdict(measured=(jittery,), watched=(seen,)) == expected


def test_few_probes_say_less_where_there_is_jitter():
    jittery, seen = replace(PATH, jitter_s=0.002), replace(WATCHED, excess_p10_s=0.0)
    assert verdict(measured=(jittery,), watched=(replace(seen, probes=100),)) == "strained"
    assert verdict(measured=(jittery,), watched=(replace(seen, probes=10),)) == "held"


def test_probes_that_get_lost_are_counted_over_all_paths():
    """A large network sends few probes over each path."""
    few = [replace(WATCHED, path=(f"cam-{number}", "near"), probes=2, lost=0) for number in range(20)]
    assert verdict(watched=few) == "held"
    assert verdict(watched=[replace(path, lost=number % 4 == 0) for number, path in enumerate(few)]) == "strained"
    assert verdict(watched=[replace(path, lost=2) for path in few]) == "broken"
    assert verdict(watched=[replace(few[0], lost=1), *few[1:3]]) == "held"  # one is chance


def test_a_dead_link_among_many_is_seen_by_its_own_probes():
    sound = [replace(WATCHED, path=(f"cam-{number}", "near")) for number in range(32)]
    dead = replace(WATCHED, path=("near", "hub"), probes=16, lost=13)
    report = assess(replace(CALM, watched=[*sound, dead]))
    assert report.verdict == "broken"
    assert report.reasons[0] == "during the run, 13 of 16 probes from near to hub were lost (bound 50 %)"
    silent = replace(dead, lost=16, excess_p10_s=None, excess_p50_s=None)
    assert verdict(watched=[*sound, silent]) == "broken"
    assert verdict(watched=[*sound, replace(dead, lost=1)]) == "held"


def test_a_lossy_path_may_lose_what_is_stated_and_chance_adds():
    link = frozenset(WATCHED.path[:2])
    outlook = LinkOutlook(losing=frozenset([link]), loss={link: 0.05})
    many = replace(WATCHED, probes=400, lost=24)
    assert verdict(watched=(many,), outlook=outlook) == "held"
    report = assess(replace(CALM, watched=(replace(many, lost=120),), outlook=outlook))
    assert report.verdict == "strained"
    assert "and 5 % should be" in report.reasons[0]


def test_probes_that_get_lost_count_where_the_topology_wants_none_lost():
    lost = replace(WATCHED, lost=6)
    assert verdict(watched=(lost,)) == "strained"
    assert verdict(watched=(lost,), measured=(replace(PATH, lossy=True),)) == "held"
    later = LinkOutlook(losing=frozenset([frozenset(("switch", "near"))]))  # an event makes it lossy
    assert verdict(watched=(lost,), outlook=later) == "held"


@pytest.mark.parametrize(("dropped", "expected"), [(2, "held"), (10, "strained"), (200, "broken")])
def test_frames_that_the_emulation_drops(dropped, expected):
    assert verdict(network=network(LINK, frames_dropped=dropped)) == expected


@pytest.mark.parametrize(("relayed", "dropped", "expected"), [(50, 50, "broken"), (0, 50, "broken"), (90, 1, "held")])
def test_few_frames_are_judged_too_if_they_are_dropped(relayed, dropped, expected):
    few = replace(LINK, frames=relayed, late=0)
    assert verdict(network=network(few, frames_dropped=dropped)) == expected


@pytest.mark.parametrize(("late", "p99_s", "expected"), [
    (150, 0.002, "held"), (500, 0.002, "strained"), (500, 0.0008, "held"), (3000, 0.02, "broken"),
])  # fmt: skip
def test_frames_that_leave_late(late, p99_s, expected):
    link = replace(LINK, late=late, lateness_p99_s=p99_s)
    assert verdict(network=network(link)) == expected
    quiet = replace(LINK, ends=("near", "cam"), frames=10**6)
    # Among many other frames they are few, unless the link itself is ruined.
    assert verdict(network=network(link, quiet)) == ("strained" if expected == "broken" else "held")


@pytest.mark.parametrize(("frames", "late", "expected"), [
    (500, 40, "held"), (500, 100, "strained"), (500, 400, "broken"), (90, 90, "held"),
])  # fmt: skip
def test_one_ruined_link_among_many_is_seen(frames, late, expected):
    sound = [replace(LINK, ends=(f"cam-{number}", "near")) for number in range(20)]
    ruined = replace(LINK, frames=frames, late=late, lateness_p99_s=0.05)
    report = assess(replace(CALM, network=network(*sound, ruined)))
    assert report.verdict == expected
    if expected == "broken":
        assert report.reasons == ("80 % of the frames from cam to near were late (bound 50 %)",)
    small = replace(ruined, lateness_p99_s=0.0009)  # too little to matter against the link's delay
    assert verdict(network=network(*sound, small)) == "held"


STEPS = LinkOutlook(step_s=0.1)


@pytest.mark.parametrize(("late_s", "step_s", "expected"), [
    (0.004, 0.01, "held"), (0.02, 0.01, "strained"), (0.13, 0.01, "broken"),
    (0.02, 0.5, "held"), (0.08, 0.5, "strained"), (0.3, 0.5, "broken"), (0.13, None, "held"),
])  # fmt: skip
def test_late_steps_of_traces_are_held_against_their_length(late_s, step_s, expected):
    outlook = LinkOutlook(step_s=step_s)
    assert verdict(changes=changes(late_s), outlook=outlook) == expected
    assert verdict(changes=changes(min(0.2, late_s), count=10), outlook=outlook) == "held"  # too few for a quantile


@pytest.mark.parametrize(("worst_s", "expected"), [(0.2, "held"), (0.5, "strained"), (1.5, "broken")])
def test_a_single_change_may_be_later_but_not_by_much(worst_s, expected):
    assert verdict(changes=changes(0.001, 1000, worst_s=worst_s), outlook=STEPS) == expected
    assert verdict(changes=changes(worst_s, 1)) == expected


@pytest.mark.parametrize(("skipped", "expected"), [(0, "held"), (5, "held"), (50, "strained"), (500, "broken")])
def test_steps_that_were_left_out(skipped, expected):
    assert verdict(changes=changes(0.001, 1000, skipped=skipped), outlook=STEPS) == expected


def test_late_changes_are_told_in_figures():
    tally = changes(0.02, 1000, worst_s=0.3, skipped=100)
    report = assess(replace(CALM, changes=tally, outlook=LinkOutlook(step_s=0.01)))
    assert report.reasons == (
        "1 % of the changes came over 20 ms late (bound 10 ms); a step of the network traces lasts 10 ms",
        "a change of the scenario came 0.30 s late (bound 0.25 s)",
        "9.1 % of the network traces' steps were skipped for lack of time (bound 1 %)",
    )
    told = report.as_dict()["changes"]
    assert (told["injected"], told["skipped"], told["worst_lateness_s"]) == (1000, 100, 0.3)
    assert told["lateness_p99_s"] == pytest.approx(0.02, rel=0.2)


@given(st.lists(st.floats(0, 100), min_size=1), st.sampled_from([0.5, 0.9, 0.99]))
def test_quantiles_of_lateness_are_right_to_a_fifth(late_s, share):
    tally = ChangeTally()
    for each in late_s:
        tally.add(each)
    exact = sorted(late_s)[max(0, math.ceil(share * len(late_s)) - 1)]
    assert exact - 1e-12 <= tally.lateness_s(share) <= max(1e-5, exact * 1.2)
    assert tally.worst_s == max(late_s)


def test_no_change_has_no_lateness():
    assert assess(CALM).as_dict()["changes"] == {
        "injected": 0, "skipped": 0, "lateness_p99_s": None, "worst_lateness_s": None
    }  # fmt: skip


@pytest.mark.parametrize(("silence_s", "expected"), [(2.5, "held"), (3.5, "strained"), (7.0, "broken")])
def test_an_agent_that_tells_nothing_is_no_good_sign(silence_s, expected):
    assert verdict(servers={"near": server(silence_s=silence_s)}) == expected
    report = assess(replace(CALM, devices={"cam": NodeLoad(silence_s=silence_s)}))
    assert report.verdict == expected
    assert report.as_dict()["longest_silence_s"] == silence_s
    if expected == "broken":
        assert report.reasons == ("the agent of cam reported nothing for 7.0 s (bound 6 s)",)


def test_lateness_of_frames_is_held_against_the_delay_of_their_link():
    link = replace(LINK, late=500, lateness_p99_s=0.003)
    assert verdict(network=network(link)) == "strained"
    far = (Link(("cam", "near"), LinkShape(20.0, 0.100)),)
    assert verdict(network=network(link), links=far) == "held"


def test_netem_tells_no_lateness_and_is_not_judged_by_it():
    link = replace(LINK, late=None, lateness_p50_s=None, lateness_p99_s=None, worst_lateness_s=None)
    assert verdict(network=network(link, backend="netem")) == "held"


@pytest.mark.parametrize(("slower", "paced", "quota"), [
    (1.02, "held", "held"), (1.08, "strained", "held"), (1.25, "broken", "strained"), (0.6, "broken", "broken"),
])  # fmt: skip
def test_speed_against_the_stated_one(slower, paced, quota):
    assert verdict(servers={"near": server(slower)}) == paced
    assert verdict(servers={"near": server(slower)}, compute="quota") == quota
    assert verdict(servers={"near": server(slower, served=10)}) == "held"


def test_speed_is_told_in_figures():
    report = assess(replace(CALM, servers={"a": server(1.1), "b": server(1.25)}))
    assert report.reasons == ("b computed at 0.8 GFLOP/s instead of 1 (bound 20 % off), and 1 more",)


def test_a_stated_speed_that_changed_is_called_an_average():
    changed = server(1.1, work_flop=3e9, due_s=2.0)
    report = assess(replace(CALM, servers={"a": replace(changed, served_s=2.5)}))
    assert report.reasons == ("a computed at 1.2 GFLOP/s instead of 1.5 on average (bound 20 % off)",)


@pytest.mark.parametrize(("late", "expected"), [(20, "held"), (60, "strained"), (300, "broken")])
def test_timers_that_fire_late(late, expected):
    assert verdict(servers={"near": server(late_timers=late)}) == expected
    assert verdict(servers={"near": server(late_timers=late)}, time_scale=10.0) == expected  # agents know the scale


@pytest.mark.parametrize("changes", [
    {"tasks": tasks(touched=400, late_s=0.008)},
    {"measured": (replace(PATH, measured_delay_s=0.020),)},
    {"watched": (replace(WATCHED, excess_p10_s=0.004),)},
])  # fmt: skip
def test_reasons_are_followed_by_what_explains_them(changes):
    report = assess(replace(CALM, host=BUSY, **changes))
    assert report.verdict == "broken"
    assert report.reasons[-1] == (
        "this machine is the likely cause: 99 % of its processors' time was in use, processes waited for one 80 % of "
        "the time, its hypervisor took 3 %"
    )
    assert not any("likely cause" in reason for reason in assess(replace(CALM, **changes)).reasons)


def test_the_gravest_reason_comes_first():
    report = assess(replace(CALM, tasks=tasks(touched=60, late_s=0.004), servers={"near": server(late_timers=400)}))
    assert ["timers" in reason for reason in report.reasons] == [True, False]


def test_the_same_real_lateness_weighs_less_at_a_larger_time_scale():
    slow = replace(PATH, delay_s=0.030, measured_delay_s=0.0313, rate_mbit_per_s=20 / 3, measured_rate_mbit_per_s=6.7)
    watched, link = replace(WATCHED, excess_p10_s=0.0012), replace(LINK, late=500, lateness_p99_s=0.002)
    stretched = {"measured": (slow,), "watched": (watched,), "network": network(link)}
    assert verdict(time_scale=3.0, **stretched) == "held"
    assert verdict(watched=(watched,)) == "strained"
    assert verdict(network=network(link)) == "strained"


def test_only_a_broken_run_is_refused():
    refuse_broken(assess(CALM))
    refuse_broken(assess(replace(CALM, tasks=tasks(touched=60, late_s=0.004))))
    with pytest.raises(EmulationBroken, match="60 % of the tasks") as caught:
        refuse_broken(assess(replace(CALM, tasks=tasks(touched=600, late_s=0.004))))
    assert caught.value.exit_code == 5


# The figures in summary.json

EARLIER_KEYS = {
    "network_backend", "frames_relayed", "frames_late", "frames_dropped", "worst_frame_lateness_s", "relay_cpu_s",
    "agents_cpu_s", "host_cpu_share", "compute_overruns", "service_time_ratio_p50", "replay_lateness_p99_s",
}  # fmt: skip


def test_the_report_keeps_the_keys_that_programs_read_and_adds_its_own():
    content = assess(CALM).as_dict()
    assert content.keys() >= EARLIER_KEYS | {"verdict", "reasons", "paths", "links", "nodes", "host"}
    assert content["nodes"]["near"] == {
        "capacity_flop_per_s": 1e9, "served_flop_per_s": 1e9, "host_flop_per_s": 2e10, "served": 100, "overruns": 0,
        "timers": 500, "timers_late": 2, "worst_timer_lateness_s": 0.0, "longest_silence_s": 0.0,
    }  # fmt: skip
    assert content["paths"][0]["excess_p10_s"] == 0.0001
    assert content["replay_lateness_p50_s"] == pytest.approx(0.0002)
    assert content["host"]["pressure_some_share"] == 0.05


def test_times_and_rates_are_emulated():
    content = assess(replace(CALM, time_scale=2.0)).as_dict()
    path, link = content["paths"][0], content["links"][0]
    assert (path["delay_s"], path["rate_mbit_per_s"], path["excess_p50_s"]) == (0.005, 40.0, 0.002)
    assert path["measured_rate_mbit_per_s"] == pytest.approx(40.6)
    assert (link["lateness_p50_s"], link["worst_lateness_s"]) == (2.5e-5, 0.0015)
    assert content["worst_frame_lateness_s"] == 0.0015


def test_a_dead_network_leaves_the_rest_known():
    content = assess(replace(CALM, network=None)).as_dict()
    assert "frames_relayed" not in content
    assert content["links"] == []
    assert content["tasks_touched_share"] == 0.0


def test_a_server_that_served_nothing_still_states_its_capacity():
    idle = NodeLoad(capacity_flop_per_s=1e9)
    content = assess(replace(CALM, servers={"near": idle})).as_dict()["nodes"]["near"]
    assert (content["capacity_flop_per_s"], content["served_flop_per_s"]) == (1e9, None)


anything = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))


@given(anything, anything, st.floats(0, 1), st.integers(0, 100), st.floats(0.1, 10))
def test_whatever_is_known_the_verdict_is_one_of_three_and_its_json_is_sound(delay_s, excess_s, share, late, scale):
    def plain(value):  # values that a median of finite times can have
        return value if value is not None and math.isfinite(value) and abs(value) < 1e300 else None

    evidence = replace(
        CALM,
        time_scale=scale,
        measured=(replace(PATH, measured_delay_s=plain(delay_s)),),
        watched=(replace(WATCHED, excess_p10_s=plain(excess_s)),),
        host=HostUse(share, share, None, None),
        servers={"near": server(1 + share, late_timers=late)},
        service_time_ratio_p50=excess_s,
    )
    report = assess(evidence)
    assert report.verdict in VERDICTS
    assert (report.verdict == "held") == (not report.reasons)
    json.dumps(report.as_dict(), allow_nan=False)
