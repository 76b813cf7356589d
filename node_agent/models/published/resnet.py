"""ResNet-101: a stem and 33 bottlenecks on an image of 224x224 pixels.

Source: He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2015 (CVPR 2016), Table 1.
"""

from node_agent.models.published.costs import Block, Part, PublishedCosts, Work

# Table 1, column "101-layer", and section 3.4 for the side of the image.
SIDE_PIXELS, COLOURS, CLASSES = 224, 3, 1000
STEM_CHANNELS, STEM_KERNEL = 64, 7  # conv1: stride 2, followed by a max pooling of stride 2
GROUPS = ((3, 64), (4, 128), (23, 256), (3, 512))  # conv2_x to conv5_x: bottlenecks, channels of their 3x3 convolution
WIDENING = 4  # a bottleneck puts out four times the channels of its 3x3 convolution


def _conv(inputs: int, outputs: int, kernel: int, side: int) -> Part:
    """A convolution without bias whose output has `side` pixels a side, and the batch norm behind it."""
    weights = inputs * outputs * kernel**2
    return Part(Work(fixed=2 * weights * side**2), weights + 2 * outputs)


def _bottleneck(inputs: int, channels: int, side: int, stride: int) -> Part:
    """1x1, 3x3 and 1x1 convolutions beside a shortcut, a 1x1 convolution where the shape changes.

    `side` is that of the input. The 3x3 convolution has the stride, as in the implementations that are common today
    (7.8 G multiply-adds in all); the paper gives it to the first 1x1 convolution (7.6 G).
    """
    outputs, smaller = WIDENING * channels, side // stride
    part = _conv(inputs, channels, 1, side) + _conv(channels, channels, 3, smaller)
    part += _conv(channels, outputs, 1, smaller)
    return part if inputs == outputs and stride == 1 else part + _conv(inputs, outputs, 1, smaller)


def _head(channels: int) -> Part:
    """Global average pooling, which counts no FLOP, and a linear layer to the classes of ImageNet."""
    return Part(Work(fixed=2 * channels * CLASSES), (channels + 1) * CLASSES)


def _blocks() -> tuple[Block, ...]:
    """The bottlenecks, first to last; the stem belongs to the first."""
    before = _conv(COLOURS, STEM_CHANNELS, STEM_KERNEL, SIDE_PIXELS // 2)
    side, inputs = SIDE_PIXELS // 4, STEM_CHANNELS
    blocks = []
    for group, (count, channels) in enumerate(GROUPS):
        outputs = WIDENING * channels
        for number in range(count):
            stride = 2 if group and number == 0 else 1
            body = before + _bottleneck(inputs, channels, side, stride)
            side, inputs, before = side // stride, outputs, Part(Work(), 0)
            blocks.append(Block(body, (1, outputs, side, side), _head(outputs)))
    return tuple(blocks)


RESNET101 = PublishedCosts(
    name="resnet101",
    title="ResNet-101",
    source="He et al., Deep Residual Learning for Image Recognition, 2015",
    tokens=None,
    longest=None,
    input_dtype="uint8",
    input_form=(1, COLOURS, SIDE_PIXELS, SIDE_PIXELS),
    parts=_blocks(),
)
