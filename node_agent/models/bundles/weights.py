"""The weights of a network in a safetensors file: finite numbers, of the names, shapes and types that it needs."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from node_agent.models.networks.early_exit import EarlyExitModel

_STORED_AS: Mapping[str, Mapping[str, str]] = {"float32": {}, "float16": {"F32": "F16"}}  # by `stored_as`
_TYPES = {  # of safetensors, by torch's names
    "torch.float32": "F32", "torch.float16": "F16", "torch.bfloat16": "BF16", "torch.float64": "F64",
    "torch.int64": "I64", "torch.int32": "I32", "torch.int16": "I16", "torch.int8": "I8", "torch.uint8": "U8",
    "torch.bool": "BOOL",
}  # fmt: skip


def check_finite(path: Path) -> None:
    """Raise ValueError or OSError if the file cannot be read, or holds NaN or infinity; does not load torch."""
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415 - only needed for a topology's model

    try:
        with safe_open(path, framework="numpy") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - it is no mapping
                tensor = tensors.get_tensor(name)
                if not np.isfinite(tensor).all():
                    wrong = int((~np.isfinite(tensor)).sum())
                    raise ValueError(f"tensor {name}: {wrong} of {tensor.size} weights are NaN or infinite")
    except (SafetensorError, TypeError) as error:  # TypeError: a number format that numpy lacks
        raise ValueError(_line(error)) from error


def load_weights(network: "EarlyExitModel", path: Path) -> None:
    """Load a file's tensors into a network, after their names, shapes and types have been compared.

    Borrowed weights stay as they are.

    Raises:
        ValueError: one is missing, left over, or of another shape or type; or the file is damaged.
        OSError: it cannot be read.
    """
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415 - as above
    from safetensors.torch import load_file  # noqa: PLC0415 - loads torch

    try:
        with safe_open(path, framework="numpy") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118
            stored = {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
        wanted = network.own_state()
        if fault := _misfit(wanted, stored, _STORED_AS[network.stored_as]):
            raise ValueError(fault)
        network.load_state_dict(load_file(path), strict=False)  # borrowed weights stay
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(_line(error)) from error


def _misfit(
    wanted: "Mapping[str, torch.Tensor]", stored: Mapping[str, tuple[str, tuple[int, ...]]], halved: Mapping[str, str]
) -> str:
    """The first difference between the tensors of a network and those of a file, in words; empty if they fit.

    `halved` maps types of the network to other types in which the file holds them.
    """
    if missing := [name for name in wanted if name not in stored]:
        return f"it lacks {_some(missing)}, which the network needs"
    if extra := [name for name in stored if name not in wanted]:
        return f"it holds {_some(extra)}, which the network has not"
    for name, tensor in wanted.items():
        kind, shape = stored[name]
        if shape != tuple(tensor.shape):
            return f"tensor {name} has the shape {list(shape)}, the network needs {list(tensor.shape)}"
        needed = _TYPES.get(str(tensor.dtype), str(tensor.dtype))
        needed = halved.get(needed, needed)
        if kind != needed:
            return f"tensor {name} holds {kind}, the network needs {needed}"
    return ""


def _some(names: list[str]) -> str:
    return f"tensor {names[0]}" if len(names) == 1 else f"tensor {names[0]} and {len(names) - 1} more"


def _line(error: Exception) -> str:
    return str(error).splitlines()[0]
