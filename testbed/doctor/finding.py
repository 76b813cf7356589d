"""One line of the examination."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

State = Literal["ok", "fallback", "missing"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one thing.

    A run is possible unless something needed is `missing`; `fallback` means that something else takes its place.
    `detail` is what was found, `remedy` how to get what is lacking, `means` what lacking it means for a run; the last
    two are empty where nothing is lacking. `figures` are measured values for a program to read, units in their names.
    """

    name: str
    state: State
    detail: str
    remedy: str = ""
    means: str = ""
    figures: Mapping[str, float | str] = field(default_factory=dict)


def needed(name: str, trouble: str, good: str, *, remedy: str, means: str) -> Finding:
    """A thing without which no run is possible: missing if there is trouble with it."""
    return Finding(name, "missing", trouble, remedy, means) if trouble else Finding(name, "ok", good)


def useful(name: str, trouble: str, good: str, *, remedy: str, means: str) -> Finding:
    """A thing that a run can do without: a fallback if there is trouble with it."""
    return Finding(name, "fallback", trouble, remedy, means) if trouble else Finding(name, "ok", good)
