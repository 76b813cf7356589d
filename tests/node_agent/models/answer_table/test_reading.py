"""Tables are read alike from npz, CSV and Parquet, in small types, once."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from node_agent.errors import EnvironmentLacking, InputError
from node_agent.models.answer_table import read_table
from node_agent.models.answer_table.answers import MOST_PLAN_ROWS
from node_agent.models.answer_table.csv_table import MOST_LINE_BYTES
from node_agent.wire import InputForm, TensorForm
from tests.node_agent.models.answer_table.tables import E, M, N, arrays, columns, csv_text, npz, task_order

FORMS = (
    InputForm(TensorForm("uint8", (1, 3, 8, 8))),
    InputForm(TensorForm("float16", (8, 6)), 13),  # lengths 2..13, mean 7.5
    InputForm(TensorForm("float32", (1, 24))),
)
WRITE_PARQUET = """
import json, sys
import pyarrow, pyarrow.parquet
columns = json.load(sys.stdin)
types = {"c": pyarrow.float32(), "p": pyarrow.int32(), "l": pyarrow.int64(), "f": pyarrow.float64()}
table = pyarrow.table({name: pyarrow.array(values, types.get(name[0]) if type(values[0]) is not str else None)
                       for name, values in columns.items()})
pyarrow.parquet.write_table(table, sys.argv[1], row_group_size=5)
"""


def write_parquet(path, **changes):
    """A table in Parquet, written in another process: pyarrow starts threads."""
    import json

    plain = {name: [getattr(value, "item", lambda value=value: value)() for value in values]
             for name, values in columns(**changes).items()}  # fmt: skip
    subprocess.run([sys.executable, "-c", WRITE_PARQUET, str(path)], input=json.dumps(plain), text=True, check=True)
    return path


@pytest.mark.parametrize("compressed", [False, True])
def test_an_npz_has_what_was_written(tmp_path, compressed):
    table, wrote = read_table(npz(tmp_path / "a.npz", compressed=compressed)), arrays()
    assert (table.exit_count, len(table)) == (E, N)
    for name, found in (("confidence", table.confidence), ("prediction", table.prediction), ("label", table.labels),
                        ("flop", table.flop)):  # fmt: skip
        np.testing.assert_array_equal(found, wrote[name])
    np.testing.assert_array_equal(table.plan.confidence, wrote["plan_confidence"])
    np.testing.assert_array_equal(table.plan.correct, wrote["plan_correct"])
    assert table.forms == FORMS
    assert table.lengths[:, 1].tolist() == wrote["length"].tolist()
    assert table.parameters_bytes == (10, 20, 30)
    assert table.classes == ("ant", "bee", "cat", "dog")
    assert table.card == {"name": "tiny", "licence": "MIT"}
    assert not table.plans_with_its_tasks
    assert table.fingerprint == hashlib.sha256((tmp_path / "a.npz").read_bytes()).hexdigest()


def test_arrays_have_small_types(tmp_path):
    table = read_table(npz(tmp_path / "a.npz", confidence=arrays()["confidence"].astype(np.float64)))
    assert (table.confidence.dtype, table.prediction.dtype) == (np.float32, np.uint8)
    many = read_table(npz(tmp_path / "b.npz", classes=None, prediction=np.full((N, E), 256)))
    most = read_table(npz(tmp_path / "c.npz", classes=None, prediction=np.full((N, E), 65536)))
    assert (many.prediction.dtype, most.prediction.dtype) == (np.uint16, np.int32)


@pytest.mark.parametrize("change", [
    {"confidence": np.asfortranarray(arrays()["confidence"])},
    {"confidence": arrays()["confidence"].astype(">f4")},
    {"prediction": arrays()["prediction"].astype(">i2")},
    {"flop": np.array([1e6, 2e6, 3e6]).astype(">i8")},
    {"flop": np.tile([1e6, 2e6, 3e6], (N, 1))},
    {"length": np.tile(arrays()["length"][:, None], (1, E))},
])  # fmt: skip
def test_other_orders_and_types_make_no_difference(tmp_path, change):
    one, other = read_table(npz(tmp_path / "a.npz")), read_table(npz(tmp_path / "b.npz", **change))
    for name in ("confidence", "prediction", "labels", "flop", "lengths"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(other, name).dtype.isnative


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_columns_are_the_same_table(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    if kind == "csv":
        path.write_text("\ufeff" + csv_text().replace("\n", "\r\n"), encoding="utf-8")
    else:
        write_parquet(path)
    table, wrote, rows = read_table(path), arrays(), task_order()
    np.testing.assert_array_equal(table.confidence, wrote["confidence"][rows])
    np.testing.assert_array_equal(table.prediction, wrote["prediction"][rows])
    np.testing.assert_array_equal(table.labels, wrote["label"][rows])
    np.testing.assert_array_equal(table.lengths[:, 1], wrote["length"][rows])
    assert table.flop.tolist() == wrote["flop"].tolist()
    assert table.forms == FORMS
    assert table.parameters_bytes == (10, 20, 30)
    assert sorted(table.plan.confidence.tolist()) == sorted(wrote["plan_confidence"].astype(np.float64).tolist())
    assert not table.plans_with_its_tasks
    assert os.listdir(tmp_path) == [f"a.{kind}"]


def test_work_and_bytes_of_columns_may_differ_between_rows(tmp_path):
    changes = {f"input_{number}": None for number in (1, 2, 3)} | {"length": None}
    changes |= {f"input_bytes_{number}": list(range(100, 100 + N + M)) for number in (1, 2, 3)}
    changes["flop_2"] = [10.0 + row for row in range(N + M)]
    (tmp_path / "a.csv").write_text(csv_text(**changes))
    table, rows = read_table(tmp_path / "a.csv"), task_order()
    assert table.flop[:, 1].tolist() == [10.0 + row for row in rows]
    assert table.flop[:, 0].tolist() == [1e6] * N
    assert table.lengths[:, 2].tolist() == [100 + row for row in rows]
    assert table.forms[0] == InputForm(TensorForm("uint8", (106,)), 111)  # 100..111, mean 105.5


def test_the_rows_of_the_tasks_serve_plans_where_no_others_are(tmp_path):
    table = read_table(npz(tmp_path / "a.npz", plan_confidence=None, plan_correct=None))
    assert table.plans_with_its_tasks
    np.testing.assert_array_equal(table.plan.confidence, table.confidence)
    np.testing.assert_array_equal(table.plan.correct, table.prediction == table.labels[:, None])


def test_plans_use_a_bounded_number_of_rows_from_the_whole_file(tmp_path):
    count = 3 * MOST_PLAN_ROWS + 1
    confidence = np.tile(np.linspace(0, 1, count, dtype=np.float32)[:, None], (1, E))
    path = npz(tmp_path / "a.npz", plan_confidence=confidence, plan_correct=confidence > 0.5)
    plan = read_table(path).plan
    assert len(plan) == MOST_PLAN_ROWS
    assert plan.confidence[0, 0] == 0
    assert plan.confidence[-1, 0] > 0.9998
    assert np.diff(plan.confidence[:, 0]).max() < 1.5 / MOST_PLAN_ROWS
    np.testing.assert_array_equal(plan.correct, plan.confidence > 0.5)


def test_without_pyarrow_one_line_names_the_command(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(EnvironmentLacking, match=r"a\.parquet: pyarrow is needed") as lacking:
        read_table(tmp_path / "a.parquet")
    assert ".venv/bin/python -m pip install pyarrow" in lacking.value.hint


def test_no_library_with_threads_is_imported_for_parquet(tmp_path):
    write_parquet(tmp_path / "a.parquet")
    read = f"""
import os, sys
from pathlib import Path
from node_agent.models.answer_table import read_table
before = len(os.listdir("/proc/self/task"))
read_table(Path({str(tmp_path / "a.parquet")!r}))
assert len(os.listdir("/proc/self/task")) == before
assert not {{"pyarrow", "torch"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", read], check=True)


def test_a_line_of_the_greatest_length_is_read(tmp_path):
    text = csv_text()
    padded = text.rstrip("\n") + " " * (MOST_LINE_BYTES - len(text.splitlines()[-1]) - 1) + "\n"
    (tmp_path / "a.csv").write_text(padded)
    assert len(read_table(tmp_path / "a.csv")) == N
    (tmp_path / "b.csv").write_text(padded[:-1] + " \n")
    with pytest.raises(InputError, match=r"line 18: more than"):
        read_table(tmp_path / "b.csv")
