"""GGUF files as the tests write them: a small decoder, or any metadata and tensors."""

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from node_agent.models.families.smollm.decoder import Dimensions

TINY = Dimensions(layers=3, width=64, heads=4, groups=2, inner=96, vocabulary=80, context=12)


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(entry) -> bytes:
    """The type and the bytes of a value: a text, a bool, an int, a float, or a list of texts or ints."""
    match entry:
        case str():
            return struct.pack("<I", 8) + text(entry)
        case bool():
            return struct.pack("<I?", 7, entry)
        case int():
            return struct.pack("<II", 4, entry)
        case float():
            return struct.pack("<If", 6, entry)
        case [str(), *_]:
            return struct.pack("<IIQ", 9, 8, len(entry)) + b"".join(map(text, entry))
        case _:
            return struct.pack(f"<IIQ{len(entry)}i", 9, 5, len(entry), *entry)


def gguf(metadata: Mapping, tensors: Mapping[str, tuple[tuple[int, ...], int, bytes]], version: int = 3) -> bytes:
    """The bytes of a file; tensors are shape (outputs, inputs), type and data."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    head += b"".join(text(key) + value(entry) for key, entry in metadata.items())
    data = b""
    for name, (shape, kind, raw) in tensors.items():
        head += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape[::-1], kind, len(data))
        data += raw + bytes(-len(raw) % 32)
    return head + bytes(-len(head) % 32) + data


def q4_1(values: np.ndarray) -> bytes:
    """Values 0..15 times a scale plus a least value, in blocks of 32: scale 0.5, least -1."""
    blocks = b""
    for block in values.reshape(-1, 32).astype(int):
        packed = [int(low) | int(high) << 4 for low, high in zip(block[:16], block[16:], strict=True)]
        blocks += struct.pack("<ee16B", 0.5, -1.0, *packed)
    return blocks


def q8_0(values: np.ndarray, scale: float = 0.25) -> bytes:
    """Whole numbers -128..127 times a scale, in blocks of 32."""
    return b"".join(struct.pack("<e32b", scale, *map(int, block)) for block in values.reshape(-1, 32))


def f32(values: np.ndarray) -> bytes:
    return values.astype("<f4").tobytes()


def tiny_tensors(sizes: Dimensions = TINY, seed: int = 0) -> dict[str, tuple[tuple[int, ...], int, bytes]]:
    """The tensors of a small decoder with random weights, all float32."""
    chance = np.random.default_rng(seed)
    width, keys, inner = sizes.width, sizes.key_width, sizes.inner
    embedding = (sizes.vocabulary, width)
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": embedding, "output_norm.weight": (width,)}
    for layer in range(sizes.layers):
        shapes |= {
            f"blk.{layer}.attn_norm.weight": (width,), f"blk.{layer}.ffn_norm.weight": (width,),
            f"blk.{layer}.attn_q.weight": (width, width), f"blk.{layer}.attn_k.weight": (keys, width),
            f"blk.{layer}.attn_v.weight": (keys, width), f"blk.{layer}.attn_output.weight": (width, width),
            f"blk.{layer}.ffn_gate.weight": (inner, width), f"blk.{layer}.ffn_up.weight": (inner, width),
            f"blk.{layer}.ffn_down.weight": (width, inner),
        }  # fmt: skip
    return {
        name: (shape, 0, f32(chance.normal(0 if len(shape) > 1 else 1, 0.2, shape))) for name, shape in shapes.items()
    }


def tiny_metadata(sizes: Dimensions = TINY) -> dict[str, object]:
    return {
        "general.architecture": "llama", "llama.block_count": sizes.layers, "llama.embedding_length": sizes.width,
        "llama.feed_forward_length": sizes.inner, "llama.attention.head_count": sizes.heads,
        "llama.attention.head_count_kv": sizes.groups, "llama.rope.dimension_count": sizes.head_width,
        "llama.rope.freq_base": sizes.theta, "llama.attention.layer_norm_rms_epsilon": sizes.epsilon,
    }  # fmt: skip


def write(path: Path, metadata: Mapping | None = None, tensors: Mapping | None = None, **kwargs) -> Path:
    path.write_bytes(gguf(metadata or tiny_metadata(), tensors or tiny_tensors(), **kwargs))
    return path
