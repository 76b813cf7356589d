"""README's figures, rendered from kept results: nobody types one, and tests hold README against them.

A block of README stands between two comments, of which the first names it and says where its figures come from (or, if
from no result, that they are docstrings):

    <!-- figures NAME: where from -->
    ...
    <!-- end of figures -->
"""

import re
from pathlib import Path

from tests.bench.blocks import BLOCKS
from tests.bench.results import load, sources

README = Path(__file__).parents[2] / "README.md"
END = "<!-- end of figures -->"
BLOCK = re.compile(r"<!-- figures (?P<name>[\w-]+)[^>]*-->\n(?P<content>.*?)<!-- end of figures -->", re.DOTALL)


def render(path: Path = README) -> None:
    """Replace what stands in each block. Raises KeyError for one that nobody renders, or a figure that is missing."""
    path.write_text(rendered(path.read_text(encoding="utf-8")), encoding="utf-8")


def rendered(text: str) -> str:
    """README's text with what the kept results say in each block."""
    return BLOCK.sub(lambda match: block(match["name"]), text)


def block(name: str) -> str:
    """A block with its two comments."""
    benches, render_block = BLOCKS[name]
    results = [load(bench) for bench in benches]
    lines = render_block(*results)
    source = sources(results) or "the docstrings of what it lists"
    return "\n".join([f"<!-- figures {name}: {source} -->", *lines, END])


def names(text: str) -> list[str]:
    """The blocks that a text has, in their order."""
    return [match["name"] for match in BLOCK.finditer(text)]


def without_blocks(text: str) -> str:
    """What is written by hand."""
    return BLOCK.sub("", text)
