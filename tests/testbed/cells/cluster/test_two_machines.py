"""Workers in network namespaces with addresses of their own: two machines as far as the network can see."""

import json
import os
import subprocess
import time

import pytest

from testbed.record.run_directory import read_manifest
from tests.testbed.cells.cluster.machines import ROOT, command, compare, inside, machines, networks
from tests.testbed.compare.topology import SMALL, write

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("leaves_nothing")]
MOST_OF_THE_TIME = 0.6
CELLS = ("-p", "dto-ee,computing-first,ngto,uniform", "-n", "6")  # 24


@pytest.fixture
def joined(tmp_path, keys):
    """The namespaces of a client and two workers, and a scheduler beside the client."""
    with networks(3) as names, machines(tmp_path / "machines", keys, "10.77.1.1", inside(names[0])) as found:
        yield names, found


@pytest.mark.slow
@pytest.mark.timing
@pytest.mark.timeout(600)
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two machines need two processors")
def test_two_workers_take_at_most_three_fifths_of_the_time_of_one(tmp_path, keys):
    """Each machine has one processor; client, scheduler and the first worker share one machine."""
    first, second = sorted(os.sched_getaffinity(0))[:2]
    path = write(tmp_path, SMALL.replace("duration: 20 s", "duration: 600 s"))
    with networks(3) as names:
        here, one, two = (
            [*inside(name), "taskset", "-c", str(processor)]
            for name, processor in zip(names, (first, first, second), strict=True)
        )
        with machines(tmp_path / "machines", keys, "10.77.1.1", here) as found:
            took: list[tuple[float, float]] = []  # of the runs and of the command [s]
            for number, prefix in enumerate((one, two), start=1):
                found.start_worker(prefix=prefix)
                words = command(
                    "compare", path, *CELLS, "--simulate", "--out", tmp_path / f"out-{number}",
                    "--scheduler", found.url, "--keys", found.keys, prefix=here,
                )  # fmt: skip
                took.append(timed(words))
    (one_s, all_one_s), (two_s, all_two_s) = took
    print(f"the 24 runs: one worker {one_s:.1f} s, two workers {two_s:.1f} s, ratio {two_s / one_s:.3f}")
    print(f"the whole commands: {all_one_s:.1f} s, {all_two_s:.1f} s, ratio {all_two_s / all_one_s:.3f}")
    tables = [(tmp_path / f"out-{number}" / "compare.csv").read_text() for number in (1, 2)]
    assert tables[0] == tables[1]
    assert tables[0].count("\n") == 25
    assert all_two_s <= MOST_OF_THE_TIME * all_one_s


def timed(words):
    """The time of a comparison's runs, and of the whole command [s]."""
    began_s = time.monotonic()
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    lines = [(time.monotonic(), line) for line in process.stderr]
    assert process.wait() == 0, lines
    runs_began_s = next(at_s for at_s, line in lines if line.startswith("begins: "))
    return next(
        at_s for at_s, line in lines if line.startswith("24 of 24: ")
    ) - runs_began_s, time.monotonic() - began_s


def test_inputs_travel_to_machines_without_these_files(tmp_path, joined):
    """An empty file system hides the folder of the inputs from the workers."""
    names, found = joined
    inputs = tmp_path / "inputs"
    (inputs / "traces").mkdir(parents=True)
    (inputs / "policies").mkdir()
    rows = "time_s,rate_mbit_per_s,delay_ms\n0,20,10\n5,10,20\n"
    (inputs / "traces" / "up.csv").write_text(rows)
    (inputs / "own.py").write_text("from node_agent.policies.uniform import Uniform\n\nclass Own(Uniform): ...\n")
    (inputs / "policies" / "other.py").write_text((inputs / "own.py").read_text())
    text = SMALL.replace("rate: 20 Mbit/s, delay: 3 ms", "trace: {up: traces/up.csv, down: traces/up.csv}")
    assert text != SMALL
    write(inputs, text.replace("policy: dto-ee", "policy: {name: 'own.py:Own'}"))
    hidden = [*inside(names[1]), "sh", "-c", f'mount -t tmpfs none "{inputs}" && exec "$@"', "worker"]
    found.start_worker(prefix=hidden)
    texts = ["policies/other.py:Own", str(inputs / "own.py:Own"), "uniform"]
    arguments = ("small.yaml", "-p", ",".join(texts), "-n", "1", "--out")
    done = compare(
        *arguments, tmp_path / "there", "--scheduler", found.url, "--keys", found.keys, prefix=inside(names[0]),
        cwd=inputs,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    here = compare(*arguments, tmp_path / "here", cwd=inputs)
    assert here.returncode == 0, here.stderr
    assert (tmp_path / "there" / "compare.csv").read_text() == (tmp_path / "here" / "compare.csv").read_text()


def test_a_file_at_an_absolute_path_must_be_on_every_machine(tmp_path, joined):
    names, found = joined
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    (inputs / "up.csv").write_text("time_s,rate_mbit_per_s,delay_ms\n0,20,10\n5,10,20\n")
    trace = f"trace: {{up: {inputs}/up.csv, down: {inputs}/up.csv}}"
    path = write(tmp_path, SMALL.replace("rate: 20 Mbit/s, delay: 3 ms", trace))
    found.start_worker(prefix=[*inside(names[1]), "sh", "-c", f'mount -t tmpfs none "{inputs}" && exec "$@"', "worker"])
    done = compare(
        path, "-p", "uniform", "-n", "1", "--out", tmp_path / "out", "--scheduler", found.url, "--keys", found.keys,
        prefix=inside(names[0]),
    )  # fmt: skip
    assert done.returncode == 3
    error, hint = done.stderr.splitlines()[-2:]
    assert error.startswith("error: worker tls://10.77.1.2:")
    assert f"{inputs}/up.csv" in error
    assert "/inputs-" not in error
    assert "state it relative to the topology" in hint


@pytest.mark.slow
def test_live_runs_get_a_machine_each(tmp_path, joined):
    names, found = joined
    for name in names[1:]:
        found.start_worker("--resources", "live=1", prefix=inside(name))
    out = tmp_path / "out"
    words = command(
        "compare", write(tmp_path), "-p", "dto-ee,uniform", "-n", "1", "--duration", "8 s", "--out", out,
        "--scheduler", found.url, "--keys", found.keys, prefix=inside(names[0]),
    )  # fmt: skip
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    manifests = [read_manifest(out / policy / "seed-7") for policy in ("dto-ee", "uniform")]
    assert {manifest["exit_reason"] for manifest in manifests} == {"completed"}
    assert "simulated" not in {manifest["backends"]["network"] for manifest in manifests}
    began, ended = ([manifest[when] for manifest in manifests] for when in ("started", "ended"))
    assert max(began) < min(ended)  # side by side
    assert {row["mode"] for row in [json.loads((out / "compare.json").read_text())]} == {"live"}
