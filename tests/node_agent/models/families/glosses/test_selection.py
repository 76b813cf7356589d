from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_agent.models.families.glosses import GlossesNetwork, selection
from node_agent.models.families.glosses.selection import SET_NAMES, group_by_words, split
from node_agent.models.families.glosses.wordnet import CLASS_NAMES, Definition

RECIPE = GlossesNetwork.recipe


def words_of(definitions, rows) -> set[str]:
    """The lemmas of these definitions, and their texts in brackets."""
    return {word for row in rows for word in (*definitions[row].lemmas, f"({definitions[row].text})")}


def assert_disjoint(definitions, sets) -> None:
    rows = {name: getattr(sets, name).tolist() for name in SET_NAMES}
    for one, other in combinations(SET_NAMES, 2):
        assert not set(rows[one]) & set(rows[other]), (one, other)
        assert not words_of(definitions, rows[one]) & words_of(definitions, rows[other]), (one, other)


@pytest.mark.parametrize("seed", [RECIPE.seed, 1])
def test_no_word_has_definitions_in_two_sets(texts, seed):
    sets = split(texts.definitions, replace(RECIPE, seed=seed))
    assert_disjoint(texts.definitions, sets)
    assert [len(getattr(sets, name)) for name in SET_NAMES[:3]] == [2000, 2000, 2000]


def test_the_sets_are_nearly_balanced(texts):
    sets = split(texts.definitions, RECIPE)
    category = np.array([definition.category for definition in texts.definitions])
    for name in SET_NAMES[:3]:
        counts = np.bincount(category[getattr(sets, name)], minlength=len(CLASS_NAMES))
        assert counts.min() >= 70
        assert counts.max() <= 130
    counts = np.bincount(category[sets.train], minlength=len(CLASS_NAMES))
    assert counts.min() >= 400
    assert counts.max() == selection.MOST_OF_A_CATEGORY


@pytest.mark.usefixtures("texts")
def test_the_shipped_model_offers_the_evaluation_set(bundle):
    expected = selection.training_data(RECIPE).evaluation
    for name in ("images", "labels", "lengths"):
        np.testing.assert_array_equal(getattr(bundle.evaluation, name), getattr(expected, name))
    assert bundle.card["pieces"].split() == list(selection.vocabulary().pieces)


def definition(category: int, text: str, *lemmas: str) -> Definition:
    return Definition(category, frozenset(lemmas), text)


def test_definitions_that_share_a_word_or_all_their_text_form_a_group():
    groups = group_by_words(
        [
            definition(0, "one", "a", "b"), definition(1, "two", "c"), definition(0, "three", "b", "c"),
            definition(2, "three four", "d"), definition(2, "one", "e"), definition(3, "a", "f"),
        ]
    )  # fmt: skip
    assert groups[0] == groups[1] == groups[2] == groups[4]
    assert len({int(groups[row]) for row in (0, 3, 5)}) == 3  # a text is no lemma


LEMMAS = st.frozensets(st.sampled_from("abcdefghijklmnopqrstuvwxyz"), min_size=1, max_size=2)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(LEMMAS, st.integers(0, 60)), min_size=10, max_size=40), st.integers(0, 9))
def test_no_word_is_in_two_sets_whatever_the_words_are(drawn, seed):
    named = [Definition(number % 20, lemmas, f"text {text}") for number, (lemmas, text) in enumerate(drawn)]
    every = [definition(category, f"only {category}", f"word {category}") for category in range(20)]
    definitions = [*named, *every]
    sets = split(definitions, replace(RECIPE, seed=seed, evaluation=4, held_out=4))
    assert_disjoint(definitions, sets)
    assert len(sets.evaluation) >= 4
    assert len(sets.train) + sum(len(getattr(sets, name)) for name in SET_NAMES[:-1]) <= len(definitions)
