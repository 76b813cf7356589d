"""`trace generate`, `inspect`, `convert` and `generate-link` as a user runs them."""

import json
import re
import shlex
from itertools import groupby
from pathlib import Path

import pytest

from testbed.trace.workload import read_trace
from tests.cli.called import exit_code_of

ROOT = Path(__file__).parents[2]
QUICKSTART = str(ROOT / "topologies" / "quickstart.yaml")


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


def test_a_link_is_made_up_shown_and_converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    series, packets, back = (str(tmp_path / name) for name in ("a.csv", "b.down", "c.csv"))
    wish = ("--rate", "4 Mbit/s", "--outages", "10 %", "--delay", "30 ms", "--duration", "60", "--seed", "2")
    assert exit_code_of("trace", "generate-link", *wish, "--out", series) == 0
    assert capsys.readouterr().err == f"{series}: 60 s, csv\n"
    assert exit_code_of("trace", "convert", series, "--out", packets) == 0
    assert capsys.readouterr().err == f"{packets}: 60 s, mahimahi, without its delay\n"
    assert exit_code_of("trace", "convert", packets, "--out", back, "--every", "1 s") == 0
    capsys.readouterr()
    rates = []
    for path, steps in ((series, 600), (packets, 600), (back, 60)):
        assert exit_code_of("trace", "inspect", "--json", path) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["file"], found["duration_s"]) == (path, 60)
        assert steps <= found["steps"] <= steps * (1 if path != back else 2)  # outages have steps of their own
        rates.append(found["mean_rate_mbit_per_s"])
    assert rates[1:] == pytest.approx([rates[0]] * 2, rel=1e-3)
    assert exit_code_of("trace", "inspect", series) == 0
    said = capsys.readouterr().out
    assert said.startswith("network trace of 60 s in 600 steps\nrate    mean ")
    assert re.search(r"\noutage  [0-9.]+ % of the time", said)
    assert "\ndelay   mean " in said
    assert (tmp_path / "b.down").read_text().split()[-1] == "60000"


def test_what_is_shown_of_a_short_or_an_empty_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text("time_s,rate_mbit_per_s,loss\n0,4,0.01\n1,4,0.01\n")
    assert exit_code_of("trace", "inspect", "--every", "5 s", str(tmp_path / "t.csv")) == 0
    said = capsys.readouterr().out
    assert " in 1 step\n" in said
    assert "loss    mean 1.00 %\n" in said
    for name in ("t", "t.txt", "t.csv", "t.mahi"):
        for content in ("", "\n \n"):
            (tmp_path / name).write_text(content)
            assert exit_code_of("trace", "inspect", str(tmp_path / name)) == 3
            assert f"{name}:1: empty\n" in capsys.readouterr().err
    (tmp_path / "t.jsonl").write_text("")  # a workload without a task
    assert exit_code_of("trace", "inspect", str(tmp_path / "t.jsonl")) == 0


