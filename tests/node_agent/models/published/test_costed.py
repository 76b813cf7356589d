"""A model with the costs of a published architecture: the answers of the one, the work and the bytes of the other."""

import numpy as np
import pytest

from node_agent.errors import InputError
from node_agent.models.published import published
from node_agent.models.published.costed import HEADER_BYTES, CostedModel
from node_agent.wire import Tensor

CUT = (2, 3, 5)


@pytest.fixture(scope="module", params=["resnet101", "bert-base"])
def costed(request, glyphs):
    return CostedModel(glyphs, published(request.param))


def test_costs_and_forms_are_those_of_the_architecture(costed, glyphs):
    for activation in ("float32", "float16", "int8"):
        stages = published(costed.costs).stages(published(costed.costs).default_cut(3), None, activation)
        profiles, forms = costed.profiles(CUT, activation), costed.input_forms(CUT, activation)
        assert [profile.flop for profile in profiles] == [stage.flop for stage in stages]
        assert [form.usual.byte_count for form in forms] == [profile.input_bytes for profile in profiles]
        assert [form.usual.shape for form in forms] == [stage.input_shape for stage in stages]
        assert profiles[0].flop > 100 * glyphs.profiles(CUT, activation)[0].flop


@pytest.mark.parametrize("activation", ["float32", "float16", "int8"])
def test_the_real_sub_models_answer_along_the_stages(costed, glyphs, activation):
    """Every answer is that of the real model, though messages have the architecture's sizes."""
    real, hosted = glyphs.sub_models(CUT, activation), costed.sub_models(CUT, activation)
    inputs, forms = costed.inputs(CUT, activation), costed.input_forms(CUT, activation)
    answered = set()
    for sample in (0, 7, 1999):
        plain, carried = glyphs.inputs(CUT, activation).tensor(sample), inputs.tensor(sample)
        for stage, (one, other, form) in enumerate(zip(real, hosted, forms, strict=True)):
            assert form.fits(carried.form)
            assert len(carried.data) == carried.form.byte_count
            assert other.flop(carried) == costed.profiles(CUT, activation)[stage].flop
            expected, found = one.infer(plain), other.infer(carried)
            assert (found.prediction, found.confidence) == (expected.prediction, expected.confidence)
            answered.add(found.confidence)
            assert (found.activation is None) == (expected.activation is None) == (stage == 2)
            if found.activation is not None:
                plain = expected.activation
                # As from a socket: read-only.
                carried = Tensor(found.activation.form, memoryview(bytes(found.activation.data)))
    assert len(answered) == 9


def test_a_tensor_of_no_sample_gives_an_answer_for_warming_up(costed):
    for sub_model in costed.sub_models(CUT, "float32"):
        form = sub_model.input_form.usual
        answer = sub_model.infer(Tensor(form, bytes(form.byte_count)))
        assert 0 <= answer.confidence <= 1


@pytest.mark.parametrize(
    ("tokens", "said"),
    [(7, "stage 1 has 14 bytes, too few for the 16"), (8, "stage 2 has 12288 bytes, too few for the 12304"),
     (10, "stage 3 has 15360 bytes, too few for the 16400")],
)  # fmt: skip
def test_a_message_too_small_for_what_it_carries_is_refused(glyphs, tokens, said):
    """A token of BERT is 768 numbers of two bytes; stages 2 and 3 of glyphs take 12 and 16 KiB."""
    with pytest.raises(InputError, match=f"cost bert-base: the input of {said} of model glyphs"):
        CostedModel(glyphs, published("bert-base"), tokens=tokens).profiles(CUT, "float16")
    CostedModel(glyphs, published("bert-base"), tokens=11).profiles(CUT, "float16")
    assert glyphs.input_forms(CUT, "float16")[1].usual.byte_count + HEADER_BYTES == 12304


def test_cuts_of_different_lengths_are_refused(glyphs):
    with pytest.raises(InputError, match=r"the cost's cut \[6, 12\] and the model's cut \[2, 3, 5\] differ in length"):
        CostedModel(glyphs, published("bert-base"), (6, 12)).profiles(CUT, "float32")
    first, *_ = CostedModel(glyphs, published("bert-base"), (1, 2, 12)).profiles(CUT, "float32")
    assert first.flop == published("bert-base").stages((1, 2, 12))[0].flop


def test_answers_of_the_inner_model_stay_and_the_hash_names_the_costs(costed, glyphs):
    assert (costed.exits, costed.sample_count, costed.answers) == (glyphs.exits, 2000, None)
    assert np.array_equal(costed.scores(CUT).prediction, glyphs.scores(CUT).prediction)
    assert np.array_equal(costed.exit_table(CUT).confidence, glyphs.exit_table(CUT).confidence)
    bert = published("bert-base")
    variants = [glyphs, CostedModel(glyphs, published("vit-b16")), CostedModel(glyphs, bert),
                CostedModel(glyphs, bert, tokens=9), CostedModel(glyphs, bert, (1, 2, 12))]  # fmt: skip
    assert len({each.fingerprint() for each in variants}) == len(variants)
