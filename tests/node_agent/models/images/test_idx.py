"""IDX: what is written is read; damaged and hostile files end in one line."""

import gzip
import os
import struct
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from node_agent.errors import EnvironmentLacking, InputError
from node_agent.models.images import FASHION_MNIST, FASHION_MNIST_CLASSES, idx, read_idx
from tests.node_agent.models.images.sets import (
    IMAGES,
    LABELS,
    idx_images,
    idx_labels,
    is_line,
    refused,
    write_idx,
)

IMAGES_FILE, LABELS_FILE = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.fixture
def fashion() -> Path:
    if not FASHION_MNIST.is_dir():
        pytest.skip("dataset-fashion-mnist is not installed: ./setup.sh --dev, where the distribution has it")
    return FASHION_MNIST


@pytest.mark.parametrize("end", ["", ".gz"])
def test_what_is_written_is_read(tmp_path, end):
    folder = write_idx(tmp_path / "set", end=end)
    found = read_idx(str(folder), "train", ["a", "b", "c"])
    np.testing.assert_array_equal(found.images[:, 0], IMAGES)
    np.testing.assert_array_equal(found.labels, LABELS)
    assert found.images.shape == (6, 1, 5, 4)
    assert found.classes == ("a", "b", "c")


def test_a_set_of_several_chunks_is_read_in_order(tmp_path):
    images = np.random.default_rng(1).integers(0, 256, (3000, 28, 28), dtype=np.uint8)  # 2.2 MiB
    folder = write_idx(tmp_path / "set", images=idx_images(images), labels=idx_labels(np.arange(3000) % 10))
    found = read_idx(folder, "train")
    np.testing.assert_array_equal(found.images[:, 0], images)
    np.testing.assert_array_equal(found.labels, np.arange(3000) % 10)


def test_names_of_old_archives_are_found(tmp_path):
    folder = write_idx(tmp_path / "set", "t10k")
    for kind in ("images-idx3", "labels-idx1"):
        (folder / f"t10k-{kind}-ubyte").rename(folder / f"t10k-{kind.replace('-', '.')}-ubyte")
    assert len(read_idx(folder, "test")) == 6


def test_without_names_the_classes_of_both_splits_are_numbered(tmp_path):
    write_idx(tmp_path, labels=idx_labels([0, 1, 2, 0, 1, 4]))
    write_idx(tmp_path, "t10k")
    assert read_idx(tmp_path, "test").classes == read_idx(tmp_path, "train").classes == ("0", "1", "2", "3", "4")


def with_header(**sizes):
    return {"images": idx_images(**sizes)}


