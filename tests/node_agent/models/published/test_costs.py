"""Cuts, lengths, formats and names of published costs."""

import subprocess
import sys
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.errors import InputError
from node_agent.models.published import Work, available_costs, published

LANGUAGE = ("bert-base", "gpt2", "llama-7b")


def refused(call) -> str:
    """The one line of the refusal, with its hint."""
    with pytest.raises(InputError) as caught:
        call()
    line = f"{caught.value} ({caught.value.hint})"
    assert "\n" not in line
    assert caught.value.hint
    return line


def test_the_names():
    assert available_costs() == ("resnet101", "vit-b16", "bert-base", "gpt2", "llama-7b")
    assert [published(name).name for name in available_costs()] == list(available_costs())
    assert [published(name).blocks for name in available_costs()] == [33, 12, 12, 12, 32]
    assert [published(name).tokens for name in available_costs()] == [None, None, 128, 1024, 2048]
    assert all(published(name).title and published(name).source[-4:].isdigit() for name in available_costs())


def test_unknown_names():
    assert refused(lambda: published("ResNet-101")) == "unknown published costs 'ResNet-101' (did you mean resnet101?)"
    assert refused(lambda: published("x")).endswith("(known: resnet101, vit-b16, bert-base, gpt2, llama-7b)")


def test_what_devices_send():
    for name in ("resnet101", "vit-b16"):
        assert (published(name).input_dtype, published(name).input_shape) == ("uint8", (1, 3, 224, 224))
        assert published(name).stages((3, published(name).blocks))[0].input_bytes == 150_528
    for name in LANGUAGE:
        costs = published(name)
        assert (costs.input_dtype, costs.input_shape) == ("uint16", (costs.tokens,))
        assert costs.stages((3, costs.blocks), 100)[0].input_bytes == 200


@pytest.mark.parametrize(("activation", "item_bytes"), [("float32", 4), ("float16", 2)])
def test_activations_travel_in_the_stated_format(activation, item_bytes):
    first, second = published("resnet101").stages((10, 33), activation=activation)
    assert first.output_shape == second.input_shape == (1, 1024, 14, 14)
    assert first.output_dtype == second.input_dtype == activation
    assert first.output_bytes == second.input_bytes == 1024 * 14 * 14 * item_bytes
    assert second.output_bytes == 0
    first, second = published("bert-base").stages((6, 12), 50, activation)
    assert first.output_bytes == second.input_bytes == 50 * 768 * item_bytes
    assert np.zeros(second.input_shape, second.input_dtype).nbytes == second.input_bytes


def test_the_format_changes_neither_work_nor_parameters():
    full, half = (published("vit-b16").stages((6, 12), activation=name) for name in ("float32", "float16"))
    assert [stage.flop for stage in full] == [stage.flop for stage in half]
    assert [stage.parameters_bytes for stage in full] == [stage.parameters_bytes for stage in half]


def test_no_number_of_tokens_is_the_default():
    for name in LANGUAGE:
        costs = published(name)
        assert costs.stages((2, costs.blocks)) == costs.stages((2, costs.blocks), costs.tokens)


@pytest.mark.parametrize(("name", "longest"), [("bert-base", 512), ("gpt2", 1024), ("llama-7b", 2048)])
def test_too_many_tokens_or_too_few(name, longest):
    costs = published(name)
    assert costs.stages((costs.blocks,), longest)[0].input_shape == (longest,)
    for tokens in (0, -1, longest + 1, 1.5, True):
        line = refused(lambda tokens=tokens: costs.stages((costs.blocks,), tokens))
        assert line == f"{name}: a task cannot have {tokens} tokens ({costs.title} takes 1 to {longest} tokens)"


def test_images_have_no_tokens():
    line = refused(lambda: published("resnet101").stages((33,), 5))
    assert line == "resnet101: takes images, which have no tokens (state no number of tokens)"


