"""Arrays as tensors of messages, and back."""

from functools import cache

import msgspec
import numpy as np
import numpy.typing as npt

from node_agent.wire import Tensor, TensorForm


def as_tensor(array: npt.NDArray[np.generic]) -> Tensor:
    """Return a numpy array as a tensor, its bytes not copied if it is contiguous.

    Raises:
        msgspec.ValidationError: the array has a type or a shape that tensors cannot have.
    """
    return Tensor(_form(array.dtype, array.shape), np.ascontiguousarray(array).data.cast("B"))


def as_array(tensor: Tensor) -> npt.NDArray[np.generic]:
    """Return a tensor as a numpy array over the same bytes, which may be read-only."""
    return np.frombuffer(tensor.data, dtype=tensor.form.dtype).reshape(tensor.form.shape)


@cache
def _form(dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> TensorForm:
    """Return the form. It is cached: numpy takes longer to spell a type than to copy a tensor."""
    return msgspec.convert((dtype.name, shape), TensorForm)
