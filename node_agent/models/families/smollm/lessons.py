"""The training of smollm: prompts, the model's own answers to them, and the samples that are cut from these."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from node_agent.models.data_types import Samples
from node_agent.models.families.smollm.answers import Answers, Decoder, answer
from node_agent.models.families.smollm.heads import OTHER
from node_agent.models.families.smollm.prompts import USES, Prompt, split_prompts
from node_agent.models.networks.early_exit import EpochReport, Progress, Recipe, TrainingData

RECIPE = Recipe(
    seed=1, epochs=3, batch=8, peak_learning_rate=1e-3, weight_decay=0.0, threads=1, backbone="frozen", patience=None,
    held_out=1000, evaluation=1000,
)  # fmt: skip
TRAINING_PROMPTS, CALIBRATION_PROMPTS = 1000, 100
CUTS = 4  # samples of a prompt outside training, each cut at another place
CLEAR = 0.01  # least lead of the best token's logit; between closer tokens rounding decides

Split = Callable[[str], list[int]]  # a request as token numbers


@dataclass(frozen=True, slots=True)
class Lessons(TrainingData):
    """The samples of a training run, and the answers from which the early heads learn."""

    answers: Sequence[Answers]  # to the prompts of training, with states
    shortlist: Tensor  # [tokens], rising: those that early exits can answer


def prompt_counts(recipe: Recipe) -> Mapping[str, int]:
    """Return the number of prompts for each use."""
    table, evaluation = recipe.held_out // CUTS, recipe.evaluation // CUTS
    return dict(zip(USES, (TRAINING_PROMPTS, CALIBRATION_PROMPTS, table, evaluation), strict=True))


def make_lessons(
    decoder: Decoder, split: Split, end: int, kept: Sequence[int], recipe: Recipe, tokens: int,
    progress: Progress | None = None,
) -> Lessons:  # fmt: skip
    """Let the model answer the prompts of every use, and cut samples from the answers.

    Args:
        decoder: the model.
        split: turns a text into tokens; the text is a request, with the marks around it.
        end: the token that ends an answer.
        kept: the layers whose states training needs.
        recipe: its seed and its numbers of samples count.
        tokens: the number that early exits can answer.
        progress: called after each batch of prompts.
    """
    prompts = split_prompts(prompt_counts(recipe), recipe.seed)
    report = _reporter(sum(len(part) for part in prompts.values()), progress)
    answered = {
        use: _answered(decoder, split, end, part, kept if use == "train" else (), report)
        for use, part in prompts.items()
    }
    chance = np.random.default_rng(recipe.seed)
    samples = {use: cut_samples(found, CUTS, chance) for use, found in answered.items()}
    shortlist = most_frequent(answered["train"], tokens, decoder.sizes.vocabulary)
    outside = ~np.isin(samples["exit_table"].labels, shortlist.numpy())
    return Lessons(
        train=lambda _epoch: samples["train"],
        train_count=sum(int(found.answered.sum()) for found in answered["train"]),
        validation=None,
        calibration=samples["calibration"],
        exit_table=samples["exit_table"],
        evaluation=samples["evaluation"],
        notes={"outside": {"tokens": tokens, "share": float(outside.mean())}},
        answers=answered["train"],
        shortlist=shortlist,
    )


def most_frequent(answers: Sequence[Answers], count: int, vocabulary: int) -> Tensor:
    """Return the tokens that stand most often in answers, rising; those of low numbers fill the list.

    The vocabulary numbers frequent tokens first. Token OTHER is left out: early heads count others in its place.
    """
    said = torch.cat([batch.tokens[:, 1:][batch.answered] for batch in answers])
    times = torch.bincount(said, minlength=vocabulary)
    times[OTHER] = -1
    order = torch.sort(times, descending=True, stable=True).indices
    return order[:count].sort().values


def _reporter(prompts: int, progress: Progress | None) -> Callable[[int], None]:
    """Return a function that takes a number of further prompts and reports how many of all are answered."""
    done = 0

    def report(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(EpochReport(done, prompts, what="prompt"))

    return report


def _answered(
    decoder: Decoder, split: Split, end: int, prompts: Sequence[Prompt], kept: Sequence[int],
    report: Callable[[int], None],
) -> list[Answers]:  # fmt: skip
    found = []
    for batch in answer(decoder, [split(prompt.text) for prompt in prompts], end, kept):
        report(len(batch.tokens))
        found.append(batch)
    return found


def cut_samples(answers: Sequence[Answers], cuts: int, chance: np.random.Generator) -> Samples:
    """Return beginnings of prompts with answers, cut at random places, and the tokens that follow.

    Places are left out at which the two best tokens are so close that rounding decides between them.

    Args:
        answers: of the model.
        cuts: samples of each prompt, fewer if its answer is shorter.
        chance: draws the places.
    """
    texts, labels = [], []
    for batch in answers:
        possible = (batch.answered & (batch.lead >= CLEAR)).numpy()
        for tokens, places in zip(batch.tokens.numpy(), possible, strict=True):
            found = np.flatnonzero(places)
            for place in np.sort(chance.choice(found, min(cuts, len(found)), replace=False)):
                texts.append(tokens[: place + 1].astype(np.uint16))
                labels.append(int(tokens[place + 1]))
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    return Samples(np.concatenate(texts), np.array(labels, dtype=np.int64), None, lengths)
