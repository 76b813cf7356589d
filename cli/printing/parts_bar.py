"""The parts of a delay as one bar of letters, so that neither colours nor block characters are needed to read it."""

from __future__ import annotations

from collections.abc import Mapping

from testbed.breakdown.parts import PART_WORDS
from testbed.wording import milliseconds, rough_percent

LETTERS = {
    "machine": "M",
    "retries": "R",
    "transfer": "T",
    "link_wait": "L",
    "queueing": "Q",
    "service": "S",
    "return": "B",
}
TENTHS_BELOW_S = 0.01
LEAST_SHARE = 0.0005  # of the delay; a smaller part is left out of the legend


def bar_of_parts(parts_s: Mapping[str, float], width: int) -> str:
    """A bar of `width` cells in square brackets; each part fills as many cells with its letter as its share needs.

    Cells are dealt out by the largest remainder, so that they are always `width` - 2 together.
    """
    cells, total_s = max(0, width - 2), sum(parts_s.values())
    if total_s <= 0:
        return f"[{' ' * cells}]"
    exact = {name: part_s / total_s * cells for name, part_s in parts_s.items()}
    dealt = {name: int(share) for name, share in exact.items()}
    for name in sorted(exact, key=lambda name: dealt[name] - exact[name])[: cells - sum(dealt.values())]:
        dealt[name] += 1
    return f"[{''.join(LETTERS.get(name, '?') * count for name, count in dealt.items())}]"


def legend_of_parts(parts_s: Mapping[str, float], width: int) -> list[str]:
    """The parts in words, in lines of at most `width` cells: `Q queueing 47 ms (17 %)`."""
    total_s = sum(parts_s.values())
    entries = [
        f"{LETTERS.get(name, '?')} {PART_WORDS.get(name, name)} {_short(part_s)} ({rough_percent(part_s / total_s)})"
        for name, part_s in parts_s.items()
        if total_s > 0 and part_s >= LEAST_SHARE * total_s
    ]
    lines: list[str] = []
    for entry in entries:
        if lines and len(lines[-1]) + 2 + len(entry) <= width:
            lines[-1] += f"  {entry}"
        else:
            lines.append(entry)
    return lines


def _short(part_s: float) -> str:
    return milliseconds(part_s, ".0f" if part_s >= TENTHS_BELOW_S else ".1f")
