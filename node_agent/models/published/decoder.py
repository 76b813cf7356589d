"""GPT-2 (small) and LLaMA-7B: transformer layers that read a prompt of n tokens and answer one token.

A task is the prefill of its prompt. An exit head is the final norm and the product with the vocabulary, on the last
position only. The ids of both vocabularies fit uint16. Both default to the longest prompt, the length at which they
were trained: it is the dearest task, and a topology may state fewer tokens.

Sources: Radford et al.: Language Models are Unsupervised Multitask Learners, 2019 (GPT-2); Touvron et al.: LLaMA, 2023.
"""

from node_agent.models.published.costs import PublishedCosts
from node_agent.models.published.layers import (
    attention,
    feed_forward,
    layer_norm,
    linear,
    linear_once,
    rms_norm,
    stack,
    table,
)


def _gpt2() -> PublishedCosts:
    """Dimensions: Table 2 (first row: layers, width) and section 2.3 (vocabulary, 1,024 tokens) of the paper.

    The feed-forward of four times the width is that of the first GPT (Radford et al., 2018, section 4.1). The product
    with the vocabulary uses the table of tokens, so a stage that has both keeps one copy.
    """
    layers, width, vocabulary, positions = 12, 768, 50_257, 1024
    layer = layer_norm(width) + attention(width) + layer_norm(width) + feed_forward(width, 4 * width)
    tokens = table(vocabulary, width)
    head = layer_norm(width) + linear_once(width, vocabulary, bias=False)
    return PublishedCosts(
        name="gpt2",
        title="GPT-2 (small)",
        source="Radford et al., Language Models are Unsupervised Multitask Learners, 2019",
        tokens=positions,
        longest=positions,
        input_dtype="uint16",
        input_form=(None,),
        parts=stack(layers, tokens + table(positions, width), layer, head, (None, width)),
        tied_parameters=tokens.parameters,
    )


def _llama_7b() -> PublishedCosts:
    """Dimensions: Table 2 (row 6.7B: layers, width) of the paper; positions are rotated and have no parameters.

    The feed-forward has three matrices (SwiGLU) of 2/3 * 4 * width (section 2.2), rounded up to 256 in the released
    code. The vocabulary of 32,000 and the length of 2,048 are those of the released model. Embedding and head are two
    tables; there are no biases.
    """
    layers, width, inner, vocabulary, longest = 32, 4096, 11_008, 32_000, 2048
    gate, up, down = (
        linear(width, inner, bias=False),
        linear(width, inner, bias=False),
        linear(inner, width, bias=False),
    )
    layer = rms_norm(width) + attention(width, bias=False) + rms_norm(width) + gate + up + down
    head = rms_norm(width) + linear_once(width, vocabulary, bias=False)
    return PublishedCosts(
        name="llama-7b",
        title="LLaMA-7B",
        source="Touvron et al., LLaMA: Open and Efficient Foundation Language Models, 2023",
        tokens=longest,
        longest=longest,
        input_dtype="uint16",
        input_form=(None,),
        parts=stack(layers, table(vocabulary, width), layer, head, (None, width)),
    )


GPT2, LLAMA_7B = _gpt2(), _llama_7b()
