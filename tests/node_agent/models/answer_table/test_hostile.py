"""Wrong, damaged and hostile tables end in one line that names the place; none of them takes much memory."""

import io
import os
import re
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib

import numpy as np
import pytest

from node_agent.errors import InputError
from node_agent.models.answer_table import TableModel, read_table
from node_agent.models.answer_table.arrays import MOST_BYTES, MOST_CELLS
from tests.node_agent.models.answer_table.tables import E, M, N, arrays, csv_text, npy, npz, set_in, zip_of
from tests.node_agent.models.answer_table.test_reading import write_parquet

CONFIDENCE, PREDICTION, LABEL = (arrays()[name] for name in ("confidence", "prediction", "label"))
LENGTH, FORMS = arrays()["length"], arrays()["input"]
MIB = 2**20


@pytest.fixture(autouse=True)
def own_folder_for_temporary_files(tmp_path_factory, monkeypatch):
    """Other programs use the usual one at the same time."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temporary")))


def error_of(path):
    """The error for a table: one line with a hint, which begins with the path; nothing is left behind."""

    def belongings():
        return len(os.listdir("/proc/self/fd")), sorted(os.listdir(tempfile.gettempdir())), os.listdir(path.parent)

    before = belongings()
    with pytest.raises(InputError) as caught:
        read_table(path)
    message, hint = str(caught.value), caught.value.hint
    assert message.startswith(f"{path}: ")
    assert "\n" not in message + hint
    assert len(message) < len(str(path)) + 300
    assert hint
    assert belongings() == before
    return message.removeprefix(f"{path}: ")


VALUES = {
    "row 5, column confidence_2: 1.25 is outside 0..1": {"confidence": set_in(CONFIDENCE, (4, 1), 1.25)},
    "row 12, column confidence_3: nan is outside 0..1": {"confidence": set_in(CONFIDENCE, (11, 2), np.nan)},
    "row 1, column confidence_1: -0.5 is outside 0..1": {"confidence": set_in(CONFIDENCE, (0, 0), -0.5)},
    "row 2, column plan_confidence_3: inf is outside 0..1":
        {"plan_confidence": set_in(arrays()["plan_confidence"], (1, 2), np.inf)},
    "row 3, column label: 4 is outside 0..3": {"label": set_in(LABEL, 2, 4)},
    "row 1, column label: -1 is outside 0..3": {"label": set_in(LABEL, 0, -1)},
    "row 7, column prediction_1: 99 is outside 0..3": {"prediction": set_in(PREDICTION, (6, 0), 99)},
    "row 8, column prediction_3: 2147483648 is outside 0..2147483647":
        {"prediction": set_in(PREDICTION, (7, 2), 2**31), "classes": None},
    "column flop_2: -2000000 is outside 1..": {"flop": np.array([1e6, -2e6, 3e6])},
    "column flop_3: nan is outside 1..": {"flop": np.array([1e6, 2e6, np.nan])},
    "row 9, column flop_1: 0 is outside 1..": {"flop": set_in(np.ones((N, E)), (8, 0), 0)},
    "row 4, column length: 0 is outside 1..": {"length": set_in(LENGTH, 3, 0)},
    "row 2, column length_2: -3 is outside 1..": {"length": set_in(np.tile(LENGTH[:, None], (1, E)), (1, 1), -3)},
    "column input_1: 'int64 1x4' is no type and shape": {"input": np.array(["int64 1x4", *FORMS[1:]])},
    "column input_3: 'float32 1x?' is no type and shape": {"input": np.array([*FORMS[:2], "float32 1x?"])},
    "column input_1: 'uint8 0x4': dimensions are 1 to": {"input": np.array(["uint8 0x4", *FORMS[1:]])},
    "column input_1: 'uint8 1x7' has 7 bytes": {"input": np.array(["uint8 1x7", *FORMS[1:]])},
    "column input_3: 'float32 1x3' has 6 bytes in float16": {"input": np.array([*FORMS[:2], "float32 1x3"])},
    "column input_1: 'uint8 8192x8193' has 67117056 bytes": {"input": np.array(["uint8 8192x8193", *FORMS[1:]])},
    "row 1, column input_2: 'uint8 ?x2' has 4 bytes": {"input": np.array([FORMS[0], "uint8 ?x2", FORMS[2]])},
    "row 6, column input_2: 'float16 ?x6' has 240000000 bytes": {"length": set_in(LENGTH, 5, 20_000_000)},
    "column input_2: 'float16 ?x6' varies, but there is no array length": {"length": None},
    "column length: no input has a dimension that varies": {"input": np.array(["uint8 1x8"] * 3)},
    "column input_bytes_1: 7 is outside 8..": {"input": None, "length": None, "input_bytes": np.array([7, 8, 8])},
    "row 2, column input_bytes_3: 67108865 is outside 8..":
        {"input": None, "length": None, "input_bytes": set_in(np.full((N, E), 9), (1, 2), 2**26 + 1)},
    "column parameters_bytes_2: -1 is outside 0..": {"parameters_bytes": np.array([0, -1, 0])},
    "column card: no JSON": {"card": np.array("{")},
    "column card: no JSON object": {"card": np.array("[1]")},
    "column card: no JSON: maximum recursion depth": {"card": np.array("[" * 60_000)},
    "column card: name 'a\\nb'": {"card": np.array('{"name": "a\\nb"}')},
    "column classes: name 1 is 'b\\x1b[2J'": {"classes": np.array(["a", "b\x1b[2J", "c", "d"])},
}  # fmt: skip


@pytest.mark.parametrize("message", VALUES)
def test_a_wrong_value_is_named_with_row_and_column(tmp_path, message):
    assert error_of(npz(tmp_path / "a.npz", **VALUES[message])).startswith(message)


LAYOUTS = {
    "no array label": {"label": None},
    "unknown array 'plan_corect'": {"plan_corect": np.ones(2)},
    "neither input nor input_bytes": {"input": None, "length": None},
    "both input and input_bytes": {"input_bytes": np.full(E, 8)},
    "length without input": {"input": None, "input_bytes": np.full(E, 8)},
    "only one of plan_confidence and plan_correct": {"plan_correct": None},
    "array prediction has 2 exits, but confidence has 3": {"prediction": PREDICTION[:, :2]},
    "array flop has 4 exits, but confidence has 3": {"flop": np.ones(4)},
    "array label has 11 samples, but confidence has 12": {"label": LABEL[1:]},
    "array plan_correct has 6 plan rows, but plan_confidence has 5": {"plan_correct": np.ones((M + 1, E), bool)},
    "array confidence has no samples":
        {"confidence": CONFIDENCE[:0], "prediction": PREDICTION[:0], "label": LABEL[:0], "length": LENGTH[:0]},
    "array confidence has shape (36,), not [samples, exits]": {"confidence": CONFIDENCE.reshape(-1)},
    "array prediction holds floats, not integers": {"prediction": PREDICTION.astype(float)},
    "array confidence holds integers, not floats": {"confidence": np.ones((N, E), int)},
    "array plan_correct holds integers, not bool": {"plan_correct": np.ones((M, E), int)},
    "array label holds strings, not integers": {"label": LABEL.astype(str)},
    "array label: it holds Python objects": {"label": LABEL.astype(object)},
    "array classes: strings of 300 characters": {"classes": np.array(["a" * 300])},
    "array card has shape (1,), not a single string": {"card": np.array(["{}"])},
    "array flop: header": {"flop": np.zeros(3, [("a", "f4")])},
    "confidence: 257 exits": {"confidence": np.ones((1, 257), "f4"), "prediction": np.ones((1, 257), int),
                              "label": np.ones(1, int), "flop": np.ones(257), "input": np.array(["uint8 8"] * 257),
                              "length": None, "plan_confidence": None, "plan_correct": None,
                              "parameters_bytes": None},
}  # fmt: skip


@pytest.mark.parametrize("message", LAYOUTS)
def test_arrays_that_do_not_fit_each_other_are_named(tmp_path, message):
    assert error_of(npz(tmp_path / "a.npz", **LAYOUTS[message])).startswith(message)


def members(**changes):
    """The members of a sound archive, as numpy writes them; `changes` replace some."""
    found = []
    for name, array in arrays().items():
        stream = io.BytesIO()
        np.save(stream, array)
        found.append((f"{name}.npy", stream.getvalue()))
    return [(name, changes.get(name.removesuffix(".npy"), content)) for name, content in found]


def test_pickles_are_refused_and_not_loaded(tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    path = npz(tmp_path / "a.npz", label=np.array([Hostile()] * N, dtype=object))
    assert error_of(path).startswith("array label: it holds Python objects")
    assert os.listdir(tmp_path) == ["a.npz"]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_npz(tmp_path, share):
    path = npz(tmp_path / "a.npz")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert error_of(path) == "no npz file, or one that was cut off"


def test_a_bit_that_flipped(tmp_path):
    path = npz(tmp_path / "a.npz")
    content = bytearray(path.read_bytes())
    content[content.index(CONFIDENCE.tobytes()) + 5] ^= 1
    path.write_bytes(content)
    assert error_of(path).startswith("array confidence: Bad CRC-32 for file 'confidence.npy'")


def test_a_member_that_is_there_twice(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        path = zip_of(tmp_path / "a.npz", [*members(), members()[0]])
    assert error_of(path) == "array 'confidence' stands in the archive twice"


def test_a_member_that_is_no_array(tmp_path):
    assert error_of(zip_of(tmp_path / "a.npz", [*members(), ("read me.txt", b"")])).startswith("'read me.txt' in the")
    path = zip_of(tmp_path / "b.npz", members(flop=b"1e6,2e6,3e6"))
    assert error_of(path) == "array flop: no header that numpy writes"


@pytest.mark.parametrize("header", [
    "{'descr': '<f8', 'shape': (3,), }", "__import__('os').abort()", "(" * 3000, "{'descr': '<f9', 'fortran_order': "
    "False, 'shape': (3,), }", "", "\0" * 100,
])  # fmt: skip
def test_a_header_that_numpy_does_not_write(tmp_path, header):
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()
    assert error_of(zip_of(tmp_path / "a.npz", members(flop=content))).startswith("array flop: ")


def test_a_header_that_states_another_size(tmp_path):
    path = zip_of(tmp_path / "a.npz", members(flop=npy((3,), "<f8", body=bytes(16))))
    assert error_of(path) == "array flop: float64 of shape (3,) has 24 bytes, the archive has 16"


def test_an_encrypted_member(tmp_path):
    path = zip_of(tmp_path / "a.npz", members())
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # flag in the directory
    path.write_bytes(content)
    assert error_of(path) == "array confidence: it is encrypted"


def test_another_file_with_the_ending_of_a_table(tmp_path):
    for name in ("a.npz", "a.parquet", "a.csv"):
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
        assert error_of(tmp_path / name)


def test_paths_that_are_no_files(tmp_path):
    (tmp_path / "folder.npz").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    assert error_of(tmp_path / "folder.npz") == "no ordinary file"
    assert error_of(tmp_path / "pipe.csv") == "no ordinary file"
    assert error_of(tmp_path / "missing.npz") == "No such file or directory"
    assert error_of(tmp_path / "a.xlsx") == "no table"
    assert error_of(tmp_path / "a\0b.npz") == "embedded null byte"


CSV = {
    "no head": lambda _: "",
    "no rows": lambda text: text.partition("\n")[0] + "\n",
    "line 4: 17 values, but 18 columns": lambda text: edit(text, 3, lambda line: line.rpartition(",")[0]),
    "line 9: 19 values, but 18 columns": lambda text: edit(text, 8, lambda line: f"{line},1"),
    "line 19: 0 values, but 18 columns": lambda text: text + "\n",
    "line 5, column confidence_1: 'high' is no number": lambda text: edit(text, 4, replaced(3, "high")),
    "line 5, column confidence_1: '' is no number": lambda text: edit(text, 4, replaced(3, "")),
    "line 6, column confidence_1: nan is outside 0..1": lambda text: edit(text, 5, replaced(3, "nan")),
    "line 6, column confidence_1: 1.5 is outside 0..1": lambda text: edit(text, 5, replaced(3, "1.5")),
    "line 4, column confidence_1: 1.5 is outside 0..1": lambda text: edit(text, 3, replaced(3, "1.5")),
    "line 2, column label: '1.5' is no whole number": lambda text: edit(text, 1, replaced(0, "1.5")),
    "line 2, column label: '9999999999999999999' is no whole": lambda text: edit(text, 1, replaced(0, "9" * 19)),
    "line 3, column use: 'tasks' is no use": lambda text: edit(text, 2, replaced(1, "tasks")),
    "column use: no row is a task": lambda text: text.replace(",task,", ",plan,"),
    "line 4, column input_1: 'uint8 1x8', but 'uint8": lambda text: edit(text, 3, replaced(6, "uint8 1x8")),
    "column parameters_bytes_1: differs between rows": lambda text: edit(text, 3, replaced(7, "11")),
    "no column label": lambda text: text.replace("label", "length_1"),
    "no column flop_1": lambda text: text.replace("flop", "input_bytes"),
    "no column prediction_2": lambda text: text.replace("prediction_2", "length_1"),
    "column prediction_4, but no confidence_4": lambda text: text.replace("use", "prediction_4"),
    "unknown column 'confidence_0'": lambda text: text.replace("confidence_1", "confidence_0"),
    "unknown column 'label;use;": lambda text: text.replace(",", ";"),
    "column 'use' is there 2 times": lambda text: text.replace("label", "use"),
    "column confidence_999": lambda text: text.replace("confidence_3", "confidence_999"),
    "line 3: unexpected end of data": lambda text: "\n".join([*text.splitlines()[:2], '"']),
}  # fmt: skip


def edit(text, line, change):
    """The text with one line changed (from 0)."""
    lines = text.splitlines()
    lines[line] = change(lines[line])
    return "\n".join(lines) + "\n"


def replaced(column, value):
    """A function that replaces the value of a column (from 0) in a line."""
    return lambda line: ",".join(value if at == column else old for at, old in enumerate(line.split(",")))


@pytest.mark.parametrize("message", CSV)
def test_a_wrong_csv_is_named_with_line_and_column(tmp_path, message):
    (tmp_path / "a.csv").write_text(CSV[message](csv_text()))
    assert error_of(tmp_path / "a.csv").startswith(message)


def test_a_csv_in_another_encoding(tmp_path):
    (tmp_path / "a.csv").write_text(csv_text(), encoding="utf-16")
    assert error_of(tmp_path / "a.csv") == "line 1: byte 1 is no UTF-8"
    (tmp_path / "b.csv").write_bytes(csv_text().encode().replace(b"plan", b"pl\xe4n", 1))
    assert "is no UTF-8" in error_of(tmp_path / "b.csv")


PARQUET = {
    "column label holds string, not integers": {"label": ["a"] * (N + M)},
    "column confidence_2 holds string, not floats": {"confidence_2": ["0.5"] * (N + M)},
    "column input_1 holds int64, not strings": {"input_1": [1] * (N + M)},
    "row 8, column flop_2: no value": {"flop_2": [1.0] + [None] + [1.0] * (N + M - 2)},
    "row 6, column confidence_1: 1.5 is outside 0..1": {"confidence_1": [0.5] * 8 + [1.5] + [0.5] * (N + M - 9)},
    "no column flop_1": {f"flop_{number}": None for number in (1, 2, 3)},
    "unknown column 'conf_1'": {"conf_1": [1.0] * (N + M)},
}


@pytest.mark.parametrize("message", PARQUET)
def test_a_wrong_parquet_is_named_with_row_and_column(tmp_path, message):
    assert error_of(write_parquet(tmp_path / "a.parquet", **PARQUET[message])).startswith(message)


@pytest.mark.parametrize("place", [0.3, 0.6, 0.95, 1.0])
def test_a_damaged_parquet(tmp_path, place):
    path = write_parquet(tmp_path / "a.parquet")
    content = bytearray(path.read_bytes())
    at = int(place * len(content)) - 12
    content[at : at + 12] = bytes(12)
    path.write_bytes(content)
    assert error_of(path)


def test_a_cut_that_a_table_does_not_have(tmp_path):
    model = TableModel(npz(tmp_path / "a.npz"))
    for cut in ((), (1, 2), (3, 1), (0, 3), (1, 4)):
        with pytest.raises(InputError, match="cut"):
            model.profiles(cut, "float32")


MEASURED = """
import sys, time
from pathlib import Path
from node_agent.errors import InputError
from node_agent.models.answer_table import read_table

