"""Whole comparisons in virtual time: pairs of runs, files, and the continuation of an interrupted comparison."""

import csv
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from node_agent.errors import InputError, TestbedError
from testbed.cells.execution import Unobserved
from testbed.compare import as_json, compare
from testbed.record.run_directory import RecordingError, read_manifest
from tests.testbed.compare.topology import SMALL, write

ROOT = Path(__file__).parents[3]
POLICIES = ("computing-first", "dto-ee", "fixed-threshold:threshold=0.6")
FOLDERS = ("computing-first", "dto-ee", "fixed-threshold-threshold=0.6")


class Begun(Unobserved):
    """An observer that records the runs."""

    def __init__(self):
        self.cells, self.kept, self.ended_cells = [], None, []

    def planned(self, directory, runs, kept, jobs):  # noqa: ARG002 - the observer's signature
        self.kept = kept

    def begun(self, cell):
        self.cells.append((cell.spec.text, cell.seed))

    def ended(self, cell):
        self.ended_cells.append((cell.spec.text, cell.seed))


def small(folder, out="out", policies=POLICIES, **options):
    begun = Begun()
    values = {"repeats": 2, "simulate": True, "observer": begun, "out": folder / out}
    return compare(write(folder), policies, **values | options), begun


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A comparison that several tests read, and none changes."""
    folder = tmp_path_factory.mktemp("compare")
    comparison, begun = small(folder)
    return folder, comparison, begun


def test_every_policy_meets_the_same_workloads(done):
    _, comparison, begun = done
    assert comparison.seeds == (7, 8)
    traces = {}
    for row in comparison.rows:
        run = comparison.directory / row.run_directory
        manifest = read_manifest(run)
        assert manifest["exit_reason"] == "completed"
        assert manifest["seed"] == row.seed
        assert (run / "topology.yaml").read_text() == SMALL
        traces.setdefault(row.seed, set()).add((run / "trace.jsonl").read_bytes())
    assert {seed: len(found) for seed, found in traces.items()} == {7: 1, 8: 1}
    assert traces[7] != traces[8]
    assert sorted(begun.cells) == sorted((policy, seed) for policy in POLICIES for seed in (7, 8))
    assert sorted(begun.ended_cells) == sorted(begun.cells)


def test_rows_say_what_the_runs_say(done):
    _, comparison, _ = done
    assert [(row.policy, row.repeat) for row in comparison.rows] == [(p, r) for p in POLICIES for r in (0, 1)]
    for row in comparison.rows:
        summary = json.loads((comparison.directory / row.run_directory / "summary.json").read_text())
        assert row.delay_mean_s == summary["delay_s"]["mean"]
        assert row.delay_p95_s == summary["delay_s"]["p95"]
        assert (row.accuracy, row.utility_s) == (summary["accuracy"], summary["utility"])
        assert row.exit_share == tuple(summary["exit_share"].values())
        assert not row.overloaded
    first, *others = comparison.table
    for others_figures in others:
        theirs = [row for row in comparison.rows if row.policy == others_figures.policy]
        ours = [row for row in comparison.rows if row.policy == first.policy]
        gains = [mine.accuracy - their.accuracy for mine, their in zip(ours, theirs, strict=True)]
        assert others_figures.first_ahead_by.accuracy_gain.mean == pytest.approx(sum(gains) / 2)


def test_the_order_of_policies_rotates(done):
    _, _, begun = done
    assert [policy for policy, seed in begun.cells if seed == 7] == list(POLICIES)
    assert [policy for policy, seed in begun.cells if seed == 8] == [*POLICIES[1:], POLICIES[0]]


def test_the_files_hold_the_figures(done):
    _, comparison, _ = done
    directory = comparison.directory
    assert sorted(entry.name for entry in directory.iterdir()) == sorted(
        (*FOLDERS, "compare.json", "compare.csv", "compare-summary.csv", "compare.png", "topology.yaml")
    )
    assert json.loads((directory / "compare.json").read_text()) == json.loads(json.dumps(as_json(comparison)))
    with (directory / "compare.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["policy"], int(row["seed"])) for row in rows] == [(r.policy, r.seed) for r in comparison.rows]
    for written, row in zip(rows, comparison.rows, strict=True):
        assert float(written["delay_mean_s"]) == row.delay_mean_s
        assert float(written["exit_share_2"]) == row.exit_share[1]
        assert written["overloaded"] == "False"
    with (directory / "compare-summary.csv").open(newline="") as file:
        figures = list(csv.DictReader(file))
    for written, one in zip(figures, comparison.table, strict=True):
        assert written["policy"] == one.policy
        assert float(written["accuracy_low"]) == one.accuracy.low
    assert figures[0]["first_delay_reduction"] == ""
    assert figures[0]["first_goodput_gain"] == ""
    assert float(figures[1]["first_goodput_gain"]) == comparison.table[1].first_ahead_by.goodput_gain.mean
    assert float(figures[1]["first_delay_reduction"]) == comparison.table[1].first_ahead_by.delay_reduction.mean


def test_the_picture_is_one(done):
    from matplotlib.image import imread

    pixels = imread(done[1].directory / "compare.png")
    assert pixels.shape[:2] == (750, 1275)
    colours = {tuple(round(value * 255) for value in pixel[:3]) for row in pixels[::2, ::2] for pixel in row}
    assert {(0, 0x72, 0xB2), (0xD5, 0x5E, 0), (0, 0x9E, 0x73)} <= colours  # a point for each policy


def test_results_do_not_hang_on_how_many_run_at_a_time(done, tmp_path):
    comparison, _ = small(tmp_path, jobs=1)
    assert comparison.rows == done[1].rows
    assert comparison.table == done[1].table


def test_what_is_complete_is_kept_and_the_rest_done(tmp_path):
    first, _ = small(tmp_path)
    again, begun = small(tmp_path)
    assert (begun.kept, begun.cells) == (6, [])
    assert again == first

    missing = tmp_path / "out" / FOLDERS[2] / "seed-8"
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*/*/manifest.json")}
    for file in missing.iterdir():
        file.unlink()
    missing.rmdir()
    again, begun = small(tmp_path)
    assert (begun.kept, begun.cells) == (5, [(POLICIES[2], 8)])
    assert again == first
    for path, time_ns in times.items():
        assert (path.stat().st_mtime_ns == time_ns) == (missing not in path.parents)

    more, begun = small(tmp_path, policies=[*POLICIES, "uniform"], repeats=3)
    assert (begun.kept, len(begun.cells)) == (6, 6)
    assert more.rows[0] == first.rows[0]


@pytest.mark.parametrize("how", ["interrupted", "killed", "killed early", "no summary", "no tasks"])
def test_a_half_run_is_done_again(tmp_path, how):
    first, _ = small(tmp_path, policies=POLICIES[:1])
    half = tmp_path / "out" / FOLDERS[0] / "seed-7"
    manifest = json.loads((half / "manifest.json").read_text())
    if how == "interrupted":
        (half / "manifest.json").write_text(json.dumps(manifest | {"exit_reason": "interrupted"}))
    elif how == "killed":
        (half / "manifest.json").write_text(json.dumps(manifest | {"exit_reason": "running"}))
    elif how == "killed early":
        (half / "manifest.json").unlink()
    (half / ("tasks.jsonl" if how == "no tasks" else "summary.json")).unlink()
    again, begun = small(tmp_path, policies=POLICIES[:1])
    assert begun.cells == [(POLICIES[0], 7)]
    assert again == first


def test_what_is_not_ours_is_left_alone(tmp_path):
    small(tmp_path, policies=POLICIES[:1], repeats=1)
    run = tmp_path / "out" / FOLDERS[0] / "seed-7"

    def refused(said, **options):
        before = sorted(path for path in (tmp_path / "out").rglob("*"))
        with pytest.raises(InputError, match=said) as caught:
            small(tmp_path, policies=POLICIES[:1], **{"repeats": 1} | options)
        assert caught.value.hint
        assert sorted(path for path in (tmp_path / "out").rglob("*")) == before

    refused("another duration: 20.0 and not 10.0", duration_s=10.0)
    (tmp_path / "out" / FOLDERS[0] / "seed-8").mkdir()
    (tmp_path / "out" / FOLDERS[0] / "seed-8" / "notes.txt").touch()
    refused("holds files of another origin: notes.txt", repeats=2)
    with (run / "trace.jsonl").open("a") as file:
        file.write("\n")
    refused("trace.jsonl: changed since it was recorded")
    with (tmp_path / "out" / "topology.yaml").open("a") as file:
        file.write("# other\n")
    refused("holds a comparison on another topology")
    (tmp_path / "out" / "compare.json").unlink()
    refused("not empty and holds no comparison")


def test_a_network_trace_that_has_changed_is_named(tmp_path):
    text = SMALL.replace("rate: 20 Mbit/s, delay: 3 ms", "trace: {up: up.csv, down: down.csv}")
    assert text != SMALL
    rows = "time_s,rate_mbit_per_s,delay_ms\n0,20,10\n5,10,20\n"
    for name in ("up.csv", "down.csv"):
        (tmp_path / name).write_text(rows)
    options = {"repeats": 1, "simulate": True, "out": tmp_path / "out"}
    done = compare(write(tmp_path, text), POLICIES[:1], **options)
    assert compare(write(tmp_path, text), POLICIES[:1], **options).rows == done.rows
    for names, said in ((["down.csv"], "down.csv has changed"), (["up.csv"], "down.csv, up.csv have changed")):
        for name in names:
            (tmp_path / name).write_text(rows.replace("20\n", "30\n"))
        with pytest.raises(InputError, match=f"holds a run of other network traces: {said} since"):
            compare(write(tmp_path, text), POLICIES[:1], **options)


def test_a_topology_that_cannot_be_read_again_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe cannot be read twice") as caught:
        compare(tmp_path / "pipe", POLICIES[:1], repeats=1, simulate=True, out=tmp_path / "out")
    assert "save the topology" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_a_directory_is_used_by_one_comparison_at_a_time(tmp_path):
    (tmp_path / "out").mkdir()
    handle = os.open(tmp_path / "out", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        with pytest.raises(InputError, match="another command is writing to the directory"):
            small(tmp_path, repeats=1)
    finally:
        os.close(handle)


def test_a_live_comparison_does_not_go_on_with_simulated_runs(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("a live comparison asks for root first")
    small(tmp_path, policies=POLICIES[:1], repeats=1)
    with pytest.raises(InputError, match="another mode: simulated and not live"):
        small(tmp_path, policies=POLICIES[:1], repeats=1, simulate=False)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"policies": ["dto-ee", "no-such"]}, "there is no policy 'no-such'"),
        ({"policies": ["dto-ee:nonsense=1"]}, "has no parameter 'nonsense'"),
        ({"policies": []}, "no policy to compare"),
        ({"policies": ["dto-ee", "dto-ee"]}, "listed twice"),
        ({"repeats": 0}, "cannot be carried out"),
        ({"jobs": 0}, "none"),
        ({"duration_s": -1.0}, "duration must be above zero"),
        ({"seed": -1}, "seed must be between"),
        ({"seed": 2**63 - 1}, "no room for 2 repeats"),
    ],
)
def test_bad_input_is_told_before_anything_runs(tmp_path, options, said):
    with pytest.raises(InputError, match=said):
        small(tmp_path, **options)
    assert not (tmp_path / "out").exists()


def test_a_missing_topology(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        compare(tmp_path / "none.yaml", ["dto-ee"], repeats=1, simulate=True)


def test_a_user_s_own_policy(tmp_path, monkeypatch):
    """Every process finds the file from the current directory of the command; a changed file is another policy."""
    (tmp_path / "own.py").write_text("from node_agent.policies.uniform import Uniform\n\nclass Own(Uniform): ...\n")
    monkeypatch.chdir(tmp_path)
    found, _ = small(tmp_path, policies=["own.py:Own", "uniform"], repeats=1)
    mine, uniform = found.rows
    assert (mine.delay_mean_s, mine.accuracy) == (uniform.delay_mean_s, uniform.accuracy)
    (tmp_path / "own.py").write_text("from node_agent.policies.ngto import Ngto\n\nclass Own(Ngto): ...\n")
    with pytest.raises(InputError, match="another policy file"):
        small(tmp_path, policies=["own.py:Own", "uniform"], repeats=1)


def test_results_go_by_labels(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text("from node_agent.policies.uniform import Uniform\n\nclass Own(Uniform): ...\n")
    monkeypatch.chdir(tmp_path)
    texts = ["own.py:Own", "own.py:Own:label=Mine,threshold=0.5", "uniform"]
    found, _ = small(tmp_path, policies=texts, repeats=1)
    labels = ["Own", "Mine", "uniform"]
    assert list(found.policies) == [row.policy for row in found.rows] == [one.policy for one in found.table] == labels
    assert [row.run_directory for row in found.rows] == [f"{label}/seed-7" for label in labels]
    for name in ("compare.csv", "compare-summary.csv"):
        written = list(csv.DictReader((tmp_path / "out" / name).read_text().splitlines()))
        assert [row["policy"] for row in written] == labels
    content = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert (content["schema"], content["policies"], content["stated"]) == (1, labels, texts)
    assert [row["policy"] for row in content["rows"]] == [one["policy"] for one in content["table"]] == labels
    for label in labels:
        summary = json.loads((tmp_path / "out" / label / "seed-7" / "summary.json").read_text())
        assert summary["policy"] == label


def test_a_comparison_that_began_before_policies_had_labels_goes_on(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text("from node_agent.policies.uniform import Uniform\n\nclass Own(Uniform): ...\n")
    monkeypatch.chdir(tmp_path)
    small(tmp_path, policies=["own.py:Own"], repeats=1)
    (tmp_path / "out" / "Own").rename(tmp_path / "out" / "own-Own")  # its name at that time
    found, begun = small(tmp_path, policies=["own.py:Own"], repeats=2)
    assert (begun.kept, begun.cells) == (1, [("own.py:Own", 8)])
    assert [row.run_directory for row in found.rows] == ["own-Own/seed-7", "own-Own/seed-8"]


def test_a_run_that_fails_names_itself(tmp_path, capfd):
    path = write(tmp_path, SMALL.replace("delay: 5 ms", "delay: 5 ms, loss: 99.9 %, queue: 1"))
    with pytest.raises(TestbedError, match=r"dto-ee, seed 7: no answer over the simulated network"):
        compare(path, ["dto-ee"], repeats=1, simulate=True, out=tmp_path / "out")
    content = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert (content["complete"], content["rows"]) == (False, [])
    assert "Traceback" not in capfd.readouterr().err


FLOODED = SMALL.replace("duration: 20 s", "duration: 60 s").replace("4..6 /s", "9 /s").replace("0.3 G", "0.02 G")


def test_an_overloaded_policy_is_marked_and_kept_out(tmp_path):
    """`uniform` floods a server that gets half of the tasks and can serve a tenth; `computing-first` does not."""
    path = write(tmp_path, FLOODED)
    found = compare(path, ["computing-first", "uniform"], repeats=2, simulate=True, out=tmp_path / "out")
    fast, flooded = found.table
    assert (fast.overloaded, flooded.overloaded) == (False, True)
    assert flooded.overloaded_runs == 2
    assert flooded.delay_mean_s is flooded.first_ahead_by is None
    assert any("excluded from averages" in note and "uniform (2 of 2 runs)" in note for note in found.notes)
    assert all(row.outstanding_s > 3 for row in found.rows if row.policy == "uniform")
    with (tmp_path / "out" / "compare-summary.csv").open(newline="") as file:
        assert [row["delay_mean_s"] == "" for row in csv.DictReader(file)] == [False, True]


def test_bandwidth_first_floods_quickstart(tmp_path):
    found = compare(
        ROOT / "topologies" / "quickstart.yaml", ["dto-ee", "bandwidth-first"], repeats=2, simulate=True,
        out=tmp_path / "out",
    )  # fmt: skip
    assert [one.overloaded for one in found.table] == [False, True]
    assert [(one.policy, one.overloaded, len(one.events)) for one in found.recoveries] == [
        ("dto-ee", False, 2), ("bandwidth-first", True, 2),
    ]  # fmt: skip
    slowed, _ = found.recoveries[0].events
    assert (slowed.at_s, slowed.until_s) == (30.0, 45.0)
    assert slowed.peak_s > slowed.before_s
    content = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert content["recoveries"][0]["events"][0]["at_s"] == 30.0


def command(path, out):
    code = "from cli.main import main; main()"
    arguments = ["compare", str(path), "-p", ",".join(POLICIES), "-n", "40", "--simulate", "--jobs", "2"]
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments, "--out", str(out)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def wait_for(out, pattern, count):
    deadline_s = time.monotonic() + 60
    while len(list(out.glob(pattern))) < count:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def assert_gone(processes):
    _, alive = psutil.wait_procs(processes, timeout=15)
    assert not [process for process in alive if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def test_a_policy_that_raises_is_told_in_one_line(tmp_path, capfd):
    (tmp_path / "own.py").write_text(
        "from node_agent.policies.uniform import Uniform\n\nclass Own(Uniform):\n"
        "    def update_row(self, row, prospect):\n        raise ValueError('oh')\n"
    )
    with pytest.raises(TestbedError, match=r"^Own, seed 7: node [\w-]+: policy .*own\.py:Own: .*: oh$") as caught:
        small(tmp_path, policies=[f"{tmp_path / 'own.py'}:Own"], repeats=1)
    log = tmp_path / "out" / "Own" / "seed-7" / "agents.log"
    raised_by = f"it was raised by {tmp_path / 'own.py'}, line 5"
    assert caught.value.hint == f"{raised_by}; the last events of the node are in {log}"
    assert "The story of " in log.read_text()
    assert caught.value.exit_code == 1
    assert "Traceback" not in capfd.readouterr().err


def test_a_run_that_fails_by_a_fault_of_the_program_sends_the_cause(tmp_path, capfd):
    """A policy file that breaks the program, but only in the process of a simulation."""
    (tmp_path / "own.py").write_text(
        "import multiprocessing\n\nfrom node_agent.policies.uniform import Uniform\n"
        "from testbed.run.bookkeeping import Bookkeeping\n\nclass Own(Uniform): ...\n\n"
        "if multiprocessing.parent_process() is not None:\n    Bookkeeping.finished = lambda *_: 1 / 0\n"
    )
    with pytest.raises(TestbedError, match=r"^Own, seed 7: ZeroDivisionError: division by zero$"):
        small(tmp_path, policies=[f"{tmp_path / 'own.py'}:Own"], repeats=1)
    assert "Traceback" not in capfd.readouterr().err


def test_the_topology_is_written_once_and_again_where_it_is_missing(tmp_path):
    small(tmp_path, policies=POLICIES[:1], repeats=1)
    copy = tmp_path / "out" / "topology.yaml"
    before = copy.stat()
    small(tmp_path, policies=POLICIES[:1], repeats=1)
    assert (copy.stat().st_ino, copy.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    copy.unlink()
    small(tmp_path, policies=POLICIES[:1], repeats=1)
    assert copy.read_text() == SMALL


@pytest.mark.parametrize("name", ["compare.tmp", "topology.tmp"])
def test_a_full_disk_is_told(tmp_path, name):
    small(tmp_path, policies=POLICIES[:1], repeats=1)
    (tmp_path / "out" / "topology.yaml").unlink()
    (tmp_path / "out" / name).symlink_to("/dev/full")
    with pytest.raises(RecordingError, match="No space left"):
        small(tmp_path, policies=POLICIES[:1], repeats=1)
    assert not list((tmp_path / "out").glob("*.tmp"))


def test_sigterm_during_the_check_leaves_nothing(tmp_path):
    """The signal comes while many policies are being checked."""
    policies = ",".join(f"fixed-threshold:threshold=0.{number}" for number in range(1000, 2000))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    code = (
        "import testbed.cells.batch as c, sys; from cli.main import main\n"
        "plain = c.plan_run\n"
        "def planned(*a, **k):\n    print('checking', file=sys.stderr, flush=True)\n    return plain(*a, **k)\n"
        "c.plan_run = planned; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "compare", str(write(tmp_path)), "-p", policies, "-n", "1", "--simulate"],
        cwd=ROOT, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(scratch)},
    )  # fmt: skip
    assert process.stderr.readline() == "checking\n"
    process.terminate()
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("to_group", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_ctrl_c_keeps_what_is_complete_and_says_how_to_go_on(tmp_path, to_group):
    path, out = write(tmp_path), tmp_path / "out"
    process = command(path, out)
    wait_for(out, "*/*/summary.json", 4)
    children = psutil.Process(process.pid).children(recursive=True)
    if to_group:
        os.killpg(process.pid, signal.SIGINT)
    else:
        os.kill(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stdout == ""
    assert "Traceback" not in stderr, stderr
    assert "left at once" not in stderr
    assert "of 120 runs are complete" in stderr
    assert f"give the same command with --out {out}" in stderr
    assert_gone(children)
    content = json.loads((out / "compare.json").read_text())
    assert content["complete"] is False
    assert len(content["rows"]) >= 2
    again, begun = small(tmp_path)  # the first two of the 40 repeats
    assert begun.kept >= 2
    assert again.complete


def test_simulations_end_when_the_command_is_killed(tmp_path):
    path, out = write(tmp_path, SMALL.replace("duration: 20 s", "duration: 2000 s")), tmp_path / "out"
    process = command(path, out)
    wait_for(out, "*/*/manifest.json", 2)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.kill()
    process.communicate()
    assert_gone(children)


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.usefixtures("leaves_nothing")
def test_live(tmp_path):
    """Two policies on the emulated network; a second call adds a third."""
    live = {"simulate": False, "repeats": 1, "duration_s": 8.0}
    first, begun = small(tmp_path, policies=POLICIES[:2], **live)
    assert [policy for policy, _ in begun.cells] == list(POLICIES[:2])
    assert {row.lost for row in first.rows} == {0}
    assert first.mode == "live"
    again, begun = small(tmp_path, **live)
    assert (begun.kept, [policy for policy, _ in begun.cells]) == (2, [POLICIES[2]])
    assert again.rows[:2] == first.rows


def test_a_note_warns_of_different_refusals(tmp_path):
    bounded = SMALL.replace("rate: 4..6 /s", "rate: 4..6 /s, delay_bound: 120 ms")
    comparison = compare(
        write(tmp_path, bounded), ["uniform", "computing-first"], repeats=1, simulate=True, out=tmp_path / "out"
    )
    assert comparison.table[0].refused != comparison.table[1].refused
    assert [note for note in comparison.notes if note.startswith("policies refused different shares of the tasks: ")]
