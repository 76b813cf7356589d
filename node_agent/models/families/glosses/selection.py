"""The sets of definitions for training and tests; a word that has a definition in one set has none in another.

Decision 092: definitions are drawn in balance first and grouped by word afterwards
(docs/decisions/092-definitions-drawn-before-grouped.md).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cache

import numpy as np
import numpy.typing as npt

from node_agent.models.data_types import Samples
from node_agent.models.families.glosses import minilm, wordnet
from node_agent.models.families.glosses.word_pieces import BEGIN, END, UNKNOWN, WordPieces
from node_agent.models.families.glosses.wordnet import CLASS_NAMES, Definition
from node_agent.models.networks.early_exit import Recipe, TrainingData
from node_agent.models.packages import WORDNET_PACKAGE, WORDNET_VERSION

MOST_TOKENS = 64  # of a definition, [CLS] and [SEP] included; the few longer ones are left out
MOST_OF_A_CATEGORY = 1200  # definitions that train; the smallest category has fewer

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens that occur in definitions."""

    pieces: tuple[str, ...]  # text of each token
    numbers: Rows  # its number in MiniLM's vocabulary, rising


@dataclass(frozen=True, slots=True)
class Texts:
    """The definitions of at most `MOST_TOKENS` tokens, and their tokens."""

    definitions: tuple[Definition, ...]
    tokens: tuple[
        npt.NDArray[np.uint16], ...
    ]  # numbers in the vocabulary of `vocabulary`, as the first sentence of two

    def samples(self, rows: Rows) -> Samples:
        """Return the definitions of these rows as samples."""
        tokens = [self.tokens[row] for row in rows]
        labels = np.array([self.definitions[row].category for row in rows], dtype=np.int64)
        lengths = np.array([len(one) for one in tokens], dtype=np.int64)
        return Samples(np.concatenate(tokens) if tokens else np.zeros(0, np.uint16), labels, None, lengths)


@dataclass(frozen=True, slots=True)
class Sets:
    """Rows of definitions, by their use as in `TrainingData`."""

    evaluation: Rows
    calibration: Rows
    exit_table: Rows
    validation: Rows
    train: Rows


SET_NAMES = tuple(field.name for field in fields(Sets))


@cache
def _encoded() -> tuple[Vocabulary, Texts]:
    pieces = WordPieces(minilm.vocabulary())
    all_tokens = [(definition, pieces.tokens(definition.text)) for definition in wordnet.definitions()]
    kept = [(definition, tokens) for definition, tokens in all_tokens if len(tokens) <= MOST_TOKENS]
    special = [pieces.pieces.index(name) for name in (BEGIN, END, UNKNOWN)]
    numbers = np.unique(np.concatenate([np.array(special), *(tokens for _, tokens in kept)]))
    new = np.zeros(len(pieces.pieces), np.uint16)
    new[numbers] = np.arange(len(numbers))
    vocabulary = Vocabulary(tuple(pieces.pieces[number] for number in numbers), numbers.astype(np.int64))
    return vocabulary, Texts(tuple(one for one, _ in kept), tuple(new[tokens] for _, tokens in kept))


def vocabulary() -> Vocabulary:
    """Return the tokens that occur in definitions. Raises as `wordnet.definitions` and `minilm.vocabulary`."""
    return _encoded()[0]


def texts() -> Texts:
    """Return the definitions and their tokens. Raises as `wordnet.definitions` and `minilm.vocabulary`."""
    return _encoded()[1]


