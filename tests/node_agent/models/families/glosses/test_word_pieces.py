import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.models.families.glosses import minilm
from node_agent.models.families.glosses.word_pieces import WordPieces
from tests.node_agent.models.families.glosses.conftest import needed

PIECES = (
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "un",
    "##ti",
    "##t",
    "##ied",
    "tie",
    "##d",
    "t",
    "a",
    ",",
    "-",
    "_",
    "cafe",
)
WORDS = WordPieces(PIECES)


def shown(text: str) -> list[str]:
    return [PIECES[token] for token in WORDS.tokens(text)]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("untied", ["[UNK]"]),  # un, ##ti, and no piece continues with ed
        ("untt", ["un", "##t", "##t"]),
        ("tied", ["tie", "##d"]),
        ("Tied, a", ["tie", "##d", ",", "a"]),
        ("a-t_a", ["a", "-", "t", "_", "a"]),
        ("Café", ["cafe"]),
        ("a xyz a", ["a", "[UNK]", "a"]),
        ("a" * 101, ["[UNK]"]),
    ],
)
def test_a_word_is_split_into_its_longest_pieces(text, pieces):
    assert shown(text) == ["[CLS]", *pieces, "[SEP]"]


def test_the_text_of_tokens():
    assert WORDS.text(WORDS.tokens("Tied,  a Café")) == "tied , a cafe"
    assert WORDS.text([5, 9]) == "##tid"  # a piece that continues no word
    with pytest.raises(IndexError):
        WORDS.text([len(PIECES)])


def test_a_vocabulary_needs_its_special_tokens():
    with pytest.raises(ValueError, match=r"lacks \[SEP\]"):
        WordPieces(("[CLS]", "[UNK]", "a"))


def test_definitions_survive_the_way_there_and_back(texts):
    pieces = WordPieces(minilm.vocabulary())
    for definition in texts.definitions[::400]:
        tokens = pieces.tokens(definition.text)
        assert pieces.tokens(pieces.text(tokens)) == tokens
        assert pieces.text(tokens).replace(" ", "") == definition.text.lower().replace(" ", "")


@pytest.fixture(scope="session")
def other():
    """The splitter of the package tokenizers, with MiniLM's vocabulary."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.BertWordPieceTokenizer
    vocabulary = {piece: number for number, piece in enumerate(needed(minilm.vocabulary))}
    return made(vocabulary, lowercase=True)


@given(st.text(st.characters(codec="latin-1", exclude_characters="["), max_size=60))  # no [UNK] as a word
def test_texts_are_split_as_another_program_splits_them(other, text):
    assert WordPieces(minilm.vocabulary()).tokens(text) == other.encode(text).ids


def test_definitions_are_split_as_another_program_splits_them(other, texts):
    pieces = WordPieces(minilm.vocabulary())
    for definition in texts.definitions[::50]:
        assert pieces.tokens(definition.text) == other.encode(definition.text).ids
