"""The main job as a user runs it: quickstart for a minute, watched from inside while it runs."""

import json
import statistics
import subprocess
import sys
import time
from collections import defaultdict

import pytest

from testbed.topology import load_topology
from tests.testbed.live.test_experiment import ROOT, lines

pytestmark = [pytest.mark.timing, pytest.mark.root, pytest.mark.slow, pytest.mark.usefixtures("leaves_nothing")]
QUICKSTART = ROOT / "topologies" / "quickstart.yaml"
SECONDS = 60


def inside(manifest: dict, node: str, *command: str) -> str:
    """The output of a command in a node's namespace."""
    enter = ["nsenter", f"--net={manifest['nodes'][node]['namespace']}"]
    return subprocess.run([*enter, *command], capture_output=True, text=True, check=True, timeout=30).stdout


def ping_ms(manifest: dict, source: str, target: str) -> float:
    address = manifest["nodes"][target]["address"]
    output = inside(manifest, source, "ping", "-n", "-c", "40", "-i", "0.1", address)
    times = [line.split("time=")[1].split()[0] for line in output.splitlines() if "time=" in line]
    return statistics.median(map(float, times))


def tcp_mbit_per_s(manifest: dict, source: str, target: str) -> float:
    """Goodput of a TCP transfer of four seconds, by a small program at either end."""
    address = manifest["nodes"][target]["address"]
    receive = (
        "import socket, time\n"
        f"s = socket.create_server(({address!r}, 5999)); print('ready', flush=True)\n"
        "c, _ = s.accept(); c.settimeout(10); got = 0; begin = None; end = time.monotonic() + 4.5\n"
        "while (now := time.monotonic()) < end:\n"
        "    n = len(c.recv(1 << 20)); begin = begin or now + 0.5\n"
        "    got += n if now > begin else 0\n"
        "print(got * 8e-6 / (now - begin), flush=True)\n"
    )
    send = (
        f"import socket\nc = socket.create_connection(({address!r}, 5999)); block = bytes(1 << 16)\n"
        "try:\n    while True: c.sendall(block)\nexcept OSError: pass\n"
    )
    enter = {node: ["nsenter", f"--net={manifest['nodes'][node]['namespace']}", sys.executable, "-c"]
             for node in (source, target)}  # fmt: skip
    with subprocess.Popen([*enter[target], receive], stdout=subprocess.PIPE, text=True) as receiver:
        assert receiver.stdout.readline().strip() == "ready"
        with subprocess.Popen([*enter[source], send]) as sender:
            rate = float(receiver.stdout.readline())
            receiver.wait(10)
            sender.wait(10)
    return rate


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    """A run of the command, and measurements from inside while it ran."""
    directory = tmp_path_factory.mktemp("quickstart") / "run"
    command = [sys.executable, "-c", "from cli.main import main; main()", "run", str(QUICKSTART)]
    command += ["--duration", str(SECONDS), "--seed", "1", "--monitor", "off", "--out", str(directory)]
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (directory / "tasks.jsonl").exists() or not (directory / "tasks.jsonl").stat().st_size:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    measured = {"first_task_s": time.monotonic() - began}
    manifest = json.loads((directory / "manifest.json").read_text())
    measured["ping_ms"] = {pair: ping_ms(manifest, *pair) for pair in (("west-1", "near-1"), ("near-1", "mid-1"))}
    measured["tcp_mbit_per_s"] = {pair: tcp_mbit_per_s(manifest, *pair) for pair in (("east-2", "near-3"),)}
    output, errors = process.communicate(timeout=SECONDS + 60)
    assert process.returncode == 0, errors
    return directory, output, measured


def test_first_task_is_answered_soon(quickstart):
    _, _, measured = quickstart
    assert measured["first_task_s"] < 20


def test_every_offered_task_is_completed(quickstart):
    directory, output, _ = quickstart
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["tasks"]["lost"] == 0
    assert summary["tasks"]["completed"] == summary["tasks"]["offered"] >= 15 * SECONDS
    tasks = lines(directory / "tasks.jsonl")
    assert sorted(task["id"] for task in tasks) == list(range(summary["tasks"]["offered"]))
    for task in tasks:
        moments = [task["created_s"]]
        for hop in task["hops"]:
            moments += [hop["received_s"], hop["started_s"], hop["finished_s"], hop["sent_s"]]
        moments.append(task["completed_s"])
        assert moments == sorted(moments)
    assert "0 lost" in output


def test_slowed_server_loses_traffic_within_three_slots_and_wins_it_back(quickstart):
    directory, _, _ = quickstart
    weights, shares = defaultdict(float), defaultdict(float)
    for decision in lines(directory / "decisions.jsonl"):
        if "near-1" in decision["offload"]:
            weights[decision["slot"]] += decision["arrival_rate_per_s"]
            shares[decision["slot"]] += decision["arrival_rate_per_s"] * decision["offload"]["near-1"]
    share = {slot: shares[slot] / weights[slot] for slot in weights}
    slot_s = load_topology(QUICKSTART).resolve().slot_s
    slowed, recovered = int(SECONDS * 0.5 / slot_s), int(SECONDS * 0.75 / slot_s)
    assert share[slowed + 3] < 0.6 * share[slowed - 1]
    assert share[recovered + 3] > 1.5 * share[recovered - 1]


def test_links_keep_delay_and_rate_while_the_run_goes_on(quickstart):
    _, _, measured = quickstart
    shapes = {frozenset(link.ends): link.shape for link in load_topology(QUICKSTART).resolve(seed=1).links}
    for pair, found_ms in measured["ping_ms"].items():
        assert found_ms == pytest.approx(2e3 * shapes[frozenset(pair)].delay_s, abs=1.0)
    for pair, found in measured["tcp_mbit_per_s"].items():
        assert found == pytest.approx(shapes[frozenset(pair)].rate_mbit_per_s, rel=0.05)