def peak_kib():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

before, began_s = peak_kib(), time.monotonic()
try:
    read_table(Path(sys.argv[1]))
except InputError as error:
    print(peak_kib() - before, time.monotonic() - began_s, error, sep="\\t")
"""


def measured(path, most_mib):
    """The error for a table, read in a process of its own; asserts peak memory and time."""
    done = subprocess.run([sys.executable, "-c", MEASURED, str(path)], capture_output=True, text=True, check=True)
    grown_kib, took_s, message = done.stdout.rstrip("\n").split("\t")
    assert int(grown_kib) < most_mib * 1024
    assert float(took_s) < 20
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def layout_of_bomb(samples, **changes):
    """Members of a table with this number of samples, without their content."""
    found = [("confidence.npy", npy((samples, 5))), ("prediction.npy", npy((samples, 5), "|u1")),
             ("label.npy", npy((samples,), "|u1")), ("flop.npy", npy((5,), "<f8", body=np.ones(5).tobytes())),
             ("input_bytes.npy", npy((5,), "<i8", body=np.full(5, 9).tobytes()))]  # fmt: skip
    return [(name, changes.get(name, content)) for name, content in found]


def test_a_small_file_that_would_take_gigabytes_is_refused_at_once(tmp_path):
    samples = 5_800_000_000 // 20
    contents = layout_of_bomb(samples)
    sizes = {name: len(content) + samples * size for (name, content), size in zip(contents, (20, 5, 1), strict=False)}
    path = zip_of(tmp_path / "a.npz", contents, sizes)
    assert path.stat().st_size < MIB
    assert measured(path, 8) == f"confidence: {samples} rows of 5 exits"


def test_arrays_that_are_too_large_together_are_refused_at_once(tmp_path):
    samples, contents = MOST_CELLS // 5, layout_of_bomb(MOST_CELLS // 5)
    contents[1] = ("prediction.npy", npy((samples, 5), "<i8"))
    contents[0] = ("confidence.npy", npy((samples, 5), "<f8"))
    contents.append(("length.npy", npy((samples, 5), "<i8")))
    contents[4] = ("input.npy", npy((5,), "<U9", body=np.array(["uint8 ?x8"] * 5).tobytes()))
    contents.append(("plan_confidence.npy", npy((samples, 5), "<f8")))
    contents.append(("plan_correct.npy", npy((samples, 5), "|b1")))
    cell = {"confidence.npy": 40, "prediction.npy": 40, "label.npy": 1, "length.npy": 40, "plan_confidence.npy": 40,
            "plan_correct.npy": 5}  # fmt: skip
    sizes = {name: len(content) + samples * cell[name] for name, content in contents if name in cell}
    assert f"bytes, more than {MOST_BYTES}" in measured(zip_of(tmp_path / "a.npz", contents, sizes), 8)


def test_a_member_that_inflates_beyond_its_stated_size(tmp_path):
    bomb = npy((3,), "<f8", body=bytes(256 * MIB))
    path = zip_of(tmp_path / "a.npz", members(flop=bomb), {"flop.npy": len(npy((3,), "<f8")) + 24})
    assert path.stat().st_size < MIB
    assert "flop" in measured(path, 16)


def test_an_archive_of_a_million_files(tmp_path):
    path = tmp_path / "a.npz"
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    directory = entry * 1_000_000
    for count in (0xFFFF, 3):  # as it is, and falsely
        end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(directory), 0, 0)
        path.write_bytes(directory + end)
        assert measured(path, 8).startswith("no npz file")
    large_end = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1_000_000, 1_000_000, len(directory), 0)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(directory), 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 3, 3, len(entry), 0, 0)
    path.write_bytes(directory + large_end + locator + end)
    assert measured(path, 8).startswith("no npz file")


@pytest.mark.parametrize("name", ["a.npz", "a.csv", "a.parquet"])
def test_a_huge_file_without_content(tmp_path, name):
    with open(tmp_path / name, "wb") as file:
        file.truncate(3 * 2**30)
    assert measured(tmp_path / name, 8)


def test_a_line_without_an_end(tmp_path):
    (tmp_path / "a.csv").write_text("label," + "9" * 64 * MIB)
    assert measured(tmp_path / "a.csv", 8).startswith("line 1: more than")
    (tmp_path / "b.csv").write_text(csv_text() + '"\n' + "9\n" * 16 * MIB)
    assert measured(tmp_path / "b.csv", 16).startswith("line 6")


def test_a_csv_with_too_many_rows(tmp_path, monkeypatch):
    monkeypatch.setattr("node_agent.models.answer_table.columns.MOST_CELLS", (N + M) * E - 1)
    (tmp_path / "a.csv").write_text(csv_text())
    assert error_of(tmp_path / "a.csv") == "17 or more rows of 3 exits"


def test_a_parquet_that_states_many_rows_in_few_bytes(tmp_path):
    script = """
import sys
import numpy, pyarrow, pyarrow.parquet
count = 40_000_000
zeros = pyarrow.array(numpy.zeros(count, numpy.int8))
names = ["label", "confidence_1", "prediction_1", "flop_1", "input_bytes_1"]
table = pyarrow.table({name: zeros for name in names})
pyarrow.parquet.write_table(table, sys.argv[1])
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.parquet")], check=True)
    assert (tmp_path / "a.parquet").stat().st_size < 8 * MIB
    assert measured(tmp_path / "a.parquet", 8) == "40000000 or more rows of 1 exits"


def test_a_deflate_stream_that_is_damaged(tmp_path):
    path = zip_of(tmp_path / "a.npz", members())
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo("confidence.npy").header_offset + 30 + len("confidence.npy")
    assert zlib.decompressobj(-15).decompress(bytes(content[at:]))
    content[at : at + 8] = b"\xff" * 8
    path.write_bytes(content)
    assert re.match("array confidence: .*invalid", error_of(path))
