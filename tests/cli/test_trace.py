"""`trace generate` and `trace inspect` as a user runs them."""

import json
from pathlib import Path

import pytest

from cli.main import main
from testbed.trace.workload import read_trace

ROOT = Path(__file__).parents[2]
QUICKSTART = str(ROOT / "topologies" / "quickstart.yaml")


def exit_code_of(*arguments: str) -> int:
    """Run the command here; returns its exit code."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_generate_and_inspect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "t.jsonl")
    wish = ("--process", "bursty", "--duration", "30 s", "--seed", "5", "--out", out)
    assert exit_code_of("trace", "generate", QUICKSTART, *wish) == 0
    arrivals = read_trace(out)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"{out}: {len(arrivals)} tasks of 6 devices\n"
    assert max(arrival.time_s for arrival in arrivals) < 30

    assert exit_code_of("trace", "inspect", out) == 0
    table = capsys.readouterr().out
    assert table.startswith(f"{len(arrivals)} tasks of 6 devices in ")
    assert "\nwest-1 " in table

    assert exit_code_of("trace", "inspect", "--json", out) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["all"]["tasks"] == len(arrivals)
    assert summary["all"]["tasks"] == sum(row["tasks"] for row in summary["devices"].values())
    assert summary["all"]["dispersion"] > 1


@pytest.mark.parametrize(
    "wish", [("--duration", "-3 s"), ("--duration", "0"), ("--process", "regular"), ("--seed", "-1")]
)
def test_impossible_wishes_are_usage_errors(tmp_path: Path, wish: tuple[str, str]) -> None:
    assert exit_code_of("trace", "generate", QUICKSTART, "--out", str(tmp_path / "t"), *wish) == 2
    assert not list(tmp_path.iterdir())


def test_a_bare_duration_counts_as_seconds(tmp_path: Path) -> None:
    paths = [str(tmp_path / "bare"), str(tmp_path / "unit")]
    for path, duration in zip(paths, ("10", "10 s"), strict=True):
        assert exit_code_of("trace", "generate", QUICKSTART, "--duration", duration, "--out", path) == 0
    assert read_trace(paths[0]) == read_trace(paths[1])


def test_rate_changes_in_percent_move_with_the_duration(tmp_path: Path) -> None:
    surge = str(ROOT / "topologies" / "surge.yaml")
    assert exit_code_of("trace", "generate", surge, "--duration", "400 s", "--out", str(tmp_path / "t")) == 0
    times = [arrival.time_s for arrival in read_trace(tmp_path / "t")]
    for begin_s, end_s, rate_per_s in ((0, 140, 16), (140, 280, 32), (280, 400, 16)):
        mean = rate_per_s * (end_s - begin_s)
        assert sum(begin_s <= time < end_s for time in times) == pytest.approx(mean, abs=4 * mean**0.5)


def test_a_broken_trace_is_reported_line_by_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t"
    path.write_text('{"time_s": 1}\n{"time_s": 0.5, "dev')
    assert exit_code_of("trace", "inspect", str(path)) == 3
    said = capsys.readouterr().err
    assert f"{path}:1: " in said
    assert f"{path}:2: the last line is cut off" in said
