"""Small sets of images in each format, and the form of an error about a set."""

import gzip
import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from node_agent.errors import InputError

IMAGES = np.random.default_rng(7).integers(0, 256, (6, 5, 4), dtype=np.uint8)  # [N, H, W]
LABELS = np.array([2, 0, 1, 1, 2, 0])
COLOUR = np.random.default_rng(8).integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)  # [N, H, W, 3]
TEN = tuple(f"class {number}" for number in range(10))


def refused(read: Callable[[], object], path: Path | str, said: str) -> None:
    """Check that `read` raises one line that begins with the path, contains `said`, and has a hint."""
    with pytest.raises(InputError) as caught:
        read()
    assert is_line(caught.value, path)
    assert said in str(caught.value)


def is_line(error: InputError, path: Path | str) -> bool:
    """Check that an error is one line that begins with the path, and has a hint; always True."""
    assert str(error).startswith(f"{path}: "), error
    assert "\n" not in str(error)
    assert error.hint
    assert "\n" not in error.hint
    return True


def idx_images(images: np.ndarray = IMAGES, *, sizes: Sequence[int] | None = None, magic: int = 0x803) -> bytes:
    """The bytes of an IDX file of images; `sizes` are those that its header states."""
    return struct.pack(">IIII", magic, *(sizes or images.shape)) + images.tobytes()


def idx_labels(labels: Sequence[int] | np.ndarray = LABELS, *, count: int | None = None, magic: int = 0x801) -> bytes:
    """The bytes of an IDX file of labels; `count` is the one that its header states."""
    return struct.pack(">II", magic, len(labels) if count is None else count) + bytes(map(int, labels))


def write_idx(folder: Path, prefix: str = "train", *, end: str = "", images: bytes = b"", labels: bytes = b"") -> Path:
    """Write the two files of a split, the small set unless others are given; `end` may be .gz."""
    folder.mkdir(exist_ok=True)
    for name, content in (("images-idx3", images or idx_images()), ("labels-idx1", labels or idx_labels())):
        file = folder / f"{prefix}-{name}-ubyte{end}"
        file.write_bytes(gzip.compress(content) if end == ".gz" else content)
    return folder


def records(count: int, label_bytes: int = 1, seed: int = 0, classes: int = 10) -> np.ndarray:
    """Records of CIFAR [N, label bytes + 3072]."""
    made = np.random.default_rng(seed).integers(0, 256, (count, label_bytes + 3072), dtype=np.uint8)
    made[:, :label_bytes] %= classes
    return made


def write_cifar10(folder: Path) -> Path:
    """Write a small CIFAR-10: batches of 1 to 5 records to train, 3 to test."""
    folder.mkdir(exist_ok=True)
    for number in range(1, 6):
        (folder / f"data_batch_{number}.bin").write_bytes(records(number, seed=number).tobytes())
    (folder / "test_batch.bin").write_bytes(records(3, seed=9).tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(TEN) + "\n\n")
    return folder


def write_cifar100(folder: Path) -> Path:
    """Write a small CIFAR-100: 4 records to train, 2 to test, 20 coarse classes, 100 fine ones."""
    folder.mkdir(exist_ok=True)
    for name, count in (("train.bin", 4), ("test.bin", 2)):
        (folder / name).write_bytes(records(count, 2, count, 20).tobytes())
    (folder / "coarse_label_names.txt").write_text("\n".join(f"coarse {number}" for number in range(20)))
    (folder / "fine_label_names.txt").write_text("\n".join(f"fine {number}" for number in range(100)))
    return folder


def medmnist(images: np.ndarray = IMAGES, labels: np.ndarray = LABELS[:, None]) -> dict[str, np.ndarray]:
    """The arrays of a small MedMNIST: all images to train, two to val, three to test."""
    parts = {"train": slice(None), "val": slice(2), "test": slice(3, None)}
    arrays = {"images": images, "labels": labels.astype(np.uint8)}
    return {f"{split}_{name}": array[part] for split, part in parts.items() for name, array in arrays.items()}


def write_picture(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    """Write a picture of [H, W] or [H, W, channels] in the format of its ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def peak_bytes() -> int:
    """The most memory that this process has had at a time, since its program began."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("the kernel does not state VmHWM")


def sparse(path: Path, size: int, content: bytes = b"", at: int = 0) -> Path:
    """Write a file of `size` bytes that takes hardly any space, with `content` at one place."""
    with path.open("wb") as file:
        file.seek(at)
        file.write(content)
        os.ftruncate(file.fileno(), size)
    return path
