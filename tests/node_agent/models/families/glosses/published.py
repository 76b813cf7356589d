"""MiniLM's first layers, computed from its weights by their published names as the paper on BERT describes them.

Devlin et al., BERT, 2018, and Vaswani et al., Attention Is All You Need, 2017, sections 3.2 and 3.3; numpy alone, one
text at a time, heads one by one.
"""

import math

import numpy as np

WIDTH, HEADS, INNER, POSITIONS = 384, 12, 1536, 512


def made_up(tokens: int, layers: int = 4, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights with the names and shapes of MiniLM's."""
    chance = np.random.default_rng(seed)
    shapes = {
        "embeddings.word_embeddings.weight": (tokens, WIDTH),
        "embeddings.position_embeddings.weight": (POSITIONS, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
        "embeddings.LayerNorm.weight": (WIDTH,),
        "embeddings.LayerNorm.bias": (WIDTH,),
    }
    for layer in range(layers):
        name = f"encoder.layer.{layer}"
        for part, size in (
            ("attention.self.query", (WIDTH, WIDTH)), ("attention.self.key", (WIDTH, WIDTH)),
            ("attention.self.value", (WIDTH, WIDTH)), ("attention.output.dense", (WIDTH, WIDTH)),
            ("intermediate.dense", (INNER, WIDTH)), ("output.dense", (WIDTH, INNER)),
            ("attention.output.LayerNorm", (WIDTH,)), ("output.LayerNorm", (WIDTH,)),
        ):  # fmt: skip
            shapes[f"{name}.{part}.weight"] = size
            shapes[f"{name}.{part}.bias"] = size[:1]
    return {name: chance.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}


def layers_of(weights, tokens: list[int], layers: int) -> list[np.ndarray]:
    """Return the output (n, 384) of each of the first layers."""
    words, places, kinds = (
        weights[f"embeddings.{part}_embeddings.weight"] for part in ("word", "position", "token_type")
    )
    x = np.stack([words[token] + places[place] + kinds[0] for place, token in enumerate(tokens)]).astype(np.float64)
    x = normed(weights, "embeddings.LayerNorm", x)
    found = []
    for layer in range(layers):
        name = f"encoder.layer.{layer}"
        x = normed(weights, f"{name}.attention.output.LayerNorm", x + attention(weights, f"{name}.attention", x))
        inner = gelu(linear(weights, f"{name}.intermediate.dense", x))
        x = normed(weights, f"{name}.output.LayerNorm", x + linear(weights, f"{name}.output.dense", inner))
        found.append(x)
    return found


def attention(weights, name: str, x: np.ndarray) -> np.ndarray:
    query, key, value = (linear(weights, f"{name}.self.{part}", x) for part in ("query", "key", "value"))
    size = WIDTH // HEADS
    seen = []
    for head in range(HEADS):
        columns = slice(head * size, (head + 1) * size)
        scores = query[:, columns] @ key[:, columns].T / math.sqrt(size)
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        seen.append(shares / shares.sum(axis=1, keepdims=True) @ value[:, columns])
    return linear(weights, f"{name}.output.dense", np.concatenate(seen, axis=1))


def linear(weights, name: str, x: np.ndarray) -> np.ndarray:
    return x @ weights[f"{name}.weight"].T.astype(np.float64) + weights[f"{name}.bias"]


def normed(weights, name: str, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-12)
    return centred / deviation * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
