"""The inputs of a table's segments: their forms, from types and shapes or from bytes."""

import re
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from node_agent.models.answer_table.arrays import Values, short
from node_agent.models.answer_table.places import Places
from node_agent.models.data_types import ActivationFormat
from node_agent.models.tensors import usual_form
from node_agent.wire import MAX_TENSOR_BYTES, InputForm, TensorForm

NUMBER_BYTES = 8  # each tensor begins with the number of its sample
MOST_LENGTH = 2**26  # bound of a dimension in messages
_STATED = re.compile(r"(uint8|uint16|float16|float32) (\?|\d{1,8})((?:x\d{1,8}){0,7})")
_EXAMPLE = 'an input is written like "uint8 1x3x224x224", or "float16 ?x768" if its first dimension varies'
_SIZES = f"an input has {NUMBER_BYTES} to {MAX_TENSOR_BYTES} bytes: the tensors carry the number of their sample"

Lengths = npt.NDArray[np.int32]


def inputs_by_bytes(places: Places, counts: Values) -> tuple[tuple[InputForm, ...], Lengths | None]:
    """Return forms and lengths of opaque inputs.

    Args:
        places: names of places in the file.
        counts: bytes of each segment's input, [E] or [N, E].

    Returns:
        The input form of each segment; and the first dimension of each input, [N, E], or None if none varies.

    Raises:
        InputError: a size is out of bounds.
    """
    places.check_range("input_bytes", counts, NUMBER_BYTES, MAX_TENSOR_BYTES, _SIZES)
    if counts.ndim == 1:
        return tuple(InputForm(TensorForm("uint8", (int(count),))) for count in counts.tolist()), None
    lengths = np.ascontiguousarray(counts, np.int32)
    forms = tuple(_form("uint8", (), lengths[:, column]) for column in range(lengths.shape[1]))
    return forms, lengths if any(form.most is not None for form in forms) else None


def inputs_by_form(
    places: Places, texts: Sequence[str], length: Values | None, samples: int
) -> tuple[tuple[InputForm, ...], Lengths | None]:
    """Return forms and lengths of inputs whose types and shapes are stated.

    Args:
        places: names of places in the file.
        texts: type and shape of each segment's input, E of them.
        length: first dimension of the inputs that vary, [N] or [N, E]; None if none is stated.
        samples: number of samples N.

    Returns:
        As `inputs_by_bytes` does.

    Raises:
        InputError: a text is no type and shape, a size is out of bounds, or a length is missing or not needed.
    """
    stated = [_parsed(places, text, number) for number, text in enumerate(texts, start=1)]
    varying = [number for number, (_, first, _) in enumerate(stated, start=1) if first is None]
    if length is None and varying:
        problem = f"{short(texts[varying[0] - 1])} varies, but there is no array length"
        raise places.fault("input", problem, "add length, [N] or [N, E]", exit_number=varying[0])
    if length is not None and not varying:
        raise places.fault("length", "no input has a dimension that varies", _EXAMPLE)
    lengths = None
    if length is not None:
        _check_lengths(places, length, varying)
        small = np.ascontiguousarray(length, np.int32)
        lengths = small if small.ndim == 2 else np.broadcast_to(small[:, None], (samples, len(texts)))
    forms = []
    for number, (dtype, first, rest) in enumerate(stated, start=1):
        if first is None:
            assert lengths is not None
            form = _form(dtype, rest, lengths[:, number - 1])
            _check_sizes(places, form, texts[number - 1], number, lengths[:, number - 1])
        else:
            form = InputForm(msgspec.convert((dtype, (first, *rest)), TensorForm))
            _check_sizes(places, form, texts[number - 1], number, None)
        forms.append(form)
    return tuple(forms), lengths if any(form.most is not None for form in forms) else None


def sent_as(form: InputForm, activation: ActivationFormat) -> InputForm:
    """Return the form of an activation that is sent in this format, which never takes more bytes than the stated one.

    float16 halves float32; int8 is a quarter of float32 and half of float16. Whole numbers stay as they are.
    """
    narrowed = {"float32": (), "float16": ("float32",), "int8": ("float32", "float16")}[activation]
    if form.usual.dtype not in narrowed:
        return form
    return InputForm(usual_form(activation, form.usual.shape), form.most)


def _parsed(places: Places, text: str, number: int) -> tuple[str, int | None, tuple[int, ...]]:
    """Return type, first dimension (None if it varies) and further dimensions of an input that is stated as `text`."""
    found = _STATED.fullmatch(text)
    if found is None:
        raise places.fault("input", f"{short(text)} is no type and shape", _EXAMPLE, exit_number=number)
    rest = tuple(int(size) for size in found[3].split("x")[1:])
    first = None if found[2] == "?" else int(found[2])
    if not all(1 <= size <= MOST_LENGTH for size in (first or 1, *rest)) or first == 0:
        raise places.fault("input", f"{short(text)}: dimensions are 1 to {MOST_LENGTH}", _EXAMPLE, exit_number=number)
    return found[1], first, rest


def _check_lengths(places: Places, length: Values, varying: Sequence[int]) -> None:
    """Check the lengths of the inputs that vary; those of others are not read."""
    hint = "length is the first dimension of each sample's input, for example its number of tokens"
    if length.ndim == 1:
        places.check_range("length", length, 1, MOST_LENGTH, hint)
        return
    for number in varying:
        places.check_range("length", length[:, number - 1], 1, MOST_LENGTH, hint, exit_number=number)


def _form(dtype: str, rest: tuple[int, ...], lengths: Lengths) -> InputForm:
    """Return the form of an input whose first dimension is `lengths`: usual is the mean, rounded."""
    most = int(lengths.max())
    usual = msgspec.convert((dtype, (round(float(lengths.mean(dtype=np.float64))), *rest)), TensorForm)
    return InputForm(usual, None if int(lengths.min()) == most else most)


def _check_sizes(places: Places, form: InputForm, text: str, number: int, lengths: Lengths | None) -> None:
    """Check the bytes of the smallest and of the largest input of a segment, activations also in half precision."""
    rows: tuple[int | None, ...] = (None,)
    if lengths is not None:
        rows = (int(lengths.argmin()), int(lengths.argmax()))
    for row in rows:
        for kind, used in (("", form), (" in float16", sent_as(form, "float16") if number > 1 else form)):
            found = used.usual if row is None or lengths is None else used.sized(int(lengths[row]))
            if not NUMBER_BYTES <= found.byte_count <= MAX_TENSOR_BYTES:
                problem = f"{short(text)} has {found.byte_count} bytes{kind}"
                raise places.fault("input", problem, _SIZES, row=row, exit_number=number)
