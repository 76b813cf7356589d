import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from node_agent.errors import EnvironmentLacking, TestbedError
from testbed.host.ledger import LEDGER_NAME, Ledger, ProcessMark, Removed, live_runs, sweep
from testbed.record.killed_runs import close_killed
from testbed.record.run_directory import DECISIONS, EVENTS, MANIFEST, TASKS, TIMESERIES, read_manifest

ROOT = Path(__file__).parents[3]


def disown(ledger):
    """Make the ledger look as if its owner had died: its lock is gone, and its process id has another start time."""
    ledger._file.close()
    path = ledger.directory / LEDGER_NAME
    first, *rest = path.read_text().splitlines()
    owner = json.loads(first) | {"start_ticks": 1}
    path.write_text("\n".join([json.dumps(owner), *rest]) + "\n")


@pytest.fixture
def sleeper():
    process = subprocess.Popen(["sleep", "100"])
    yield process
    process.kill()
    process.wait()


def test_closing_removes_what_is_left_and_the_ledger(tmp_path, sleeper):
    extra = tmp_path / "extra"
    ledger = Ledger("one", root=tmp_path / "runs")
    ledger.add_directory(extra)
    extra.mkdir()
    (extra / "socket").touch()
    ledger.add_process(sleeper.pid)
    assert set(ledger.close()) == {Removed("one", "process", str(sleeper.pid)), Removed("one", "directory", str(extra))}
    assert sleeper.wait(1) == -signal.SIGKILL
    assert not extra.exists()
    assert not ledger.directory.exists()
    assert ledger.close() == []


def test_a_live_run_is_left_alone(tmp_path, sleeper):
    with Ledger("alive", root=tmp_path) as ledger:
        ledger.add_process(sleeper.pid)
        assert sweep(tmp_path) == []
        assert live_runs(tmp_path) == ["alive"]
        assert sleeper.poll() is None


def folder(root, run_id):
    """The removal of a run's own folder, the last entry."""
    return Removed(run_id, "directory", str(root / run_id))


def test_a_dead_run_is_swept_once(tmp_path, sleeper):
    ledger = Ledger("dead", root=tmp_path)
    ledger.add_process(sleeper.pid)
    disown(ledger)
    assert live_runs(tmp_path) == []
    assert sweep(tmp_path) == [Removed("dead", "process", str(sleeper.pid)), folder(tmp_path, "dead")]
    assert sleeper.wait(1) == -signal.SIGKILL
    assert sweep(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_later_process_with_the_same_id_is_spared(tmp_path, sleeper):
    ledger = Ledger("dead", root=tmp_path)
    ledger._write({"kind": "process", "pid": sleeper.pid, "start_ticks": 12345})
    disown(ledger)
    assert sweep(tmp_path) == [folder(tmp_path, "dead")]
    assert sleeper.poll() is None


def test_a_line_cut_short_by_a_kill_hides_nothing_else(tmp_path, sleeper):
    ledger = Ledger("dead", root=tmp_path)
    ledger.add_process(sleeper.pid)
    disown(ledger)
    with (ledger.directory / LEDGER_NAME).open("a") as file:
        file.write('{"kind": "dire')
    assert sweep(tmp_path) == [Removed("dead", "process", str(sleeper.pid)), folder(tmp_path, "dead")]


def test_a_folder_without_a_ledger_is_swept_at_once(tmp_path):
    """Its owner was killed before it wrote anything."""
    (tmp_path / "starting").mkdir()
    assert live_runs(tmp_path) == []
    assert sweep(tmp_path) == [folder(tmp_path, "starting")]
    assert list(tmp_path.iterdir()) == []


def test_runs_start_unharmed_while_others_sweep(tmp_path):
    """A run that starts during a sweep either counts as alive, or makes its folder again."""
    code = (
        "import sys; from pathlib import Path; from testbed.host.ledger import sweep\n"
        "while True: sweep(Path(sys.argv[1]))"
    )
    sweepers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT) for _ in range(2)]
    try:
        deadline, started = time.monotonic() + 2, 0
        while time.monotonic() < deadline:
            with Ledger(f"run-{started}", root=tmp_path) as ledger:
                assert os.path.samestat(os.fstat(ledger._file.fileno()), (ledger.directory / LEDGER_NAME).stat())
                assert live_runs(tmp_path) == [ledger.run_id]
            started += 1
        assert started > 10
        assert all(sweeper.poll() is None for sweeper in sweepers)
    finally:
        for sweeper in sweepers:
            sweeper.kill()
            sweeper.wait()


