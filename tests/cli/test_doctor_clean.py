import json
import os
import signal
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.timing, pytest.mark.company, pytest.mark.root]


def command(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-c", "from cli.main import main; main()", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_doctor_reports_as_json():
    done = command("doctor", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert report["possible"] is True
    assert report["schema"] == 1
    findings = {finding["name"]: finding for finding in report["findings"]}
    assert {"root", "torch", "trial network"} <= set(findings)
    assert all(set(each) >= {"name", "state", "detail", "remedy", "means", "figures"} for each in findings.values())
    trial = findings["trial network"]["figures"]
    configured = trial["configured_rate_mbit_per_s"]
    assert 0.5 * configured < trial["rate_mbit_per_s"] < 1.1 * configured  # below it on a busy machine


def test_doctor_ends_with_4_where_no_run_is_possible(tmp_path):
    (tmp_path / "ip").symlink_to("/bin/false")
    done = command("doctor", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 4
    assert "missing   namespaces and veth" in done.stdout
    assert done.stderr.startswith("error: no run is possible here: missing namespaces and veth")


def test_clean_removes_what_a_killed_run_left(tmp_path):
    run_id, left = f"test-clean-{os.getpid()}", tmp_path / "left"
    code = (
        "import os, signal, sys; from pathlib import Path; from testbed.host.ledger import Ledger\n"
        "ledger = Ledger(sys.argv[1]); left = Path(sys.argv[2]); ledger.add_directory(left); left.mkdir()\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, run_id, str(left)], check=False)
    assert done.returncode == -signal.SIGKILL
    done = command("clean")
    assert done.returncode == 0
    assert f"removed directory {left} (run {run_id})\n" in done.stdout
    assert not left.exists()
    report = json.loads(command("clean", "--json").stdout)
    assert run_id not in {removed["run_id"] for removed in report["removed"]} | set(report["live_runs"])
