"""Published costs equal torch's count on the meta device, and the figures of papers and model cards."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from node_agent.models.published import available_costs, published
from tests.node_agent.models.published.networks import META, NETWORKS, Attention, count

CASES = [
    *(("resnet101", cut, None) for cut in [(33,), (1, 33), (3, 7, 30, 33), (10, 22, 33), (2, 4, 8, 31, 33)]),
    *(("vit-b16", cut, None) for cut in [(12,), (1, 12), (4, 8, 12), (3, 5, 6, 10, 12)]),
    *(("bert-base", cut, tokens) for cut in [(12,), (4, 8, 12)] for tokens in (1, 128, 512)),
    *(("gpt2", cut, tokens) for cut in [(12,), (1, 11, 12)] for tokens in (1, 100, 1024)),
    *(("llama-7b", cut, tokens) for cut in [(32,), (10, 21, 32)] for tokens in (1, 777, 2048)),
]


@pytest.fixture(scope="module")
def networks():
    return {name: make() for name, make in NETWORKS.items()}


def test_every_architecture_is_counted():
    assert {name for name, _, _ in CASES} == set(NETWORKS) == set(available_costs())


@pytest.mark.parametrize(("name", "cut", "tokens"), CASES)
def test_stages_are_what_torch_counts(networks, name, cut, tokens):
    stages = published(name).stages(cut, tokens, "float16")
    counted = count(networks[name], cut, tokens)
    assert [stage.flop for stage in stages] == [stage.flop for stage in counted]
    assert [stage.parameters_bytes for stage in stages] == [4 * stage.parameters for stage in counted]
    assert [stage.input_shape for stage in stages] == [stage.input_shape for stage in counted]
    assert [stage.output_shape for stage in stages] == [*(stage.output_shape for stage in counted[:-1]), None]
    assert [stage.stage for stage in stages] == list(range(1, len(cut) + 1))


@pytest.mark.parametrize("tokens", [1, 17, 1024])
def test_one_stage_gives_the_work_of_every_length(networks, tokens):
    stages = published("gpt2").stages((5, 12))
    assert [stage.work.at(tokens) for stage in stages] == [
        part.flop for part in count(networks["gpt2"], (5, 12), tokens)
    ]


def counted(module, x) -> int:
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        module(x)
    return int(counter.get_total_flops())


def test_torch_counts_fused_attention_on_the_meta_device_but_not_on_a_processor():
    """The count on the meta device is complete either way; on a processor both products would be missing."""
    width, tokens = 64, 10
    projections, products = 4 * 2 * tokens * width**2, 4 * tokens**2 * width
    for device, fused, expected in [
        (META, False, projections + products),
        (META, True, projections + products),
        (torch.device("cpu"), False, projections + products),
        (torch.device("cpu"), True, projections),
    ]:
        attention = Attention(width, 4, fused=fused).to(device)
        assert counted(attention, torch.zeros(1, tokens, width, device=device)) == expected


# Multiply-adds of papers and model cards: those of ResNet-101 by its 3x3 strides, with the stated attention.
@pytest.mark.parametrize(("name", "giga_multiply_adds"), [("resnet101", 7.8), ("vit-b16", 17.6)])
def test_published_work_of_the_whole(name, giga_multiply_adds):
    costs = published(name)
    (whole,) = costs.stages((costs.blocks,))
    assert whole.flop / 2e9 == pytest.approx(giga_multiply_adds, abs=0.05)


@pytest.mark.parametrize(
    ("name", "millions", "tolerance"),
    [("resnet101", 44.5, 0.1), ("vit-b16", 86.6, 0.1), ("bert-base", 110, 1), ("gpt2", 124, 1), ("llama-7b", 6740, 5)],
)
def test_published_parameters_of_the_whole(name, millions, tolerance):
    costs = published(name)
    (whole,) = costs.stages((costs.blocks,))
    assert whole.parameters_bytes / 4e6 == pytest.approx(millions, abs=tolerance)


@pytest.mark.parametrize(
    ("name", "cut", "extra"),
    [
        # Heads of the two stages before the last: linear layers on 1,024 channels; layer norm and linear layer;
        # pooler and two classes; norm and a copy of the table of tokens for each later stage (stage 1 shares it).
        ("resnet101", (10, 22, 33), 2 * 1025 * 1000),
        ("vit-b16", (4, 8, 12), 2 * (2 * 768 + 769 * 1000)),
        ("bert-base", (4, 8, 12), 2 * (769 * 768 + 769 * 2)),
        ("gpt2", (4, 8, 12), 2 * 2 * 768 + 2 * 50_257 * 768),
        ("llama-7b", (10, 21, 32), 2 * (4096 + 32_000 * 4096)),
    ],
)
def test_a_cut_costs_its_further_exit_heads_and_no_more(name, cut, extra):
    costs = published(name)
    (whole,) = costs.stages((costs.blocks,))
    assert sum(stage.parameters_bytes for stage in costs.stages(cut)) == whole.parameters_bytes + 4 * extra


# Two FLOP for each parameter and token, without embeddings: the rule of thumb for language models.
def test_work_of_llama_is_near_two_flop_for_each_weight_and_token():
    costs = published("llama-7b")
    layers = 6.74e9 - 2 * 32_000 * 4096
    (whole,) = costs.stages((32,))
    assert whole.work.per_token == pytest.approx(2 * layers, rel=0.01)
    assert whole.work.per_pair * 2048 / whole.work.per_token == pytest.approx(0.083, abs=0.001)  # attention's part
