"""The format of a set is recognised by its files."""

from functools import partial

import numpy as np
import pytest

from node_agent.errors import EnvironmentLacking, InputError
from node_agent.models.images import idx as idx_files
from node_agent.models.images import read_images, recognition
from tests.node_agent.models.images.sets import (
    IMAGES,
    medmnist,
    refused,
    write_cifar10,
    write_cifar100,
    write_idx,
    write_picture,
)


@pytest.fixture
def sets(tmp_path):
    np.savez(tmp_path / "medmnist.npz", **medmnist())
    write_picture(tmp_path / "folder" / "a" / "1.png", IMAGES[0])
    write_picture(tmp_path / "splits" / "test" / "a" / "1.png", IMAGES[0])
    write_idx(tmp_path / "idx", "t10k", end=".gz")
    write_cifar10(tmp_path / "ten")
    write_cifar100(tmp_path / "hundred")
    (tmp_path / "pickles").mkdir()
    (tmp_path / "pickles" / "data_batch_1").write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "split", "count"),
    [
        ("medmnist.npz", "test", 3), ("medmnist.npz", "val", 2), ("folder", None, 1), ("splits", "test", 1),
        ("idx", "test", 6), ("ten", "test", 3), ("hundred", "test", 2),
    ],
)  # fmt: skip
def test_each_format(sets, name, split, count):
    assert len(read_images(sets / name, split)) == count
    assert len(read_images(str(sets / name), split)) == count


def test_what_is_no_set(sets):
    refused(partial(read_images, sets / "pickles", "train"), sets / "pickles", "pickles that could run code")
    refused(partial(read_images, sets / "none", "train"), sets / "none", "no such file or folder")
    (sets / "text").write_text("hello")
    refused(partial(read_images, sets / "text", "train"), sets / "text", "no set of images")


@pytest.mark.parametrize("name", ["medmnist.npz", "idx", "ten"])
def test_only_folders_may_be_without_splits(sets, name):
    with pytest.raises(InputError, match="which split"):
        read_images(sets / name)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("folder", {"classes": ["a"]}), ("ten", {"classes": ["a"]}), ("ten", {"size": (8, 8)}),
        ("idx", {"channels": 3}), ("medmnist.npz", {"size": (8, 8)}),
    ],
)  # fmt: skip
def test_arguments_of_other_formats(sets, name, option):
    refused(partial(read_images, sets / name, "test", **option), sets / name, f"{next(iter(option))} cannot be given")


def test_arguments_reach_the_format(sets):
    assert read_images(sets / "idx", "test", classes=["a", "b", "c"]).classes == ("a", "b", "c")
    assert read_images(sets / "medmnist.npz", "test", classes=["a", "b", "c"]).classes == ("a", "b", "c")
    assert read_images(sets / "folder", size=(3, 2), channels=3).images.shape == (1, 3, 3, 2)


def test_without_the_package_its_command_is_the_hint(tmp_path, monkeypatch):
    for module in (idx_files, recognition):
        monkeypatch.setattr(module, "FASHION_MNIST", tmp_path / "fashion-mnist")
    with pytest.raises(EnvironmentLacking, match="fashion-mnist is missing"):
        read_images(tmp_path / "fashion-mnist", "train")
