"""`trace import` and `trace inspect` of other people's traces, as a user runs them."""

import gzip
import json
from pathlib import Path

import pytest

from cli.trace_import import FORMATS
from testbed.trace.importers.formats import IMPORTERS
from testbed.trace.workload import read_trace
from tests.cli.called import exit_code_of

TOPOLOGIES = Path(__file__).parents[2] / "topologies"
QUICKSTART, DICTIONARY = str(TOPOLOGIES / "quickstart.yaml"), str(TOPOLOGIES / "dictionary.yaml")
LLM = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n" + "".join(
    f"2023-11-16 18:{n // 600:02}:{n // 10 % 60:02}.{n % 10}000000,{n % 90},7\r\n" for n in range(3000)
)


def test_the_formats_are_those_of_the_importers() -> None:
    assert tuple(IMPORTERS) == FORMATS


def test_an_import_can_be_simulated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "llm.csv.gz", str(tmp_path / "load.jsonl.gz")
    source.write_bytes(gzip.compress(LLM.encode()))
    wish = ("--window", "2023-11-16 18:01..2023-11-16 18:02", "--rate", "x0.5", "--out", out)
    assert exit_code_of("trace", "import", str(source), "-t", DICTIONARY, *wish) == 0
    arrivals = read_trace(out)
    said = capsys.readouterr()
    assert said.out == ""
    first, *notes = said.err.splitlines()
    assert first.startswith(f"{out}: {len(arrivals)} of 3,000 requests (azure-llm), 6 of 6 devices (at random), ")
    assert "samples by length" in first
    assert notes == [note for note in notes if note.startswith("note: ")]
    assert 240 < len(arrivals) < 360
    assert all(0 <= arrival.time_s < 60 for arrival in arrivals)
    simulate = ("simulate", DICTIONARY, "--trace", out, "--monitor", "off", "--out", str(tmp_path / "run"))
    assert exit_code_of(*simulate) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["tasks"]["offered"] <= len(arrivals)
    assert read_trace(tmp_path / "run" / "trace.jsonl") == arrivals


def test_notes_say_what_the_figures_hide(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "burst.csv").write_text(
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        + "".join(f"{n // 3},GPT-4,{500 + n},{n % 2},{n},API log\n" for n in range(300))
    )
    wish = ("trace", "import", str(tmp_path / "burst.csv"), "-t", DICTIONARY, "--out", str(tmp_path / "t"))
    assert exit_code_of(*wish) == 0
    said = capsys.readouterr().err
    assert "note: 150 requests of the window failed at the source\n" in said
    assert "note: 100.0 % of the requests are longer than the longest sample" in said
    assert "are the times coarse?" in said
    assert "note: the topology's duration is 60 s; run it with --duration '100 s'\n" in said
    assert exit_code_of(*wish, "--without-failed", "--speed", "x2") == 0
    assert len(read_trace(tmp_path / "t")) == 150
    assert "--duration" not in capsys.readouterr().err


def test_columns_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "calls.csv").write_text("began_ms;who;picture\n1500;west-1;7\n500;east-2;1999\n")
    wish = ("--time-column", "began_ms", "--device-column", "who", "--sample-column", "picture")
    out = str(tmp_path / "t")
    assert exit_code_of("trace", "import", str(tmp_path / "calls.csv"), "-t", QUICKSTART, *wish, "--out", out) == 0
    found = [(arrival.time_s, arrival.device, arrival.sample) for arrival in read_trace(out)]
    assert found == [(0.0, "east-2", 1999), (1.0, "west-1", 7)]


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (("--rate", "x2"), 2, "let its time pass faster, by --speed"),
        (("--rate", "0.5"), 2, "write a factor such as x0.5"),
        (("--rate", "x0"), 2, "not a factor above zero"),
        (("--speed", "fast"), 2, "not a factor above zero"),
        (("--window", "5"), 2, "is no window START..END"),
        (("--window", "9..5"), 2, "ends before it begins"),
        (("--format", "pcap"), 2, "'pcap' is not one of"),
        (("--devices", "all"), 2, "'all' is not one of"),
        (("--window", "0..60"), 3, "the times of this trace are dates"),
        (("--window", "2024-01-01.."), 3, "no request lies in the window"),
        (("--devices", "hash"), 3, "--devices hash needs a column"),
        (("--samples", "length"), 3, "--samples length needs tokens in the trace"),
        (("--device-column", "user"), 3, "there is no column 'user'"),
        (("--format", "mooncake"), 3, "llm.csv:1: "),
        (("--topology", "absent.yaml"), 3, "absent.yaml"),
    ],
)
def test_wrong_wishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...], exit_code: int, said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "llm.csv").write_text(LLM)
    topology = () if "--topology" in arguments else ("-t", QUICKSTART)
    assert exit_code_of("trace", "import", "llm.csv", *topology, "--out", "out", *arguments) == exit_code
    assert said in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert [path.name for path in tmp_path.iterdir()] == ["llm.csv"]


def test_requests_are_shown_without_an_import(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    llm, minutes, picture = tmp_path / "llm.csv", tmp_path / "day.csv", tmp_path / "t.svg"
    llm.write_text(LLM)
    assert exit_code_of("trace", "inspect", str(llm), "--picture", str(picture)) == 0
    said = capsys.readouterr().out
    assert said.startswith("3000 requests in 299.9 s, format azure-llm\n")
    assert "3000 requests in 299.9 s" in picture.read_text()
    assert "device" not in picture.read_text()
    minutes.write_text("HashFunction,1,2\nf1,30,0\nf2,5,25\n")
    assert exit_code_of("trace", "inspect", str(minutes), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["format"], found["all"]["tasks"]) == ("azure-functions-2019", 60)
    assert {name: row["tasks"] for name, row in found["devices"].items()} == {"f1": 30, "f2": 30}
    assert exit_code_of("trace", "inspect", str(llm), "--every", "1 s") == 2
    capsys.readouterr()
    many = "time,user\n" + "".join(f"{n},user {n % 30}\n" for n in range(100))
    (tmp_path / "many.csv").write_text(many)
    assert exit_code_of("trace", "inspect", str(tmp_path / "many.csv"), "--device-column", "user") == 0
    said = capsys.readouterr().out
    assert said.startswith("100 requests of 30 devices in 99.0 s, format csv\n")
    assert "\n10 more " in said
    assert "\nuser 0 " in said
