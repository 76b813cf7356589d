"""The costs of a network, measured on real forward passes: operations, bytes, memory and processor time."""

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from fractions import Fraction
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from node_agent.errors import InputError
from node_agent.models.data_types import Input, SubModelProfile
from node_agent.models.networks.early_exit import EarlyExitModel
from node_agent.models.networks.hosted import NetworkSubModel
from node_agent.models.networks.scoring import input_array

Naming = Callable[[str], AbstractContextManager[None]]

__all__ = ["SubModelProfile", "counted", "cpu_s_per_inference", "measure_parts", "profile"]


def profile(sub_models: Sequence[NetworkSubModel]) -> tuple[SubModelProfile, ...]:
    """Return the costs of every sub-model of one cut, measured on inputs of the usual form."""
    found = []
    for stage, sub_model in enumerate(sub_models, start=1):
        received = sub_model.example()
        answer, flop = counted(partial(sub_model.infer, received))
        sent = answer.activation
        sizes = received.form.byte_count, 0 if sent is None else sent.form.byte_count
        found.append(SubModelProfile(stage, flop, *sizes, sub_model.parameters_bytes))
    return tuple(found)


def _attention(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: object, **__: object) -> int:
    """The work of the attention kernel for processors, which torch's counter leaves out."""
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


def counted(run: Callable[[], Any]) -> tuple[Any, int]:
    """Return a function's result and the floating-point operations of its call [FLOP]; a multiply-add counts as two."""
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # a fused transformer layer would count as nothing
    try:
        with torch.no_grad(), FlopCounterMode(display=False, custom_mapping={attention: _attention}) as counter:
            result = run()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return result, int(counter.get_total_flops())


def _unnamed(_what: str) -> AbstractContextManager[None]:
    return nullcontext()