@pytest.mark.parametrize(
    ("wish", "noted"),
    [
        (("--rate", "100000 Mbit/s", "--variability", "5"), "cut off at 100000 Mbit/s, so its mean is below"),
        (("--delay", "30 s", "--variability", "5"), "cut off at 60 s of delay, so its mean is below"),
        ((), ""),
    ],
)
def test_what_is_made_up_can_be_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wish: tuple[str, ...], noted: str
) -> None:
    assert exit_code_of("trace", "generate-link", *wish, "--out", str(tmp_path / "t")) == 0
    said = capsys.readouterr().err
    assert noted in said
    assert said.count("note:") == bool(noted)
    assert exit_code_of("trace", "inspect", str(tmp_path / "t")) == 0


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (("inspect", "bad.csv"), 3, "error: bad.csv:2: rate_mbit_per_s must not be negative: '-1'\nhint: "),
        (("convert", "bad.csv", "--out", "x"), 3, "error: bad.csv:2: "),
        (("convert", "load.jsonl", "--out", "x"), 3, "error: load.jsonl:1: a workload trace"),
        (("convert", "absent", "--out", "x"), 3, "error: absent: cannot be read"),
        (("convert", "good.csv", "--out", "no/x"), 3, "error: no/x: cannot be written"),
        (("convert", "good.csv", "--out", "x", "--every", "5 ms"), 3, "error: a step takes a whole number of milli"),
        (("convert", "good.csv", "--out", "x", "--format", "pcap"), 2, "Invalid value for '--format'"),
        (
            ("inspect", "absent"),
            3,
            "hint: give the path of a trace; `trace generate` and `trace generate-link` make some",
        ),
        (("inspect", "page"), 3, "error: page:1: neither mahimahi packet deliveries nor a time series"),
        (("inspect", "delays"), 3, "error: delays:1: there is no column time_s"),
        (("generate-link", "--out", "x", "--rate", "200 Gbit/s"), 3, "error: a mean rate of 200000 Mbit/s is too high"),
        (("generate-link", "--out", "x", "--delay", "61 s"), 3, "error: a mean delay of 61 s is too long"),
        (
            ("generate-link", "--out", "x", "--duration", "1e9 s", "--every", "1e6 s", "--outage", "1e7 s"),
            3,
            "error: a trace of 1e+09 s is too long\nhint: ",
        ),
        (("inspect", "load.jsonl", "--every", "1 s"), 2, "--every is for network traces"),
        (("generate-link", "--out", "x", "--rate", "5"), 2, "has no unit"),
        (("generate-link", "--out", "x", "--outages", "150 %"), 2, "too large for a share"),
        (("generate-link", "--out", "x", "--duration", "0 s"), 2, "must be above zero"),
        (("generate-link", "--out", "x", "--duration", "1000 h"), 3, "steps"),
    ],
)
def test_wrong_network_traces_and_wishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...], exit_code: int, said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.csv").write_text("time_s,rate_mbit_per_s\n0,1\n1,2\n")
    (tmp_path / "bad.csv").write_text("time_s,rate_mbit_per_s\n0,-1\n")
    (tmp_path / "page").write_text("<html>\n")
    (tmp_path / "delays").write_text("delay_ms,rate_mbit_per_s\n1,2\n")
    (tmp_path / "load.jsonl").write_text('{"time_s": 0.1, "device": "cam", "sample": 1}\n')
    assert exit_code_of("trace", *arguments) == exit_code
    assert said in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_the_example_traces_are_those_that_the_topology_tells(tmp_path: Path) -> None:
    lines = (ROOT / "topologies" / "commute.yaml").read_text().split("links:\n")[1].splitlines()
    comments = [line.strip().removeprefix("# ") if "# --" in line else "" for line in lines]
    wishes = [shlex.split(" ".join(part)) for is_wish, part in groupby(comments, key=bool) if is_wish]
    for name, wish in zip(("bus.mahi", "tram.csv"), wishes, strict=True):
        assert exit_code_of("trace", "generate-link", *wish, "--out", str(tmp_path / name)) == 0
        assert (tmp_path / name).read_bytes() == (ROOT / "traces" / "links" / name).read_bytes()


@pytest.mark.parametrize(
    "process", ["flash-crowd:at=10 s,peak=x20,rise=0 s,decay=2 s", "mmpp:states=x0/x9,dwell=9 s/1 s", "ramp", "diurnal"]
)
def test_a_process_with_parameters(tmp_path: Path, process: str) -> None:
    out = str(tmp_path / "t.jsonl.gz")
    wish = ("--process", process, "--duration", "60 s", "--out", out)
    assert exit_code_of("trace", "generate", QUICKSTART, *wish) == 0
    times = [arrival.time_s for arrival in read_trace(out)]
    assert (tmp_path / "t.jsonl.gz").read_bytes().startswith(b"\x1f\x8b")
    assert 300 < len(times) < 3000
    if process.startswith("flash"):
        assert sum(10 <= time < 14 for time in times) > 3 * sum(2 <= time < 6 for time in times)


