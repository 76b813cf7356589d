"""The costs of sub-models, measured on real forward passes: operations, bytes, memory and processor time."""

import statistics
import time
from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from node_agent.models.architecture import SIDE_PIXELS
from node_agent.models.network import EarlyExitNetwork, SubModel
from node_agent.models.tables import ActivationFormat, SubModelProfile

__all__ = ["SubModelProfile", "cpu_s_per_inference", "measure_parts", "profile"]


def profile(sub_models: Sequence[SubModel], activation: ActivationFormat = "float32") -> tuple[SubModelProfile, ...]:
    """The measured costs of every sub-model of one cut; `activation` is the format of activations between stages."""
    return tuple(_profile_one(sub_model, activation) for sub_model in sub_models)


def _profile_one(sub_model: SubModel, activation: ActivationFormat) -> SubModelProfile:
    example = sub_model.example_input()
    received = example if sub_model.stage == 1 else example.astype(activation)
    with FlopCounterMode(display=False) as counter:
        onward = sub_model.infer(received, activation).activation
    return SubModelProfile(
        stage=sub_model.stage,
        flop=int(counter.get_total_flops()),
        input_bytes=received.nbytes,
        output_bytes=0 if onward is None else onward.nbytes,
        parameters_bytes=sum(tensor.nbytes for tensor in sub_model.state_dict().values()),
    )


def measure_parts(network: EarlyExitNetwork) -> dict[str, object]:
    """Work, bytes and shapes of every block and every exit head, for a bundle's card.

    The cost of a cut is the sum of its parts. The stem counts with the first block. JSON: {"input_shape", "blocks":
    [{"flop", "parameters_bytes", "output_shape"}], "exits": {block: {"flop", "parameters_bytes"}}}.
    """
    architecture = network.architecture
    blocks: list[dict[str, object]] = []
    x = torch.zeros((1, 1, SIDE_PIXELS, SIDE_PIXELS), dtype=torch.uint8)
    input_shape = list(x.shape)
    exits: dict[str, dict[str, object]] = {}
    for number, block in enumerate(network.blocks, start=1):
        part = nn.Sequential(network.stem, block) if number == 1 else block
        measured, x = _measure_part(part, x)
        blocks.append({**measured, "output_shape": list(architecture.activation_shape(number))})
        if number in architecture.exits:
            exits[str(number)], _ = _measure_part(network.head(number), x)
    return {"input_shape": input_shape, "blocks": blocks, "exits": exits}


def _measure_part(part: nn.Module, x: torch.Tensor) -> tuple[dict[str, object], torch.Tensor]:
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        y = part(x)
    parameters_bytes = sum(tensor.nbytes for tensor in part.state_dict().values())
    return {"flop": int(counter.get_total_flops()), "parameters_bytes": parameters_bytes}, y


def cpu_s_per_inference(sub_model: SubModel, runs: int = 200) -> float:
    """Processor seconds of one inference (batch of one, one thread): the median over blocks of ten.

    It measures processor time, not wall time, so that other load on the machine has little effect.
    """
    example = sub_model.example_input()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(10):
            sub_model.infer(example)
        blocks = []
        for _ in range(max(1, runs // 10)):
            begin = time.process_time()
            for _ in range(10):
                sub_model.infer(example)
            blocks.append((time.process_time() - begin) / 10)
    finally:
        torch.set_num_threads(threads)
    return statistics.median(blocks)
