"""docs/algorithm.md: its worked round runs through the code, and its names stand in the code."""

import doctest
import re
import tokenize

from tests.docs.pages import DOCS, ROOT, python_blocks

PAGE = DOCS / "algorithm.md"


def worked_round(text: str) -> doctest.DocTest:
    """The Python blocks of a page as one example, in which later blocks use the names of earlier ones."""
    return doctest.DocTestParser().get_doctest("\n".join(python_blocks(text)), {}, PAGE.name, str(PAGE), 0)


def names_in_code() -> set[str]:
    """Every identifier in the code of a node."""
    found: set[str] = set()
    for path in (ROOT / "node_agent").rglob("*.py"):
        with path.open("rb") as stream:
            found |= {token.string for token in tokenize.tokenize(stream.readline) if token.type == tokenize.NAME}
    return found


def test_the_worked_round_gives_the_numbers_on_the_page():
    example = worked_round(PAGE.read_text())
    assert len(example.examples) > 30
    said: list[str] = []
    outcome = doctest.DocTestRunner(verbose=False).run(example, out=said.append)
    assert outcome.failed == 0, "".join(said)


def test_a_wrong_number_would_be_noticed():
    example = worked_round(PAGE.read_text().replace("gap 16.7%", "gap 16.8%"))
    assert doctest.DocTestRunner(verbose=False).run(example, out=lambda _: None).failed == 1


def test_every_symbol_has_a_name_in_the_code():
    rows = re.findall(r"^\| .* \| .* \| .* \| (.*) \|$", PAGE.read_text().split("## Objective")[0], flags=re.MULTILINE)
    names = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert len(names) > 25
    assert names - names_in_code() == set()
