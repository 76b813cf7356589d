"""Samples are beginnings of answers that are cut at random, and the token that follows is their class."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from node_agent.models.families.smollm.answers import Answers, Decoder
from node_agent.models.families.smollm.lessons import CLEAR, RECIPE, cut_samples, make_lessons, most_frequent
from tests.node_agent.models.families.smollm.files import TINY

N = TINY.context


def answers(lead=1.0):
    """Two texts: prompts of 4 and answers that end with the context, or after two tokens."""
    tokens = torch.arange(2 * (N + 1)).reshape(2, N + 1)
    answered = torch.zeros(2, N, dtype=torch.bool)
    answered[0, 3:] = True
    answered[1, 3:5] = True
    return Answers(tokens, answered, torch.full((2, N), lead), torch.zeros(2, N), {})


def test_a_sample_is_a_beginning_and_its_class_the_next_token():
    samples = cut_samples([answers()], 4, np.random.default_rng(1))
    assert samples.lengths is not None
    assert samples.lengths.tolist() == [*sorted(samples.lengths[:4].tolist()), 4, 5]
    assert samples.images.dtype == np.uint16
    for index, length in enumerate(samples.lengths):
        begin = 0 if index < 4 else N + 1
        assert samples.sample(index).tolist() == list(range(begin, begin + length))
        assert samples.labels[index] == begin + length


def test_cuts_are_spread_over_the_answer():
    many = [cut_samples([answers()], 4, np.random.default_rng(seed)).lengths[:4].tolist() for seed in range(40)]
    assert {length for lengths in many for length in lengths} == set(range(4, N + 1))
    assert all(len(set(lengths)) == 4 for lengths in many)


def test_places_where_rounding_decides_are_left_out():
    close = answers()
    close.lead[0, 3:-2] = CLEAR / 2
    assert cut_samples([close], 4, np.random.default_rng(1)).lengths.tolist() == [N - 1, N, 4, 5]


def test_the_shortlist_has_the_most_frequent_tokens_and_then_the_lowest():
    said = answers()
    said.tokens[0, 4:] = torch.tensor([70, 70, 70, 0, 0, 0, 60, 60, 50])
    assert most_frequent([said], 3, 80).tolist() == [17, 60, 70]  # 17: the first token of the second text
    assert most_frequent([said], 8, 80).tolist() == [1, 2, 3, 17, 18, 50, 60, 70]


@pytest.fixture(scope="module")
def lessons(network, few_prompts):  # noqa: ARG001 - it is in force
    recipe = replace(RECIPE, held_out=12, evaluation=8)
    reports = []
    decoder = Decoder(TINY, network.embedding, network.layers, network.last)
    found = make_lessons(decoder, lambda text: [len(text) % 7, 3, 5], -1, (1, 2, 3), recipe, 20, reports.append)
    return found, reports


def test_lessons_have_every_part(lessons):
    found, reports = lessons
    assert (len(found.calibration), len(found.exit_table), len(found.evaluation)) == (40, 12, 8)
    assert len(found.train(1)) == 400
    assert found.train_count == 100 * (N - 2)
    assert found.notes["outside"]["tokens"] == len(found.shortlist) == 20
    outside = ~np.isin(found.exit_table.labels, found.shortlist.numpy())
    assert found.notes["outside"]["share"] == outside.mean()
    assert [set(batch.states) for batch in found.answers] == [{1, 2, 3}] * len(found.answers)
    assert reports[-1].epoch == reports[-1].epochs == 100 + 10 + 3 + 2
    assert {report.what for report in reports} == {"prompt"}


def test_the_class_of_a_sample_is_the_token_of_the_whole_model(lessons, network):
    found, _ = lessons
    for index in range(len(found.evaluation)):
        tokens = torch.from_numpy(found.evaluation.sample(index).astype(np.int64))[None]
        assert int(network(tokens)[-1].argmax()) == found.evaluation.labels[index]
