"""`optimum --cuts` as a user runs it."""

import io
import json
from pathlib import Path

import pytest

from cli.printing.placement_lines import PlainPlacing, placing
from testbed.placement import Placer, read_site
from testbed.placement.candidates import Candidate
from testbed.placement.progress import RankedCandidate
from testbed.placement.ranking import Value
from testbed.topology import load_topology
from tests.cli.called import exit_code_of
from tests.testbed.placement.test_placing import SLOW_STAGE, SMALL_MEMORY


@pytest.fixture
def topology(tmp_path: Path) -> str:
    path = tmp_path / "slow-stage.yaml"
    path.write_text(SLOW_STAGE)
    return str(path)


def test_the_best_topology_is_printed(topology: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of("optimum", topology, "--cuts") == 0
    said = capsys.readouterr()
    table, _, text = said.out.partition("\n\n# Written by")
    for word in (
        "slow-stage: where to cut",
        "Best       cut [2, 3, 5] -> [3, 4, 5]",
        "fast: stage 2 -> 1",
        "Search     exact",
    ):
        assert word in table
    assert "--set 'model.cut=[3, 4, 5]' --set 'servers.fast.stage=1'" in table
    assert "81 candidates: " in table
    assert "\x1b" not in said.out
    copy = Path(topology).with_name("copy.yaml")
    copy.write_text(f"# Written by{text}")
    assert load_topology(copy).resolve().model.cut == (3, 4, 5)


def test_a_file_is_written_once(topology: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "better.yaml")
    assert exit_code_of("optimum", topology, "--cuts", "--out", out, "--seed", "4") == 0
    assert "Written    " in capsys.readouterr().out
    assert exit_code_of("topology", "validate", out) == 0
    assert load_topology(out).resolve().seed == 4
    before = Path(out).read_text()
    assert exit_code_of("optimum", topology, "--cuts", "--out", out) == 3
    assert "exists" in capsys.readouterr().err
    assert Path(out).read_text() == before
    # A file that cannot be written is an error before anything else is read.
    assert (
        exit_code_of(
            "optimum", str(tmp_path / "no-topology.yaml"), "--cuts", "--out", str(tmp_path / "absent" / "t.yaml")
        )
        == 3
    )
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 2)
    assert "absent/t.yaml cannot be written: No such file or directory" in said.err
    # The best topology is what the search states for itself, too.
    assert exit_code_of("optimum", out, "--cuts") == 0
    assert "Best       what the topology states" in capsys.readouterr().out


def test_json(topology: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of("optimum", topology, "--cuts", "--json", "--stages", "2", "--thresholds", "0.8") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["stages"], found["exact"], found["ended"]) == (1, 2, True, "complete")
    assert len(found["best"]["cut"]) == 2
    assert set(found["best"]["stages"]) == {"fast", "usual", "slow"}
    tally = found["candidates"]
    assert tally["all"] == sum(tally[name] for name in ("computed", "worse", "memory", "links", "capacity"))
    assert found["best"]["optimum"]["overall"]["utility_s"] > 0
    assert found["text"].startswith("# Written by")
    assert found["changes"][0] == f"cut [2, 3, 5] -> {found['best']['cut']}"


def test_memory_is_a_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "small-memory.yaml"
    path.write_text(SMALL_MEMORY)
    assert exit_code_of("optimum", str(path)) == 3  # as it is stated, no run can have it
    capsys.readouterr()
    assert exit_code_of("optimum", str(path), "--cuts", "--thresholds", "0.8") == 0
    said = capsys.readouterr().out
    assert "Gain       the stated topology cannot run: fast has 90000 bytes of memory" in said
    assert "without enough memory" in said
    path.write_text(SMALL_MEMORY.replace("90 kB", "1 kB"))
    assert exit_code_of("optimum", str(path), "--cuts", "--thresholds", "0.8") == 3
    assert "Best       none: no candidate can run" in capsys.readouterr().out
    path.write_text(SMALL_MEMORY.replace("slot: 3 s", "slot: 3"))
    assert exit_code_of("optimum", str(path), "--cuts") == 3
    assert "slot" in capsys.readouterr().err


def test_wrong_usage(topology: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--stages", "2"], ["--out", "x.yaml"], ["--time-limit", "5"]):
        assert exit_code_of("optimum", topology, *arguments) == 2
        assert "need --cuts" in capsys.readouterr().err
    assert exit_code_of("optimum", str(tmp_path), "--cuts") == 2
    assert "needs a topology" in capsys.readouterr().err
    assert exit_code_of("optimum", topology, "--cuts", "--stages", "5") == 3
    assert "it has exits after blocks 2, 3, 4, 5" in capsys.readouterr().err
    assert exit_code_of("optimum", topology, "--cuts", "--thresholds", "0.8,0.7,0.6") == 3
    assert "3 thresholds for 2 early stages" in capsys.readouterr().err


def test_ctrl_c_prints_the_best_so_far(
    topology: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def looked(_: PlainPlacing, _what: str, number: int, _best: RankedCandidate | None) -> None:
        seen.append(number)
        if number == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(PlainPlacing, "looked", looked)
    assert exit_code_of("optimum", topology, "--cuts") == 130
    said = capsys.readouterr().out
    assert seen[-1] == 5
    assert "the best found, not proved best: interrupted" in said
    assert "best" in said.splitlines()[3]


def test_progress_says_what_is_best() -> None:
    clock = iter([0.0, 1.0, 6.0, 6.0, 7.0])
    stream = io.StringIO()
    progress = PlainPlacing(stream, clock=lambda: next(clock))
    value = Value((0.0, -2.5), (0.0, -2.5), 0.1, 0.9)
    progress.looked("exact search", 1, None)
    progress.looked("exact search", 7, RankedCandidate(Candidate((2, 5), (1, 2)), value))
    progress.looked("exact search", 8, None)
    assert stream.getvalue() == "exact search: 7 networks computed, best so far: cut 2,5, utility 2.500 s\n"


def test_a_terminal_shows_one_line(topology: str) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with placing(stream) as observer:
        Placer(read_site(Path(topology)).site, (0.8,), observer=observer, in_full=False).run()
    assert "networks computed" in stream.getvalue()