def measure_parts(network: EarlyExitModel, running: Naming = _unnamed) -> dict[str, object]:
    """Work, bytes and shapes of every block and every exit head of a folded network, for a bundle's card.

    The cost of a cut is the sum of its parts. What runs before the first block counts with it. JSON: {"input_shape",
    "blocks": [{"flop", "parameters_bytes", "output_shape"}], "exits": {block: {"flop", "parameters_bytes"}}}. Where
    lengths vary, "flop" is a polynomial of the length, and "output_length" is there.

    Args:
        network: a folded network.
        running: returns the context in which a block or head runs; it gets the part's name and input shape in words.

    Raises:
        InputError: lengths vary, and work is no polynomial of degree 2, or the length of an activation none of 1.
    """
    form = network.input
    if not form.varies:
        return _measure_once(network, form, form.shape[0], running)
    longest = form.shape[0]
    if longest < 4:
        raise InputError(f"input: lengths up to {longest} are too few to measure", hint="at least 4, or varies=False")
    lengths = (longest // 4, longest // 2, longest - 1, longest)  # even and odd ones: halving is no straight line
    runs = [_measure_once(network, form, length, running) for length in lengths]
    whole: dict[str, Any] = runs[-1]
    blocks = []
    for index, block in enumerate(whole["blocks"]):
        each = [run["blocks"][index] for run in runs]
        blocks.append({**block, "flop": _fit(lengths, [one["flop"] for one in each], 2, f"work of block {index + 1}")})
        sizes = [one["output_shape"][0] for one in each]
        if len({tuple(one["output_shape"][1:]) for one in each}) > 1:
            raise InputError(f"block {index + 1}: more than one dimension of its output varies", hint=_HINT)
        if len(set(sizes)) > 1:
            blocks[-1]["output_length"] = _fit(lengths, sizes, 1, f"length of the output of block {index + 1}")
    exits = {
        name: {**cost, "flop": _fit(lengths, [run["exits"][name]["flop"] for run in runs], 2, f"work of exit {name}")}
        for name, cost in whole["exits"].items()
    }
    return {"input_shape": list(form.shape), "blocks": blocks, "exits": exits}


_HINT = "a model whose inputs vary needs work c0 + c1 n + c2 n^2 and activations of length c0 + c1 n"


def _measure_once(network: EarlyExitModel, form: Input, length: int, running: Naming) -> dict[str, Any]:
    shape = (1, length, *form.shape[1:])
    x = input_array(torch.zeros(shape, dtype=getattr(torch, form.dtype)).numpy())
    strip = 1 if form.varies else 0  # where lengths vary, tensors travel without the first dimension
    blocks: list[dict[str, object]] = []
    exits: dict[str, dict[str, object]] = {}
    for number in range(1, len(network.blocks) + 1):
        with running(f"block {number}, with an input of {list(x.shape)},"):
            measured, x = _measure_part(network.part(number), x)
        if x.shape[0] != 1 or x.dim() < 2 + strip - 1:
            raise InputError(f"block {number}: its output is {list(x.shape)} for one sample", hint="it needs [1, ...]")
        blocks.append({**measured, "output_shape": list(x.shape[strip:])})
        if number in network.exits:
            with running(f"the head after block {number}, with an input of {list(x.shape)},"):
                exits[str(number)], logits = _measure_part(network.head(number), x)
            _check_logits(network, number, logits)
    return {"input_shape": list(shape[strip:]), "blocks": blocks, "exits": exits}


def _check_logits(network: EarlyExitModel, block: int, logits: torch.Tensor) -> None:
    classes = network.classes if isinstance(network.classes, int) else len(network.classes)
    if tuple(logits.shape) != (1, classes):
        message = f"the head after block {block} gives {list(logits.shape)} for one sample, not [1, {classes}]"
        raise InputError(message, hint="a head gives a number per class: logits (N, classes)")


def _measure_part(part: nn.Module, x: torch.Tensor) -> tuple[dict[str, object], torch.Tensor]:
    y, flop = counted(lambda: part(x))
    if not isinstance(y, torch.Tensor):
        raise InputError(
            f"{type(part).__name__} gives a {type(y).__name__}, not a tensor", hint="blocks give one tensor"
        )
    parameters_bytes = sum(tensor.nbytes for tensor in part.state_dict().values())
    return {"flop": flop, "parameters_bytes": parameters_bytes}, y


def _fit(lengths: Sequence[int], values: Sequence[int], degree: int, what: str) -> list[float]:
    """The coefficients of the polynomial through the first values and the last, which must pass the others, too.

    Raises:
        InputError: it does not.
    """
    chosen = [0, len(lengths) - 1] if degree == 1 else [0, 1, len(lengths) - 1]
    coefficients = [Fraction(0)] * (degree + 1)
    for index in chosen:  # Lagrange
        basis = [Fraction(values[index])]
        for other in chosen:
            if other != index:
                gap = lengths[index] - lengths[other]
                up = [Fraction(0), *(c / gap for c in basis)]
                down = [*(-c * lengths[other] / gap for c in basis), Fraction(0)]
                basis = [a + b for a, b in zip(up, down, strict=True)]
        coefficients = [a + b for a, b in zip(coefficients, basis, strict=True)]
    for length, value in zip(lengths, values, strict=True):
        if sum(c * length**power for power, c in enumerate(coefficients)) != value:
            raise InputError(f"{what}: no polynomial of degree {degree} of the length", hint=_HINT)
    return [float(c) for c in coefficients]


_FEW, _ENOUGH_CPU_S = 3, 5.0  # blocks of ten inferences at least, and the time that is enough for them


def cpu_s_per_inference(sub_model: NetworkSubModel, runs: int = 200) -> float:
    """Processor seconds of one inference (batch of one, one thread): the median over blocks of ten, fewer if slow.

    It measures processor time, not wall time, so that other load on the machine has little effect.
    """
    example = sub_model.example()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(min(10, runs)):
            sub_model.infer(example)
        blocks: list[float] = []
        while len(blocks) < max(1, runs // 10) and (len(blocks) < _FEW or 10 * sum(blocks) < _ENOUGH_CPU_S):
            begin = time.process_time()
            for _ in range(10):
                sub_model.infer(example)
            blocks.append((time.process_time() - begin) / 10)
    finally:
        torch.set_num_threads(threads)
    return statistics.median(blocks)
