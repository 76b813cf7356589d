"""A LLaMA decoder as plain numpy, position by position, written without a look at the one under test.

Weights are the float32 tensors of a file, by the file's names.
"""

from collections.abc import Callable

import numpy as np

from node_agent.models.families.smollm.decoder import Dimensions

Read = Callable[..., np.ndarray]


def rms(x: np.ndarray, weight: np.ndarray, epsilon: float) -> np.ndarray:
    return x / np.sqrt(np.mean(x * x) + epsilon) * weight


def turned(head: np.ndarray, position: int, theta: float) -> np.ndarray:
    """A head's numbers (w,), whose neighbours (0, 1), (2, 3), ... are rotated by the position."""
    out = np.empty_like(head)
    for pair in range(len(head) // 2):
        angle = position / theta ** (2 * pair / len(head))
        a, b = head[2 * pair], head[2 * pair + 1]
        out[2 * pair] = a * np.cos(angle) - b * np.sin(angle)
        out[2 * pair + 1] = a * np.sin(angle) + b * np.cos(angle)
    return out


def layer(read: Read, number: int, states: np.ndarray, sizes: Dimensions) -> np.ndarray:
    """States (n, width) after layer `number` (from 0), for those before it."""
    w, each = sizes.head_width, sizes.heads // sizes.groups

    def weight(name: str, *shape: int) -> np.ndarray:
        return read(f"blk.{number}.{name}.weight", shape).astype(np.float64)

    wq, wo = weight("attn_q", sizes.width, sizes.width), weight("attn_output", sizes.width, sizes.width)
    wk, wv = weight("attn_k", sizes.key_width, sizes.width), weight("attn_v", sizes.key_width, sizes.width)
    gate, up = weight("ffn_gate", sizes.inner, sizes.width), weight("ffn_up", sizes.inner, sizes.width)
    down = weight("ffn_down", sizes.width, sizes.inner)
    first, second = weight("attn_norm", sizes.width), weight("ffn_norm", sizes.width)
    normed = [rms(x, first, sizes.epsilon) for x in states]
    keys = [(wk @ x).reshape(sizes.groups, w) for x in normed]
    keys = [np.stack([turned(k, p, sizes.theta) for k in row]) for p, row in enumerate(keys)]
    values = [(wv @ x).reshape(sizes.groups, w) for x in normed]
    after = []
    for p, x in enumerate(normed):
        query = (wq @ x).reshape(sizes.heads, w)
        mixed = []
        for head in range(sizes.heads):
            q, group = turned(query[head], p, sizes.theta), head // each
            scores = np.array([q @ keys[past][group] for past in range(p + 1)]) / np.sqrt(w)
            share = np.exp(scores - scores.max())
            share /= share.sum()
            mixed.append(sum(s * values[past][group] for past, s in enumerate(share)))
        y = states[p] + wo @ np.concatenate(mixed)
        z = rms(y, second, sizes.epsilon)
        opened = gate @ z
        after.append(y + down @ (opened / (1 + np.exp(-opened)) * (up @ z)))
    return np.stack(after)
