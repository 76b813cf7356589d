"""SmolLM2-135M-Instruct as an early-exit network: thirty layers of a LLaMA decoder, exits after three of them.

A sample is the beginning of a text; its class is the token that the whole model answers next. The weights of the model
come from an installed package, and a bundle holds the early heads only.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import nn

from node_agent.models.data_types import Input
from node_agent.models.families.smollm import lessons, package, teaching, vocabulary
from node_agent.models.families.smollm.answers import Decoder
from node_agent.models.families.smollm.decoder import SMOLLM2_135M, Dimensions, Layer, Norm, rotations
from node_agent.models.families.smollm.gguf import Gguf
from node_agent.models.families.smollm.heads import SHORTLIST, EarlyHead, Embedding, LastHead
from node_agent.models.networks.early_exit import EarlyExitModel, Progress, Recipe, TrainingData
from node_agent.models.networks.threads import fixed_threads
from node_agent.models.packages import LANGUAGE

EXITS = (10, 20, 30)
LABELS = "the token that the whole model answers"
_BORROWS = {
    "package": package.PACKAGE,
    "version": LANGUAGE[package.PACKAGE],
    "file": package.FILE,
    "sha256": package.SHA256,
    "bytes": package.FILE_BYTES,
}
_SOURCES = {
    package.PACKAGE: {"licence": "Apache-2.0", "holds": "SmolLM2-135M-Instruct, Q4_1"},
    package.TOKENIZERS: {"licence": "Apache-2.0", "holds": "code that splits texts into tokens"},
}
# After layer 20 one number of the first token is some 25,000, and the median 4: a step of int8 is then about 100.
_UNFIT = {"int8": "after layer 20 one number is thousands of times the others, which int8 then rounds to 0"}


class SmolLM(EarlyExitModel):
    """The decoder with its exits. Layers and last head are the package's; the early heads learn from the last one."""

    input = Input(shape=(SMOLLM2_135M.context,), dtype="uint16", varies=True)
    classes = SMOLLM2_135M.vocabulary
    licence = "weights: Apache-2.0 (SmolLM2-135M-Instruct, not in the bundle); exit heads and samples: as the project"
    recipe = lessons.RECIPE
    notices = Path(__file__).parents[2] / "smollm" / "LICENSES.md"
    stored_as = "float16"
    borrowed = ("embedding.", "norm.", "blocks.", *(f"heads.{block}.lent." for block in EXITS), f"heads.{EXITS[-1]}.")

    def __init__(
        self, sizes: Dimensions = SMOLLM2_135M, exits: Sequence[int] = EXITS, shortlist: int = SHORTLIST
    ) -> None:
        """Make a network whose layers have no weights yet: `borrow` reads those of the package.

        Args:
            sizes: of the decoder.
            exits: the layers with a head; the last one is the last layer.
            shortlist: the number of tokens that an early exit can answer.
        """
        super().__init__()
        self.sizes = sizes
        turns = rotations(sizes)
        self.embedding, self.norm = Embedding(sizes), Norm(sizes)
        self.blocks = nn.ModuleList(Layer(sizes, turns) for _ in range(sizes.layers))
        early = {str(block): EarlyHead(sizes, self.layers[-1], self.norm, shortlist) for block in exits[:-1]}
        self.heads = nn.ModuleDict({**early, str(exits[-1]): LastHead(sizes, self.norm, self.embedding)})

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> Self:
        """Return the network that a card describes.

        Raises:
            ValueError: it borrows other weights, or its shortlist is impossible.
        """
        borrows = card.get("borrows", _BORROWS)
        if not isinstance(borrows, dict) or {"bytes": package.FILE_BYTES} | borrows != _BORROWS:  # older cards: no size
            raise ValueError(f"borrows: not {package.FILE} of {package.PACKAGE} {LANGUAGE[package.PACKAGE]}")
        outside = card.get("outside", {"tokens": SHORTLIST})
        tokens = outside.get("tokens") if isinstance(outside, dict) else None
        if type(tokens) is not int or not 1 <= tokens < SMOLLM2_135M.vocabulary:
            raise ValueError("outside: no possible number of tokens")
        return cls(shortlist=tokens)

    @classmethod
    def check_sources(cls) -> None:
        """Raise EnvironmentLacking if the model, or the package that splits texts, is missing."""
        package.model_file()
        package.check_tokenizers()

    @classmethod
    def prepare(cls, recipe: Recipe, progress: Progress | None) -> TrainingData:
        """Return prompts with the model's own greedy answers, and samples that are cut from them."""
        cls.check_sources()
        network = cls()
        content = package.open_model(network.sizes)
        network.fill(content)
        with package.reading(content.path):
            tokenizer = vocabulary.tokenizer_of(content)
        decoder = Decoder(network.sizes, network.embedding, network.layers, network.last)

        def split(prompt: str) -> list[int]:
            return list(tokenizer.encode(vocabulary.request(prompt)).ids)

        kept = (*EXITS[:-1], *teaching.layers_taught(network.sizes))
        with fixed_threads(recipe.threads):
            return lessons.make_lessons(decoder, split, vocabulary.END, kept, recipe, SHORTLIST, progress)

    def card_entries(self) -> Mapping[str, Any]:
        """Return the weights that are borrowed, the sources, the meaning of a label, and formats that do not suit."""
        sources = {name: {"version": LANGUAGE[name], **entry} for name, entry in _SOURCES.items()}
        return {"labels": LABELS, "borrows": _BORROWS, "unfit": _UNFIT, "sources": sources}

    @property
    def layers(self) -> list[Layer]:
        """The layers of the decoder."""
        return [cast(Layer, layer) for layer in self.blocks]

    @property
    def last(self) -> LastHead:
        """The head of the whole model."""
        return cast(LastHead, self.head(self.exits[-1]))

    @property
    def early(self) -> dict[int, EarlyHead]:
        """The early heads, by their layer."""
        return {block: cast(EarlyHead, self.head(block)) for block in self.exits[:-1]}

    def part(self, block: int) -> nn.Module:
        """Return a layer; the embedding belongs to the first one."""
        return nn.Sequential(self.embedding, self.blocks[0]) if block == 1 else self.blocks[block - 1]

    def borrow(self) -> None:
        """Read the weights of the decoder from the package.

        Raises:
            EnvironmentLacking: the package is missing, or has another version.
            InputError: its file is damaged.
        """
        self.fill(package.open_model(self.sizes))

    def fill(self, content: Gguf) -> None:
        """Read the weights of the decoder from a file. Raises InputError if it lacks one, or cannot be read."""
        sizes = self.sizes
        with torch.no_grad(), package.reading(content.path):
            self.norm.weight.copy_(torch.from_numpy(content.tensor("output_norm.weight", (sizes.width,))))
            rows = content.tensor("token_embd.weight", (sizes.vocabulary, sizes.width))
            self.embedding.weight.copy_(torch.from_numpy(rows))
            for number, layer in enumerate(self.blocks, start=1):
                weights = package.layer_weights(content, number, sizes)
                layer.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
        for head in self.early.values():
            head.look_up(self.embedding)

    def teach(self, data: TrainingData, recipe: Recipe, progress: Progress | None) -> int:
        """Let the early heads learn from the last one; returns the number of epochs."""
        assert isinstance(data, lessons.Lessons)
        return teaching.teach(self.early, self.last, data, recipe, progress)
