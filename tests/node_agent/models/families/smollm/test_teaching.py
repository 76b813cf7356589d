"""Early heads learn what the whole model answers."""

from dataclasses import replace

import pytest
import torch

from node_agent.models.families.smollm.answers import Decoder
from node_agent.models.families.smollm.lessons import RECIPE, make_lessons
from node_agent.models.families.smollm.small_llama import SmolLM
from node_agent.models.families.smollm.teaching import begin, divergence, gather, probabilities, said, teach
from tests.node_agent.models.families.smollm.files import TINY


def test_least_squares_finds_an_affine_map():
    chance = torch.Generator().manual_seed(1)
    x, wanted = torch.randn(5000, 8, generator=chance), torch.nn.Linear(8, 8)
    found = torch.nn.Linear(8, 8)
    begin(found, x, wanted(x).detach())
    torch.testing.assert_close(found.weight, wanted.weight, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.bias, wanted.bias, rtol=1e-3, atol=1e-3)


def test_a_position_counts_by_its_inverse_mean_square():
    """Two kinds of positions want different maps: the larger wishes do not drown the smaller ones."""
    x = torch.ones(200, 1)
    wanted = torch.cat([torch.full((100, 1), 1.0), torch.full((100, 1), 100.0)])
    found = torch.nn.Linear(1, 1)
    begin(found, x, wanted)
    # Least squares of a constant c with weights 1 and 1/100^2 on errors (c - 1) and (c - 100).
    assert float(found(x[:1]).detach()) == pytest.approx((1 + 100 / 1e4) / (1 + 1 / 1e4), rel=1e-2)


def test_probabilities_of_the_shortlist_and_of_all_others():
    logits = torch.tensor([[1.0, 2.0, 0.5, -1.0]])
    rows = torch.eye(4)[[1, 2]]
    found = probabilities(logits, rows, logits.logsumexp(dim=1))
    wanted = logits.softmax(dim=1)[0]
    torch.testing.assert_close(found[0], torch.stack([wanted[0] + wanted[3], wanted[1], wanted[2]]))


def test_divergence_is_least_for_the_true_probabilities():
    target = torch.tensor([[0.2, 0.5, 0.3]])
    right, wrong = target.log(), torch.tensor([[0.5, 0.2, 0.3]]).log()
    assert divergence(right, target) < divergence(wrong, target)
    assert float(divergence(right, target)) == pytest.approx(float(-(target * target.log()).sum()))


@pytest.fixture(scope="module")
def taught(network, content, few_prompts):  # noqa: ARG001 - it is in force
    """A network whose early heads learned, one whose heads only began, the lessons, and the reports."""
    decoder = Decoder(TINY, network.embedding, network.layers, network.last)
    lessons = make_lessons(
        decoder, lambda text: [len(text) % 60, len(text.split()), 5], -1, (1, 2, 3), replace(RECIPE, held_out=4), 79
    )
    trained, reports = [], []
    for epochs, rate in ((8, 5e-3), (1, 1e-9)):
        torch.manual_seed(0)
        fresh = SmolLM(TINY, (1, 2, 3), 79)
        fresh.fill(content)
        recipe = replace(RECIPE, epochs=epochs, batch=8, peak_learning_rate=rate)
        assert teach(fresh.early, fresh.last, lessons, recipe, reports.append) == epochs
        trained.append(fresh.fold())
    return (*trained, lessons, reports)


def agreement(network, lessons):
    texts = gather(lessons.answers)
    wanted = torch.cat([batch.tokens[:, 1:] for batch in lessons.answers])[texts.answered]
    found = []
    for block, head in network.early.items():
        best = said(head, texts.states[block].float(), texts.answered).argmax(dim=1)
        listed = torch.cat([torch.tensor([-1]), lessons.shortlist])
        found.append(float((listed[best] == wanted).float().mean()))
    return found


def test_steps_bring_the_heads_nearer_to_the_whole_model(taught):
    learned, begun, lessons, reports = taught
    losses = [report.loss for report in reports[:-1]]
    assert len(losses) == 8
    assert losses[-1] < losses[0] - 0.1
    first, second = agreement(learned, lessons)
    assert first > agreement(begun, lessons)[0] + 0.05
    assert second > 0.95  # it stands before the last layer, which it runs: least squares already find the identity


def test_an_early_exit_answers_from_its_shortlist_or_says_other(taught):
    learned, _, lessons, _ = taught
    tokens = lessons.answers[0].tokens[:5, : TINY.context]
    for block, logits in zip(learned.exits[:-1], learned(tokens)[:-1], strict=True):
        listed = learned.early[block].shortlist.long()
        assert torch.isfinite(logits[:, listed]).all()
        assert torch.isfinite(logits[:, 0]).all()
        assert int(torch.isfinite(logits).sum(dim=1).max()) == len(listed) + 1


def test_the_last_position_alone_answers_as_in_training(taught):
    learned, _, lessons, _ = taught
    texts = gather(lessons.answers[:1])
    last = torch.zeros_like(texts.answered)
    last[:, -1] = True
    for block, head in learned.early.items():
        states = texts.states[block].float()
        logits = head(states)
        few = said(head, states, last)
        torch.testing.assert_close(logits[:, head.shortlist.long()], few[:, 1:], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(logits[:, 0], few[:, 0], rtol=1e-3, atol=1e-3)


def test_borrowed_weights_do_not_learn(taught, network):
    learned = taught[0].state_dict()
    for name, tensor in network.state_dict().items():
        if name.startswith(("blocks.", "embedding.", "norm.")):
            assert torch.equal(tensor, learned[name])
