"""ViT-B/16: patches of 16x16 pixels as tokens, and 12 transformer layers.

Source: Dosovitskiy et al.: An Image is Worth 16x16 Words, 2020 (ICLR 2021), Table 1.
"""

from node_agent.models.published.costs import Block, Part, PublishedCosts, Work
from node_agent.models.published.layers import attention, feed_forward, layer_norm, linear_once, stack, table

# Table 1, row "ViT-Base", and section 3.1 for patches and the class token. ImageNet at 224x224 pixels.
LAYERS, WIDTH, INNER = 12, 768, 3072
SIDE_PIXELS, PATCH_PIXELS, COLOURS, CLASSES = 224, 16, 3, 1000
PATCHES = (SIDE_PIXELS // PATCH_PIXELS) ** 2
TOKENS = PATCHES + 1  # one for the class


def _embedding() -> Part:
    """A convolution that turns every patch into a token, the class token and the positions."""
    weights = COLOURS * PATCH_PIXELS**2 * WIDTH
    patches = Part(Work(fixed=2 * weights * PATCHES), weights + WIDTH)
    return patches + table(1, WIDTH) + table(TOKENS, WIDTH)


def _layer() -> Part:
    """Attention and feed-forward, each behind a layer norm. The number of tokens never changes: all work is fixed."""
    layer = layer_norm(WIDTH) + attention(WIDTH) + layer_norm(WIDTH) + feed_forward(WIDTH, INNER)
    return Part(Work(fixed=layer.work.at(TOKENS)), layer.parameters)


def _blocks() -> tuple[Block, ...]:
    """The layers, first to last; the embedding belongs to the first.

    An exit head is a layer norm and a linear layer on the class token, as after fine-tuning.
    """
    head = layer_norm(WIDTH) + linear_once(WIDTH, CLASSES)
    return stack(LAYERS, _embedding(), _layer(), head, (TOKENS, WIDTH))


VIT_B16 = PublishedCosts(
    name="vit-b16",
    title="ViT-B/16",
    source="Dosovitskiy et al., An Image is Worth 16x16 Words, 2020",
    tokens=None,
    longest=None,
    input_dtype="uint8",
    input_form=(1, COLOURS, SIDE_PIXELS, SIDE_PIXELS),
    parts=_blocks(),
)
