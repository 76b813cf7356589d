"""Quantities and numbers on the command line: a bare number is seconds, and ambiguous ones are refused."""

from pathlib import Path

import pytest

from node_agent.policies import parse_policy
from tests.cli.called import exit_code_of

QUICKSTART = str(Path(__file__).parents[2] / "topologies" / "quickstart.yaml")


@pytest.mark.parametrize(
    "verb", [["run"], ["simulate"], ["compare"], ["optimum"], ["trace", "generate"], ["trace", "generate-link"]]
)
def test_help_says_what_a_bare_number_of_a_time_means(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(*verb, "--help") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "bare number of seconds" in said or "without a unit is seconds" in said


def test_a_bare_duration_is_seconds_and_a_file_needs_the_unit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "trace.jsonl")
    assert exit_code_of("trace", "generate", QUICKSTART, "--duration", "10", "--out", out) == 0
    bare = Path(out).read_bytes()
    assert exit_code_of("trace", "generate", QUICKSTART, "--duration", "10 s", "--out", out) == 0
    assert Path(out).read_bytes() == bare
    file = tmp_path / "t.yaml"
    file.write_text(Path(QUICKSTART).read_text().replace("duration: 60 s", "duration: 60"))
    capsys.readouterr()
    assert exit_code_of("topology", "validate", str(file)) == 3
    assert "a bare number means seconds only in options such as --duration" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["1_0", "１０", "nan", "inf", "-5", "0", "1,5", "5 m", "1..2", "1...2 s"])
def test_a_duration_that_can_be_misread_is_refused(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of("optimum", QUICKSTART, "--duration", value) == 2
    assert "--duration" in capsys.readouterr().err


def test_a_plain_number_must_be_finite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["trace", "generate-link", "--variability", "nan", "--out", str(tmp_path / "t.csv")]
    assert exit_code_of(*words) == 2
    assert "nan is not a finite number" in capsys.readouterr().err


def test_a_policys_number_is_written_as_in_a_file() -> None:
    assert parse_policy("p:a=1,b=-2,c=.5,d=5.,e=1e-3,f=+3")[1] == {"a": 1, "b": -2, "c": 0.5, "d": 5, "e": 1e-3, "f": 3}
    kept = parse_policy("p:a=0_8,b=1_0.5,c=٣,d=true,e=x")[1]  # Python would read 8, 10.5 and 3
    assert kept == {"a": "0_8", "b": "1_0.5", "c": "٣", "d": True, "e": "x"}
