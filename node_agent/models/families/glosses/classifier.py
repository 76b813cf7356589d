"""The network of glosses: the first four layers of MiniLM, an exit behind each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from node_agent.models.data_types import Input
from node_agent.models.families.glosses import minilm, selection, wordnet
from node_agent.models.families.glosses.encoder import Embedding, EncoderLayer, MeanHead
from node_agent.models.families.glosses.straight_layers import straight
from node_agent.models.families.glosses.word_pieces import WordPieces
from node_agent.models.networks.early_exit import EarlyExitModel, Forward, Recipe, TrainingData

LAYERS = 4  # of MiniLM's six: on definitions the last two add no accuracy
DROPOUT = 0.1  # during training, behind the embedding and in each layer; MiniLM trained with as much


class GlossesNetwork(EarlyExitModel):
    """Definitions of nouns, as token numbers, in; one of 20 categories out.

    Attributes:
        words: the vocabulary, which turns samples into text and texts into samples; None before training.
    """

    input = Input((selection.MOST_TOKENS,), dtype="uint16", varies=True)
    classes = wordnet.CLASS_NAMES
    licence = "definitions: WordNet's; first weights: Apache-2.0 (all-MiniLM-L6-v2); training: as the project"
    notices = Path(__file__).parents[2] / "glosses" / "LICENSES.md"
    stored_as = "float16"
    recipe = Recipe(
        seed=7, epochs=3, batch=32, peak_learning_rate=2e-4, weight_decay=0.01, exit_weights=(0.3, 0.6, 1.0, 1.2),
        threads=1, patience=3, held_out=2000, evaluation=2000,
    )  # fmt: skip

    def __init__(self, tokens: int = minilm.TOKENS, pieces: Sequence[str] | None = None) -> None:
        """`tokens` is the size of the vocabulary, and `pieces` has the text of each; None: not known."""
        super().__init__()
        self.words = None if pieces is None else WordPieces(pieces)
        self.embedding = Embedding(tokens, self.input.shape[0], DROPOUT)
        self.blocks = nn.ModuleList(EncoderLayer(DROPOUT) for _ in range(LAYERS))
        self.heads = nn.ModuleDict({str(block): MeanHead(len(self.classes)) for block in range(1, LAYERS + 1)})

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> Self:
        """Return the network that a card describes; without an entry `pieces` it has MiniLM's whole vocabulary.

        Raises:
            ValueError: the entry is no vocabulary.
        """
        if "pieces" not in card:
            return cls()
        pieces = card["pieces"].split() if isinstance(card["pieces"], str) else []
        if not 1 <= len(pieces) <= minilm.TOKENS:
            raise ValueError(f"pieces: no text of 1 to {minilm.TOKENS} pieces of words")
        return cls(len(pieces), pieces)

    def card_entries(self) -> Mapping[str, Any]:
        """Return the vocabulary: the texts of the tokens in their order, with spaces between them."""
        return {} if self.words is None else {"pieces": " ".join(self.words.pieces)}

    @classmethod
    def training_data(cls, recipe: Recipe) -> TrainingData:
        """Return definitions; words with a definition in one set have none in another."""
        return selection.training_data(recipe)

    @classmethod
    def check_sources(cls) -> None:
        """Raise EnvironmentLacking if WordNet or the package of MiniLM is missing."""
        minilm.check()
        wordnet.check()

    def part(self, block: int) -> nn.Module:
        """Return a layer; the embedding belongs to the first one."""
        return nn.Sequential(self.embedding, self.blocks[0]) if block == 1 else self.blocks[block - 1]

    def straight(self, body: Sequence[nn.Module], head: nn.Module) -> Forward:
        """Return the same operations on the same parameters, without the modules around them."""
        return straight(body, cast(MeanHead, head))

    def begin(self) -> None:
        """Fill in MiniLM's weights. Of its vocabulary the tokens that occur in definitions stay, with new numbers.

        Raises:
            EnvironmentLacking: the package or WordNet is missing.
            InputError: a file of theirs cannot be read.
        """
        vocabulary = selection.vocabulary()
        self.words = WordPieces(vocabulary.pieces)
        given = minilm.weights()
        self.embedding.token = nn.Embedding(len(vocabulary.pieces), minilm.WIDTH).requires_grad_(False)
        with torch.no_grad():
            fill_embedding(self.embedding, given, torch.from_numpy(vocabulary.numbers))
            for number, block in enumerate(self.blocks):
                fill_layer(cast(EncoderLayer, block), given, f"encoder.layer.{number}")


def fill_embedding(embedding: Embedding, given: Mapping[str, Tensor], numbers: Tensor) -> None:
    """Fill in MiniLM's vectors of these tokens (T,), of the first positions and of the first sentence."""
    longest = embedding.position.num_embeddings
    kind, position = given["embeddings.token_type_embeddings.weight"], given["embeddings.position_embeddings.weight"]
    embedding.token.weight.copy_(given["embeddings.word_embeddings.weight"][numbers])
    embedding.position.weight.copy_(position[:longest] + kind[0])
    _fill(embedding.norm, given, "embeddings.LayerNorm")


def fill_layer(layer: EncoderLayer, given: Mapping[str, Tensor], name: str) -> None:
    """Fill in the weights of one of MiniLM's layers, such as `encoder.layer.0`."""
    for kind in ("weight", "bias"):
        parts = [given[f"{name}.attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
        getattr(layer.query_key_value, kind).copy_(torch.cat(parts))
    _fill(layer.attended, given, f"{name}.attention.output.dense")
    _fill(layer.attention_norm, given, f"{name}.attention.output.LayerNorm")
    _fill(layer.inner, given, f"{name}.intermediate.dense")
    _fill(layer.outer, given, f"{name}.output.dense")
    _fill(layer.norm, given, f"{name}.output.LayerNorm")


def _fill(module: nn.Linear | nn.LayerNorm, given: Mapping[str, Tensor], name: str) -> None:
    module.weight.copy_(given[f"{name}.weight"])
    module.bias.copy_(given[f"{name}.bias"])
