"""Prompts were chosen by hand, and none serves two uses."""

from itertools import combinations

import pytest

from node_agent.models.families.smollm.prompts import USES, all_prompts, split_prompts

COUNTS = {"train": 1000, "calibration": 100, "exit_table": 250, "evaluation": 250}


def test_no_pair_of_template_and_word_serves_two_uses():
    split = split_prompts(COUNTS, seed=1)
    assert {use: len(prompts) for use, prompts in split.items()} == COUNTS
    for one, other in combinations(USES, 2):
        assert not set(split[one]) & set(split[other])
        assert not {prompt.text for prompt in split[one]} & {prompt.text for prompt in split[other]}


def test_every_prompt_is_another_text():
    texts = [prompt.text for prompt in all_prompts()]
    assert len(set(texts)) == len(texts) > sum(COUNTS.values())
    assert not [text for text in texts if "{" in text or "  " in text]


def test_articles_fit_their_words():
    texts = [f" {prompt.text}" for prompt in all_prompts()]
    wrong = [text for text in texts for vowel in "aeio" if f" a {vowel}" in text]
    assert wrong == []


def test_the_seed_decides():
    assert split_prompts(COUNTS, 1) == split_prompts(COUNTS, 1) != split_prompts(COUNTS, 2)


def test_more_prompts_than_there_are_is_refused():
    with pytest.raises(ValueError, match=r"4000 prompts are wanted, there are \d+"):
        split_prompts(COUNTS | {"train": 3400}, 1)
