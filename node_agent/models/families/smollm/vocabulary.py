"""The tokens of the model: texts become token numbers, and token numbers texts. Only training and tests need it."""

from typing import TYPE_CHECKING, Any, cast

from node_agent.models.families.smollm.gguf import Gguf

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END = 2  # the token that ends a turn
_SPECIAL = 3  # type of tokens that no text contains
_SPLIT = "smollm"  # the way to cut a text before pairs are merged: digits one by one, then as GPT-2 does


def tokenizer_of(content: Gguf) -> "Tokenizer":
    """Return the tokenizer that a file describes: byte pairs, merged as GPT-2 does.

    Raises:
        ValueError: the file describes another kind.
    """
    metadata = content.metadata
    if (metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre")) != ("gpt2", _SPLIT):
        raise ValueError(f"a tokenizer of another kind than gpt2, {_SPLIT}")
    tokens, kinds = _texts(metadata, "tokenizer.ggml.tokens"), metadata.get("tokenizer.ggml.token_type")
    pairs = [tuple(pair.split(" ")) for pair in _texts(metadata, "tokenizer.ggml.merges")]
    if not isinstance(kinds, list) or len(kinds) != len(tokens) or any(len(pair) != 2 for pair in pairs):
        raise ValueError("a tokenizer whose lists do not fit each other")

    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers  # noqa: PLC0415 - few need it

    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=cast(Any, pairs)))
    digits, rest = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, rest])
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == _SPECIAL]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


def _texts(metadata: Any, key: str) -> list[str]:  # noqa: ANN401 - of a file
    found = metadata.get(key)
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise ValueError(f"{key} is no list of texts")
    return found


def request(text: str) -> str:
    """Return a user's request in the form that the model was trained with, up to the place where its answer begins."""
    return f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
