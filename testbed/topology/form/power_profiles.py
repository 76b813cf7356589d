"""Published measurements of power, by name: of single-board computers, and of radios per byte.

Each profile names its source. A topology states one by name, `power: raspberry-pi-4` or `energy: lte`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_PIDRAMBLE = "J. Geerling, Raspberry Pi Dramble wiki, benchmarks: power consumption (pidramble.com)"
_HUANG = (
    "Huang, Qian, Gerber, Mao, Sen, Spatscheck: A Close Examination of Performance and Power Characteristics of 4G LTE "
    "Networks (MobiSys 2012), table 4"
)
_NJ_PER_BIT = 8e-9  # a milliwatt per Mbit/s is a nanojoule per bit [J/byte]


@dataclass(frozen=True, slots=True)
class PowerProfile:
    """The measured power of a computer, idle and with all cores at work."""

    idle_w: float
    busy_w: float
    title: str
    source: str


@dataclass(frozen=True, slots=True)
class RadioProfile:
    """The measured energy of a radio per byte that it sends (up) and receives (down), beyond that of the idle radio."""

    up_j_per_byte: float
    down_j_per_byte: float
    title: str
    source: str


POWER_PROFILES: Final[Mapping[str, PowerProfile]] = {
    "raspberry-pi-4": PowerProfile(2.7, 6.4, "Raspberry Pi 4 B", _PIDRAMBLE),
    "raspberry-pi-3b-plus": PowerProfile(1.9, 5.1, "Raspberry Pi 3 B+", _PIDRAMBLE),
    "raspberry-pi-3b": PowerProfile(1.4, 3.7, "Raspberry Pi 3 B", _PIDRAMBLE),
    "raspberry-pi-2b": PowerProfile(1.1, 2.1, "Raspberry Pi 2 B", _PIDRAMBLE),
    "raspberry-pi-zero": PowerProfile(0.4, 1.2, "Raspberry Pi Zero", _PIDRAMBLE),
}

RADIO_PROFILES: Final[Mapping[str, RadioProfile]] = {
    "lte": RadioProfile(438.39 * _NJ_PER_BIT, 51.97 * _NJ_PER_BIT, "LTE, a phone of 2011", _HUANG),
    "3g": RadioProfile(868.98 * _NJ_PER_BIT, 122.12 * _NJ_PER_BIT, "3G, the same phone", _HUANG),
    "wifi": RadioProfile(283.17 * _NJ_PER_BIT, 137.01 * _NJ_PER_BIT, "802.11n, the same phone", _HUANG),
}
