"""Simulated runs with a disturbance that their expectation does not know: verdict and cause."""

import pytest

from testbed.expectation.verdict import judge
from testbed.fidelity.evidence import Evidence
from tests.testbed.expectation.runs import findings_of, world_of
from tests.testbed.simulated import QUICKSTART

TEXT = QUICKSTART.read_text().replace("duration: 60 s", "duration: 20 s")


def changed(link, shape, from_s, until_s):
    ends = ", ".join(link)
    return (f"\n  - {{at: {from_s} s, link: [{ends}], {shape}}}"
            f"\n  - {{at: {until_s} s, link: [{ends}], rate: x1, delay: x1}}\n")  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("link", [("mid-1", "core-1"), ("near-1", "mid-1"), ("east-1", "near-1")])
def test_a_link_that_stands_still_is_named_though_all_it_held_comes_at_once(tmp_path, link, seed):
    """Messages to many receivers arrive at one moment, as after a stop of the relay, but they share a link."""
    outcome, findings = findings_of(tmp_path, TEXT, seed=seed, hidden=changed(link, "rate: 0.002 Mbit/s", 8, 13))
    report = judge(Evidence(), findings)
    assert report.verdict == "broken"
    cause = findings.causes[0]
    assert (cause.kind, set(cause.what)) == ("link", set(link))
    assert 7.5 < cause.from_s < 12
    assert 12 < cause.until_s < 14
    assert {each.kind for each in findings.causes} == {"link"}
    legs = world_of(outcome.run_directory).legs(findings.lateness.paths[0].where)
    assert set(link) in [set(leg) for leg in legs]


def test_a_link_that_is_30_ms_longer_than_stated_is_named(tmp_path):
    _, findings = findings_of(tmp_path, TEXT, seed=1, hidden=changed(("near-1", "mid-1"), "delay: 36 ms", 5, 19))
    report = judge(Evidence(), findings)
    assert report.verdict == "strained"
    assert set(findings.causes[0].what) == {"near-1", "mid-1"}
    assert findings.causes[0].late_s == pytest.approx(0.03 * findings.causes[0].tasks, rel=0.2)


def test_a_server_that_is_half_as_fast_for_a_while_is_named(tmp_path):
    served = []

    def halved(server, paced_s):
        served.append(server)
        return paced_s * (2 if server == "near-2" and 60 < served.count(server) < 110 else 1)

    _, findings = findings_of(tmp_path, TEXT, seed=1, service_time=halved)
    report = judge(Evidence(), findings)
    assert report.verdict in ("strained", "broken")  # by few late tasks: p99 depends on the others in their queues
    assert (findings.causes[0].kind, findings.causes[0].what) == ("agent", ("near-2",))
    assert findings.lateness.nodes[0].where == ("near-2",)
    assert max(each.speed_off for each in findings.measured) > 0.05
