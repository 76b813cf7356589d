"""The page of the models lists the arrays and limits of tables, and its example runs as it stands there."""

import re
from pathlib import Path

from node_agent.models.answer_table import TableModel, arrays
from node_agent.models.answer_table.answers import MOST_PLAN_ROWS
from node_agent.models.answer_table.inputs import NUMBER_BYTES
from node_agent.wire import InputForm, TensorForm
from tests.node_agent.models.answer_table.test_exporter import run_in_own_environment

PAGE = (Path(__file__).parents[4] / "docs/models.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## A large model without its weights: tables\n")[2].partition("\n## ")[0]


def test_the_page_lists_each_array_with_its_shapes():
    listed = {}
    for names, _, shapes, meaning in re.findall(r"^\| (`.*?) \| (.*?) \| (.*?) ?\| (.*) \|$", SECTION, re.MULTILINE):
        for name in re.findall(r"`(\w+)`", names):
            listed[name] = tuple("".join(re.findall(r"[NEMC]", shape)) for shape in shapes.split(" or "))
            assert ("optional" in meaning) == (name not in {*arrays.REQUIRED, "input", "input_bytes", "length"}), name
    assert listed == {name: array.shapes for name, array in arrays.ARRAYS.items()}


def test_the_page_states_the_limits():
    assert f"at most {arrays.MOST_EXITS} exits, {arrays.MOST_CELLS:,} samples times exits" in SECTION
    assert f"{arrays.MOST_BYTES // 2**30} GiB of arrays" in SECTION
    assert f"at most {MOST_PLAN_ROWS:,} rows" in SECTION
    assert f"at least {NUMBER_BYTES} bytes" in SECTION


def test_the_example_writes_a_table(tmp_path):
    (code,) = re.findall(r"<!-- example table -->\n```python\n(.*?)```", SECTION, re.DOTALL)
    run_in_own_environment(tmp_path, code)
    model = TableModel(tmp_path / "example.npz")
    model.check()
    assert (model.exits, model.sample_count, len(model.table.plan)) == ((1, 2), 200, 100)
    assert model.table.forms == (
        InputForm(TensorForm("float32", (1, 3, 16, 16))),
        InputForm(TensorForm("float32", (1, 8, 14, 14))),
    )
    assert model.table.card == {"name": "example", "licence": "MIT", "recorded": "on a laptop"}
    assert not model.plans_with_its_tasks