@pytest.mark.parametrize(
    ("process", "said"),
    [
        ("flash-crowd:peak=x0.5", "no peak: it must be above x1"),
        ("flash", "there is no arrival process 'flash'"),
        ("poisson:x=1", "poisson has no parameter 'x'"),
    ],
)
def test_a_wrong_process_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], process: str, said: str
) -> None:
    assert exit_code_of("trace", "generate", QUICKSTART, "--process", process, "--out", str(tmp_path / "t")) == 2
    assert said in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_a_shaped_topology_runs_and_has_a_bound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = Path(QUICKSTART).read_text() + "\narrivals: {process: flash-crowd, at: 5 s, peak: x3}\n"
    (tmp_path / "t.yaml").write_text(re.sub(r"(?m)^duration: .*$", "duration: 20 s", text))
    assert exit_code_of("topology", "validate", str(tmp_path / "t.yaml")) == 0
    simulate = ("simulate", str(tmp_path / "t.yaml"), "--monitor", "off", "--out", str(tmp_path / "run"))
    assert exit_code_of(*simulate) == 0
    times = [arrival.time_s for arrival in read_trace(tmp_path / "run" / "trace.jsonl")]
    assert sum(time < 5 for time in times) < sum(5 <= time < 10 for time in times)
    capsys.readouterr()
    assert exit_code_of("optimum", str(tmp_path / "t.yaml"), "--json") == 0
    weights = [segment["weight"] for segment in json.loads(capsys.readouterr().out)["segments"]]
    assert len(weights) >= 4
    assert weights[0] * 1.5 < max(weights)


def test_a_link_trace_may_be_packed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "bus.mahi.gz")
    assert exit_code_of("trace", "generate-link", "--duration", "30", "--out", out) == 0
    assert capsys.readouterr().err == f"{out}: 30 s, mahimahi\n"
    assert (tmp_path / "bus.mahi.gz").read_bytes().startswith(b"\x1f\x8b")
    assert exit_code_of("trace", "inspect", out, "--picture", str(tmp_path / "bus.svg")) == 0
    assert capsys.readouterr().out.startswith("network trace of 30 s")
    assert "rate [Mbit/s]" in (tmp_path / "bus.svg").read_text()
    assert exit_code_of("trace", "convert", out, "--out", str(tmp_path / "bus.csv")) == 0


def test_a_damaged_packed_trace_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "t.jsonl.gz"
    assert exit_code_of("trace", "generate", QUICKSTART, "--out", str(out)) == 0
    out.write_bytes(out.read_bytes()[:-9])
    for wish in (("trace", "inspect", str(out)), ("simulate", QUICKSTART, "--trace", str(out))):
        capsys.readouterr()
        assert exit_code_of(*wish) == 3
        assert f"error: {out}: cannot be read: its gzip data is cut off\nhint: " in capsys.readouterr().err


def test_inspect_draws_and_shows_gaps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, picture = str(tmp_path / "t"), tmp_path / "t.png"
    assert exit_code_of("trace", "generate", QUICKSTART, "--process", "bursty", "--out", out) == 0
    assert exit_code_of("trace", "inspect", out, "--picture", str(picture)) == 0
    said = capsys.readouterr().out
    assert re.search(r"\ngaps        mean [0-9.]+ ms, coefficient of variation 1\.[0-9]+\n", said)
    assert re.search(r"\nburstiness  [0-9.]+ in 0\.01 s, ", said)
    assert picture.read_bytes().startswith(b"\x89PNG")
    for last_s, gap in ((7.86, "3.93 s"), (4000, "2000 s")):  # two gaps
        lines = [f'{{"time_s": {time_s}, "device": "west-1", "sample": 1}}\n' for time_s in (0, 1, last_s)]
        (tmp_path / "slow.jsonl").write_text("".join(lines))
        assert exit_code_of("trace", "inspect", str(tmp_path / "slow.jsonl")) == 0
        assert f"\ngaps        mean {gap}, " in capsys.readouterr().out
    assert exit_code_of("trace", "inspect", out, "--picture", str(tmp_path / "t.jpg")) == 3
    assert "a picture ends in .png or .svg" in capsys.readouterr().err
