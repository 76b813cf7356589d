"""The lines of energy.jsonl."""

from msgspec import Struct


class EnergyLine(Struct, frozen=True):
    """The energy of a node at one of its samples, or of a node or a link at the end of the run."""

    time_s: float  # when the sample was taken, or the run ended [s]
    node: str  # the device or server; of a link, its ends: `a - b`
    energy_j: float  # energy used since the start [J]
    power_w: float | None  # mean power since its previous line [W]; null if no time has passed
    battery_j: float | None  # a device's battery: energy that is left [J]; null without a battery
