"""GGUF files are read exactly, and damaged ones are refused before memory is taken."""

import struct

import numpy as np
import pytest

from node_agent.models.families.smollm.gguf import read_gguf
from tests.node_agent.models.families.smollm.files import f32, gguf, q4_1, q8_0, text, tiny_tensors, write


def test_metadata_of_every_kind(tmp_path):
    stated = {"a": "words", "b": 7, "c": 0.5, "d": True, "e": ["x", "yz"], "f": [1, -2, 3]}
    assert read_gguf(write(tmp_path / "a", stated)).metadata == stated


def test_float32_tensors_have_outputs_first(tmp_path):
    matrix = np.arange(6).reshape(2, 3)  # two outputs, three inputs
    content = read_gguf(write(tmp_path / "a", None, {"m": ((2, 3), 0, f32(matrix)), "n": ((2,), 0, f32(matrix[:, 1]))}))
    np.testing.assert_array_equal(content.tensor("m", (2, 3)), matrix)
    np.testing.assert_array_equal(content.tensor("n", (2,)), [1, 4])


def test_q8_0_is_a_scale_times_whole_numbers(tmp_path):
    numbers = np.random.default_rng(1).integers(-128, 128, (3, 64))
    content = read_gguf(write(tmp_path / "a", None, {"m": ((3, 64), 8, q8_0(numbers))}))
    np.testing.assert_array_equal(content.tensor("m", (3, 64)), numbers * 0.25)


def test_q4_1_has_low_halves_first(tmp_path):
    numbers = np.random.default_rng(1).integers(0, 16, (3, 64))
    content = read_gguf(write(tmp_path / "a", None, {"m": ((3, 64), 3, q4_1(numbers))}))
    np.testing.assert_array_equal(content.tensor("m", (3, 64)), numbers * 0.5 - 1)


def test_a_tensor_of_another_name_or_shape_is_refused(tmp_path):
    content = read_gguf(write(tmp_path / "a"))
    with pytest.raises(ValueError, match="no tensor 'x'"):
        content.tensor("x", (2, 2))
    with pytest.raises(ValueError, match=r"the shape \[64\], not \[65\]"):
        content.tensor("output_norm.weight", (65,))


def test_a_file_that_ends_anywhere_is_refused(tmp_path):
    whole = gguf({"a": "words", "e": ["x", "yz"], "f": [1, 2]}, {"m": ((1, 32), 8, q8_0(np.arange(32)))})
    for length in range(len(whole) - 30):  # the last tensor's data is padded to 64 bytes
        (tmp_path / "a").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"ends too early|no GGUF"):
            read_gguf(tmp_path / "a")


def header(*parts: bytes, tensors: int = 0, entries: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, entries) + b"".join(parts)


MANY = 2**40
HOSTILE = {
    "no GGUF file": b"GGML" + bytes(60),
    "of version 2": gguf({}, {}, version=2),
    f"{MANY} tensors": header(tensors=MANY),
    f"{MANY} entries of metadata": header(entries=MANY),
    f"{MANY} bytes of a text": header(struct.pack("<Q", MANY), entries=1),
    "ends too early": header(struct.pack("<Q", 2**19), entries=1),
    f"{MANY} values in a list": header(text("k"), struct.pack("<IIQ", 9, 4, MANY), entries=1),
    "a value of type 9": header(text("k"), struct.pack("<IIQ", 9, 9, 1), bytes(20), entries=1),
    "a value of type 13": header(text("k"), struct.pack("<I", 13), bytes(20), entries=1),
    "not UTF-8": header(struct.pack("<Q", 1), b"\xff", bytes(20), entries=1),
    "5 dimensions of tensor 't'": header(text("t"), struct.pack("<I", 5), bytes(60), tensors=1),
    "tensor 't': a shape of [4611686018427387904, 4]": gguf({}, {"t": ((2**62, 4), 0, b"")}),
    "tensor 't': a shape of []": gguf({}, {"t": ((), 0, b"")}),
    "tensor 't': a shape of [0]": gguf({}, {"t": ((0,), 0, b"")}),
    "tensor 't' is of type 2": gguf({}, {"t": ((32,), 2, bytes(18))}),
    "rows of 48 are no blocks of 32": gguf({}, {"t": ((2, 48), 8, bytes(200))}),
    "tensor t: the file ends too early": gguf({}, {"t": ((2**26,), 0, bytes(64))}),
    "an alignment of 0": gguf({"general.alignment": 0}, {}),
    "an alignment of wide": gguf({"general.alignment": "wide"}, {}),
}


@pytest.mark.parametrize("said", HOSTILE)
def test_a_hostile_file_is_refused_in_one_line(tmp_path, said):
    (tmp_path / "a").write_bytes(HOSTILE[said])
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        read_gguf(tmp_path / "a")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_tensor_behind_the_end_is_refused(tmp_path):
    raw = bytearray(gguf({}, {"t": ((4,), 0, bytes(16))}))
    place = raw.index(b"t", 24) + 1 + 4 + 8 + 4
    raw[place : place + 8] = struct.pack("<Q", 2**63)
    (tmp_path / "a").write_bytes(raw)
    with pytest.raises(ValueError, match="tensor t: the file ends too early"):
        read_gguf(tmp_path / "a")


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path):
    path = write(tmp_path / "a")
    content = read_gguf(path)
    path.write_bytes(path.read_bytes()[:-2000])
    name = list(tiny_tensors())[-1]
    with pytest.raises(ValueError, match="ends too early"):
        content.tensor(name, content.tensors[name].shape)
