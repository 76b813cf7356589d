"""What sub-models cost, measured on real forward passes: operations, bytes, memory and processor time."""

import statistics
import time
from collections.abc import Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

from node_agent.models.network import SubModel
from node_agent.models.tables import ActivationFormat, SubModelProfile

__all__ = ["SubModelProfile", "cpu_s_per_inference", "profile"]


def profile(sub_models: Sequence[SubModel], activation: ActivationFormat = "float32") -> tuple[SubModelProfile, ...]:
    """Measure every sub-model of one cut; `activation` is the format in which activations travel between stages."""
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


def cpu_s_per_inference(sub_model: SubModel, runs: int = 200) -> float:
    """Processor seconds of one inference (batch of one, one thread): the median over blocks of ten.

    Processor time, not wall time, so that other load on the machine counts as little as possible.
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
