"""BERT-base: 12 transformer layers that read a text in both directions.

Source: Devlin, Chang, Lee, Toutanova: BERT, 2018 (NAACL 2019), section 3.
"""

from node_agent.models.published.costs import Block, PublishedCosts
from node_agent.models.published.layers import attention, feed_forward, layer_norm, linear_once, stack, table

# Section 3: 12 layers, width 768, feed-forward of four times the width. Appendix A.2: 512 positions, and 90 % of the
# training steps on 128 tokens, the default here. The vocabulary is that of the released model (uncased); the paper
# rounds it to 30,000. Its ids fit uint16.
LAYERS, WIDTH, INNER = 12, 768, 3072
VOCABULARY, POSITIONS, SEGMENTS = 30_522, 512, 2
USUAL_TOKENS = 128
CLASSES = 2  # of the exits: a decision between two, as in most tasks of the paper's Table 1


def _blocks() -> tuple[Block, ...]:
    """The layers, first to last; the embedding belongs to the first.

    An exit head is the pooler (a linear layer of width x width on the first token) and a linear layer to two classes.
    """
    embedding = table(VOCABULARY, WIDTH) + table(POSITIONS, WIDTH) + table(SEGMENTS, WIDTH) + layer_norm(WIDTH)
    layer = attention(WIDTH) + layer_norm(WIDTH) + feed_forward(WIDTH, INNER) + layer_norm(WIDTH)
    head = linear_once(WIDTH, WIDTH) + linear_once(WIDTH, CLASSES)
    return stack(LAYERS, embedding, layer, head, (None, WIDTH))


BERT_BASE = PublishedCosts(
    name="bert-base",
    title="BERT-base",
    source="Devlin et al., BERT: Pre-training of Deep Bidirectional Transformers, 2018",
    tokens=USUAL_TOKENS,
    longest=POSITIONS,
    input_dtype="uint16",
    input_form=(None,),
    parts=_blocks(),
)
