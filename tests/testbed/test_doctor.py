import pytest

from node_agent.errors import EnvironmentLacking
from testbed import doctor
from testbed.doctor import Finding, examine, require_possible


def test_a_missing_part_is_named_with_its_remedy():
    findings = [Finding("htb", "missing", "unknown", "modprobe sch_htb"), Finding("netem", "fallback", "relay")]
    with pytest.raises(EnvironmentLacking, match="missing htb") as caught:
        require_possible(findings)
    assert caught.value.hint == "modprobe sch_htb"
    assert caught.value.exit_code == 4


def test_a_fallback_is_no_obstacle():
    require_possible([Finding("netem", "fallback", "relay"), Finding("root", "ok", "")])


def test_programs_that_are_not_there_name_their_package(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    missing = {finding.name: finding.remedy for finding in doctor._programs() if finding.state == "missing"}
    assert missing["mnexec"] == "apt-get install mininet"
    assert missing["tc"] == "apt-get install iproute2"


@pytest.mark.root
def test_this_machine_can_run(monkeypatch):
    monkeypatch.setattr(doctor, "_torch", lambda: Finding("torch", "ok", ""))  # slow, and not of this test
    findings = {finding.name: finding for finding in examine()}
    require_possible(list(findings.values()))
    trip_ms = float(findings["trial network"].detail.split()[2])
    assert trip_ms == pytest.approx(20.0, abs=1.0)


@pytest.mark.root
def test_without_tc_the_trial_is_not_even_tried(monkeypatch):
    monkeypatch.setattr(doctor, "_torch", lambda: Finding("torch", "ok", ""))
    monkeypatch.setattr(doctor, "kernel_takes", lambda _discipline: "no such thing")
    findings = {finding.name: finding for finding in examine()}
    assert findings["htb (link rates)"].state == "missing"
    assert findings["netem (link delays)"].state == "fallback"
    assert "not tried" in findings["trial network"].detail
