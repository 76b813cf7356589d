"""A file whose tokenizer is of another kind is refused. The real one is tested with the whole model."""

from pathlib import Path

import pytest

from node_agent.models.families.smollm.gguf import Gguf
from node_agent.models.families.smollm.vocabulary import request, tokenizer_of

STATED = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": ["<end>", "a", "b", "ab"],
    "tokenizer.ggml.token_type": [3, 1, 1, 1],
    "tokenizer.ggml.merges": ["a b"],
}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"tokenizer.ggml.model": "llama"}, "another kind than gpt2, smollm"),
        ({"tokenizer.ggml.pre": "default"}, "another kind than gpt2, smollm"),
        ({"tokenizer.ggml.tokens": 4}, "tokenizer.ggml.tokens is no list of texts"),
        ({"tokenizer.ggml.merges": [1, 2]}, "tokenizer.ggml.merges is no list of texts"),
        ({"tokenizer.ggml.merges": ["ab"]}, "lists do not fit each other"),
        ({"tokenizer.ggml.token_type": [1]}, "lists do not fit each other"),
    ],
)
def test_another_tokenizer_is_refused(changed, said):
    with pytest.raises(ValueError, match=said):
        tokenizer_of(Gguf(Path("model.gguf"), STATED | changed, {}))


def test_a_small_vocabulary_merges_pairs_and_keeps_special_tokens():
    pytest.importorskip("tokenizers", reason="the package tokenizers is missing (./setup.sh --with language)")
    tokenizer = tokenizer_of(Gguf(Path("model.gguf"), STATED, {}))
    assert tokenizer.encode("<end>abba").ids == [0, 3, 2, 1]


def test_a_request_ends_where_the_answer_begins():
    assert request("Why?") == "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
