"""Networks of a single queue, whose mean delay has a closed form."""

from dataclasses import dataclass
from pathlib import Path

from node_agent.models import load_bundle

WORK_FLOP = load_bundle("glyphs").profiles((5,), "float32")[0].flop
TEXT = """
name: queue
model: {{name: glyphs, cut: [5]}}
policy: uniform
slot: {duration} s
duration: {duration} s
warm_up: {warm_up} s
seed: 5
devices: {{cam: {{count: {devices}, rate: {rate} /s}}}}
servers: {{only: {{stage: 1, capacity: {capacity} FLOP/s}}}}
links: [{{from: cam, to: only, rate: 100 Gbit/s, delay: {delay_ms} ms}}]
"""


@dataclass(frozen=True)
class Queue:
    """An M/D/1 queue behind links that only delay: `load` is its utilisation at x1."""

    service_per_s: float
    load: float
    devices: int
    delay_ms: float
    tasks: int

    def write(self, folder: Path) -> Path:
        """Write the topology to a file in the folder, and return its path."""
        rate_per_s = self.load * self.service_per_s
        duration_s = self.tasks / rate_per_s
        path = folder / "queue.yaml"
        path.write_text(
            TEXT.format(
                duration=round(duration_s, 3), warm_up=round(duration_s / 20, 3), devices=self.devices,
                rate=rate_per_s / self.devices, capacity=self.service_per_s * WORK_FLOP, delay_ms=self.delay_ms,
            )
        )  # fmt: skip
        return path

    def factor_at(self, mean_delay_s: float) -> float:
        """The load factor at which the mean delay has this value: W = rho / (2 (1 - rho)) services of waiting."""
        waiting = (mean_delay_s - 2 * self.delay_ms * 1e-3) * self.service_per_s - 1
        return 2 * waiting / (1 + 2 * waiting) / self.load
