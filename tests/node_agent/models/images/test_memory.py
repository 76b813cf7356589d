"""Small files that claim to be huge are refused before memory is allocated for them."""

import gzip
import json
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from tests.node_agent.models.images.sets import (
    IMAGES,
    idx_images,
    idx_labels,
    medmnist,
    sparse,
    write_cifar10,
    write_idx,
    write_picture,
)
from tests.node_agent.models.images.test_folder import chunk, png
from tests.node_agent.models.images.test_medmnist import npy, of_shape, write_members

MOST_BYTES = 8 * 2**20  # of growth: chunks of 1 MiB, and a table of contents of that size
SMALL_BYTES = 4 * 2**20  # of a file on disk
# Each set in a program of its own, since memory that was needed once is never counted down.
READ = """
import json, sys
from pathlib import Path
from node_agent.errors import InputError
from node_agent.models.images import read_images
from tests.node_agent.models.images.sets import peak_bytes, write_picture
small, path, split = sys.argv[1:]
read_images(Path(small))  # loads Pillow
begin = peak_bytes()
try:
    read_images(Path(path), split)
    said = "read"
except InputError as error:
    said = str(error)
print(json.dumps([peak_bytes() - begin, said]))
"""


def idx_that_states_2_gib(folder):
    write_idx(folder, images=idx_images(sizes=(2048, 1024, 1024)), labels=idx_labels([0] * 2048))


def idx_compressed_that_states_2_gib(folder):
    write_idx(folder, end=".gz", images=idx_images(sizes=(2048, 1024, 1024)), labels=idx_labels([0] * 2048))


def idx_that_goes_on_for_a_gibibyte(folder):
    write_idx(folder, end=".gz")
    zeros = gzip.compress(bytes(2**24))
    with (folder / "train-images-idx3-ubyte.gz").open("ab") as file:
        file.write(zeros * 64)


def labels_that_go_on_for_a_gibibyte(folder):
    write_idx(folder, end=".gz")
    zeros = gzip.compress(bytes(2**24))
    with (folder / "train-labels-idx1-ubyte.gz").open("ab") as file:
        file.write(zeros * 64)


def cifar_of_3_gib(folder):
    write_cifar10(folder)
    sparse(folder / "data_batch_1.bin", 3073 * 2**20)


def cifar_with_names_of_3_gib(folder):
    write_cifar10(folder)
    sparse(folder / "batches.meta.txt", 3 * 2**30)


def medmnist_of_terabytes(folder):
    write_members(folder / "set.npz", {"train_images.npy": npy(header=of_shape("(1000000, 1024, 1024)"))})


def medmnist_whose_table_agrees(folder, compression=zipfile.ZIP_DEFLATED):
    """The table of contents states as much as the header of the array: 2 GiB."""
    content = npy(header=of_shape("(2048, 1024, 1024)"))
    write_members(folder / "set.npz", {"train_images.npy": content}, compression)
    size = 2**31 + len(content) - IMAGES.nbytes
    whole = bytearray((folder / "set.npz").read_bytes())
    sizes = whole.index(b"PK\1\2") + 20  # compressed, and whole
    if compression == zipfile.ZIP_STORED:
        whole[sizes : sizes + 4] = struct.pack("<I", size)
    whole[sizes + 4 : sizes + 8] = struct.pack("<I", size)
    (folder / "set.npz").write_bytes(whole)


def medmnist_whose_table_agrees_uncompressed(folder):
    medmnist_whose_table_agrees(folder, zipfile.ZIP_STORED)


def medmnist_with_a_header_of_a_gibibyte(folder):
    """Compressed blanks: a header of version 2 may be that long."""
    file = folder / "set.npz"
    np.savez_compressed(file, **{name: array for name, array in medmnist().items() if name != "train_images"})
    with (
        zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
        archive.open("train_images.npy", "w", force_zip64=True) as member,
    ):
        member.write(b"\x93NUMPY\2\0" + struct.pack("<I", 2**28))
        for _ in range(2**8):
            member.write(b" " * 2**20)


def medmnist_with_labels_of_2_gib(folder):
    shape = of_shape("(2000000, 1)", dtype="'<i8'")
    write_members(folder / "set.npz", {"train_labels.npy": npy(header=shape)}, zipfile.ZIP_DEFLATED)


def medmnist_with_a_table_of_3_gib(folder):
    """The record at the end of the archive states a table of contents of nearly its whole size."""
    size = 3 * 2**30
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 60000, 60000, size - 22, 0, 0)
    sparse(folder / "set.npz", size, end, size - len(end))


def png_within_pillows_limit(folder):
    write_picture(folder / "train" / "a" / "1.png", IMAGES[0]).write_bytes(png(9_000, 9_000))


def png_beyond_pillows_limit(folder):
    write_picture(folder / "train" / "a" / "1.png", IMAGES[0]).write_bytes(png(60_000, 60_000))


def png_with_a_long_text(folder):
    picture = write_picture(folder / "train" / "a" / "1.png", IMAGES[0])
    whole = picture.read_bytes()
    text = chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(2**28), 9))
    picture.write_bytes(whole[:33] + text + whole[33:])  # behind the header


HUGE = {
    idx_that_states_2_gib: "too small for the 2147483648 bytes",
    idx_compressed_that_states_2_gib: "too small for the 2147483648 bytes",
    idx_that_goes_on_for_a_gibibyte: "goes on after the 6 images",
    labels_that_go_on_for_a_gibibyte: "goes on after the 6 images",
    cifar_of_3_gib: "GiB of pixels; 2 GiB can be read",
    cifar_with_names_of_3_gib: "longer than 65536 bytes",
    medmnist_of_terabytes: "bytes, the archive has",
    medmnist_whose_table_agrees: "train_images: the file is too small for the 2147483728 bytes",
    medmnist_whose_table_agrees_uncompressed: "train_images: the file is too small for the 2147483728 bytes",
    medmnist_with_a_header_of_a_gibibyte: "train_images: ",
    medmnist_with_labels_of_2_gib: "bytes, the archive has",
    medmnist_with_a_table_of_3_gib: "no npz file",
    png_within_pillows_limit: "4096 a side can be read",
    png_beyond_pillows_limit: "decompression bomb",
    png_with_a_long_text: "Decompressed data too large",
}


@pytest.mark.parametrize("make", HUGE, ids=lambda make: make.__name__)
def test_memory_stays_small(tmp_path, make):
    write_picture(tmp_path / "small" / "a" / "1.png", IMAGES[0])
    folder = tmp_path / "huge"
    folder.mkdir()
    make(folder)
    assert sum(file.stat().st_blocks * 512 for file in folder.rglob("*")) < SMALL_BYTES
    path, split = (folder / "set.npz", "train") if (folder / "set.npz").exists() else (folder, "train")
    done = subprocess.run(
        [sys.executable, "-c", READ, tmp_path / "small", path, split],
        cwd=Path(__file__).parents[4], capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    shutil.rmtree(folder)
    assert done.returncode == 0, done.stderr
    grown, said = json.loads(done.stdout)
    assert HUGE[make] in said
    assert grown < MOST_BYTES
