"""Arrays as tensors of messages, and back; activations in the format in which they travel."""

from functools import cache
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from node_agent.errors import TestbedError
from node_agent.wire import Affine, Tensor, TensorForm

_LEAST, _MOST = -128, 127  # of int8
_STEPS = _MOST - _LEAST
# Stands in forms for the scales of real tensors: its message is as long as those of activations that are never below 0.
_USUAL = Affine(1.0, _LEAST)
_LARGEST = float(np.finfo(np.float32).max)


def as_tensor(array: npt.NDArray[np.generic]) -> Tensor:
    """Return a numpy array as a tensor, its bytes not copied if it is contiguous.

    Raises:
        msgspec.ValidationError: the array has a type or a shape that tensors cannot have.
    """
    return Tensor(_form(array.dtype, array.shape), np.ascontiguousarray(array).data.cast("B"))


def as_array(tensor: Tensor) -> npt.NDArray[np.generic]:
    """Return a tensor as a numpy array over the same bytes, which may be read-only; int8 is read as float32."""
    array: npt.NDArray[np.generic] = np.frombuffer(tensor.data, dtype=tensor.form.dtype).reshape(tensor.form.shape)
    return array if tensor.form.affine is None else _restored(array, tensor.form.affine)


def usual_form(dtype: str, shape: tuple[int, ...]) -> TensorForm:
    """Return the form of tensors of this type and shape, for any numbers that they may hold."""
    return TensorForm(dtype, shape, _USUAL if dtype == "int8" else None)  # type: ignore[arg-type]


def quantised(array: npt.NDArray[np.float32]) -> Tensor:
    """Return an activation as int8: an affine quantisation of the whole tensor.

    x = scale (q - z) with q from -128 to 127 (Jacob et al., CVPR 2018, equation 1). Scale and zero point z spread the
    numbers from the least to the largest element, and 0, over all q. So 0 is exact, and no element moves by more than
    scale / 2. A tensor of zeros is exact.

    Raises:
        TestbedError: an element is NaN or infinite.
    """
    least, largest = float(array.min()), float(array.max())
    if not np.isfinite(largest - least):  # nor if one is NaN
        raise TestbedError(
            "an activation is NaN or infinite, which int8 cannot hold",
            hint="its numbers overflow: use another model, or activation: float32 to see where",
        )
    low, high = min(0.0, least), max(0.0, largest)
    scale = (high - low) / _STEPS or 1.0
    zero_point = round(_LEAST - low / scale)
    whole = np.rint(array / np.float64(scale)) + zero_point
    form = TensorForm("int8", array.shape, Affine(scale, zero_point))
    return Tensor(form, np.clip(whole, _LEAST, _MOST).astype(np.int8).data.cast("B"))


def _restored(whole: npt.NDArray[Any], affine: Affine) -> npt.NDArray[np.float32]:
    # Half a step above the largest element may lie beyond float32.
    exact = np.clip((whole.astype(np.float64) - affine.zero_point) * affine.scale, -_LARGEST, _LARGEST)
    return exact.astype(np.float32)


@cache
def _form(dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> TensorForm:
    """Return the form. It is cached: numpy takes longer to spell a type than to copy a tensor."""
    return msgspec.convert((dtype.name, shape), TensorForm)
