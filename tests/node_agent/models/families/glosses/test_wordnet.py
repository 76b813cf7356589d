import pytest

from node_agent.errors import EnvironmentLacking, InputError
from node_agent.models.families.glosses import wordnet
from node_agent.models.families.glosses.wordnet import CLASS_NAMES, Definition, definitions, parsed

LINE = (
    "06798336 10 n 02 trade_mark 0 Trademark 0 002 @ 06791372 n 0000 + 02472210 v 0202 | "
    'a formally registered symbol; "TM is a trade mark"; "another one"  \n'
)
LICENCE = "  14 WordNet 3.0 Copyright 2006 by Princeton University.  All rights reserved.  \n"


def test_a_line_is_read_without_its_examples():
    assert parsed(LINE) == Definition(
        CLASS_NAMES.index("communication"), frozenset({"trade_mark", "trademark"}), "a formally registered symbol"
    )
    assert parsed(LINE.replace(" 10 n", " 03 n")) is None  # Tops


@pytest.mark.parametrize("line", ["", "no synset", LINE.partition("|")[0], LINE.replace("n 02", "n ff"), "a b c d | e"])
def test_a_line_that_is_no_synset_is_refused(line, tmp_path, monkeypatch):
    with pytest.raises((ValueError, IndexError)):
        parsed(line)
    monkeypatch.setattr(wordnet, "WORDNET_NOUNS", tmp_path / "data.noun")
    (tmp_path / "data.noun").write_text(LICENCE + LINE + line + "\n")
    with pytest.raises(InputError, match=r"data\.noun, line 3: no synset"):
        definitions.__wrapped__()


def test_another_version_and_a_missing_one_name_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(wordnet, "WORDNET_NOUNS", tmp_path / "data.noun")
    with pytest.raises(EnvironmentLacking, match="Debian package wordnet-base") as caught:
        wordnet.check()
    assert caught.value.hint == "./setup.sh --with language"
    (tmp_path / "data.noun").write_text(LICENCE.replace("3.0", "3.1") + LINE)
    with pytest.raises(EnvironmentLacking, match=r"needs WordNet 3\.0") as caught:
        definitions.__wrapped__()
    assert caught.value.hint == "./setup.sh --with language"
    (tmp_path / "data.noun").write_text(LICENCE + LINE)
    assert len(definitions.__wrapped__()) == 1


def test_the_twenty_largest_categories_are_read(texts):
    count = len({definition.category for definition in texts.definitions})
    assert count == len(CLASS_NAMES) == 20
    assert len(texts.definitions) > 80_000
    assert all(definition.text and '"' not in definition.text[:1] for definition in texts.definitions)
