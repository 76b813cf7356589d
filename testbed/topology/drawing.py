"""Drawing the ranges of a topology, each from a seed of its own."""

import hashlib

import numpy as np

from testbed.units import Span


def draw(span: Span, seed: int, *key: str) -> float:
    """Draw a value uniformly from `span`: the same value for the same seed and key on every machine."""
    if span.low == span.high:
        return span.low
    digest = hashlib.blake2b("\0".join(key).encode(), digest_size=16).digest()
    words = np.random.SeedSequence([seed, int.from_bytes(digest)]).generate_state(1, np.uint64)
    return span.low + (span.high - span.low) * (int(words[0]) / 2**64)