FAULTS = {
    "labels for images": ({"images": idx_labels()}, IMAGES_FILE, "starts with 00000801, not with 00000803"),
    "images for labels": ({"labels": idx_images()}, LABELS_FILE, "starts with 00000803, not with 00000801"),
    "numbers of four bytes": (with_header(magic=0xC03), IMAGES_FILE, "starts with 00000c03"),
    "text": ({"images": b"hello"}, IMAGES_FILE, "starts with 68656c6c"),
    "two bytes": ({"images": b"\0\0"}, IMAGES_FILE, "starts with 0000, not"),
    "half a header": ({"images": idx_images()[:10]}, IMAGES_FILE, "within its header"),
    "one byte is missing": ({"images": idx_images()[:-1]}, IMAGES_FILE, "ends early, after 5 of 6 images"),
    "one byte more": ({"images": idx_images() + b"\0"}, IMAGES_FILE, "goes on after the 6 images"),
    "a label is missing": ({"labels": idx_labels()[:-1]}, LABELS_FILE, "ends early, after 5 of 6"),
    "a label more": ({"labels": idx_labels() + b"\0"}, LABELS_FILE, "goes on after the 6"),
    "fewer labels": ({"labels": idx_labels(LABELS[:5])}, IMAGES_FILE, f"6 images, but {LABELS_FILE} 5 labels"),
    "no labels": ({"labels": idx_labels([])}, LABELS_FILE, "states 0 labels"),
    "no images": (with_header(sizes=(0, 5, 4)), IMAGES_FILE, "states 0 images"),
    "no pixels": (with_header(sizes=(6, 0, 4)), IMAGES_FILE, "0x4 pixels"),
    "a class too many": ({"labels": idx_labels([0, 1, 2, 0, 3, 9])}, LABELS_FILE,
                         "image 4 (counted from 0) has label 3, but there are 3 classes"),
    "billions of images": (with_header(sizes=(2**32 - 1,) * 3), IMAGES_FILE, "can be read"),
    "billions of labels": ({"labels": idx_labels(count=2**32 - 1)}, LABELS_FILE, "1 to 2000000 can be read"),
    "images of billions of pixels": (with_header(sizes=(6, 65536, 65536)), IMAGES_FILE, "4096 a side can be read"),
    "more than the limit": (with_header(sizes=(6000, 1024, 1024)), IMAGES_FILE, "5.9 GiB of pixels; 2 GiB can"),
    "no more than the limit": (with_header(sizes=(6, 4096, 4096)), IMAGES_FILE, "too small for the 100663296 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_file_is_named(tmp_path, fault, end):
    contents, file, said = FAULTS[fault]
    write_idx(tmp_path, end=end, **contents)
    if end == ".gz":
        said = said.replace(f" {LABELS_FILE} ", f" {LABELS_FILE}.gz ")
    refused(partial(read_idx, tmp_path, "train", ["a", "b", "c"]), tmp_path / f"{file}{end}", said)


def test_a_compressed_file_that_is_cut_off(tmp_path):
    images = np.random.default_rng(1).integers(0, 256, (60, 28, 28), dtype=np.uint8)
    write_idx(tmp_path, end=".gz", images=idx_images(images), labels=idx_labels([1] * 60))
    file = tmp_path / f"{IMAGES_FILE}.gz"
    whole = file.read_bytes()
    read = partial(read_idx, tmp_path, "train")
    file.write_bytes(whole[: len(whole) // 2])
    refused(read, file, "ends early, after ")
    file.write_bytes(whole[:-4])  # all images are there, their sum is not
    refused(read, file, "ended before the end-of-stream marker")
    file.write_bytes(whole[:15])
    refused(read, file, "ended before the end-of-stream marker")


def test_a_compressed_file_with_another_sum(tmp_path):
    write_idx(tmp_path, end=".gz")
    file = tmp_path / f"{IMAGES_FILE}.gz"
    whole = bytearray(file.read_bytes())
    whole[-8] ^= 1
    file.write_bytes(whole)
    refused(partial(read_idx, tmp_path, "train"), file, "CRC check failed")


def test_damage_anywhere_ends_in_one_line(tmp_path):
    """Each byte of the compressed file in turn, where it changes anything."""
    write_idx(tmp_path, end=".gz")
    file = tmp_path / f"{IMAGES_FILE}.gz"
    whole = file.read_bytes()
    detected = 0
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            found = read_idx(tmp_path, "train")
        except InputError as error:
            detected += is_line(error, file)
        else:
            np.testing.assert_array_equal(found.images[:, 0], IMAGES)
    assert detected > len(whole) - 10  # all but time, system and extra flags in the header of gzip


def test_missing_files_are_named(tmp_path):
    read = partial(read_idx, tmp_path, "train")
    refused(read, tmp_path, "no file train-images-idx3-ubyte or train-images-idx3-ubyte.gz")
    (tmp_path / IMAGES_FILE).write_bytes(idx_images())
    refused(read, tmp_path, "no file train-labels-idx1-ubyte")
    refused(partial(read_idx, tmp_path / "none", "test"), tmp_path / "none", "no file t10k-images")


def test_a_pipe_is_not_waited_for(tmp_path):
    write_idx(tmp_path)
    (tmp_path / IMAGES_FILE).unlink()
    os.mkfifo(tmp_path / IMAGES_FILE)
    refused(partial(read_idx, tmp_path, "train"), tmp_path / IMAGES_FILE, "no regular file")


def test_an_unknown_split(tmp_path):
    with pytest.raises(InputError, match="unknown split 'tst'") as caught:
        read_idx(write_idx(tmp_path), "tst")
    assert caught.value.hint == "did you mean test?"


def test_classes_of_one_name(tmp_path):
    with pytest.raises(InputError, match="two classes are named 'a'"):
        read_idx(write_idx(tmp_path), "train", ["a", "b", "a"])


def test_without_the_package_its_command_is_the_hint(tmp_path, monkeypatch):
    monkeypatch.setattr(idx, "FASHION_MNIST", tmp_path / "fashion-mnist")
    with pytest.raises(EnvironmentLacking) as caught:
        read_idx(f"{tmp_path}/fashion-mnist", "train")
    assert "apt-get install dataset-fashion-mnist" in caught.value.hint


@pytest.mark.parametrize(("split", "prefix", "count"), [("train", "train", 60_000), ("test", "t10k", 10_000)])
def test_fashion_mnist_is_read_as_it_is(fashion, split, prefix, count):
    """Against the files' bytes, unpacked here."""
    found = read_idx(fashion, split, FASHION_MNIST_CLASSES)
    assert (found.images.shape, found.images.dtype) == ((count, 1, 28, 28), np.uint8)
    assert np.bincount(found.labels).tolist() == [count // 10] * 10
    images = gzip.decompress((fashion / f"{prefix}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((fashion / f"{prefix}-labels-idx1-ubyte.gz").read_bytes())
    assert struct.unpack(">4I", images[:16]) == (2051, count, 28, 28)
    assert found.labels.tolist() == list(labels[8:])
    assert int(found.images.sum(dtype=np.int64)) == sum(memoryview(images)[16:])
    for image, row, column in ((0, 5, 14), (1, 27, 0), (count // 2, 10, 9), (count - 1, 20, 20)):
        assert found.images[image, 0, row, column] == images[16 + image * 784 + row * 28 + column]


def test_fashion_mnist_takes_about_a_second(fashion):
    """In CPU time, so that other programs do not count."""
    begun_s = time.process_time()
    assert sum(len(read_idx(fashion, split, FASHION_MNIST_CLASSES)) for split in ("train", "test")) == 70_000
    assert time.process_time() - begun_s < 1.5
