"""Whole runs by an ordinary user, in a user namespace."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from node_agent.errors import EnvironmentLacking
from node_agent.process import linux
from testbed.host import rootless
from testbed.host.ledger import OTHER_ROOT, ledger_root
from tests.testbed import small
from tests.testbed.host import nobody
from tests.testbed.live.brood import Belongings, adopting_orphans, await_none, descendants, users_of

USER = nobody.NOBODY.pw_uid
WITHOUT_RIGHTS = ["setpriv", "--bounding-set=-sys_admin,-net_admin", "--inh-caps=-all"]
needs_user_namespaces = pytest.mark.skipif(
    os.geteuid() == 0 and bool(nobody.obstacle() or rootless.refusal_for(USER)),
    reason=nobody.obstacle() or "this kernel gives ordinary users no user namespaces",
)


@pytest.fixture
def folder():
    with nobody.home() as path:
        text = small.SMALL.replace("warm_up: 2 s", "warm_up: 0 s")
        (path / "small.yaml").write_text(text)
        (path / "quota.yaml").write_text(text + "compute: quota\n")
        yield path


@pytest.fixture
def belongings():
    with Belongings() as found:
        yield found


def await_task(run: Path, process: "subprocess.Popen[str]") -> None:
    tasks, deadline = run / "tasks.jsonl", time.monotonic() + 60
    while not (tasks.exists() and tasks.stat().st_size):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.root
@needs_user_namespaces
def test_a_run_without_root_records_all_and_leaves_nothing(folder, belongings):
    run = nobody.start(folder, "run", "small.yaml", "--duration", "2", "--out", "run", "--json")
    await_task(folder / "run", run)
    belongings.look(run.pid)
    output, errors = run.communicate(timeout=60)
    assert run.returncode == 0, errors
    assert errors.splitlines()[0].startswith(f"note: user {USER} is not root: running in a user namespace")
    tasks = json.loads(output)["tasks"]
    assert tasks["completed"] == tasks["offered"] > 10
    names = {"manifest.json", "topology.yaml", "trace.jsonl", "tasks.jsonl", "decisions.jsonl", "timeseries.jsonl",
             "events.jsonl", "summary.json"}  # fmt: skip
    assert names <= {path.name for path in (folder / "run").iterdir()}
    assert {path.stat().st_uid for path in (folder / "run").iterdir()} == {USER}
    assert json.loads((folder / "run" / "manifest.json").read_text())["exit_reason"] == "completed"
    assert len(belongings.namespaces) == 7  # of five nodes, the middle and the command itself
    assert not await_none(lambda: users_of(belongings.namespaces))
    assert nobody.LEDGERS.stat().st_uid == USER
    assert not list(nobody.LEDGERS.iterdir())


@pytest.mark.root
@needs_user_namespaces
def test_live_and_simulated_side_by_side_without_root(folder):
    """Live in the command's namespaces, then the simulation in the same process."""
    done = nobody.start(folder, "agree", "small.yaml", "--duration", "4", "--out", "both", "--json")
    output, errors = done.communicate(timeout=60)
    assert done.returncode == 0, errors
    content = json.loads(output)
    (repeat,) = content["repeats"]
    assert repeat["live"]["completed"] == repeat["simulated"]["completed"] == repeat["live"]["offered"] > 20
    assert content["figures"]["delay_mean_s"]["live"] == pytest.approx(repeat["live"]["delay_mean_s"])
    made = list((folder / "both").rglob("*"))
    assert {path.name for path in made} >= {"agree.json", "live", "simulated", "summary.json"}
    assert {path.stat().st_uid for path in made} == {USER}
    assert not list(nobody.LEDGERS.iterdir())


def terminal_interrupt(run: "subprocess.Popen[str]") -> None:
    """Ctrl-C: the signal reaches the process that attends to the run, which passes it on once."""
    os.killpg(run.pid, signal.SIGINT)


def interrupt_twice(run: "subprocess.Popen[str]") -> None:
    """The second Ctrl-C ends the run at once, unless it has already ended."""
    terminal_interrupt(run)
    time.sleep(0.01)
    terminal_interrupt(run)


def kill_command(run: "subprocess.Popen[str]") -> None:
    run.kill()


def kill_child(run: "subprocess.Popen[str]") -> None:
    """Kill the first process of the run's namespace."""
    (first,) = psutil.Process(run.pid).children()
    first.kill()


@pytest.mark.root
@needs_user_namespaces
def test_nothing_outlives_a_run_without_root_however_it_ends(folder, belongings):
    ends = {terminal_interrupt: 130, interrupt_twice: 130, kill_command: -signal.SIGKILL,
            kill_child: 128 + signal.SIGKILL}  # fmt: skip
    with adopting_orphans():
        before = {process.pid for process in descendants()}
        runs = {
            end: nobody.start(folder, "run", "small.yaml", "--duration", "60", "--out", end.__name__) for end in ends
        }
        for end, run in runs.items():
            await_task(folder / end.__name__, run)
            belongings.look(run.pid)
            end(run)
        errors = {end: run.communicate(timeout=30)[1] for end, run in runs.items()}
        assert {end: run.returncode for end, run in runs.items()} == ends, errors
        assert not await_none(lambda: [process for process in descendants() if process.pid not in before])
    assert len(belongings.namespaces) == 7 * len(runs)
    assert not await_none(lambda: users_of(belongings.namespaces))
    assert "left at once" not in errors[terminal_interrupt]

    answer = json.loads(nobody.start(folder, "clean", "--json").communicate(timeout=20)[0])
    reasons = {end: json.loads((folder / end.__name__ / "manifest.json").read_text())["exit_reason"] for end in ends}
    assert reasons.pop(interrupt_twice) in {"killed", "interrupted"}
    assert reasons == {terminal_interrupt: "interrupted", kill_command: "killed", kill_child: "killed"}
    assert set(answer["closed"]) >= {str(folder / end.__name__) for end in (kill_command, kill_child)}
    assert not list(nobody.LEDGERS.iterdir())


