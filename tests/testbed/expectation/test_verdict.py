"""The verdict on a finished run, from its comparison with the expectation."""

import pytest

from testbed.expectation.causes import Cause
from testbed.expectation.deviation import DelayFigure
from testbed.expectation.findings import Findings
from testbed.expectation.measured_times import Measured
from testbed.expectation.verdict import judge
from testbed.fidelity.evidence import Evidence, NodeLoad
from testbed.fidelity.report import EmulationBroken, refuse_broken


def figures(**off: float) -> tuple[DelayFigure, ...]:
    """Return figures that deviate by these shares of their expectation."""
    expected_s = {"mean": 0.3, "p50": 0.28, "p95": 0.6, "p99": 0.9}
    return tuple(
        DelayFigure(name, expected_s[name] * (1 + off.get(name, 0.0)), expected_s[name]) for name in expected_s
    )


def verdict(**findings) -> str:
    return judge(Evidence(), Findings(**findings)).verdict


@pytest.mark.parametrize(
    ("off", "expected"),
    [
        ({}, "held"),
        ({"mean": 0.0199, "p50": -0.0199, "p95": 0.0199, "p99": 0.0199}, "held"),
        ({"mean": 0.021}, "strained"),
        ({"p99": 0.05}, "strained"),
        ({"p50": -0.05}, "strained"),
        ({"p95": 0.11}, "broken"),
        ({"mean": -0.3}, "broken"),
    ],
)
def test_delays_within_two_per_cent_held_within_ten_strained(off, expected):
    assert verdict(figures=figures(**off)) == expected


def test_chance_is_allowed_for():
    off = DelayFigure("mean", 0.33, 0.30, chance_s=0.01)
    assert off.off == pytest.approx(0.0)
    assert verdict(figures=(off,)) == "held"
    assert verdict(figures=(DelayFigure("mean", 0.34, 0.30, chance_s=0.01),)) == "strained"


def test_a_quantile_is_known_to_one_task_either_way():
    median = DelayFigure("p50", 0.31, 0.30, least_s=0.28, most_s=0.32)
    assert median.off == 0
    assert verdict(figures=(median,)) == "held"
    assert DelayFigure("p50", 0.35, 0.30, least_s=0.28, most_s=0.32).off == pytest.approx(0.1)
    assert DelayFigure("p50", 0.25, 0.30, least_s=0.28, most_s=0.32).off == pytest.approx(-0.1)


def test_the_reasons_name_figures_then_causes():
    causes = (
        Cause("agent", ("hub",), 8.4, 12, 7.0, 8.8),
        Cause("link", ("a", "b"), 4.0, 1, 7.0, 8.0, carried_mbit_per_s=0.2),
        Cause("link", ("c", "d"), 0.1, 3, 1.0, 2.0),
    )
    report = judge(Evidence(), Findings(figures=figures(mean=0.32, p99=0.05), causes=causes))
    assert report.verdict == "broken"
    assert report.reasons == (
        "delays are not those of an exact machine: mean 396 ms for 300 expected (+32 %), p99 945 ms for 900 expected "
        "(+5 %) (bound 10 %)",
        "the agent of hub held up 12 tasks by 8.4 s in all, from 7.0 to 8.8 s",
        "the link from a to b held up 1 task by 4 s in all, from 7.0 to 8.0 s; it carried 0.2 Mbit/s",
    )
    assert judge(Evidence(), Findings(figures=figures(), causes=causes)).reasons == (), "nothing to explain"


def test_decisions_made_of_wrong_times_are_judged_apart():
    sound, young = Measured(9, 0.01, 0.002, "b"), Measured(0, 0.3, 0.0, "west-1")
    report = judge(Evidence(), Findings(figures=figures(), measured=[young, *[sound] * 20]))
    assert report.verdict == "broken"
    assert report.reasons == (
        "decisions of the first slots rested on link times that were 11 % off (most in slot 0, at west-1; bound 10 %)",
    )
    assert verdict(figures=figures(), measured=[sound] * 20) == "held"
    for links, speed, expected in (
        (0.029, 0.049, "held"), (0.031, 0.0, "strained"), (0.0, 0.051, "strained"), (0.099, 0.149, "strained"),
        (0.101, 0.0, "broken"), (0.0, 0.151, "broken"),
    ):  # fmt: skip
        off = [Measured(slot, links, speed, "b") for slot in range(5)]
        assert verdict(figures=figures(), measured=off) == expected
    quota = Evidence(compute="quota")  # a quota is exact only to 5 %
    for speed, expected in ((0.099, "held"), (0.11, "strained"), (0.31, "broken")):
        off = [Measured(slot, 0.0, speed, "b") for slot in range(5)]
        assert judge(quota, Findings(figures=figures(), measured=off)).verdict == expected


def test_tasks_that_never_ended_at_a_device_that_did_not_run_are_not_passed_over():
    """A device that is stopped and never continued leaves no delays that could deviate."""

    def told(silence_s, **unfinished):
        evidence = Evidence(devices={name: NodeLoad(silence_s=silence_s) for name in ("west-1", "west-2")})
        report = judge(evidence, Findings(figures=figures(), offered=100, unfinished=unfinished))
        return report.verdict, report.reasons[:1]

    lost = {"west-1": 4, "west-2": 8}
    assert told(12.0, **lost) == ("broken", ("12 % of the tasks never ended at devices that did not run: "
                                             "west-2, west-1",))  # fmt: skip
    assert told(12.0, **{"west-1": 3})[0] == "strained"
    assert told(12.0, **{"west-1": 2}) == ("held", ())
    assert told(2.0, **lost) == ("held", ()), "they were told of: the policy may have lost them"


def test_a_run_without_tasks_that_count_is_unknown_and_refused_where_fidelity_is_required():
    for findings, reason in (
        (Findings(), "no task was offered: there is nothing to judge"),
        (Findings(offered=7), "no task that was offered after the warm-up was completed: there is nothing to judge"),
        (Findings(trouble="no room"), "no room"),
    ):
        report = judge(Evidence(), findings)
        assert report.verdict == "unknown"
        assert report.reasons[0].startswith(reason)
        with pytest.raises(EmulationBroken, match="is unknown") as caught:
            refuse_broken(report)
        assert caught.value.exit_code == 5
        assert caught.value.hint
