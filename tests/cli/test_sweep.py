"""`sweep` as a user runs it: its output, and its exit codes."""

import json
import subprocess
import sys
from functools import partial

import pytest

from tests.cli import commands
from tests.cli.commands import CODE, ROOT
from tests.testbed.compare.topology import write
from tests.testbed.sweep.test_sweeping import MOODY

run = partial(commands.run, "sweep")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The result of the command, with a complete directory."""
    folder = tmp_path_factory.mktemp("sweep")
    command = (
        write(folder), "--set", "load=x0.5,x1", "--set", "model.cut=[2, 5],[3, 5]", "-p", "dto-ee,uniform", "-n", "1",
        "--duration", "8", "--simulate", "--out", folder / "out",
    )  # fmt: skip
    return command, run(*command)


def test_data_on_stdout_and_progress_on_stderr(done):
    command, result = done
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].split()[:6] == ["load", "model.cut", "policy", "mean", "delay", "ms"]
    assert lines[1].startswith("x0.5  [2, 5]     dto-ee ")
    assert lines[8].startswith("x1    [3, 5]     uniform")
    assert "note: one repeat only: no intervals" in lines
    assert lines[-2] == f"files: {command[-1]}"
    assert lines[-1] == "pictures: sweep-load-mean.png, sweep-load-accuracy.png (and .svg)"
    progress = result.stderr.splitlines()
    assert progress[0].startswith(f"8 runs in {command[-1]}")
    assert progress[-1].startswith("8 of 8: ")


def test_json_is_the_file(done):
    command, _ = done
    result = run(*command, "--json", "--plot", "model.cut:p95")
    assert result.returncode == 0
    content = json.loads(result.stdout)
    assert content == json.loads((command[-1] / "sweep.json").read_text())
    assert content["pictures"] == ["sweep-model.cut-p95.png", "sweep-model.cut-p95.svg"]
    assert "8 of them complete already" in result.stderr


def test_ctrl_c_ends_it_with_how_to_go_on_and_the_same_command_goes_on(tmp_path):
    out = tmp_path / "out"
    command = (write(tmp_path), "--set", "theta=1 s,2 s", "-n", "300", "--simulate", "--jobs", "1")
    said = commands.interrupt("sweep", *command, at="2 of 600: ", out=out)
    assert said.endswith(" of 600 runs are complete")
    content = json.loads((out / "sweep.json").read_text())
    kept = len(content["rows"])
    assert (content["complete"], kept >= 2) == (False, True)
    fewer = [*command[:3], "-n", "2", *command[5:]]
    result = run(*fewer, "--out", out)
    assert result.returncode == 0
    assert f"4 runs in {out}, {min(kept, 4)} of them complete already" in result.stderr


def test_a_failed_run_is_reported_and_the_exit_code_is_1(tmp_path):
    (tmp_path / "moody.py").write_text(MOODY)
    command = (
        write(tmp_path), "--set", "theta=1 s,3 s", "-p", f"uniform,{tmp_path}/moody.py:Moody", "-n", "1", "--duration",
        "8", "--simulate", "--out", tmp_path / "out",
    )  # fmt: skip
    result = run(*command)
    assert result.returncode == 1
    assert "Moody †" in result.stdout
    said = result.stderr.splitlines()
    assert "failed: theta=3 s, Moody, seed 7" in said
    assert said[-2] == "error: 1 run failed"
    assert said[-1] == f"hint: to try again, give the same command with --out {tmp_path / 'out'}"
    assert said[-3].startswith("failed: theta=3s/Moody/seed-7: ")
    assert "in a bad mood" in said[-3]
    (tmp_path / "calm").touch()
    again = run(*command)
    assert (again.returncode, "†" in again.stdout) == (0, False)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--simulate"], 2, "Missing option '--set'"),
        (["--set", "theta", "--simulate"], 2, "'theta' is no KEY=VALUE"),
        (["--set", "theta=1s,", "--simulate"], 2, "a value is empty"),
        (["--set", "seed=1,2", "--simulate"], 2, "seed cannot be swept (the repeats have seeds of their own"),
        (["--set", "theta=1s", "--plot", "mian", "--simulate"], 2, "there is no figure 'mian' (did you mean mean?)"),
        (["--set", "theta=1s", "--jobs", "2"], 2, "--jobs needs --simulate"),
        (["--set", "theta=1s", "--sample", "1", "--simulate"], 2, "1 is not in the range"),
        (["--set", "theta=soon", "--simulate"], 3, "error: --set theta=soon: `theta`: 'soon' is not a time"),
        (["--set", "thet=1s", "--simulate"], 3, "hint: did you mean theta?"),
        (["--set", "theta=1s", "--theta", "2", "--simulate"], 3, "theta is swept and has a value for all points"),
        (["--set", "load=x1..x2", "--simulate"], 3, "hint: add a number for a grid, as in x0.5..x1.5:5"),
        (["--set", "theta=1s", "-p", "no-such", "--simulate"], 3, "error: there is no policy 'no-such'"),
    ],
)
def test_bad_input_ends_with_one_clear_line(tmp_path, arguments, code, said):
    result = run(write(tmp_path), *arguments, "--out", tmp_path / "out")
    assert result.returncode == code
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "out").exists()


def test_a_load_does_not_go_with_a_trace(tmp_path):
    (tmp_path / "trace.jsonl").write_text('{"time_s": 1.0, "device": "cam-1", "sample": 1}\n')
    for load in (["--load", "x2"], ["--set", "load=x2"]):
        result = subprocess.run(
            [sys.executable, "-c", CODE, "simulate", str(write(tmp_path)), "--trace", str(tmp_path / "trace.jsonl"),
             *load, "--out", str(tmp_path / "out")],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert result.returncode == 2
        assert "--load multiplies the topology's rates" in result.stderr
