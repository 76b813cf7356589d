"""Lines of styled text, and figures drawn with block characters."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment

Part = tuple[str, str]  # text, style
Line = list[Part]

EIGHTHS = " ▁▂▃▄▅▆▇█"
PARTS_OF_A_CELL = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True, slots=True)
class Frame:
    """Finished lines, as something rich can show.

    Decision: segments made by hand, because laying out rich tables for 65 nodes four times a second took ten times
    the CPU, on a machine whose CPU is being measured; rejected: rich.table.Table in rich.layout.Layout.
    """

    lines: Sequence[Line]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for number, line in enumerate(self.lines):
            if number:
                yield Segment.line()
            for text, style in line:
                yield Segment(text, console.get_style(style) if style else None)


def width_of(line: Line) -> int:
    """Cells it takes (all our characters are one cell wide; strangers' text is last on its line, and cropped)."""
    return sum(len(text) for text, _ in line)


def crop(line: Line, width: int) -> Line:
    """The line within `width` cells, ending in … where something was cut."""
    if width_of(line) <= width:
        return line
    kept: Line = []
    room = max(0, width - 1)
    for text, style in line:
        kept.append((text[:room], style))
        room -= len(text)
        if room <= 0:
            break
    return [*kept, ("…", "dim")] if width > 0 else []


def pad(line: Line, width: int) -> Line:
    """The line at exactly `width` cells."""
    cropped = crop(line, width)
    return [*cropped, (" " * (width - width_of(cropped)), "")]


def beside(left: Sequence[Line], right: Sequence[Line], left_width: int, gap: int = 3) -> list[Line]:
    """Two columns of lines next to each other."""
    rows = max(len(left), len(right))
    filled_left = [*left, *([[]] * (rows - len(left)))]
    filled_right = [*right, *([[]] * (rows - len(right)))]
    return [
        [*pad(a, left_width), (" " * gap, ""), *b] if b else a for a, b in zip(filled_left, filled_right, strict=True)
    ]


def bar(share: float, width: int) -> str:
    """A horizontal bar of `width` cells that is filled by `share` (0..1)."""
    eighths = round(min(1.0, max(0.0, share)) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (PARTS_OF_A_CELL[rest] if rest else "")).ljust(width)


def sparkline(values: Iterable[float | None], low: float, high: float, rows: int = 1) -> list[str]:
    """A curve as `rows` strings, top first; `low` stays a visible floor, None is a gap."""
    heights = []
    for value in values:
        if value is None:
            heights.append(0)
        else:
            share = (value - low) / (high - low) if high > low else 0.0
            heights.append(max(1, round(min(1.0, max(0.0, share)) * rows * 8)))
    return [
        "".join(EIGHTHS[min(8, max(0, height - 8 * row))] for height in heights) for row in range(rows - 1, -1, -1)
    ]
