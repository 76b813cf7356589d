"""The form of a topology's power: of nodes, and of each direction of a link."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainValidator, WithJsonSchema
from pydantic.fields import Field

from node_agent.suggest import advice
from testbed import units
from testbed.power import LinkEnergy, Power
from testbed.topology.drawing import draw
from testbed.topology.form.power_profiles import POWER_PROFILES, RADIO_PROFILES, PowerProfile, RadioProfile
from testbed.topology.form.values import STATED, Entry, complaint
from testbed.units import Dimension, QuantityError, Span

_UNIT = re.compile(r"([^\W\d]|/)+\s*$")  # the last word of a quantity
_LOOKS_NUMERIC = re.compile(r"\s*[-+]?\.?\d", re.ASCII)
_POWER_EXAMPLE = "for example power: {idle: 2.7 W, busy: 6.4 W}"
_ENERGY_EXAMPLE = "for example energy: 500 nJ/byte, energy: 0.8 W or energy: {up: 3 uJ/byte, down: 400 nJ/byte}"


def _span(value: object, dimension: Dimension) -> Span:
    try:
        return units.parse_span(value, dimension)
    except QuantityError as error:
        raise complaint(str(error), error.hint) from None


def _schema_of(dimension: Dimension) -> dict[str, object]:
    return {"type": "string", "pattern": units.quantity_pattern(dimension), "examples": [dimension.example]}


PowerSpan = Annotated[
    Span, PlainValidator(lambda value: _span(value, units.POWER)), WithJsonSchema(_schema_of(units.POWER)), units.POWER
]


class PowerEntry(Entry):
    """The power of each node; ranges are drawn per node."""

    idle: Annotated[PowerSpan, Field(description="power of each node while it is up; one that is down uses none")]
    busy: Annotated[
        PowerSpan | None,
        STATED,
        Field(
            description="power of each node while it serves a task, idle power included; only, and always, if it does"
        ),
    ] = None

    def drawn(self, seed: int, *key: str) -> Power:
        """Draw the power of a node; `key` is the kind and the name of the node."""
        idle_w = draw(self.idle, seed, *key, "idle")
        return Power(idle_w, idle_w if self.busy is None else draw(self.busy, seed, *key, "busy"))


def power_fault(entry: PowerEntry | None, *, computes: bool) -> tuple[str, str] | None:
    """Return what is wrong with the power of nodes, and how to mend it; None if nothing is.

    Args:
        entry: the power; None if none is stated.
        computes: True if the nodes serve tasks.
    """
    if entry is None:
        return None
    if entry.busy is None:
        return ("a node that serves tasks needs its busy power, too", _POWER_EXAMPLE) if computes else None
    if entry.idle.high > entry.busy.low:
        low_w, high_w = entry.busy.low, entry.idle.high
        return f"the busy power ({low_w:g} W) is below the idle power ({high_w:g} W)", "busy includes idle: raise it"
    return None


@dataclass(frozen=True, slots=True)
class DirectionEnergy:
    """The stated energy of a direction of links: joules per byte, or watts while it transmits."""

    span: Span
    per_second: bool

    def drawn(self, seed: int, *key: str) -> LinkEnergy:
        """Draw the energy of a link's direction; `key` names the link and the direction."""
        value = draw(self.span, seed, *key)
        return LinkEnergy(transmit_w=value) if self.per_second else LinkEnergy(j_per_byte=value)


def _direction(value: object) -> DirectionEnergy:
    found = _UNIT.search(value) if isinstance(value, str) else None
    per_second = found is not None and found[0].strip() in units.POWER.units
    return DirectionEnergy(_span(value, units.POWER if per_second else units.BYTE_ENERGY), per_second)


_DIRECTION_SCHEMA = {"anyOf": [_schema_of(units.BYTE_ENERGY), _schema_of(units.POWER)]}
OneDirection = Annotated[DirectionEnergy, PlainValidator(_direction), WithJsonSchema(_DIRECTION_SCHEMA)]


class LinkEnergyEntry(Entry):
    """The energy of links, by direction: for each byte, or a power while it transmits; ranges are drawn per link."""

    up: Annotated[OneDirection, Field(description="energy of what the `from` end sends, of both ends together")]
    down: Annotated[OneDirection, Field(description="energy of what the `to` end sends, of both ends together")]


def _as_power(value: object) -> object:
    if not isinstance(value, str):
        return value
    if (profile := POWER_PROFILES.get(value)) is not None:
        return {"idle": f"{profile.idle_w} W", "busy": f"{profile.busy_w} W"}
    if _LOOKS_NUMERIC.match(value):
        raise complaint("power needs two figures, idle and busy", _POWER_EXAMPLE)
    raise complaint(f"unknown power profile {value[:40]!r}", advice(value, POWER_PROFILES, _POWER_EXAMPLE))


def _as_link_energy(value: object) -> object:
    if not isinstance(value, str):
        if isinstance(value, dict):
            return value
        raise complaint("the energy of a link needs a unit", _ENERGY_EXAMPLE)
    if (profile := RADIO_PROFILES.get(value)) is not None:
        return {"up": f"{profile.up_j_per_byte!r} J/byte", "down": f"{profile.down_j_per_byte!r} J/byte"}
    if not _LOOKS_NUMERIC.match(value):
        raise complaint(f"unknown radio profile {value[:40]!r}", advice(value, RADIO_PROFILES, _ENERGY_EXAMPLE))
    _direction(value)  # once, so that an error is reported once
    return {"up": value, "down": value}


def _offering(profiles: Mapping[str, PowerProfile] | Mapping[str, RadioProfile], *texts: dict[str, object]) -> Any:  # noqa: ANN401 - pydantic's own type
    """Return a function that adds the names of profiles, and texts, to the JSON Schema of a key."""

    def offer(schema: dict[str, Any]) -> None:
        names = [{"const": name, "description": f"{each.title}: {each.source}"} for name, each in profiles.items()]
        schema["anyOf"] = [*names, *texts, *schema["anyOf"]]

    return offer


AnyPower = Annotated[PowerEntry, BeforeValidator(_as_power)]
AnyLinkEnergy = Annotated[LinkEnergyEntry, BeforeValidator(_as_link_energy)]
offer_power_profiles = _offering(POWER_PROFILES)
offer_radio_profiles = _offering(RADIO_PROFILES, _schema_of(units.BYTE_ENERGY), _schema_of(units.POWER))
