"""CIFAR: records are read in order; pickles are refused, and damaged files end in one line."""

import os
import pickle
from functools import partial

import numpy as np
import pytest

from node_agent.errors import InputError
from node_agent.models.images import read_cifar
from node_agent.models.images.cifar import MOST_BYTES_OF_NAMES
from tests.node_agent.models.images.sets import TEN, records, refused, sparse, write_cifar10, write_cifar100


@pytest.fixture
def ten(tmp_path):
    return write_cifar10(tmp_path / "cifar-10-batches-bin")


@pytest.fixture
def hundred(tmp_path):
    return write_cifar100(tmp_path / "cifar-100-binary")


def test_the_batches_of_cifar_10_follow_one_another(ten):
    found = read_cifar(str(ten), "train")
    wanted = np.concatenate([records(number, seed=number) for number in range(1, 6)])
    assert found.images.shape == (15, 3, 32, 32)
    np.testing.assert_array_equal(found.labels, wanted[:, 0])
    np.testing.assert_array_equal(found.images.reshape(15, -1), wanted[:, 1:])
    assert found.classes == TEN
    assert found.images[14, 2, 31, 5] == wanted[14, 1 + 2 * 1024 + 31 * 32 + 5]  # blue, the last row
    assert len(read_cifar(ten, "test")) == 3


def test_both_labels_of_cifar_100(hundred):
    wanted = records(4, 2, 4, 20)
    fine, coarse = read_cifar(hundred, "train"), read_cifar(hundred, "train", labels="coarse")
    np.testing.assert_array_equal(fine.labels, wanted[:, 1])
    np.testing.assert_array_equal(coarse.labels, wanted[:, 0])
    np.testing.assert_array_equal(fine.images.reshape(4, -1), wanted[:, 2:])
    assert (len(fine.classes), len(coarse.classes)) == (100, 20)
    assert fine.classes[3] == "fine 3"
    assert len(read_cifar(hundred, "test")) == 2


def test_more_than_a_chunk(ten):
    many = records(1000, seed=3)  # 2.9 MiB
    (ten / "test_batch.bin").write_bytes(many.tobytes())
    found = read_cifar(ten, "test")
    np.testing.assert_array_equal(found.images.reshape(1000, -1), many[:, 1:])
    np.testing.assert_array_equal(found.labels, many[:, 0])


@pytest.mark.parametrize("names", [("data_batch_1", "test_batch", "batches.meta"), ("train", "test", "meta")])
def test_pickles_are_refused_and_not_loaded(tmp_path, names):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    for name in names:
        (tmp_path / name).write_bytes(pickle.dumps(Trap()))
    refused(partial(read_cifar, tmp_path, "train"), tmp_path, "pickles that could run code; they are not read")
    with pytest.raises(InputError) as caught:
        read_cifar(tmp_path, "test")
    assert "cifar-10-binary.tar.gz" in caught.value.hint
    assert not (tmp_path / "sprung").exists()


def with_label(record, label):
    made = records(3, seed=9)
    made[record, 0] = label
    return made.tobytes()


FAULTS = {
    "cut off": ("test_batch.bin", records(3).tobytes()[:-1], "9218 bytes are no whole number of records of 3073"),
    "one byte more": ("test_batch.bin", records(3).tobytes() + b"\0", "no whole number of records"),
    "empty": ("test_batch.bin", b"", "its 0 bytes are no whole number"),
    "a label too large": (
        "test_batch.bin",
        with_label(2, 10),
        "image 2 (counted from 0) has label 10, but there are 10",
    ),
    "no names": ("batches.meta.txt", b"\n \n", "0 names"),
    "fewer names": ("batches.meta.txt", b"a\nb", "has label"),
    "twice a name": ("batches.meta.txt", b"a\nb\na", "two classes are named 'a'"),
    "no text": ("batches.meta.txt", b"a\n\xff\xfe", r"'\udcff\udcfe' is no printable name"),
    "a sequence for terminals": ("batches.meta.txt", b"a\n\x1b[2J", r"'\x1b[2J' is no printable name"),
    "a long text": ("batches.meta.txt", b"a\n" * MOST_BYTES_OF_NAMES, "longer than 65536 bytes"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_file_is_named(ten, fault):
    file, content, said = FAULTS[fault]
    (ten / file).write_bytes(content)
    refused(partial(read_cifar, ten, "test"), ten / ("test_batch.bin" if fault == "fewer names" else file), said)


def test_rows_count_within_their_batch(ten):
    made = records(4, seed=4)
    made[1, 0] = 77
    (ten / "data_batch_4.bin").write_bytes(made.tobytes())
    refused(partial(read_cifar, ten, "train"), ten / "data_batch_4.bin", "image 1 (counted from 0) has label 77")


@pytest.mark.parametrize("file", ["data_batch_3.bin", "batches.meta.txt"])
def test_a_missing_file_is_named(ten, file):
    (ten / file).unlink()
    refused(partial(read_cifar, ten, "train"), ten / file, "No such file")


def test_another_folder(tmp_path):
    refused(partial(read_cifar, tmp_path, "train"), tmp_path, "neither test_batch.bin (CIFAR-10) nor test.bin")


def test_too_many_records(ten):
    sparse(ten / "test_batch.bin", 3073 * 700_000)
    refused(partial(read_cifar, ten, "test"), ten, "2.0 GiB of pixels; 2 GiB can be read")


def test_a_pipe_is_not_waited_for(ten):
    (ten / "batches.meta.txt").unlink()
    os.mkfifo(ten / "batches.meta.txt")
    refused(partial(read_cifar, ten, "test"), ten / "batches.meta.txt", "no regular file")


def test_unknown_splits_and_labels(hundred):
    with pytest.raises(InputError, match="unknown split 'val'"):
        read_cifar(hundred, "val")
    with pytest.raises(InputError, match="unknown labels 'medium'"):
        read_cifar(hundred, "train", labels="medium")
