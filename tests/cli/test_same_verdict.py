"""`topology validate` refuses what `run` and `simulate` refuse, in the same words and with the same exit code."""

import json
import re
import shutil
from pathlib import Path

import pytest

from cli.main import main
from tests.testbed.small import SMALL

MODELS = Path(__file__).parents[2] / "node_agent" / "models"
LINK = "{from: cam, to: near-1, rate: 20 Mbit/s, delay: 10 ms}"
TRACED = "{from: cam, to: near-1, delay: 10 ms, trace: %s}"
BUNDLE = ("{name: glyphs, ", "{name: ./bundle, ")

BAD = {
    "not YAML": (("slot: 2 s", "slot: [2 s"), "not YAML"),
    "a tab": (("  cam:", "\tcam:"), "not YAML"),
    "form": (("slot: 2 s", "slto: 2 s"), "unknown key `slto`"),
    "a slot longer than the run": (("slot: 2 s", "slot: 9 s"), "a slot of 9 s is longer than the run (8 s)"),
    "a slot under a millisecond": (("slot: 2 s", "slot: 999 us"), "0.999 ms is too short: 1 ms is the least"),
    "a slot under a round": (("slot: 2 s", "slot: 39 ms"), "one round of messages there and back takes up to 0.04 s"),
    "a duration under a second": (("duration: 8 s\nwarm_up: 2 s", "duration: 999 ms"), "a run of 0.999 s is too short"),
    "the warm-up": (("warm_up: 2 s", "warm_up: 8 s"), "the warm-up (8 s) fills the whole duration"),
    "a threshold above 1": (("dto-ee", "dto-ee:threshold=1.01"), "the threshold 1.01 lies outside 0..1"),
    "a threshold far above 1": (("dto-ee", "dto-ee:threshold=7"), "must be a confidence from 0 to 1, or never"),
    "a threshold below 0": (("dto-ee", "ga:threshold=-0.1"), "threshold must be a confidence"),
    "an inherited threshold": (("dto-ee", "computing-first:threshold=2"), "the threshold 2 lies outside 0..1"),
    "a word for a threshold": (("dto-ee", "ngto:threshold=always"), "threshold must be a confidence"),
    "a policy that is none": (("dto-ee", "dtoee"), "there is no policy 'dtoee'"),
    "a policy's parameter": (("dto-ee", "dto-ee:treshold=0.5"), "has no parameter 'treshold'"),
    "a policy's value": (("dto-ee", "dto-ee:momentum=1"), "momentum must be a number from 0 and below 1, not 1"),
    "values that exclude each other": (("dto-ee", "dto-ee:update=gallager,momentum=0.5"), "momentum and first_step"),
    "a policy file that is missing": (("dto-ee", "none.py:Mine"), "there is no policy file"),
    "a policy file that fails": (("dto-ee", "broken.py:Mine"), "broken.py fails: ZeroDivisionError"),
    "a class that is none": (("dto-ee", "empty.py:Mine"), "has no class 'Mine'"),
    "a class that is no policy": (("dto-ee", "odd.py:Mine"), "is no policy: it lacks"),
    "a class that cannot be made": (("dto-ee", "fails.py:Mine"), "cannot be made: ValueError: no luck"),
    "a model that is none": (("glyphs", "glpyhs"), "unknown model 'glpyhs'"),
    "a cut": (("[3, 5]", "[1, 5]"), "block 1 of model 'glyphs' has no exit"),
    "a bundle without card": (BUNDLE, "card.json"),
    "a bundle without weights": (BUNDLE, "weights.safetensors"),
    "a bundle with spoilt weights": (BUNDLE, "weights.safetensors"),
    "a bundle without table": (BUNDLE, "exit_table.npz"),
    "a bundle without samples": (BUNDLE, "evaluation.npz"),
    "a file without a class": (("name: glyphs", "file: own.py"), "names no class"),
    "a file that is missing": (("name: glyphs", "file: none.py:Net"), "there is no model file"),
    "a model that is not trained": (("name: glyphs", "file: own.py:Net"), "is not trained yet"),
    "a file for a name": (("name: glyphs", "name: own.py:Net"), "state it as file: own.py:Net"),
    "a table that is missing": (("{name: glyphs, cut: [3, 5]}", "{table: none.npz}"), "none.npz"),
    "a table that is none": (("{name: glyphs, cut: [3, 5]}", "{table: broken.csv}"), "broken.csv"),
    "costs that are none": (("[3, 5]}", "[3, 5], cost: resnet}"), "unknown published costs 'resnet'"),
    "costs of too few tokens": (("[3, 5]}", "[3, 5], cost: {name: bert-base, tokens: 9}}"), "too few for the"),
    "a limit on the work of others": (("[3, 5]}", "[3, 5], cost: gpt2}\ncompute: quota"), "quota limits the CPU time"),
    "memory": (("capacity: 0.6 GFLOP/s", "capacity: 0.6 GFLOP/s, memory: 1 kB"), "its sub-model needs"),
    "a trace that is missing": ((LINK, TRACED % "none.mahi"), "none.mahi: cannot be read"),
    "a trace that is broken": ((LINK, TRACED % "broken.csv"), "broken.csv:1: there is no column time_s"),
    "offload to the wrong stage": (("links:", "offload: {cam: [core]}\nlinks:"), "'core' is not a server of stage 1"),
    "offload to whom no link leads": (("{from: [near-1, near-2]", "{from: [near-1]"), "'near-2' reaches no server"),
    "a network in pieces": (("[near-1, near-2], to: core", "[near-1], to: core"), "reaches no server of stage 2"),
    "an event after the end": (("links:", "events: [{at: 9 s, node: core, state: down}]\nlinks:"), "is not before"),
    "more tasks than there is room for": (("5 /s", "1000000 /s"), "tasks are too many"),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "own.py").write_text("raise AssertionError('a check of a topology runs no code of a model')\n")
    (tmp_path / "odd.py").write_text("class Mine:\n    pass\n")
    (tmp_path / "fails.py").write_text(
        "from node_agent.policies.base import PlainPolicy\n\n\nclass Mine(PlainPolicy):\n"
        "    def __init__(self, parameters, theta_s):\n        raise ValueError('no luck')\n"
    )
    (tmp_path / "broken.csv").write_text("rate_mbit_per_s\n1\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def spoil_bundle(folder, case):
    """A copy of the shipped model without the part that the case names."""
    shutil.copytree(MODELS / "glyphs", folder / "bundle")
    file = folder / "bundle" / BAD[case][1]
    if "spoilt" in case:
        file.write_bytes(file.read_bytes()[:100])
    else:
        file.unlink()


def said_by(capsys, *words):
    """Exit code of a command, and its complaint without the words that each command adds."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    text = capsys.readouterr().err.replace("    hint: ", "hint: ").removeprefix("error: ")
    return ended.value.code, text


@pytest.mark.root
@pytest.mark.parametrize("case", BAD)
def test_every_command_refuses_it_alike(case, folder, capsys):
    (old, new), expected = BAD[case]
    assert old in SMALL
    (folder / "t.yaml").write_text(SMALL.replace(old, new, 1))
    if "bundle" in case:
        spoil_bundle(folder, case)
    code, said = said_by(capsys, "topology", "validate", "t.yaml")
    assert code == 3
    assert expected in said
    for verb in ("run", "simulate"):
        assert said_by(capsys, verb, "t.yaml", "--out", "out", "--monitor", "off") == (code, said)
        assert not (folder / "out").exists()
    compared = said_by(capsys, "compare", "t.yaml", "-p", "uniform", "--simulate", "--out", "out")
    if not new.startswith(("dto", "ga", "comp", "ngto", "none.py", "broken.py", "empty", "odd", "fails")):
        assert compared == (code, said)
        assert not (folder / "out").exists()
    with pytest.raises(SystemExit):
        main(["topology", "validate", "--json", "t.yaml"])
    (report,) = json.loads(capsys.readouterr().out)["topologies"]
    assert not report["valid"]
    assert report["problems"]


def test_what_is_good_is_called_good_by_all(folder, capsys):
    (folder / "t.yaml").write_text(SMALL.replace("dto-ee", "fixed-threshold:threshold=never"))
    assert said_by(capsys, "topology", "validate", "t.yaml") == (0, "")
    assert said_by(capsys, "simulate", "t.yaml", "--monitor", "off", "--out", "out")[0] == 0
    summary = json.loads((folder / "out" / "summary.json").read_text())
    assert summary["exit_share"] == {"1": 0.0, "2": 1.0}
    assert summary["overloaded"] is False


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["compare", "t.yaml", "-p", "uniform", "--simulate", "--backend", "netem"], "--backend needs a live run"),
        (["compare", "t.yaml", "-p", "uniform", "--simulate", "--backend", "auto"], "--backend needs a live run"),
        (["compare", "t.yaml", "-p", "uniform", "--simulate", "--require-fidelity"], "--require-fidelity needs"),
        (["replay", "run", "--simulate", "--backend", "userspace"], "--backend needs a live run"),
        (["replay", "run", "--simulate", "--require-fidelity"], "--require-fidelity needs a live run"),
        (["simulate", "t.yaml", "--backend", "netem"], "No such option"),
    ],
)
def test_an_option_that_a_simulation_would_pass_over_is_a_usage_error(words, said, capsys):
    code, text = said_by(capsys, *words)
    assert code == 2
    assert said in text


OVERLOADED = SMALL.replace("rate: 5 /s", "rate: 400 /s").replace("duration: 8 s", "duration: 4 s")


def test_overload_is_predicted_and_found(folder, capsys):
    (folder / "t.yaml").write_text(OVERLOADED)
    code, said = said_by(capsys, "topology", "validate", "t.yaml")
    assert code == 0
    assert "warning: tasks will pile up: even if all of them leave at the first exit" in said
    with pytest.raises(SystemExit) as ended:
        main(["simulate", "t.yaml", "--monitor", "off", "--policy", "uniform", "--out", "out"])
    assert ended.value.code == 0
    assert "Overload   tasks piled up: " in capsys.readouterr().out
    summary = json.loads((folder / "out" / "summary.json").read_text())
    assert summary["overloaded"] is True
    assert summary["outstanding_s"] > 1


def test_overload_at_the_policys_threshold_or_for_a_time_is_predicted_as_such(folder, capsys):
    # The work of all tasks is 0.41 GFLOP/s at a threshold of 1, and 0.32 at the first exit; capacity is 0.8 + 0.1.
    slow = SMALL.replace("0.6 GFLOP/s", "0.05 GFLOP/s")
    (folder / "t.yaml").write_text(slow.replace("dto-ee", "fixed-threshold:threshold=never"))
    said = said_by(capsys, "topology", "validate", "t.yaml")[1]
    assert "warning: tasks will pile up at a threshold of never" in said
    (folder / "t.yaml").write_text(slow.replace("dto-ee", "first-exit"))
    assert said_by(capsys, "topology", "validate", "t.yaml") == (0, "")
    (folder / "t.yaml").write_text(SMALL + "events: [{at: 50 %, device: cam, rate: x80}]\n")
    assert "warning: from 4 to 8 s: tasks will pile up" in said_by(capsys, "topology", "validate", "t.yaml")[1]
    down = "events: [{at: 50 %, node: core, state: down}]\n"
    (folder / "t.yaml").write_text(SMALL + down)
    said = said_by(capsys, "topology", "validate", "t.yaml")[1]
    assert "warning: from 4 to 8 s: 'cam-1' reaches no living chain" in said
    # A link that follows a trace is checked slot by slot; adjoining slots with the same sentence are joined.
    (folder / "steady.csv").write_text("time_s,rate_mbit_per_s\n0,8\n1,8.1\n2,8\n")
    traced = re.sub(r"(from: cam[^}]*?)rate: [^,]*", r"\1trace: steady.csv", SMALL)
    surge = "events: [{at: 50 %, device: cam, rate: x80}]\n"
    (folder / "t.yaml").write_text(traced.replace("slot: 2 s", "slot: 1 s") + surge)
    said = said_by(capsys, "topology", "validate", "t.yaml")[1]
    assert said.count("tasks will pile up") == 1
    assert "warning: from 4 to 8 s: tasks will pile up" in said


def test_a_comparison_of_one_policy_says_so(folder, capsys):
    (folder / "t.yaml").write_text(SMALL)
    with pytest.raises(SystemExit) as ended:
        main(["compare", "t.yaml", "-p", "uniform", "-n", "1", "--simulate", "--out", "out"])
    assert ended.value.code == 0
    assert "note: one policy only: nothing to compare it with" in capsys.readouterr().out
