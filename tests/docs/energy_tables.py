"""The tables of power profiles in docs/energy.md, rendered from the code."""

from testbed.topology.form.power_profiles import POWER_PROFILES, RADIO_PROFILES
from tests.bench.markdown import table


def powers() -> list[str]:
    """The profiles of computers, with their sources."""
    rows = [
        (f"`{name}`", each.title, f"{each.idle_w:g} W", f"{each.busy_w:g} W", each.source)
        for name, each in POWER_PROFILES.items()
    ]
    return table(("name", "computer", "idle", "busy", "source"), rows)


def radios() -> list[str]:
    """The profiles of radios, with their sources."""
    rows = [
        (f"`{name}`", each.title, _per_byte(each.up_j_per_byte), _per_byte(each.down_j_per_byte), each.source)
        for name, each in RADIO_PROFILES.items()
    ]
    return table(("name", "radio", "up", "down", "source"), rows)


def _per_byte(energy_j: float) -> str:
    return f"{energy_j * 1e9:.0f} nJ/byte"
