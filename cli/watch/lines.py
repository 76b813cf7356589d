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
    """Finished lines, in the form that rich shows.

    Decision 072: the live view makes its segments by hand (docs/decisions/072-segments-by-hand.md).
    """

    lines: Sequence[Line]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for number, line in enumerate(self.lines):
            if number:
                yield Segment.line()
            for text, style in line:
                yield Segment(text, console.get_style(style) if style else None)


def width_of(line: Line) -> int:
    """Width of the line in cells.

    All our characters are one cell wide; text of other origin ends its line, and is cropped.
    """
    return sum(len(text) for text, _ in line)


def crop(line: Line, width: int) -> Line:
    """The line within `width` cells; it ends in … if something was cut."""
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
    """The line cut or filled to exactly `width` cells."""
    cropped = crop(line, width)
    return [*cropped, (" " * (width - width_of(cropped)), "")]


def beside(left: Sequence[Line], right: Sequence[Line], left_width: int, gap: int = 3) -> list[Line]:
    """The lines of two columns side by side, `gap` cells apart."""
    rows = max(len(left), len(right))
    filled_left = [*left, *([[]] * (rows - len(left)))]
    filled_right = [*right, *([[]] * (rows - len(right)))]
    return [
        [*pad(a, left_width), (" " * gap, ""), *b] if b else a for a, b in zip(filled_left, filled_right, strict=True)
    ]


def bar(share: float, width: int) -> str:
    """A horizontal bar of `width` cells, of which `share` (0..1) is filled."""
    eighths = round(min(1.0, max(0.0, share)) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (PARTS_OF_A_CELL[rest] if rest else "")).ljust(width)


def sparkline(values: Iterable[float | None], low: float, high: float, rows: int = 1) -> list[str]:
    """A curve as `rows` strings, top first, between `low` and `high`; `low` is still visible, None is a gap."""
    heights = []
    for value in values:
        if value is None:
            heights.append(0)
        else:
            share = (value - low) / (high - low) if high > low else 0.0
            heights.append(max(1, round(min(1.0, max(0.0, share)) * rows * 8)))
    return ["".join(EIGHTHS[min(8, max(0, height - 8 * row))] for height in heights) for row in range(rows - 1, -1, -1)]
