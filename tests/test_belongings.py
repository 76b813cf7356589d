"""The leak detector sees what this session leaves, and nothing of what others do on the machine."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from testbed.host.cpu_quota import hierarchies
from testbed.host.ledger import OTHER_ROOT, RUN_ROOT, Ledger, ledger_root, live_runs, sweep
from tests import belongings
from tests.testbed.conftest import kernel_state

ROOT = Path(__file__).parents[1]


@contextmanager
def orphan(*command: str, session: str | None = None):
    """A program whose parent has ended, of this session or of another."""
    code = (
        "import os, subprocess, sys\n"
        "process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,\n"
        "    start_new_session=True)\n"
        "print(process.pid)"
    )
    environment = dict(os.environ) if session is None else {**os.environ, OTHER_ROOT: session}
    done = subprocess.run(
        [sys.executable, "-c", code, *command], env=environment, capture_output=True, text=True, check=True
    )
    pid = int(done.stdout)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}/environ").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
            time.sleep(0.01)


def new(before: dict[str, set[str]]) -> dict[str, set[str]]:
    return {kind: found for kind, state in kernel_state().items() if (found := state - before[kind])}


def test_a_process_that_outlived_its_parent_is_found():
    before = kernel_state()
    with orphan("sleep", "100") as pid:
        (found,) = new(before)["processes"]
        assert found.startswith(f"{pid} since")
        assert found.endswith("sleep 100")
    assert not new(before)


def test_a_process_of_another_session_is_left_out():
    before = kernel_state()
    with orphan("sleep", "100", session="/run/dt-another"):
        assert not new(before)


@pytest.mark.root
def test_the_namespaces_that_count_are_those_of_this_session():
    before = kernel_state()
    with orphan("unshare", "-n", "sleep", "100", session="/run/dt-another"):
        time.sleep(0.3)
        assert not new(before)
    with orphan("unshare", "-n", "sleep", "100") as pid:
        deadline = time.monotonic() + 10
        while "namespaces" not in new(before) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert new(before)["namespaces"] == {str(os.stat(f"/proc/{pid}/ns/net").st_ino)}


def test_each_session_has_its_own_ledgers_and_clean_stays_among_them():
    """A run of another session that was killed is that session's to clean."""
    assert ledger_root().parent == Path(os.environ[OTHER_ROOT]) != RUN_ROOT
    code = (
        "import os, signal\nfrom testbed.host.ledger import Ledger\n"
        "ledger = Ledger('another')\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    before = kernel_state()
    with tempfile.TemporaryDirectory(dir="/tmp") as other:
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, OTHER_ROOT: other}, cwd=ROOT, check=False, timeout=60
        )
        left = Path(other) / str(os.geteuid()) / "another"
        assert left.is_dir()
        assert "another" not in {removed.run_id for removed in sweep()} | set(live_runs())
        assert left.is_dir()
        assert not new(before)
    with Ledger("own"):
        assert new(before)["ledgers"] == {"own"}
        assert "own" in live_runs()


@pytest.mark.root
@pytest.mark.skipif(hierarchies() is None, reason="no control groups for the CPU here")
def test_a_control_group_belongs_to_the_session_whose_ledger_names_it():
    code = (
        "import sys\nfrom testbed.host.cpu_quota import CpuCgroup\nfrom testbed.host.ledger import Ledger\n"
        "with Ledger(sys.argv[1]) as ledger:\n"
        "    CpuCgroup.create('server', 0.5, ledger)\n    print(flush=True)\n    sys.stdin.read()"
    )
    before = kernel_state()
    with tempfile.TemporaryDirectory(dir="/run", prefix=belongings.PREFIX) as other:
        for session, found in ((other, False), (os.environ[OTHER_ROOT], True)):
            run = subprocess.Popen(
                [sys.executable, "-c", code, f"group-{os.getpid()}"], env={**os.environ, OTHER_ROOT: session},
                cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            run.stdout.readline()
            assert ("cgroups" in new(before)) == found
            run.communicate()
    assert not new(before)


@pytest.mark.parametrize(
    ("name", "ours"),
    [("n0-eth0", True), ("s12", True), ("l3b", True), ("b7", True), ("h1-eth0", True), ("lo", False),
     ("eth0", False), ("docker0", False), ("veth1a2b3c", False), ("br-4f2a", False), ("dt12efbr0", False)],
)  # fmt: skip
def test_interfaces_are_known_by_their_names(name, ours):
    assert bool(belongings.NAMED_BY_A_RUN.fullmatch(name)) == ours


def test_what_a_killed_session_left_is_removed_by_the_next(tmp_path):
    code = (
        "import os, signal, subprocess\nfrom testbed.host.ledger import Ledger\n"
        "ledger = Ledger('killed')\nprocess = subprocess.Popen(['sleep', '100'], stdout=-3, stderr=-3)\n"
        "ledger.add_process(process.pid)\nprint(process.pid, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.Popen(["true"])
    ended.wait()
    dead, living = tmp_path / f"dt-{ended.pid}-abc", tmp_path / f"dt-{os.getpid()}-abc"
    dead.mkdir()
    living.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, OTHER_ROOT: str(dead)}, cwd=ROOT, check=False, timeout=60,
        capture_output=True, text=True,
    )  # fmt: skip
    belongings.remove_dead_sessions(tmp_path)
    assert not Path(f"/proc/{int(done.stdout)}/exe").exists()
    assert list(tmp_path.iterdir()) == [living]