def training_data(recipe: Recipe) -> TrainingData:
    """Return the samples of a training run.

    Raises:
        EnvironmentLacking: WordNet or MiniLM is missing.
        InputError: a file of theirs cannot be read.
    """
    known = texts()
    sets = split(known.definitions, recipe)
    learned = known.samples(sets.train)
    return TrainingData(
        train=lambda _epoch: learned,
        train_count=len(learned),
        validation=known.samples(sets.validation),
        calibration=known.samples(sets.calibration),
        exit_table=known.samples(sets.exit_table),
        evaluation=known.samples(sets.evaluation),
        notes={
            "sources": {
                minilm.PACKAGE: {"version": minilm.VERSION, "licence": "Apache-2.0", "holds": "first weights, tokens"},
                WORDNET_PACKAGE: {"version": WORDNET_VERSION, "licence": "WordNet", "holds": "definitions of nouns"},
            }
        },
    )


def split(definitions: Sequence[Definition], recipe: Recipe) -> Sets:
    """Return the sets of a training run; the recipe's seed decides.

    As many definitions of each category as the smallest one has are drawn, and grouped by shared words. Whole groups
    go to evaluation, calibration, the exit table and validation, until each is full; the rest trains. Further
    definitions train if they share no word with a held-out one, up to `MOST_OF_A_CATEGORY`.
    """
    chance = np.random.default_rng(recipe.seed)
    category = np.array([definition.category for definition in definitions])
    least = int(np.bincount(category, minlength=len(CLASS_NAMES)).min())
    drawn = [chance.permutation(np.flatnonzero(category == number))[:least] for number in range(len(CLASS_NAMES))]
    balanced = np.sort(np.concatenate(drawn))
    groups = group_by_words([definitions[row] for row in balanced])
    wanted = (recipe.evaluation, recipe.held_out, recipe.held_out, recipe.held_out // 2)
    use = _filled(groups, wanted, chance)
    taken = {word for row in balanced[use < len(wanted)] for word in _words(definitions[row])}
    others = chance.permutation(np.setdiff1d(np.arange(len(definitions)), balanced))
    free = [row for row in others if taken.isdisjoint(_words(definitions[row]))]
    train = _capped([*balanced[use == len(wanted)], *free], category)
    evaluation, calibration, exit_table, validation = (balanced[use == number] for number in range(len(wanted)))
    return Sets(evaluation, calibration, exit_table, validation, train)


def _words(definition: Definition) -> frozenset[str]:
    """The lemmas, and the definition itself: several plants are `a variety of aster`."""
    return definition.lemmas | {f" {definition.text}"}


def group_by_words(definitions: Sequence[Definition]) -> Rows:
    """Return the group of each definition, (N,): those that share a lemma or all their text, directly or by others."""
    from scipy.sparse import coo_array  # noqa: PLC0415 - scipy loads slowly and only training needs it
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    places: dict[str, int] = {}
    pairs = [(row, places.setdefault(word, len(places))) for row, one in enumerate(definitions) for word in _words(one)]
    row, column = np.array(pairs).T
    size = len(definitions) + len(places)
    graph = coo_array((np.ones(len(pairs), dtype=np.int8), (row, column + len(definitions))), shape=(size, size))
    return connected_components(graph, directed=False)[1][: len(definitions)].astype(np.int64)


def _filled(groups: Rows, wanted: Sequence[int], chance: np.random.Generator) -> Rows:
    """Return the set of each member, (N,), if groups in random order fill sets of these sizes; the rest is the last."""
    members = np.bincount(groups)
    use_of_group = np.full(len(members), len(wanted))
    order = iter(chance.permutation(np.flatnonzero(members)).tolist())
    for number, size in enumerate(wanted):
        filled = 0
        while filled < size and (group := next(order, None)) is not None:
            use_of_group[group] = number
            filled += int(members[group])
    return use_of_group[groups]


def _capped(rows: Iterable[int], category: Rows) -> Rows:
    """Return the first rows of each category, `MOST_OF_A_CATEGORY` at most, in rising order."""
    count = np.zeros(len(CLASS_NAMES), dtype=np.int64)
    kept = []
    for row in rows:
        if count[category[row]] < MOST_OF_A_CATEGORY:
            count[category[row]] += 1
            kept.append(row)
    return np.sort(np.array(kept, dtype=np.int64))
