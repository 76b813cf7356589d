"""Advice for unknown units: never another quantity than the one that was meant.

Decision 059: a wrong unit is answered only where its meaning is known
(docs/decisions/059-known-spellings-of-units.md).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Other spellings of a unit, in lower case; case does not matter.
_SPELLINGS: Mapping[str, Sequence[str]] = {
    "s": ("sec", "secs", "second", "seconds"),
    "ms": ("msec", "msecs", "millis", "millisec", "millisecond", "milliseconds"),
    "us": ("usec", "usecs", "microsecond", "microseconds"),
    "min": ("mins", "minute", "minutes"),
    "h": ("hr", "hrs", "hour", "hours"),
    "%": ("percent", "per cent", "pct"),
    "/s": ("/sec", "/second", "1/s", "hz", "per second", "task/s", "tasks/s", "tasks per second", "tps", "rps"),
    "/min": ("/m", "/minute", "1/min", "per minute", "task/min", "tasks/min"),
    "/h": ("/hr", "/hour", "1/h", "per hour", "task/h", "tasks/h"),
    "W": ("watt", "watts", "j/s"),
    "J": ("joule", "joules", "ws"),
    "Wh": ("watthour", "watthours", "w h"),
    "J/byte": ("j/b", "joule/byte", "joules per byte"),
    "uJ/byte": ("uj/b", "µj/b", "j/mb"),
    "nJ/byte": ("nj/b",),
    "s/J": ("s/joule", "seconds per joule", "s per j"),
}
# Unsupported units, in lower case: their size in a known unit.
_FOREIGN: Mapping[str, tuple[float, str]] = {
    "ns": (1e-3, "us"),
    "nanosecond": (1e-3, "us"),
    "nanoseconds": (1e-3, "us"),
    "d": (24.0, "h"),
    "day": (24.0, "h"),
    "days": (24.0, "h"),
    "‰": (0.1, "%"),
    "ppm": (1e-4, "%"),
    "khz": (1e3, "/s"),
    "/ms": (1e3, "/s"),
    "/day": (1 / 24, "/h"),
}
_PREFIXES: Mapping[str, int] = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_LETTERS = ("", "k", "M", "G", "T")
_RATE = re.compile(r"(?P<prefix>[kmgtp]?)(?P<binary>i?)(?P<of>b|bits?|bytes?|o)(/s|ps|/sec|/second)?", re.IGNORECASE)
_SIZE = re.compile(r"(?P<prefix>[kmgtp]?)(?P<binary>i?)(?P<of>b|bits?|bytes?|)", re.IGNORECASE)
_COMPUTE = re.compile(r"(?P<prefix>[kmgtp]?)(?P<of>flops?|macs?|ops?)(/s|/sec|/second|ps)?", re.IGNORECASE)
_BYTE = "a byte has eight bits"


@dataclass(frozen=True, slots=True)
class _Written:
    """The quantity as written: a number, or both ends of a range, and a unit."""

    low: float
    high: float | None
    unit: str

    def figure(self, factor: float, of: str, why: str = "") -> str:
        """Return the quantity in the unit `of`, `factor` times as many, worked out; `why` goes before it."""
        ends = [self.low] if self.high is None else [self.low, self.high]
        shown, meant = ("..".join(f"{end * by:.12g}" for end in ends) for by in (1.0, factor))
        return f"{why}{': ' if why else ''}{shown} {self.unit} are {meant} {of}"


def unit_advice(unit: str, known: Sequence[str], low: float, high: float | None) -> str:
    """Return advice what to write instead of `unit`, or an empty text if its meaning is unknown.

    Args:
        unit: the text behind the number.
        known: the units of the quantity that is needed.
        low: the number, or the lower end of the range.
        high: the upper end of the range; None for a single number.
    """
    lowered, written = unit.lower(), _Written(low, high, unit)
    if lowered == "m" and "min" in known:
        return f"did you mean min? (minutes: {low:g} min; milliseconds: {low:g} ms)"
    for right, spellings in _SPELLINGS.items():
        if right in known and lowered in spellings:
            return f"did you mean {right}?"
    if lowered in _FOREIGN and _FOREIGN[lowered][1] in known:
        return written.figure(*_FOREIGN[lowered])
    for member, pattern, advise in (
        ("Mbit/s", _RATE, _of_rate), ("MiB", _SIZE, _of_size), ("FLOP/s", _COMPUTE, _of_compute),
    ):  # fmt: skip
        if member in known and (found := pattern.fullmatch(unit)) is not None:
            return advise(found, written)
    same = [right for right in known if right.lower() == lowered]
    return f"did you mean {same[0]}?" if len(same) == 1 else ""


def _of_rate(found: re.Match[str], written: _Written) -> str:
    power, of = _PREFIXES[found["prefix"].lower()], found["of"]
    size = (1024.0 if found["binary"] else 1000.0) ** power / 1e6
    if of == "B" or of.lower().startswith(("by", "o")):
        return written.figure(8 * size, "Mbit/s", _BYTE)
    if found["binary"] or power >= len(_LETTERS):
        return written.figure(size, "Mbit/s")
    note = " (b is a bit; a byte, B, has eight)" if of == "b" else ""
    return f"did you mean {_LETTERS[power]}bit/s?{note}"


def _of_size(found: re.Match[str], written: _Written) -> str:
    power, of = _PREFIXES[found["prefix"].lower()], found["of"]
    size = 1024.0**power if found["binary"] else 1000.0**power
    bits = written.figure(size / 8 / 1e6, "MB", _BYTE)
    if of.lower().startswith("bit"):
        return bits
    if power >= len(_LETTERS) - 1:  # beyond what there is a unit for
        of_giga = (size / 1024.0**3, "GiB") if found["binary"] else (size / 1000.0**3, "GB")
        return written.figure(*of_giga)
    letter = _LETTERS[power]
    if found["binary"]:
        return f"did you mean {letter.upper()}iB?"
    if not power:
        return "did you mean B?"
    both = f"write {letter}B (1000 to the power of {power} bytes) or {letter.upper()}iB (1024 to the power of {power})"
    return f"{both}; {bits}" if of == "b" else both


def _of_compute(found: re.Match[str], written: _Written) -> str:
    power, of = _PREFIXES[found["prefix"].lower()], found["of"].lower()
    if of.startswith("mac"):
        return written.figure(2 * 1000.0**power / 1e9, "GFLOP/s", "a multiply-accumulate is two FLOP")
    if of.startswith("op"):
        return ""  # operations of which kind?
    if power >= len(_LETTERS):
        return written.figure(1000.0**power / 1e12, "TFLOP/s")
    return f"did you mean {_LETTERS[power]}FLOP/s?"