@pytest.mark.parametrize(
    ("cut", "reason"),
    [
        ((), "gpt2: the cut names no block"),
        ((3, 13), "gpt2: cut [3, 13]: there is no block 13"),
        ((0, 12), "gpt2: cut [0, 12]: there is no block 0"),
        ((4, 4, 12), "gpt2: cut [4, 4, 12] does not rise"),
        ((8, 4, 12), "gpt2: cut [8, 4, 12] does not rise"),
        ((4, 8), "gpt2: cut [4, 8] leaves blocks after 8 unused"),
        ((4.0, 12), "gpt2: cut [4.0, 12] must hold whole numbers"),
        ((True, 12), "gpt2: cut [True, 12] must hold whole numbers"),
    ],
)
def test_impossible_cuts(cut, reason):
    hint = "a cut of gpt2 is strictly rising, from 1 or more to 12, its number of blocks"
    assert refused(lambda: published("gpt2").stages(cut)) == f"{reason} ({hint})"


def test_unknown_formats():
    line = refused(lambda: published("gpt2").stages((12,), activation="int4"))
    assert line == "gpt2: no activation format 'int4' (use float32, float16, int8)"


@pytest.mark.parametrize("name", ["resnet101", "vit-b16", "bert-base", "gpt2", "llama-7b"])
@pytest.mark.parametrize("stages", [1, 2, 3])
def test_the_default_cut_is_the_best_of_all(name, stages):
    costs = published(name)

    def squares(cut) -> int:
        return sum(stage.flop**2 for stage in costs.stages(cut))

    every = [(*ends, costs.blocks) for ends in combinations(range(1, costs.blocks), stages - 1)]
    assert costs.default_cut(stages) == min(every, key=squares)


def test_default_cuts():
    assert published("resnet101").default_cut(3) == (10, 22, 33)
    stages = published("resnet101").stages((10, 22, 33), activation="float16")
    assert [round(stage.flop / 1e9, 2) for stage in stages] == [5.25, 5.24, 5.12]  # as streetlights.yaml says
    assert [stage.input_bytes for stage in stages] == [150_528, 401_408, 401_408]
    assert published("vit-b16").default_cut(4) == (3, 6, 9, 12)
    for name in available_costs():
        costs = published(name)
        assert costs.default_cut(costs.blocks) == tuple(range(1, costs.blocks + 1))


@pytest.mark.parametrize("stages", [0, 13, -1, 2.0, True])
def test_impossible_numbers_of_stages(stages):
    line = refused(lambda: published("bert-base").default_cut(stages))
    assert line == f"bert-base: cannot be cut into {stages} stages (BERT-base has 12 blocks: 1 to 12 stages)"


@given(st.sampled_from(available_costs()), st.data())
def test_a_further_exit_costs_no_more_than_its_head(name, data):
    """A cut and the same with one block end more: the later stages stay as they are."""
    costs = published(name)
    *ends, last = sorted(data.draw(st.sets(st.integers(1, costs.blocks), min_size=2, max_size=5)) | {costs.blocks})
    fine, coarse = costs.stages((*ends, last)), costs.stages((*ends[1:], last))
    assert fine[2:] == tuple(replace(stage, stage=stage.stage + 1) for stage in coarse[1:])
    head = costs.parts[ends[0] - 1].head
    assert fine[0].work + fine[1].work == coarse[0].work + head.work
    assert 0 < fine[0].flop + fine[1].flop - coarse[0].flop == head.work.at(costs.tokens)


@given(*(st.builds(Work, *[st.integers(0, 10**6)] * 3) for _ in range(2)), st.integers(1, 5000))
def test_work_adds_up_at_every_length(one, other, tokens):
    assert (one + other).at(tokens) == one.at(tokens) + other.at(tokens)
    assert one.at(tokens) <= one.at(tokens + 1)
    assert one.at(None) == one.fixed


def test_costs_load_without_torch():
    code = "import sys, node_agent.models.published; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