@pytest.mark.root
@needs_user_namespaces
def test_quotas_are_refused_without_root(folder):
    run = nobody.start(folder, "run", "quota.yaml", "--out", "run", "--monitor", "off")
    _, errors = run.communicate(timeout=20)
    assert run.returncode == 4
    assert "error: compute: quota needs root" in errors
    assert "hint: use compute: paced" in errors
    assert not (folder / "run").exists()


@pytest.mark.root
@needs_user_namespaces
@pytest.mark.parametrize("verb", ["run", "doctor"])
@pytest.mark.parametrize("user", ["nobody", "root"])
def test_a_kernel_that_forbids_user_namespaces_is_named_with_its_switch(folder, user, verb):
    """The kernel really forbids it: the command runs in a user namespace whose limit on namespaces is zero."""
    words = [verb, *(["small.yaml"] if verb == "run" else [])]
    command = nobody.as_nobody(*words) if user == "nobody" else [*WITHOUT_RIGHTS, *nobody.PROGRAM, *words]
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            linux.unshare(linux.CLONE_NEWUSER)
            os.write(ready[1], b"x")
            os.read(go[0], 1)
            Path("/proc/sys/user/max_user_namespaces").write_text("0")
            with (folder / "output").open("w") as output:
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
            os.chdir(folder)
            os.execvpe(command[0], command, nobody.environment())
        finally:
            os._exit(99)
    os.read(ready[0], 1)
    for kind in ("uid", "gid"):
        Path(f"/proc/{child}/{kind}_map").write_text("0 0 4294967295")
    os.write(go[1], b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4
    for end in (*ready, *go):
        os.close(end)
    output = (folder / "output").read_text()
    who = "not root" if user == "nobody" else "root without the right to make namespaces"
    assert f"{who}, and this machine refuses a user namespace (No space left on device)" in output
    assert ("docker run --privileged, or --cap-add SYS_ADMIN --cap-add NET_ADMIN" in output) == (user == "root")
    assert "allow user namespaces: sudo sysctl user.max_user_namespaces=10000" in output
    if verb == "doctor":
        assert "\nmissing   root " in output
        assert "\nmissing   trial network " in output
        assert "\nok        torch " in output
        assert "error: no run is possible here: missing root, namespaces and veth" in output


@pytest.mark.parametrize(
    ("name", "forbidding", "allowing"),
    [
        ("user/max_user_namespaces", "0", "96365"),
        ("kernel/unprivileged_userns_clone", "0", "1"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
    ],
)
def test_each_switch_is_read(tmp_path, name, forbidding, allowing):
    switch = tmp_path / name
    switch.parent.mkdir()
    switch.write_text(f"{forbidding}\n")
    ((found, remedy),) = rootless.forbidding_switches(tmp_path)
    assert found == name.replace("/", ".")
    assert f"sysctl {found}=" in remedy
    switch.write_text(f"{allowing}\n")
    assert rootless.forbidding_switches(tmp_path) == []


def test_root_goes_on_as_it_is(monkeypatch):
    if os.geteuid() != 0:
        pytest.skip("about root")
    pid = os.getpid()
    rootless.ensure_root()
    assert os.getpid() == pid
    assert not rootless.is_rootless()
    assert rootless.outer_uid() == 0
    assert ledger_root() == Path(os.environ[OTHER_ROOT], "0")
    monkeypatch.delenv(OTHER_ROOT)
    assert ledger_root() == Path("/run/dtoee-testbed")
    rootless.refuse_quota()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() == 0 and bool(rootless.refusal_for(USER)), reason="no user namespaces here")
def test_root_without_rights_goes_on_in_a_user_namespace(tmp_path):
    """As root of a container often is; without a user namespace, Mininet would wait forever for a node's shell."""
    (tmp_path / "small.yaml").write_text(small.SMALL.replace("warm_up: 2 s", "warm_up: 0 s"))
    command = [*WITHOUT_RIGHTS, *nobody.PROGRAM, "run", "small.yaml", "--duration", "2", "--out", "run", "--json"]
    done = subprocess.run(
        command, cwd=tmp_path, env=nobody.environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("note: root without the right to make namespaces: running in a user namespace")
    assert json.loads(done.stdout)["tasks"]["completed"] > 0
    code = (
        "from testbed.host import ledger, rootless; before = rootless.has_rights(); rootless.ensure_root(); "
        "print(before, rootless.has_rights(), rootless.is_rootless(), ledger.ledger_root()); rootless.refuse_quota()"
    )
    done = subprocess.run(
        [*WITHOUT_RIGHTS, sys.executable, "-c", code],
        env=nobody.environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["False", "True", "True", f"{os.environ[OTHER_ROOT]}/0"]
    assert "compute: quota needs root" in done.stderr


@pytest.mark.root
def test_root_of_a_user_namespace_only_is_told_apart():
    rootless.is_rootless()  # loads its codec while this process can still read Python's folder
    pid = os.fork()
    if pid == 0:
        os.setresgid(1234, 1234, 1234)
        os.setresuid(1234, 1234, 1234)
        linux.reopen_proc()
        try:
            rootless._unshare_and_map()
            good = rootless.is_rootless() and rootless.outer_uid() == 1234
            del os.environ[OTHER_ROOT]
            good = good and ledger_root() == Path("/tmp/dtoee-testbed-1234")
            rootless.refuse_quota()
        except EnvironmentLacking as error:
            os._exit(error.exit_code if good else 1)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 4
