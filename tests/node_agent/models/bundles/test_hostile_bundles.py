"""Hostile and corrupt bundles: one line of error each, bounded memory, no code run, nothing left behind."""

import io
import json
import os
import pickle
import resource
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from node_agent.errors import InputError
from node_agent.models import load_bundle

EXITS = 4


@pytest.fixture
def copied(glyphs, tmp_path) -> Path:
    return Path(shutil.copytree(glyphs.folder, tmp_path / "copy"))


def change_card(folder: Path, **changed) -> None:
    file = folder / "card.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))


def change_weights(folder: Path, change) -> None:
    file = folder / "weights.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


def header(shape: tuple[int, ...], dtype: str = "|u1", order: str = "False") -> bytes:
    """The header of an npy file that claims this shape."""
    text = f"{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': {shape!r}, }}"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text.encode() + b"\n"


def bomb(file: Path, name: str, claimed: bytes, body: bytes = b"") -> None:
    """Replace an array of an archive."""
    with np.load(file) as archive:
        arrays = {key: archive[key] for key in archive.files}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as written:
        for key, array in arrays.items():
            stream = io.BytesIO()
            np.save(stream, array)
            written.writestr(f"{key}.npy", claimed + body if key == name else stream.getvalue())


class Touch:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def nan(tensors):
    tensors["stem.conv.conv.bias"][0] = np.nan


def shape(tensors):
    tensors["heads.3.linear.weight"] = np.zeros((20, 31), np.float32)


def missing(tensors):
    del tensors["blocks.2.first.conv.weight"]


def extra(tensors):
    tensors["blocks.9.first.conv.weight"] = np.zeros(3, np.float32)


def kind(tensors):
    tensors["blocks.0.first.conv.bias"] = tensors["blocks.0.first.conv.bias"].astype(np.float64)


def half(tensors):
    tensors["blocks.0.first.conv.bias"] = tensors["blocks.0.first.conv.bias"].astype(np.float16)


def colours(tensors):
    tensors["a\n\x1b[31mred" + 900 * "x"] = np.zeros(3, np.float32)


def scalar(tensors):
    tensors["heads.2.temperature"] = np.ones(20, np.float32)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (nan, "tensor stem.conv.conv.bias: 1 of 16 weights are NaN or infinite"),
        (shape, "tensor heads.3.linear.weight has the shape [20, 31], the network needs [20, 32]"),
        (missing, "it lacks tensor blocks.2.first.conv.weight, which the network needs"),
        (extra, "it holds tensor blocks.9.first.conv.weight, which the network has not"),
        (kind, "tensor blocks.0.first.conv.bias holds F64, the network needs F32"),
        (half, "tensor blocks.0.first.conv.bias holds F16, the network needs F32"),
        (scalar, "tensor heads.2.temperature has the shape [20], the network needs []"),
        (dict.clear, "it lacks tensor "),
        (colours, "it holds tensor a [31mredxxx"),
    ],
)
def test_weights_that_do_not_fit_are_named(copied, change, said):
    change_weights(copied, change)
    refused(copied, "weights.safetensors", said, lambda bundle: bundle.sub_models((2, 5), "float32"))


def refused(folder: Path, file: str, said: str, use=lambda bundle: bundle.check()) -> None:
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(InputError) as caught:
        use(load_bundle(str(folder)))
    message = str(caught.value)
    assert message.startswith(f"{folder / file}: ")
    assert said in message
    assert message.isprintable()
    assert len(message) < 1000
    assert caught.value.hint
    assert sorted(path.name for path in folder.iterdir()) == before


def huge_header(file: Path) -> None:
    file.write_bytes(struct.pack("<Q", 2**62) + b"{}")


def beyond_the_end(file: Path) -> None:
    head = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    file.write_bytes(struct.pack("<Q", len(head)) + head)


def overlapping(file: Path) -> None:
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    head = json.dumps({"a": entry, "b": entry}).encode()
    file.write_bytes(struct.pack("<Q", len(head)) + head + bytes(4))


def no_json(file: Path) -> None:
    file.write_bytes(struct.pack("<Q", 8) + b"\xff" * 8)


def pickled(file: Path) -> None:
    file.write_bytes(pickle.dumps(Touch(file.parent / "ran")))


@pytest.mark.parametrize("write", [huge_header, beyond_the_end, overlapping, no_json, pickled])
def test_files_that_are_no_weights_are_refused(copied, write):
    write(copied / "weights.safetensors")
    refused(copied, "weights.safetensors", "")


