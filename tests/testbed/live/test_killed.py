"""Runs that are killed at various moments, and `clean` after them."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from testbed.host.cpu_quota import hierarchies
from testbed.host.ledger import LEDGER_NAME, ledger_root
from testbed.network.layout import NetworkPlan
from testbed.topology import load_topology
from tests.testbed import small
from tests.testbed.live.brood import Belongings, adopting_orphans, await_none, descendants, users_of

pytestmark = [pytest.mark.timing, pytest.mark.root]
ROOT = Path(__file__).parents[3]
AT_ONCE = 4
PATIENCE_S = 60.0


@dataclass
class Doomed:
    """A run that is going to be killed."""

    path: Path
    quota: bool
    phase: str  # start, run, end: seconds after its beginning; ledger: number of its lines
    value: float
    signals: tuple[signal.Signals, ...] = (signal.SIGKILL,)
    process: "subprocess.Popen[str] | None" = None
    run_id: str = ""
    belongings: Belongings = field(default_factory=Belongings)

    def __str__(self) -> str:
        return f"{self.path.name}: {self.phase} {self.value:.3f}, {'quota' if self.quota else 'paced'}"

    def carry_out(self) -> None:
        """Start it, wait for its moment, note what it has, and kill it."""
        topology = self.path / "topology.yaml"
        topology.write_text(small.SMALL + ("compute: quota\n" if self.quota else ""))
        (self.path / "tmp").mkdir()
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from cli.main import main; main()", "run", str(topology), "--monitor", "plain",
             "--out", str(self.path / "run")],
            cwd=ROOT, stdout=subprocess.DEVNULL, stderr=(self.path / "stderr").open("w"), start_new_session=True,
            text=True, env={**os.environ, "TMPDIR": str(self.path / "tmp")},
        )  # fmt: skip
        self._await_moment()
        self.belongings.look(self.process.pid)
        self.ledger_lines()
        for number in self.signals:
            self.process.send_signal(number)
            time.sleep(0.05 if number is not self.signals[-1] else 0)
        self.process.wait(PATIENCE_S)

    def _await_moment(self) -> None:
        if self.phase == "ledger":
            self._await(lambda: len(self.ledger_lines()) >= self.value)
            return
        if self.phase != "start":
            tasks = self.path / "run" / "tasks.jsonl"
            self._await(lambda: tasks.exists() and tasks.stat().st_size)
        if self.phase == "end":
            self.belongings.look(self.process.pid)
            self.process.send_signal(signal.SIGINT)
        time.sleep(self.value)

    def _await(self, condition) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process.poll() is None, (self.path / "stderr").read_text()
            assert time.monotonic() < deadline, f"{self}: its moment did not come"
            time.sleep(0.002)

    def ledger_lines(self) -> list[dict]:
        """The belongings that it has named by now."""
        for directory in ledger_root().iterdir() if not self.run_id else [ledger_root() / self.run_id]:
            try:
                text = (directory / LEDGER_NAME).read_text()
            except OSError:
                continue
            lines = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
            if lines and lines[0].get("owner") == self.process.pid:
                self.run_id = directory.name
                return lines
        return []


def moments(tmp_path: Path, seed: int) -> list[Doomed]:
    """Ten over set-up, run and tear-down, every other one with control groups; and two Ctrl-C.

    Others each time: what the few of one test miss, the many of all find.
    """
    draw = random.Random(seed)
    spread = [("start", draw.uniform(0.05, 1.2))]
    spread += [("ledger", draw.randint(low, low + 2)) for low in (1, 3, 6, 9, 12)]
    spread += [("run", draw.uniform(low, low + 0.75)) for low in (0, 0.75)]
    spread += [("end", draw.uniform(low, low + 0.3)) for low in (0, 0.3)]
    doomed, first_quota = [], draw.randint(0, 1)
    for number, (phase, value) in enumerate(spread):
        path = tmp_path / f"{number}"
        path.mkdir()
        doomed.append(Doomed(path, number % 2 == first_quota and hierarchies() is not None, phase, value))
    path = tmp_path / "ctrl-c-ctrl-c"
    path.mkdir()
    doomed.append(Doomed(path, False, "run", 0.1, (signal.SIGINT, signal.SIGINT)))
    return doomed


def clean() -> dict:
    done = subprocess.run(
        [sys.executable, "-c", "from cli.main import main; main()", "clean", "--json"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def firewall_rules() -> str:
    commands = (["iptables-save"], ["nft", "-s", "list", "ruleset"])
    return "".join(
        rules_alone(subprocess.run(each, capture_output=True, text=True, check=False).stdout)
        for each in commands
        if shutil.which(each[0])
    )


def rules_alone(listing: str) -> str:
    """Return the output of `iptables-save` without times and counters, which differ from call to call."""
    lines = [re.sub(r"\[\d+:\d+\]", "", line) for line in listing.splitlines() if not line.startswith("#")]
    return "".join(f"{line}\n" for line in lines)


def test_the_firewall_counts_without_being_changed():
    listing = (
        "# Generated by iptables-save v1.8.9 (nf_tables) on {at}\n*filter\n:INPUT DROP [{n}:{bytes}]\n"
        "[{n}:{bytes}] -A INPUT -i lo -j {verdict}\nCOMMIT\n# Completed on {at}\n"
    )
    first, later, changed = (
        rules_alone(listing.format(at=f"Mon Nov 23 19:16:{n}", n=n, bytes=60 * n, verdict=verdict))
        for n, verdict in ((10, "ACCEPT"), (11, "ACCEPT"), (11, "DROP"))
    )
    assert first == later != changed


@pytest.mark.slow
def test_nothing_is_left_of_runs_killed_at_any_moment(tmp_path):
    seed = random.randrange(1 << 32)
    with ExitStack() as held:
        doomed = moments(tmp_path, seed)
        for each in doomed:
            held.enter_context(each.belongings)
        kill_and_look(doomed, seed)


def kill_and_look(doomed: list[Doomed], seed: int) -> None:
    print(f"seed {seed}:", *doomed, sep="\n  ")  # shown if the test fails
    interfaces, rules = set(os.listdir("/sys/class/net")), firewall_rules()
    with adopting_orphans():
        before = {process.pid for process in descendants()}
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(Doomed.carry_out, doomed))
        answer = clean()
        left = await_none(lambda: [process for process in descendants() if process.pid not in before])
        assert not left, [process.cmdline() for process in left]
    for each in doomed:
        assert_nothing_left(each, answer)
    plan = NetworkPlan(load_topology(doomed[0].path / "topology.yaml").resolve())
    ours = {name for link in plan.links for port in link.ports for name in (port.interface, port.middle)}
    assert not (set(os.listdir("/sys/class/net")) - interfaces) & ours
    assert firewall_rules() == rules
    again = clean()
    ids = {each.run_id for each in doomed}
    assert not ids & ({item["run_id"] for item in again["removed"]} | set(again["live_runs"]))


def assert_nothing_left(doomed: Doomed, answer: dict) -> None:
    run = doomed.path / "run"
    assert doomed.process.returncode in {-signal.SIGKILL, 130}, f"{doomed}: {(doomed.path / 'stderr').read_text()}"
    assert not await_none(lambda: users_of(doomed.belongings.namespaces)), doomed
    kept = {doomed.path, ROOT}
    assert not [path for path in doomed.belongings.files if path.exists() and not kept & set(path.parents)], doomed
    assert not list((doomed.path / "tmp").iterdir()), doomed
    assert not [path for path in run.glob("*") if path.suffix == ".tmp"], doomed
    if doomed.run_id:
        assert not (ledger_root() / doomed.run_id).exists(), doomed
        assert not list(Path("/sys/fs/cgroup").rglob(f"*{doomed.run_id}*")), doomed
    if doomed.phase not in {"start", "ledger"}:
        assert len(doomed.belongings.namespaces) == 6, doomed  # of five nodes and the middle
    if not (run / "manifest.json").exists():
        assert doomed.phase in {"start", "ledger"}, doomed
        return
    reason = json.loads((run / "manifest.json").read_text())["exit_reason"]
    ended_first = doomed.phase == "end" or len(doomed.signals) > 1  # which a clean end may do in time
    assert reason in ({"killed", "interrupted"} if ended_first else {"killed"}), doomed
    assert (str(run) in answer["closed"]) == (reason == "killed"), doomed
