"""A small topology for comparisons, which simulates within seconds."""

from pathlib import Path

from tests.testbed import small

SMALL = (
    small.SMALL.replace("duration: 8 s", "duration: 20 s")
    .replace("warm_up: 2 s\n", "warm_up: 2 s\nseed: 7\n")
    .replace("rate: 5 /s", "rate: 4..6 /s")
    .replace("delay: 10 ms", "delay: 2..20 ms")
)


def write(folder: Path, text: str = SMALL) -> Path:
    """Write the topology to a file in the folder, and return its path."""
    path = folder / "small.yaml"
    path.write_text(text)
    return path