CLAIMS = {
    "more samples than labels": ("evaluation.npz", "images", header((10**9, 1, 32, 32)), "images: 1000000000 x 1 x 32"),
    "a vast array": ("exit_table.npz", "conf", header((2000, 4), "<f8") + b"\0" * 99, "conf: float64 of shape"),
    "a vast table": ("exit_table.npz", "correct", header((10**12, 4), "|b1"), "correct: 1000000000000 x 4 where N x 4"),
    "bytes below the limit, rows above it": ("exit_table.npz", "correct", header((10**8 + 1, 4), "|b1"), "correct: "),
    "4 GiB of rows": ("exit_table.npz", "correct", header((2**28 // 4, 4), "|b1"), "correct: bool of shape"),
    "a giant": ("exit_table.npz", "correct", header((10**8, 4), "|b1"), "has 400000000 bytes"),
    "many labels": ("evaluation.npz", "labels", header((10**8,), "<f8"), "labels: "),
    "numbers of 1 MB": ("evaluation.npz", "labels", header((2000,), "|V1000000"), "labels: header"),
    "objects": ("evaluation.npz", "labels", header((2000,), "|O"), "labels: it holds Python objects"),
    "text": ("evaluation.npz", "labels", header((2000,), "<U9"), "labels: numbers of type <U9"),
    "a negative length": ("evaluation.npz", "labels", header((-5,), "<i8"), "labels: "),
    "no header": ("evaluation.npz", "labels", b"hello", "no header that numpy writes"),
    "a header that calls": ("evaluation.npz", "labels", header(("__import__('os')",), "<i8"), ""),
    "another shape": ("evaluation.npz", "images", header((2000, 3, 32, 32)), "images: 2000 x 3 x 32 x 32 where"),
    "halves": ("evaluation.npz", "images", header((2000, 1, 32, 32), "<f2"), "images: float16 of shape"),
}  # fmt: skip


@pytest.mark.parametrize("name", CLAIMS)
def test_claims_of_arrays_take_no_memory(copied, name):
    file, array, claimed, said = CLAIMS[name]
    bomb(copied / file, array, claimed)
    refused(copied, file, said)


def test_zeros_that_unpack_to_gigabytes_are_not_read(copied):
    """A small file of 5 GB."""
    bomb(copied / "evaluation.npz", "images", header((5 * 10**6, 1, 32, 32)), bytes(2**20))
    refused(copied, "evaluation.npz", "images: 5000000 x 1")


def test_a_bomb_is_refused_in_little_memory(copied):
    """The exit table claims 800 MB of confidences, as many as there are flags; it holds 1 MB of both."""
    rows = 10**8 // 4
    bomb(copied / "exit_table.npz", "correct", header((rows, 4), "|b1"), bytes(2**20))
    code = (
        "import resource, sys; from node_agent.models import load_bundle; from node_agent.errors import InputError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    load_bundle(sys.argv[1]).check()\n    print('taken')\n"
        "except InputError as error:\n    print(str(error).count(chr(10)))\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))  # noqa: E731
    done = subprocess.run(
        [sys.executable, "-c", code, str(copied)], capture_output=True, text=True, check=True, preexec_fn=limit
    )
    lines, grown_mib = map(int, done.stdout.split())
    assert lines == 0
    assert grown_mib < 100


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"exits": [5, 4, 3, 2]}, "exits [5, 4, 3, 2] do not rise"),
        ({"exits": [2, 2, 5]}, "do not rise"),
        ({"exits": [-1, 5]}, "do not rise"),
        ({"exits": [2, 3, 5]}, "criteria.npz: table_prediction: 2000 x 4 where N x 3 is needed"),
        ({"exits": [True, 5]}, "no list of exits"),
        ({"family": "no-such-family"}, "family"),
        ({"family": ["glyphs"]}, "is no name"),
        ({"family": "../../evil"}, "family"),
        ({"input": {"shape": [1, 28, 28]}}, "images: 2000 x 1 x 32 x 32 where 2000 x 1 x 28 x 28 is needed"),
        ({"input": {"shape": [1, 0, 28]}}, "input: "),
        ({"input": {"shape": [1, 32, 32], "dtype": "object"}}, "input: "),
        ({"input": 7}, "input: "),
        ({"code": {"file": "evil.py", "name": "Evil"}}, "code: "),
        ({"code": "evil.py:Evil"}, "code: "),
        ({"code": {"file": "../evil.py", "name": "Evil", "sha256": 64 * "0"}}, "code: "),
        ({"code": {"file": "evil\n.py", "name": "Evil", "sha256": 64 * "0"}}, "code: "),
        ({"exits": list(range(1, 10**5))}, "99999 exits, 256 at most"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_nonsense_in_a_card_is_named(copied, changed, said):
    (copied / "evil.py").write_text("open('ran', 'w')")
    change_card(copied, **changed)

    def use(bundle):
        bundle.check()
        bundle.network()

    with pytest.raises(InputError, match=r"family|card|\.npz") as caught:
        use(load_bundle(str(copied)))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[" * 10**5, '{"exits": ' + "9" * 10**5 + "}", '{"exits": [1e999]}', "\0" * 99])
def test_a_card_that_is_no_json_for_a_program_is_refused(copied, text):
    (copied / "card.json").write_text(text)
    with pytest.raises(InputError, match=r"card\.json"):
        load_bundle(str(copied))


def test_a_card_of_gigabytes_is_not_read(copied):
    with (copied / "card.json").open("ab") as file:
        file.truncate(2**33)  # a hole: it takes no room on the disk
    with pytest.raises(InputError, match=r"card\.json: more than"):
        load_bundle(str(copied))


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("blocks", "flop", [1.0, 2.0]), ("blocks", "flop", [1e300, 0.0, 0.0]), ("blocks", "flop", [float("nan")] * 3),
        ("blocks", "flop", 2**60), ("blocks", "flop", -1), ("blocks", "flop", "9"), ("blocks", "output_shape", []),
        ("blocks", "output_shape", [0]), ("blocks", "output_shape", [2**40]), ("blocks", "output_length", [0.0, 1.0]),
        ("blocks", "parameters_bytes", 1.5),
    ],
)  # fmt: skip
def test_costs_that_no_model_has_are_refused(copied, part, key, value):
    card = json.loads((copied / "card.json").read_text())
    card["costs"][part][1][key] = value
    (copied / "card.json").write_text(json.dumps(card))
    refused(copied, "card.json", "costs", lambda bundle: bundle.profiles((2, 5), "float32"))


def test_costs_that_are_no_numbers_never_pass_for_work(copied):
    """NaN passes no comparison, so a bound alone does not hold it."""
    card = json.loads((copied / "card.json").read_text())
    card["costs"]["exits"]["5"]["flop"] = [float("nan"), 0.0, 0.0]
    (copied / "card.json").write_text(json.dumps(card))
    refused(copied, "card.json", "costs", lambda bundle: bundle.profiles((2, 5), "float32"))


def test_costs_of_other_blocks_exits_or_inputs_are_refused(copied):
    card = json.loads((copied / "card.json").read_text())
    for said, changed in {
        "costs of other blocks or exits": {"exits": {"5": {"flop": 1, "parameters_bytes": 1}}},
        "costs of inputs [1, 1, 28, 28], but samples are [1, 1, 32, 32]": {"input_shape": [1, 1, 28, 28]},
    }.items():
        change_card(copied, costs=card["costs"] | changed)
        refused(copied, "card.json", said)


def test_inputs_that_the_network_does_not_take_are_refused(copied):
    """All files agree on smaller pictures."""
    card = json.loads((copied / "card.json").read_text())
    change_card(copied, input={"shape": [1, 28, 28]}, costs=card["costs"] | {"input_shape": [1, 1, 28, 28]})
    labels = load_bundle("glyphs").labels
    np.savez(copied / "evaluation.npz", images=np.zeros((2000, 1, 28, 28), np.uint8), labels=labels)
    load_bundle(str(copied)).check()
    refused(copied, "card.json", "inputs [1, 28, 28], but the network has", lambda bundle: bundle.network())


def test_a_table_of_other_exits_and_scores_of_another_count_are_refused(copied):
    np.savez(copied / "exit_table.npz", conf=np.full((9, 3), 0.5), correct=np.ones((9, 3), bool))
    refused(copied, "exit_table.npz", "correct: 9 x 3 where N x 4 is needed")
    shutil.copy(load_bundle("glyphs").folder / "exit_table.npz", copied)
    np.savez(copied / "evaluation_scores.npz", conf=np.full((1999, 4), 0.5), prediction=np.ones((1999, 4), int))
    refused(copied, "evaluation_scores.npz", "conf: 1999 x 4 where 2000 x 4 is needed")


def test_an_encrypted_or_corrupt_archive_is_refused(copied):
    file = copied / "exit_table.npz"
    content = bytearray(file.read_bytes())
    content[60:90] = bytes(30)
    file.write_bytes(content)
    refused(copied, "exit_table.npz", "")


def test_a_bundle_runs_no_file_that_lies_in_it(copied):
    """Its card names a class and the file's true hash."""
    import hashlib

    evil = copied / "evil.py"
    evil.write_text(f"open({str(copied / 'ran')!r}, 'w')")
    sha256 = hashlib.sha256(evil.read_bytes()).hexdigest()
    change_card(copied, code={"file": "evil.py", "name": "Evil", "sha256": sha256})
    with pytest.raises(InputError, match="a bundle does not run files"):
        load_bundle(str(copied)).sub_models((2, 5), "float32")
    assert not (copied / "ran").exists()


@pytest.mark.parametrize("name", ["weights.safetensors", "evaluation.npz", "exit_table.npz", "evaluation_scores.npz"])
def test_a_named_pipe_in_a_bundle_is_refused_at_once(copied, name):
    (copied / name).unlink()
    os.mkfifo(copied / name)
    code = f"from node_agent.models import load_bundle; load_bundle({str(copied)!r}).check()"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    assert f"{name}: no ordinary file" in ended.stderr
