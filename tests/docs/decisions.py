"""The table of the decisions, rendered from the pages under docs/decisions/."""

import re
from pathlib import Path

from tests.bench.markdown import table

FOLDER = Path(__file__).parents[2] / "docs" / "decisions"


def pages() -> list[Path]:
    """The page of each decision, by number."""
    return sorted(FOLDER.glob("[0-9]*.md"))


def listed() -> list[str]:
    """For each decision its number, its title as a link, and the files that it concerns."""
    return table(("", "decision", "where"), map(_row, pages()))


def _row(page: Path) -> tuple[str, str, str]:
    text = page.read_text(encoding="utf-8")
    number, title = re.findall(r"\A# (\d+) (.*)", text)[0]
    (where,) = re.findall(r"^\*\*Where:\*\* (.*?)\n\n", text, re.MULTILINE | re.DOTALL)
    return number, f"[{title.replace('|', '/')}]({page.name})", " ".join(where.split())
