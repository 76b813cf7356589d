"""The rendered blocks of README and of the pages under docs/: figures from kept results, fields from docstrings.

A block stands between two comments. The first names it and says where its content comes from:

    <!-- figures NAME: benches, commit and day -->
    ...
    <!-- end of figures -->

Blocks that do not quote results are called `fields`:

    <!-- fields NAME: what is rendered -->
    ...
    <!-- end of fields -->

Each block stands once, in any page. Tests hold the pages against the results and the code.
"""

from tests.bench.blocks import BLOCKS
from tests.bench.results import load, sources
from tests.docs.pages import BLOCK, written_pages
from tests.docs.reference import REFERENCE


def render() -> None:
    """Replace the content of each block in each page.

    Raises:
        KeyError: an unknown block, or a missing figure. That page stays as it is; all others are rendered.
    """
    missing: list[str] = []
    for page in written_pages():
        text = page.read_text(encoding="utf-8")
        try:
            new = rendered(text)
        except (KeyError, FileNotFoundError) as error:
            missing.append(f"{page.name}: {error}")
            continue
        if new != text:
            page.write_text(new, encoding="utf-8")
    if missing:
        raise KeyError("; ".join(missing))


def rendered(text: str) -> str:
    """The text of a page with its blocks rendered again."""
    return BLOCK.sub(lambda match: block(match["name"]), text)


def block(name: str) -> str:
    """A block with its two comments."""
    if name in REFERENCE:
        source, render_fields = REFERENCE[name]
        return "\n".join([f"<!-- fields {name}: {source} -->", *render_fields(), "<!-- end of fields -->"])
    benches, render_block = BLOCKS[name]
    results = [load(bench) for bench in benches]
    lines = render_block(*results)
    source = sources(results) or "the docstrings of what it lists"
    return "\n".join([f"<!-- figures {name}: {source} -->", *lines, "<!-- end of figures -->"])


def names(text: str) -> list[str]:
    """The blocks of a text, in their order."""
    return [match["name"] for match in BLOCK.finditer(text)]


def without_blocks(text: str) -> str:
    """The text that is written by hand."""
    return BLOCK.sub("", text)
