"""Early heads learn from the whole model: least squares first, then steps that lessen the divergence.

The states are those that the model had while it answered, so the decoder does not run. The idea of a translated state:
Belrose et al., Eliciting Latent Predictions from Transformers with the Tuned Lens, 2023.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from node_agent.models.families.smollm.answers import Answers
from node_agent.models.families.smollm.decoder import Dimensions
from node_agent.models.families.smollm.heads import EarlyHead, LastHead
from node_agent.models.networks.early_exit import EpochReport, Progress, Recipe

if TYPE_CHECKING:
    from node_agent.models.families.smollm.lessons import Lessons

RIDGE = 1e-4  # of least squares, relative to the mean square of the states
WARM_UP = 20  # steps in which the learning rate rises
AT_ONCE = 4096  # positions whose squares are summed together


@dataclass(frozen=True, slots=True)
class Texts:
    """The answers of all batches behind one another: S texts of n positions."""

    states: Mapping[int, Tensor]  # by layer: [S, n, width], in float16
    answered: Tensor  # [S, n], bool: the positions that count
    log_sum: Tensor  # [S, n], logarithm of the sum of the exponentials of the whole model's logits

    def __len__(self) -> int:
        return len(self.answered)


def layers_taught(sizes: Dimensions) -> tuple[int, int]:
    """Return the layers whose states early heads imitate: the last but one, and the last."""
    return sizes.layers - 1, sizes.layers


def gather(answers: Sequence[Answers]) -> Texts:
    """Return the answers of all batches together."""
    states = {layer: torch.cat([batch.states[layer] for batch in answers]) for layer in answers[0].states}
    answered = torch.cat([batch.answered for batch in answers])
    return Texts(states, answered, torch.cat([batch.log_sum for batch in answers]))


def teach(
    heads: Mapping[int, EarlyHead], last: LastHead, lessons: "Lessons", recipe: Recipe, progress: Progress | None
) -> int:
    """Train early heads, and return the number of epochs.

    Args:
        heads: by their layer; they learn.
        last: the head of the whole model, with its weights.
        lessons: the shortlist, and answers with the states of the heads' layers and of those that they imitate.
        recipe: its epochs, texts per step, learning rate, decay and seed count.
        progress: called after each epoch.
    """
    texts, end = gather(lessons.answers), last.sizes.layers
    rows_of = last.embedding.weight[lessons.shortlist]
    for block, head in heads.items():
        head.shortlist.copy_(lessons.shortlist)
        head.look_up(last.embedding)
        begin(head.map, texts.states[block].flatten(0, 1), texts.states[end - 1].flatten(0, 1))
        nn.init.zeros_(head.other.weight)
        nn.init.zeros_(head.other.bias)
    trained = [weight for head in heads.values() for part in (head.map, head.other) for weight in part.parameters()]
    optimiser = torch.optim.AdamW(
        [weight.requires_grad_() for weight in trained], lr=recipe.peak_learning_rate, betas=(0.9, 0.99),
        weight_decay=recipe.weight_decay,
    )  # fmt: skip
    steps = recipe.epochs * -(-len(texts) // recipe.batch)
    rate = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1, (step + 1) / WARM_UP) * (1 - step / steps))
    for epoch in range(1, recipe.epochs + 1):
        total = 0.0
        for rows in _batches(len(texts), recipe.batch, recipe.seed * 2000 + epoch):
            states, counted = {layer: part[rows].float() for layer, part in texts.states.items()}, texts.answered[rows]
            with torch.no_grad():
                target = probabilities(last.norm(states[end][counted]), rows_of, texts.log_sum[rows][counted])
            losses = [divergence(said(head, states[block], counted), target) for block, head in heads.items()]
            loss = torch.stack(losses).sum()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            rate.step()
            total += float(loss.detach()) * len(rows)
        if progress is not None:
            progress(EpochReport(epoch, recipe.epochs, total / len(texts)))
    return recipe.epochs


def _batches(count: int, size: int, seed: int) -> Iterator[Tensor]:
    """Yield the numbers 0..count-1 in random order, `size` at a time."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    for start in range(0, count, size):
        yield order[start : start + size]


def said(head: EarlyHead, states: Tensor, counted: Tensor) -> Tensor:
    """Return a head's logits [P, 1 + shortlist] behind the counted positions of texts with states [S, n, width]."""
    return head.few(head.lent.layer(head.map(states))[counted])


def begin(affine: nn.Linear, states: Tensor, wanted: Tensor) -> None:
    """Set an affine map to the least squares from states to wanted states, both [P, width].

    A position counts by the inverse mean square of its wanted state, because a norm follows.
    """
    width = states.shape[1]
    squares = torch.zeros(width + 1, width + 1, dtype=torch.float64)
    products = torch.zeros(width + 1, width, dtype=torch.float64)
    for start in range(0, len(states), AT_ONCE):
        x, y = states[start : start + AT_ONCE], wanted[start : start + AT_ONCE]
        weight = y.double().square().mean(dim=1, keepdim=True).rsqrt()
        inputs = torch.cat([x.double(), torch.ones(len(x), 1, dtype=torch.float64)], dim=1) * weight
        squares += inputs.T @ inputs
        products += inputs.T @ (y.double() * weight)
    squares.diagonal().add_(RIDGE * squares.diagonal().mean())
    solved = torch.linalg.solve(squares, products).float()
    with torch.no_grad():
        affine.weight.copy_(solved[:-1].T)
        affine.bias.copy_(solved[-1])


def probabilities(normed: Tensor, rows: Tensor, log_sum: Tensor) -> Tensor:
    """Return the whole model's probabilities [P, 1 + shortlist]: of all other tokens together, and of the shortlist's.

    Args:
        normed: last states behind the norm [P, width].
        rows: of the embedding, for the shortlist [shortlist, width].
        log_sum: of the whole model [P].
    """
    listed = (functional.linear(normed, rows) - log_sum[:, None]).exp()
    other = (1 - listed.sum(dim=1, keepdim=True)).clamp(min=0)
    return torch.cat([other, listed], dim=1)


def divergence(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean cross entropy of logits [P, C] and probabilities [P, C]: their divergence and a constant."""
    return -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()
