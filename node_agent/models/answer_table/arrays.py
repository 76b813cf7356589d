"""The arrays of a table: names, types and shapes, checked before the arrays are read.

N samples that devices offer, E exits, M rows that nodes plan with, C classes. Segment e is the part of the model
between two exits that ends with exit e; exits and segments count from 1.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from node_agent.errors import InputError
from node_agent.exit_criteria import CONFIDENCE, MEASURED
from node_agent.suggest import advice

MOST_BYTES = 2**30  # of all arrays of a table, uncompressed
MOST_CELLS = 2**25  # samples times exits
MOST_EXITS = 256
MOST_NAME_BYTES, MOST_CARD_BYTES = 4 * 256, 4 * 2**16  # of a string; numpy keeps four bytes for each character
DOCUMENTED = "docs/models.md describes the format of tables"

Values = npt.NDArray[np.generic]
Layout = tuple[np.dtype[np.generic], tuple[int, ...]]  # type and shape of an array


@dataclass(frozen=True, slots=True)
class Array:
    """The types and shapes that an array may have."""

    kinds: str  # numpy's letters: f float, i and u integers, b bool, U strings
    shapes: tuple[str, ...]  # a letter for each axis: N, E, M or C; an empty shape is a single value


# Criteria whose numbers a table may hold beside the confidences.
OTHER_CRITERIA = tuple(name for name in MEASURED if name != CONFIDENCE.name)
ARRAYS = {
    "confidence": Array("f", ("NE",)),
    "prediction": Array("iu", ("NE",)),
    "label": Array("iu", ("N",)),
    "flop": Array("iuf", ("E", "NE")),
    "input": Array("U", ("E",)),
    "input_bytes": Array("iu", ("E", "NE")),
    "length": Array("iu", ("N", "NE")),
    "parameters_bytes": Array("iu", ("E",)),
    "plan_confidence": Array("f", ("ME",)),
    "plan_correct": Array("b", ("ME",)),
    "plan_prediction": Array("iu", ("ME",)),
    **{name: Array("f", ("NE",)) for name in OTHER_CRITERIA},
    **{f"plan_{name}": Array("f", ("ME",)) for name in OTHER_CRITERIA},
    "classes": Array("U", ("C",)),
    "card": Array("U", ("",)),
}
# An array that only columns make: True for rows on which nodes plan, False for rows that devices offer.
PLAN_ROWS = "plan_rows"
_BETWEEN = {PLAN_ROWS: Array("b", ("N",))}
REQUIRED = ("confidence", "prediction", "label", "flop")
_KIND_NAMES = {"f": "floats", "i": "integers", "u": "integers", "b": "bool", "U": "strings", "O": "Python objects"}
_AXES = {"N": "samples", "E": "exits", "M": "plan rows", "C": "classes"}


def check_names(file: str, names: Collection[str], what: str = "array") -> None:
    """Check that a table has the arrays that it needs, and no others.

    Args:
        file: its name in messages.
        names: names of its arrays.
        what: "array", or "column" if the table is read from columns.

    Raises:
        InputError: an array is missing or unknown, or contradicts another one.
    """
    for name in names:
        if name not in ARRAYS:
            raise InputError(f"{file}: unknown {what} {short(name)}", hint=advice(name, ARRAYS))
    for name in REQUIRED:
        if name not in names:
            raise InputError(f"{file}: no {what} {name}", hint=DOCUMENTED)
    if ("input" in names) == ("input_bytes" in names):
        found = "both input and input_bytes" if "input" in names else "neither input nor input_bytes"
        raise InputError(f"{file}: {found}", hint="state each segment's input by its type and shape, or by its bytes")
    if "length" in names and "input" not in names:
        raise InputError(f"{file}: length without input", hint="input_bytes itself may differ between samples")
    if ("plan_confidence" in names) != ("plan_correct" in names):
        raise InputError(f"{file}: only one of plan_confidence and plan_correct", hint="give both, or neither")
    for name in names:
        if name.startswith("plan_") and "plan_confidence" not in names:
            raise InputError(f"{file}: {name} without plan_confidence", hint="give both, or neither")


def check_layouts(file: str, layouts: Mapping[str, Layout]) -> None:
    """Check types, shapes and sizes of the arrays of a table before they are read; `file` names it in messages.

    Raises:
        InputError: an array has a wrong type or shape, has no rows, or is too large.
    """
    sizes: dict[str, tuple[int, str]] = {}  # size of each axis, and the array that it comes from
    for name, array in {**ARRAYS, **_BETWEEN}.items():
        if name in layouts:
            _check_type(file, name, array, layouts[name][0])
            _check_shape(file, name, array, layouts[name][1], sizes)
    if sizes["E"][0] > MOST_EXITS:
        raise InputError(f"{file}: confidence: {sizes['E'][0]} exits", hint=f"a table has at most {MOST_EXITS} exits")
    for axis, name in (("N", "confidence"), ("M", "plan_confidence")):
        rows = sizes.get(axis, (0, ""))[0]
        if rows * sizes["E"][0] > MOST_CELLS:
            raise InputError(f"{file}: {name}: {rows} rows of {sizes['E'][0]} exits", hint=_fewer())
    total = sum(math.prod(shape) * dtype.itemsize for dtype, shape in layouts.values())
    if total > MOST_BYTES:
        raise InputError(f"{file}: arrays of {total} bytes, more than {MOST_BYTES}", hint=_fewer())


def _fewer() -> str:
    return f"rows times exits are at most {MOST_CELLS}; draw a sample of the rows, or use smaller types"


def _check_type(file: str, name: str, array: Array, dtype: np.dtype[np.generic]) -> None:
    if dtype.kind not in array.kinds:
        kind = _KIND_NAMES.get(dtype.kind, dtype.name)
        wanted = " or ".join(dict.fromkeys(_KIND_NAMES[letter] for letter in array.kinds))
        hint = f"save {name} as {wanted}, for example with numpy's astype"
        raise InputError(f"{file}: array {name} holds {kind}, not {wanted}", hint=hint)
    most = MOST_CARD_BYTES if name == "card" else MOST_NAME_BYTES
    if dtype.kind == "U" and not 0 < dtype.itemsize <= most:
        raise InputError(f"{file}: array {name}: strings of {dtype.itemsize // 4} characters",
                         hint=f"a string has 1 to {most // 4} characters here")  # fmt: skip
    if dtype.kind == "f" and dtype.itemsize > 8:
        raise InputError(f"{file}: array {name} is {dtype.name}", hint="save it as float32")


def _check_shape(file: str, name: str, array: Array, shape: tuple[int, ...], sizes: dict[str, tuple[int, str]]) -> None:
    """Check a shape against those of earlier arrays, whose sizes are in `sizes`, and add its own."""
    fitting = [axes for axes in array.shapes if len(axes) == len(shape)]
    if not fitting:
        wanted = " or ".join(_in_words(axes) for axes in array.shapes)
        raise InputError(f"{file}: array {name} has shape {shape}, not {wanted}", hint=DOCUMENTED)
    for axis, size in zip(fitting[0], shape, strict=True):
        known, source = sizes.setdefault(axis, (size, name))
        if size != known:
            what = f"{size} {_AXES[axis]}, but {source} has {known}"
            raise InputError(f"{file}: array {name} has {what}", hint=f"its shape is {_in_words(fitting[0])}")
        if size < 1:
            raise InputError(f"{file}: array {name} has no {_AXES[axis]}", hint=f"its shape is {_in_words(fitting[0])}")


def _in_words(axes: str) -> str:
    return f"[{', '.join(_AXES[axis] for axis in axes)}]" if axes else "a single string"


def short(text: object) -> str:
    """Return a value of unknown length and content for a message, in one line of at most about 40 characters."""
    shown = ascii(text)
    return shown if len(shown) <= 40 else f"{shown[:36]}..."
