"""Small tables for the tests, in all three formats."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

N, E, M = 12, 3, 5
FORMS = ("uint8 1x3x8x8", "float16 ?x6", "float32 1x24")


def arrays(**changes: Any) -> dict[str, Any]:
    """The arrays of a sound table; `changes` replace some of them, and None removes one."""
    chance = np.random.default_rng(1)
    confidence = chance.random((N, E), dtype=np.float32)
    found = {
        "confidence": confidence,
        "prediction": chance.integers(0, 4, (N, E)),
        "label": chance.integers(0, 4, N),
        "flop": np.array([1e6, 2e6, 3e6]),
        "input": np.array(FORMS),
        "length": np.arange(2, 2 + N),
        "parameters_bytes": np.array([10, 20, 30]),
        "plan_confidence": chance.random((M, E), dtype=np.float32),
        "plan_correct": chance.random((M, E)) < 0.5,
        "classes": np.array(["ant", "bee", "cat", "dog"]),
        "card": np.array(json.dumps({"name": "tiny", "licence": "MIT"})),
    }
    found |= changes
    return {name: array for name, array in found.items() if array is not None}


def set_in(array: Any, place: Any, value: Any) -> Any:
    """A copy of an array with one value replaced."""
    copy = np.array(array)
    copy[place] = value
    return copy


def npz(path: Path, *, compressed: bool = False, **changes: Any) -> Path:
    """A table at `path`, sound but for its `changes`."""
    (np.savez_compressed if compressed else np.savez)(path, **arrays(**changes))
    return path


def columns(**changes: Any) -> dict[str, list[Any]]:
    """The columns of the same table, its plan rows among the tasks' rows; `changes` replace or add columns."""
    found = arrays()
    plan_labels = np.zeros(M, np.int64)
    plan_prediction = np.where(found["plan_correct"], 0, 1)
    lists: dict[str, Any] = {
        "label": [*found["label"], *plan_labels],
        "use": ["task"] * N + ["plan"] * M,
        "length": [*found["length"], *[1] * M],
    }
    for number in range(E):
        lists |= {
            f"confidence_{number + 1}": [*found["confidence"][:, number], *found["plan_confidence"][:, number]],
            f"prediction_{number + 1}": [*found["prediction"][:, number], *plan_prediction[:, number]],
            f"flop_{number + 1}": [found["flop"][number]] * (N + M),
            f"input_{number + 1}": [FORMS[number]] * (N + M),
            f"parameters_bytes_{number + 1}": [found["parameters_bytes"][number]] * (N + M),
        }
    lists |= changes
    order = np.argsort(np.arange(N + M) * 7 % (N + M), kind="stable")  # plan rows stand among the others
    return {name: [values[row] for row in order] for name, values in lists.items() if values is not None}


def task_order() -> list[int]:
    """The samples in the order in which `columns` lists them."""
    return [int(row) for row in np.argsort(np.arange(N + M) * 7 % (N + M), kind="stable") if row < N]


def csv_text(**changes: Any) -> str:
    """The lines of a CSV file."""
    lists = columns(**changes)
    rows = zip(*lists.values(), strict=True)
    return "\n".join([",".join(lists), *(",".join(str(value) for value in row) for row in rows)]) + "\n"


def zip_of(path: Path, members: list[tuple[str, bytes]], sizes: dict[str, int] | None = None) -> Path:
    """An archive of raw members; `sizes` are what it falsely states to be their sizes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
        for info in archive.infolist():
            info.file_size = (sizes or {}).get(info.filename, info.file_size)
    return path


def npy(shape: tuple[int, ...], descr: str = "<f4", *, body: bytes = b"", order: str = "False") -> bytes:
    """A member with numpy's header and any body."""
    header = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + body
