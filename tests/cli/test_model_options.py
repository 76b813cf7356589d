"""`--model` and `--cut` of the commands that take a topology, and what these say of borrowed answers and costs."""

import json

import numpy as np
import pytest

from cli.main import main
from tests.testbed.small import SMALL
from tests.testbed.tables import table_of_glyphs


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a topology, and a table in a folder of its own."""
    (tmp_path / "t.yaml").write_text(SMALL)
    (tmp_path / "tables").mkdir()
    table_of_glyphs(tmp_path / "tables" / "glyphs.npz", cut=(3, 5))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(capsys, *words, code=0):
    """Standard output and standard error of a command, whose exit code must be `code`."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == code
    return capsys.readouterr()


def test_a_table_in_place_of_the_topologys_model(folder, capsys):
    said = told(capsys, "simulate", "t.yaml", "--model", "tables/glyphs.npz", "--monitor", "off", "--out", "run").out
    assert "Model      answers: recorded elsewhere" in said
    assert "Model" not in told(capsys, "simulate", "t.yaml", "--monitor", "off", "--out", "plain").out
    tasks = [(folder / run / "tasks.jsonl").read_text() for run in ("run", "plain")]
    assert tasks[0] == tasks[1]
    (folder / "t.yaml").unlink()  # the run directory has its own
    told(capsys, "replay", "run", "--simulate", "--monitor", "off", "--out", "again")
    assert (folder / "again" / "tasks.jsonl").read_text() == tasks[0]


def test_a_cut_in_place_of_the_topologys(folder, capsys):
    told(capsys, "simulate", "t.yaml", "--cut", "2,5", "--monitor", "off", "--out", "run")
    stages = json.loads((folder / "run" / "manifest.json").read_text())["sub_models"]
    assert [stage["output_bytes"] for stage in stages] == [24 * 16 * 16 * 4, 0]
    other = told(capsys, "optimum", "t.yaml", "--cut", "2,5", "--thresholds", "0.8", "--json").out
    own = told(capsys, "optimum", "t.yaml", "--thresholds", "0.8", "--json").out
    assert json.loads(other)["overall"] != json.loads(own)["overall"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["simulate", "t.yaml", "--cut", "2;5"], 2, "'2;5' is no list of whole numbers such as 2,3,5"),
        (["simulate", "t.yaml", "--model", "none.npz"], 3, "none.npz"),
        (["simulate", "t.yaml", "--model", "tables"], 3, "card.json"),
        (["optimum", "t.yaml", "--model", "glyphs", "--cut", "1,5"], 3, "block 1 of model 'glyphs' has no exit"),
        (["compare", "t.yaml", "-p", "uniform", "--simulate", "--model", "glyps"], 3, "did you mean glyphs?"),
        (["optimum", "tables", "--model", "glyphs"], 2, "belong to topologies"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_does_not_fit_ends_in_one_line(words, code, said, capsys):
    assert said in told(capsys, *words, code=code).err


def test_a_table_without_rows_to_plan_with_is_warned_of(folder, capsys):
    table = folder / "tables" / "glyphs.npz"
    with np.load(table) as arrays:
        kept = {name: arrays[name] for name in arrays if not name.startswith("plan_")}
    (folder / "t.yaml").write_text(SMALL.replace("{name: glyphs, cut: [3, 5]}", "{table: tables/glyphs.npz}"))
    assert "warning" not in told(capsys, "topology", "validate", "t.yaml").err
    np.savez(table, **kept)
    said = told(capsys, "topology", "validate", "t.yaml").err
    assert "warning: table glyphs has no rows to plan with: nodes plan with the very samples that devices offer" in said
