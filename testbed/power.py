"""The power of a node, and the energy of a direction of a link, as a scenario states them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Power:
    """The power of a node while it is up, and while it also serves a task."""

    idle_w: float
    busy_w: float

    @property
    def computing_w(self) -> float:
        """The power that computing adds to that of the idle node [W]."""
        return self.busy_w - self.idle_w


@dataclass(frozen=True, slots=True)
class LinkEnergy:
    """The energy of a direction of a link: for each byte that it carries, or a power while it transmits."""

    j_per_byte: float = 0.0
    transmit_w: float = 0.0

    def byte_j(self, rate_mbit_per_s: float) -> float:
        """Return the energy of a byte on a link of this rate [J]."""
        return self.j_per_byte + self.transmit_w * 8e-6 / rate_mbit_per_s
