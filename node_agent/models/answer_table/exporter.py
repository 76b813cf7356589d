"""Write the answers of an early-exit model as a table for dtoee-testbed. Needs torch and numpy, nothing else.

parts = [(stage_1, head_1), (stage_2, head_2)]  # modules: activation in, activation out; activation in, logits out
recorded = answers(run(parts, batches))         # batches yield (input [B, ...], labels [B])
write("mine.npz", recorded, costs(parts, example), card={"name": "mine", "licence": "MIT", "recorded": "on a GPU"})
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

Parts = Sequence[tuple[nn.Module, nn.Module]]
SENT_AS = {"int64": "uint16", "int32": "uint16", "bfloat16": "float16"}  # types that messages do not have


def activation(output: Any) -> Tensor:  # noqa: ANN401
    """Return the activation in the output of a stage, which may be a tuple or an object as in Hugging Face."""
    output = getattr(output, "last_hidden_state", output)
    found: Tensor = output[0] if isinstance(output, tuple) else output
    return found


def run(parts: Parts, batches: Iterable[tuple[Tensor, Any]]) -> Iterator[tuple[list[Tensor], Any]]:
    """Yield the logits of each exit, and the labels, of each batch. A generator of your own can stand in for this."""
    for module in (module for part in parts for module in part):
        module.eval()  # no dropout, and batch norm by its recorded statistics
    for inputs, labels in batches:
        x, logits = inputs, []
        for stage, head in parts:
            x = activation(stage(x))
            logits.append(head(x))
        yield logits, labels


@torch.inference_mode()
def answers(batches: Iterable[tuple[Sequence[Tensor], Any]], temperatures: Sequence[float] = ()) -> dict[str, Any]:
    """Return what batches (logits [B, classes] per exit, labels) give.

    confidence, entropy, margin and prediction [N, E], and label [N]. Each of the first three is the score of an answer
    by an exit criterion.
    """
    rows = []
    for logits, labels in batches:
        scaled = [each.float() / (temperatures[e] if temperatures else 1) for e, each in enumerate(logits)]
        p = torch.stack(scaled, dim=1).softmax(dim=2)
        confidence, prediction = p.max(dim=2)
        first, second = p.topk(2, dim=2).values.unbind(2)
        entropy = (1 - torch.special.entr(p).sum(2) / math.log(p.shape[2])).clamp(0, 1)
        found = (confidence, entropy, first - second, prediction, torch.as_tensor(labels))
        rows.append([each.cpu().numpy() for each in found])
    names = ("confidence", "entropy", "margin", "prediction", "label")
    return {name: np.concatenate([row[place] for row in rows]) for place, name in enumerate(names)}


@torch.inference_mode()
def costs(parts: Parts, example: Tensor, varies: bool = False) -> dict[str, Any]:
    """Return FLOP, input and bytes of parameters of each segment for one sample, `example` [1, ...].

    `varies`: the second dimension (tokens) differs between samples; add `length`, [N], to the table then. Compare FLOP
    with a count by hand: on some devices and in some versions torch does not count all kernels.
    """
    if len(example) != 1:
        raise ValueError(f"example holds {len(example)} samples: costs are those of one, [1, ...]")
    torch.backends.mha.set_fastpath_enabled(False)  # a fused transformer layer would count as nothing
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # torch's own counter leaves it out
    attention = {kernel: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v)}  # type: ignore[no-untyped-call]
    flop, inputs, parameters, x = [], [], [], example
    for stage, head in parts:
        dtype, shape = str(x.dtype).removeprefix("torch."), ("?", *x.shape[2:]) if varies else x.shape
        inputs.append(f"{SENT_AS.get(dtype, dtype)} {'x'.join(map(str, shape))}")
        with FlopCounterMode(display=False, custom_mapping=attention) as counter:
            x = activation(stage.eval()(x))
            head.eval()(x)
        flop.append(counter.get_total_flops())
        parameters.append(sum(t.nbytes for module in (stage, head) for t in module.state_dict().values()))
    return {"flop": flop, "input": inputs, "parameters_bytes": parameters}


def write(path: str, recorded: Mapping[str, Any], costs: Mapping[str, Any], *, card: Mapping[str, str] | None = None,
          held_out: Mapping[str, Any] | None = None, **more: Any) -> None:  # noqa: ANN401  # fmt: skip
    """Write the table. `held_out`: answers to other samples, with which nodes plan.

    `more` arrays join or replace the others: length, classes, flop for each sample, ...
    """
    if held_out is not None:
        names = held_out.keys() & {"confidence", "entropy", "margin", "prediction"}
        more |= {f"plan_{name}": held_out[name] for name in names}
        more["plan_correct"] = held_out["prediction"] == np.asarray(held_out["label"])[:, None]
    np.savez(path, **{**recorded, **costs, **more}, card=np.array(json.dumps(dict(card or {}))))
