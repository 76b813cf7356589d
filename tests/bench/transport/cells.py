"""The cells that are measured and modelled: links with loss and jitter, messages of 1 to 64 KiB over them."""

import random
from dataclasses import dataclass

from testbed.scenario import LinkShape

HEADER_BYTES = 100
MOST_PER_S = 6.0
LOAD = 0.3  # of what TCP can be expected to carry at most


@dataclass(frozen=True, slots=True)
class Cell:
    """One link with its messages: loss [%], jitter and delay [ms], a tensor of `kib` KiB in each."""

    loss: float
    jitter: float
    delay: float
    kib: int

    @property
    def name(self) -> str:
        return f"loss {self.loss:g} %, jitter {self.jitter:g} ms, delay {self.delay:g} ms, {self.kib} KiB"

    @property
    def shape(self) -> LinkShape:
        return LinkShape(50.0, self.delay * 1e-3, self.jitter * 1e-3, self.loss * 1e-2)

    @property
    def tensor_bytes(self) -> int:
        return self.kib * 1024

    @property
    def rate_per_s(self) -> float:
        """Messages sent: few enough that most find the connection idle."""
        if not self.loss:
            return MOST_PER_S
        # Mathis et al. 1997: MSS / RTT * sqrt(3/2) / sqrt(p)
        byte_per_s = 1448 / (2e-3 * self.delay + 1e-3) * 1.22 / (self.loss * 1e-2) ** 0.5
        return min(MOST_PER_S, LOAD * byte_per_s / self.tensor_bytes)

    def sending_times_s(self, seconds: float, seed: str) -> list[float]:
        """A Poisson process."""
        drawn, at_s, found = random.Random(seed), 0.0, []
        while (at_s := at_s + drawn.expovariate(self.rate_per_s)) < seconds:
            found.append(at_s)
        return found


CELLS = (
    *(Cell(0, 0, delay, kib) for delay, kib in ((2, 1), (2, 16), (20, 16), (20, 64), (60, 64))),
    *(Cell(1, 0, delay, kib) for delay in (2, 20, 60) for kib in (1, 4, 16, 64)),
    *(Cell(0.1, 0, 20, kib) for kib in (1, 16, 64)),
    Cell(0.5, 0, 20, 16),
    Cell(0.5, 0, 60, 64),
    *(Cell(3, 0, delay, kib) for delay in (2, 20, 60) for kib in (1, 16)),
    Cell(3, 0, 20, 4),
    Cell(3, 0, 20, 64),
    *(Cell(5, 0, delay, kib) for delay in (2, 20, 60) for kib in (1, 16)),
    Cell(5, 0, 20, 4),
    Cell(5, 0, 20, 64),
    Cell(0, 1, 2, 16),
    Cell(0, 1, 20, 16),
    *(Cell(0, jitter, delay, kib) for jitter in (5, 10) for delay in (20, 60) for kib in (1, 16, 64)),
    Cell(1, 5, 20, 1),
    Cell(1, 5, 20, 16),
    Cell(1, 5, 20, 64),
    Cell(3, 5, 20, 16),
    Cell(3, 10, 60, 16),
)  # fmt: skip