def test_process_ids_of_another_namespace_mean_nothing_here(tmp_path, sleeper):
    """An ordinary user's run writes such ids; it lives as long as its owner holds the lock."""
    ledger = Ledger("rootless", root=tmp_path)
    ledger.add_process(sleeper.pid)
    path = ledger.directory / LEDGER_NAME
    first, *rest = path.read_text().splitlines()
    path_text = "\n".join([json.dumps(json.loads(first) | {"pid_namespace": 1}), *rest]) + "\n"
    with path.open("r+") as file:
        file.write(path_text)
    assert sweep(tmp_path) == []
    ledger._file.close()
    assert sweep(tmp_path) == [folder(tmp_path, "rootless")]
    assert sleeper.poll() is None


@pytest.mark.parametrize(("said", "closed"), [("running", True), ("completed", False)])
def test_the_manifest_of_a_killed_run_is_closed(tmp_path, said, closed):
    directory = tmp_path / "run"
    directory.mkdir()
    for name in (TASKS, DECISIONS, TIMESERIES, EVENTS):
        (directory / name).write_text("{}\n")
        os.utime(directory / name, (1e9, 1e9))
    manifest = {"schema": 1, "run_id": "dead", "exit_reason": said, "ended": None}
    (directory / MANIFEST).write_text(json.dumps(manifest))
    os.utime(directory / MANIFEST, (1e9 + 5, 1e9 + 5))
    ledger = Ledger("dead", root=tmp_path / "ledgers")
    ledger.add_run(directory)
    assert close_killed(tmp_path / "ledgers") == []  # it lives
    disown(ledger)
    assert close_killed(tmp_path / "ledgers") == ([directory] if closed else [])
    if closed:
        manifest |= {"exit_reason": "killed", "ended": "2001-09-09T01:46:45.000+00:00"}
    assert read_manifest(directory) == manifest
    assert sweep(tmp_path / "ledgers") == [folder(tmp_path / "ledgers", "dead")]
    assert (directory / TASKS).exists()


def test_the_run_directory_of_another_run_is_left_alone(tmp_path):
    directory = tmp_path / "run"
    directory.mkdir()
    (directory / MANIFEST).write_text(json.dumps({"schema": 1, "run_id": "other", "exit_reason": "running"}))
    ledger = Ledger("dead", root=tmp_path / "ledgers")
    ledger.add_run(directory)
    ledger.add_run(tmp_path / "gone")
    disown(ledger)
    assert close_killed(tmp_path / "ledgers") == []
    assert read_manifest(directory)["exit_reason"] == "running"


@pytest.mark.parametrize("trap", ["link", "writable", "file", "dangling"])
def test_a_place_that_others_may_have_prepared_is_refused(tmp_path, trap):
    """Otherwise a ledger written by others could name our files for removal."""
    root = tmp_path / "ledgers"
    if trap == "link":
        (tmp_path / "elsewhere").mkdir()
        root.symlink_to(tmp_path / "elsewhere")
    elif trap == "dangling":
        root.symlink_to(tmp_path / "nowhere")
    elif trap == "file":
        root.touch()
    else:
        root.mkdir()
        root.chmod(0o777)
    for use in (sweep, live_runs, close_killed, lambda place: Ledger("one", root=place)):
        with pytest.raises(EnvironmentLacking, match="not a directory of this user alone") as caught:
            use(root)
        assert "remove it" in caught.value.hint


def test_links_and_short_paths_are_never_removed(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / "link").symlink_to(precious)
    ledger = Ledger("dead", root=tmp_path / "runs")
    ledger.add_directory(tmp_path / "link")
    ledger.add_directory(Path("/proc"))
    assert ledger.close() == []
    assert precious.is_dir()


def test_two_runs_cannot_share_a_name(tmp_path):
    with Ledger("same", root=tmp_path), pytest.raises(TestbedError, match="already there"):
        Ledger("same", root=tmp_path)


def test_a_thing_is_on_disk_before_it_is_made(tmp_path):
    """The sweep removes a directory whose owner was killed right after making it."""
    code = (
        "import sys, os, signal; from pathlib import Path; from testbed.host.ledger import Ledger\n"
        "ledger = Ledger('killed', root=Path(sys.argv[1]) / 'runs'); extra = Path(sys.argv[1]) / 'extra'\n"
        "ledger.add_directory(extra); extra.mkdir(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert sweep(tmp_path / "runs") == [
        Removed("killed", "directory", str(tmp_path / "extra")), folder(tmp_path / "runs", "killed")
    ]  # fmt: skip


def test_a_zombie_is_not_alive():
    process = subprocess.Popen(["sleep", "100"])
    mark = ProcessMark.of(process.pid)
    assert mark.alive()
    process.kill()
    deadline = time.monotonic() + 2
    while mark.alive() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert not mark.alive()
    process.wait()


@pytest.mark.root
def test_without_the_right_to_write_there_is_a_clear_error(tmp_path):
    root = tmp_path / "runs"
    root.mkdir(mode=0o700)
    tmp_path.chmod(0o755)
    pid = os.fork()
    if pid == 0:
        os.seteuid(65534)
        try:
            Ledger("one", root=root)
        except EnvironmentLacking as error:
            os._exit(error.exit_code)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 4
