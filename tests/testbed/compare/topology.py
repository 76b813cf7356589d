"""A small topology for comparisons: seconds of work for a simulation."""

from pathlib import Path

SMALL = """
name: small
model: {name: glyphs, cut: [3, 5]}
policy: dto-ee
slot: 2 s
duration: 20 s
warm_up: 2 s
seed: 7
devices:
  cam: {count: 2, rate: 4..6 /s}
servers:
  near-1: {stage: 1, capacity: 0.5 GFLOP/s}
  near-2: {stage: 1, capacity: 0.3 GFLOP/s}
  core: {stage: 2, capacity: 0.6 GFLOP/s}
links:
  - {from: cam, to: near-1, rate: 20 Mbit/s, delay: 2..20 ms}
  - {from: cam, to: near-2, rate: 20 Mbit/s, delay: 3 ms}
  - {from: [near-1, near-2], to: core, rate: 30 Mbit/s, delay: 5 ms}
"""


def write(folder: Path, text: str = SMALL) -> Path:
    """The topology as a file in the folder."""
    path = folder / "small.yaml"
    path.write_text(text)
    return path
