"""MedMNIST: what is written is read; other sets, damaged and hostile archives end in one line."""

import io
import os
import zipfile
from functools import partial

import numpy as np
import pytest

from node_agent.errors import InputError
from node_agent.models.images import read_medmnist
from tests.node_agent.models.images.sets import COLOUR, IMAGES, LABELS, is_line, medmnist, refused


@pytest.fixture
def file(tmp_path):
    return tmp_path / "bloodmnist.npz"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("images", [IMAGES, COLOUR], ids=["grey", "colour"])
def test_what_is_written_is_read(file, save, images):
    save(file, **medmnist(images))
    wanted = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    for split, part in (("train", slice(None)), ("val", slice(2)), ("test", slice(3, None))):
        found = read_medmnist(str(file), split, ["a", "b", "c"])
        np.testing.assert_array_equal(found.images, wanted[part])
        np.testing.assert_array_equal(found.labels, LABELS[part])
        assert found.classes == ("a", "b", "c")
        assert found.images.flags.c_contiguous


def test_more_than_a_chunk(file):
    images = np.random.default_rng(1).integers(0, 256, (1000, 28, 28, 3), dtype=np.uint8)  # 2.2 MiB
    labels = np.arange(1000)[:, None] % 7
    np.savez_compressed(file, **medmnist(images, labels))
    found = read_medmnist(file, "train")
    np.testing.assert_array_equal(found.images, images.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(found.labels, labels[:, 0])


def test_without_names_the_classes_of_all_splits_are_numbered(file):
    arrays = medmnist()
    arrays["val_labels"] = np.array([[1], [4]])
    np.savez(file, **arrays)
    assert read_medmnist(file, "test").classes == ("0", "1", "2", "3", "4")


@pytest.mark.parametrize("labels", [LABELS.astype(">i8"), LABELS.astype(np.int16)[:, None], LABELS.astype(np.uint64)])
def test_labels_of_other_kinds_of_numbers(file, labels):
    np.savez(file, **medmnist() | {"train_labels": labels})
    np.testing.assert_array_equal(read_medmnist(file, "train").labels, LABELS)


OBJECTS = np.array([["a"], [None]], dtype=object)
FAULTS = {
    "volumes": ({"train_images": np.zeros((6, 5, 4, 7), np.uint8)}, "three-dimensional images, shape [6, 5, 4, 7]"),
    "volumes in colour": ({"train_images": np.zeros((6, 5, 4, 7, 3), np.uint8)}, "three-dimensional"),
    "flat": ({"train_images": np.zeros((6, 20), np.uint8)}, "no images, shape [6, 20]"),
    "one number": ({"train_images": np.uint8(3)}, "no images, shape []"),
    "several labels": ({"train_labels": np.zeros((6, 14), np.uint8)}, "train_labels: 14 labels for each image"),
    "fractions": ({"train_images": IMAGES / 255}, "train_images: float64, not uint8"),
    "labels in fractions": ({"train_labels": LABELS / 2}, "train_labels: float64 [6]"),
    "labels in cubes": ({"train_labels": LABELS[:, None, None]}, "train_labels: int64 [6, 1, 1]"),
    "fewer labels": ({"train_labels": LABELS[:5]}, "train_images holds 6 images, train_labels 5 labels"),
    "no images": ({"train_images": IMAGES[:0]}, "shape [0, 5, 4]"),
    "a class too many": ({"train_labels": np.array([0, 1, 2, 3, 9, 0])}, "image 3 (counted from 0) has label 3"),
    "a negative label": ({"train_labels": np.array([0, 1, 2, 0, -1, 0])}, "image 4 (counted from 0) has label -1"),
    "a huge label": ({"train_labels": np.array([2**64 - 1] * 6, np.uint64)}, "label -1"),
    "objects": ({"train_images": OBJECTS}, "Python objects (pickles)"),
    "labels of objects": ({"train_labels": OBJECTS}, "Python objects (pickles)"),
    "in columns": ({"train_images": np.asfortranarray(IMAGES)}, "shape [6, 5, 4], in columns"),
    "wide images": ({"train_images": np.zeros((6, 1, 5000), np.uint8)}, "4096 a side can be read"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_array_is_named(file, fault):
    changed, said = FAULTS[fault]
    np.savez(file, **medmnist() | changed)
    refused(partial(read_medmnist, file, "train", ["a", "b", "c"]), file, said)


@pytest.mark.parametrize("name", ["test_images", "test_labels"])
def test_a_missing_array_is_named(file, name):
    arrays = medmnist()
    del arrays[name]
    np.savez(file, **arrays)
    refused(partial(read_medmnist, file, "test"), file, f"there is no array {name}")
    assert len(read_medmnist(file, "train")) == 6


def test_more_labels_than_images_can_be_read(file):
    np.savez_compressed(file, **medmnist() | {"val_labels": np.zeros(2_000_001, np.uint8)})
    refused(partial(read_medmnist, file, "train"), file, "2000001 labels in val_labels; 1 to 2000000 can be read")


def test_labels_beyond_every_number_of_classes(file):
    np.savez(file, **medmnist() | {"train_labels": np.array([0, 1, 2, 0, 30_000, 9])})
    refused(partial(read_medmnist, file, "train"), file, "label 30000; labels below 30000 can be read")


def npy(array=IMAGES, header=None, version=b"\1\0", length=None):
    """The bytes of an array; `header` and its stated length replace numpy's own."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    if header is None:
        return buffer.getvalue()
    size = len(header) if length is None else length
    field = size.to_bytes(2 if version == b"\1\0" else 4, "little")
    return b"\x93NUMPY" + version + field + header.encode() + array.tobytes()


def of_shape(shape, *, dtype="'|u1'", order="False"):
    return f"{{'descr': {dtype}, 'fortran_order': {order}, 'shape': {shape}}}\n"


UNFIT = "bytes, the archive has"
HEADERS = {
    "no array": (b"hello", "train_images: "),
    "nothing": (b"", "train_images: "),
    "a later version": (npy(header=of_shape("(6, 5, 4)"), version=b"\7\0"), "no header that numpy writes"),
    "code": (npy(header="__import__('os').mkdir('sprung')"), "train_images: "),
    "terabytes": (npy(header=of_shape("(1000000000, 28, 28)")), UNFIT),
    "beyond 64 bits": (npy(header=of_shape("(1" + "0" * 70 + ",)")), UNFIT),
    "hundreds of digits": (npy(header=of_shape("(1" + "0" * 300 + ",)")), "train_images: header"),
    "one image more": (npy(header=of_shape("(7, 5, 4)")), UNFIT),
    "one image less": (npy(header=of_shape("(5, 5, 4)")), UNFIT),
    "a negative size": (npy(header=of_shape("(-6, -5, 4)")), "train_images: header"),
    "a truth as size": (npy(header=of_shape("(True, 120)")), "train_images: header"),
    "wide items": (npy(header=of_shape("(6,)", dtype="'|V999999'")), UNFIT),
    "items of gigabytes": (npy(header=of_shape("(6,)", dtype="'|V2147483647'")), "train_images: header"),
    "no such type": (npy(header=of_shape("(6, 5, 4)", dtype="'|q9'")), "train_images: "),
    "objects": (npy(header=of_shape("(6, 5, 4)", dtype="'|O'")), "Python objects"),
    "a long header": (npy(header=of_shape("(6, 5, 4)") + " " * 5000), "train_images: "),
    "a header of gigabytes": (npy(header=of_shape("(6, 5, 4)"), version=b"\2\0", length=2**32 - 1), "train_images: "),
    "a deep header": (npy(header="(" * 900), "train_images: "),
    "a steep header": (npy(header="-" * 900 + "1"), "train_images: "),
    "half a word": (npy(header="{'descr': '|u1"), "train_images: "),
    "indented": (npy(header="  {\n 1L"), "train_images: "),
}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.filterwarnings("ignore:Reading `.npy`:UserWarning")
def test_headers_of_arrays(file, tmp_path, monkeypatch, header, compression):
    monkeypatch.chdir(tmp_path)
    content, said = HEADERS[header]
    write_members(file, {"train_images.npy": content}, compression)
    refused(partial(read_medmnist, file, "train"), file, said)
    assert not (tmp_path / "sprung").exists()


def test_a_header_of_version_2_is_read(file):
    write_members(file, {"train_images.npy": npy(header=of_shape("(6, 5, 4)"), version=b"\2\0")})
    np.testing.assert_array_equal(read_medmnist(file, "train").images[:, 0], IMAGES)


def write_members(file, members, compression=zipfile.ZIP_STORED):
    """Write the small set with some members replaced."""
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, array in medmnist().items():
            archive.writestr(f"{name}.npy", members.get(f"{name}.npy", npy(array)))


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_compressed_otherwise(file, compression):
    write_members(file, {}, compression)
    refused(partial(read_medmnist, file, "train"), file, "compressed in a way that numpy does not use")


def test_an_encrypted_member(file):
    """By its mark in both tables."""
    write_members(file, {})
    whole = bytearray(file.read_bytes())
    local, central = whole.index(b"PK\3\4"), whole.index(b"PK\1\2")
    whole[local + 6] |= 1
    whole[central + 8] |= 1
    file.write_bytes(whole)
    refused(partial(read_medmnist, file, "train"), file, "encrypted")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\5\6" + b"\0" * 18, b"PK\5\6" + b"\xff" * 18])
def test_no_archive(file, content):
    file.write_bytes(content)
    refused(partial(read_medmnist, file, "train"), file, "")


def test_a_missing_file_and_a_pipe(file):
    refused(partial(read_medmnist, file, "train"), file, "No such file")
    os.mkfifo(file)
    refused(partial(read_medmnist, file, "train"), file, "no regular file")


@pytest.mark.filterwarnings("ignore:Reading `.npy`:UserWarning")
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damage_anywhere_ends_in_one_line(file, save):
    """Each byte of the archive in turn, where it changes anything; times and the like are not checked."""
    save(file, **medmnist())
    whole = file.read_bytes()
    refusals = 0
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            found = read_medmnist(file, "train")
        except InputError as error:
            refusals += is_line(error, file)
        else:
            np.testing.assert_array_equal(found.images[:, 0], IMAGES)
    assert refusals > 300


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.99])
def test_an_archive_that_is_cut_off(file, keep):
    np.savez(file, **medmnist())
    os.truncate(file, int(file.stat().st_size * keep))
    refused(partial(read_medmnist, file, "train"), file, "no npz file, or one that was cut off")
