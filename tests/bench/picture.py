"""The picture of the monitor in docs/, drawn from the coloured text that the bench `quickstart` keeps.

`python -m tests.bench --render` writes it; rich exports the SVG.
"""

import io
from collections.abc import Sequence
from html import unescape
from pathlib import Path
from re import DOTALL, findall, sub

from rich.console import Console, RenderableType
from rich.text import Text

from tests.bench.results import load

PICTURE = Path(__file__).parents[2] / "docs" / "monitor.svg"
TITLE = "dtoee-testbed run topologies/quickstart.yaml"
# rich's format without its web fonts: a page that shows the picture loads nothing from other hosts.
FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<title>The live monitor of a run of quickstart</title>
<style>
.{unique_id}-matrix {{
    font-family: DejaVu Sans Mono, Menlo, Consolas, monospace;
    font-size: {char_height}px;
    line-height: {line_height}px;
}}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: arial; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix" xml:space="preserve">
{matrix}
</g>
</g>
</svg>
"""


def coloured(shown: RenderableType, width: int) -> list[str]:
    """The lines that a terminal of `width` cells gets, with their ANSI colours."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system="standard")
    with console.capture() as captured:
        console.print(shown)
    return [line.rstrip() for line in captured.get().splitlines()]


def plain(lines: Sequence[str]) -> list[str]:
    """Coloured lines without their colours."""
    return [Text.from_ansi(line).plain.rstrip() for line in lines]


def svg(lines: Sequence[str], width: int) -> str:
    """Coloured lines as a picture of a terminal of `width` cells."""
    console = Console(file=io.StringIO(), width=width, record=True, force_terminal=True)
    for line in lines:
        console.print(Text.from_ansi(line), no_wrap=True, overflow="crop", highlight=False)
    drawn = console.export_svg(title=TITLE, code_format=FORMAT, unique_id="monitor")
    return "\n".join(line.strip() for line in drawn.splitlines() if line.strip()) + "\n"


def texts(drawn: str) -> list[str]:
    """The lines of text in a picture, without the spaces of each."""
    rows: dict[str, str] = {}
    for clip, content in findall(r'clip-path="url\(#monitor-line-(\d+)\)">(.*?)</text>', drawn, DOTALL):
        rows[clip] = rows.get(clip, "") + unescape(content)
    return [sub(r"\s", "", row) for _, row in sorted(rows.items(), key=lambda item: int(item[0]))]


def render() -> None:
    """Draw the picture from the kept result."""
    lines = load("quickstart").text("monitor in colour")
    PICTURE.write_text(svg(lines, max(map(len, plain(lines)))), encoding="utf-8")
