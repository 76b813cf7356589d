"""`optimum` as a user runs it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cli.optimum import optimum_lines, run_beside
from cli.run import finish
from node_agent.models import load_bundle
from testbed.optimum.bound import bound_for
from testbed.run.observer import SilentObserver
from testbed.run.plan import Outcome
from testbed.run.planning import plan_run
from testbed.simulation.simulator import Simulation
from testbed.topology import load_topology
from tests.cli.called import exit_code_of

QUICKSTART = str(Path(__file__).parents[2] / "topologies" / "quickstart.yaml")


@pytest.fixture(scope="module")
def run_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = plan_run(Path(QUICKSTART), policy="computing-first", out=tmp_path_factory.mktemp("runs") / "cf")
    return Simulation(plan, SilentObserver()).run().run_directory


def test_a_topology(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of("optimum", QUICKSTART) == 0
    said = capsys.readouterr()
    assert said.err == ""
    for word in ("quickstart: theta 3 s, thresholds searched for", "30-45 s", "plan for 0-30 s", "core-2", "west-3"):
        assert word in said.out
    assert said.out.splitlines()[-2].startswith("Optimum    mean delay ")
    assert "\x1b" not in said.out


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of("optimum", QUICKSTART, "--thresholds", "0.8,0.7", "--duration", "40 s", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["topology"], found["searched"]) == (1, "quickstart", False)
    assert [segment["end_s"] for segment in found["segments"]] == [20, 30, 40]
    assert found["segments"][0]["stage_thresholds"] == [0.8, 0.7]
    assert found["overall"]["lower_bound_s"] <= found["overall"]["mean_delay_s"]
    assert sum(found["segments"][0]["plan"]["mid-1"].values()) == pytest.approx(1)
    assert "run" not in found


def test_never_stands_for_no_exit(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of("optimum", QUICKSTART, "--thresholds", "never,0.7", "--duration", "40 s", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["segments"][0]["exit_share"][0] == 0
    assert found["segments"][0]["exit_share"][1] > 0
    for number in ("1.01", "2", "0_8", "nan"):
        assert exit_code_of("optimum", QUICKSTART, "--thresholds", number) in {2, 3}


def test_a_run_beside_its_bound(run_directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of("optimum", str(run_directory)) == 0
    said = capsys.readouterr().out
    assert "run: computing-first" in said
    assert "played" in said
    assert "below that, delay 1." in said
    assert "times the least" in said
    assert exit_code_of("optimum", str(run_directory), "--json") == 0
    beside = json.loads(capsys.readouterr().out)["run"]
    assert beside["policy"] == "computing-first"
    assert beside["delay_over_least"] == pytest.approx(beside["mean_delay_s"] / beside["least_delay_s"])
    assert beside["delay_over_least"] > 1
    assert beside["delay_over_played"] > 1
    assert beside["utility_below_played_s"] > 0
    assert beside["utility_below_bound_s"] > 0


def test_a_run_without_tasks_has_nothing_to_compare() -> None:
    scenario = load_topology(QUICKSTART).resolve()
    optimum = bound_for(scenario, load_bundle("glyphs"), thresholds=[0.8])
    summary = {"policy": "uniform", "delay_s": {"mean": None}, "accuracy": None, "utility": None}
    assert set(run_beside(optimum, summary).values()) == {"uniform", None}
    assert len(list(optimum_lines(optimum, summary))) == 2


def test_where_no_task_is_offered_no_plan_is_blamed() -> None:
    """As in a run whose devices refused every task."""
    optimum = bound_for(load_topology(QUICKSTART).resolve(), load_bundle("glyphs"), arrivals=[], thresholds=[0.8])
    summary = {"policy": "uniform", "delay_s": {"mean": None}, "accuracy": None, "utility": None}
    lines = list(optimum_lines(optimum, {**summary, "tasks": {"refused": 3}}))
    assert lines[:2] == [("Optimum", "none: no task is offered"), ("", "without the 3 tasks that this run refused")]


@pytest.mark.parametrize("refused", [0, 3])
def test_a_run_that_refused_tasks_is_not_compared_with_the_model(refused: int) -> None:
    optimum = bound_for(load_topology(QUICKSTART).resolve(), load_bundle("glyphs"), thresholds=[0.8])
    tasks = {"refused": refused}
    summary = {"policy": "uniform", "delay_s": {"mean": 0.3}, "accuracy": 0.8, "utility": 2.1, "tasks": tasks}
    text = " ".join(line for _, line in optimum_lines(optimum, summary))
    assert ("times the least of any plan as accurate" in text) == (refused == 0)
    assert ("refusals evened out the arrivals" in text) == (refused > 0)
    beside = run_beside(optimum, summary)
    for name in ("least_delay_s", "delay_over_least", "utility_below_bound_s"):
        assert (beside[name] is None) == (refused > 0)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((QUICKSTART, "--thresholds", "high"), 2, "neither search nor numbers"),
        ((QUICKSTART, "--thresholds", "0.5,0.6,0.7"), 3, "3 thresholds for 2 early stages"),
        ((QUICKSTART, "--thresholds", "3"), 3, "outside 0..1"),
        (("no-such.yaml",), 3, "no-such.yaml"),
        ((str(Path(__file__).parent),), 3, "manifest.json: cannot be read"),
        ((str(Path(__file__).parent), "--seed", "1"), 2, "belong to topologies"),
    ],
)
def test_bad_input(arguments: tuple[str, ...], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of("optimum", *arguments) == code
    assert said in " ".join(capsys.readouterr().err.split())


def test_json_holds_no_infinity(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = Path(QUICKSTART).read_text().replace("rate: 3 /s", "rate: 0.1 /s")
    (tmp_path / "idle.yaml").write_text(text)
    assert exit_code_of("optimum", str(tmp_path / "idle.yaml"), "--json") == 0
    found = json.loads(capsys.readouterr().out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert found["segments"]
    assert all(segment["solver_gap_s"] >= 0 and segment["figures"]["gap_s"] >= 0 for segment in found["segments"])


SIMULATE = ("simulate", QUICKSTART, "--duration", "20 s", "--monitor", "off")


def test_the_bound_beside_a_simulation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(*SIMULATE, "--out", str(tmp_path / "run"), "--optimum", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["optimum"]["run"]["policy"] == found["policy"] == "dto-ee"
    assert exit_code_of("replay", str(tmp_path / "run"), "--simulate", "--out", str(tmp_path / "again"),
                        "--monitor", "off", "--optimum") == 0  # fmt: skip
    said = capsys.readouterr().out
    assert -1 < said.index("Files ") < said.index("Optimum ")


def ended(path: Path, exit_reason: str) -> Outcome:
    """The outcome of a simulated run whose directory is spoilt, so that no bound can be computed."""
    outcome = Simulation(plan_run(Path(QUICKSTART), duration_s=20.0, out=path), SilentObserver()).run()
    (path / "trace.jsonl").write_text("")
    return replace(outcome, exit_reason=exit_reason)


@pytest.mark.parametrize(
    ("exit_reason", "code", "told", "reason"),
    [
        ("completed", 0, "warning: no optimum: ", "trace.jsonl: changed since it was recorded"),
        ("interrupted", 130, "note: no optimum: ", "the run was interrupted"),
    ],
)
def test_a_run_without_a_bound_keeps_its_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], exit_reason: str, code: int, told: str, reason: str
) -> None:
    outcome = ended(tmp_path / "run", exit_reason)
    assert finish(outcome, with_optimum=True, as_json=False) == code
    said = capsys.readouterr()
    assert "Accuracy" in said.out
    assert "Optimum" not in said.out
    assert told in said.err
    assert reason in said.err
    assert finish(outcome, with_optimum=True, as_json=True) == code
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found["tasks"]["completed"] > 0
    assert found["optimum"] is None
    assert reason in found["optimum_missing"]
    assert told in said.err
    assert finish(outcome, with_optimum=False, as_json=True) == code
    assert "optimum" not in json.loads(capsys.readouterr().out)
