"""A line of the examination."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

State = Literal["ok", "fallback", "missing"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of the examination for one thing.

    A run is possible unless a finding is `missing`; `fallback` means that something else takes its place. `detail` is
    the result, `remedy` a way to get the thing, `means` the consequence of its lack for a run. The last two are empty
    if nothing is lacking. `figures` are measured values for a program to read, with units in their names.
    """

    name: str
    state: State
    detail: str
    remedy: str = ""
    means: str = ""
    figures: Mapping[str, float | str] = field(default_factory=dict)


def needed(name: str, trouble: str, good: str, *, remedy: str, means: str) -> Finding:
    """The finding for a thing that every run needs: `missing` if there is trouble with it, otherwise `ok`."""
    return Finding(name, "missing", trouble, remedy, means) if trouble else Finding(name, "ok", good)


def useful(name: str, trouble: str, good: str, *, remedy: str, means: str) -> Finding:
    """The finding for a thing that runs can do without: `fallback` if there is trouble with it, otherwise `ok`."""
    return Finding(name, "fallback", trouble, remedy, means) if trouble else Finding(name, "ok", good)
