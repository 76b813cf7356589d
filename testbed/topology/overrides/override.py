"""Overrides: values that replace those of a topology file, as `--set KEY=VALUE` states them.

KEY is the way to a value, with dots: `theta`, `servers.near-1.capacity`, `links.0.rate`. `*` stands for every entry:
`devices.*.rate`. VALUE is YAML; `x1.5` multiplies the quantity that the file states there.

The result is the text of another topology, which a run records as what it ran.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from node_agent.errors import InputError
from testbed.topology.form.yaml_places import read_yaml

_FACTOR = re.compile(r"[x×]\s*([0-9.eE+-]+)")
_SPAN = re.compile(r"\s*([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*(?:\.\.\s*([0-9.]+(?:[eE][+-]?[0-9]+)?))?(\s*\D.*)")

LOAD_KEYS = ("devices.*.rate",)
"""What a load factor multiplies."""


@dataclass(frozen=True, slots=True)
class Override:
    """A value that replaces those at `key`; `value` is the text of YAML, or a factor such as x1.5."""

    key: str
    value: str

    def __str__(self) -> str:
        return f"{self.key}={self.value}"


def parse_override(text: str) -> Override:
    """Read KEY=VALUE. Raises InputError if it is none."""
    key, mark, value = text.partition("=")
    if not mark or not key.strip() or not value.strip():
        raise InputError(f"{text!r} is no KEY=VALUE", hint="for example --set theta=3 or --set 'devices.*.rate=x1.2'")
    return Override(key.strip(), value.strip())


def load_overrides(factor: float) -> tuple[Override, ...]:
    """Return what multiplies the tasks that all devices offer by `factor`."""
    return tuple(Override(key, f"x{factor!r}") for key in LOAD_KEYS)


def stated_overrides(overrides: Sequence[Override]) -> list[str]:
    """The overrides as a manifest states them, KEY=VALUE each."""
    return [str(each) for each in overrides]


def overridden(text: str, source: str, overrides: Sequence[Override]) -> str:
    """Return the text of a topology whose values are replaced, in order.

    Raises:
        InputError: the text is no YAML, a key leads nowhere, or a value cannot be read.
    """
    if not overrides:
        return text
    data, _, _ = read_yaml(text, source)
    for override in overrides:
        _replace(data, override, source)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def _replace(data: object, override: Override, source: str) -> None:
    *way, last = override.key.split(".")
    found = list(_at(data, way))
    replaced = False
    for place in found:
        for key in _keys(place, last):
            _set(place, key, override)
            replaced = True
    if not replaced:
        raise InputError(
            f"{source} has no {override.key}", hint="keys follow the file, with dots: servers.near.capacity"
        )


def _at(data: Any, way: Sequence[str]) -> Iterator[object]:  # noqa: ANN401 - what YAML may hold
    if not way:
        yield data
        return
    for key in _keys(data, way[0]):
        if isinstance(data, list) or key in data:
            yield from _at(data[key], way[1:])


def _keys(place: object, word: str) -> Sequence[Any]:
    if isinstance(place, dict):
        return list(place) if word == "*" else [word]
    if isinstance(place, list):
        if word == "*":
            return list(range(len(place)))
        return [int(word)] if word.isdecimal() and int(word) < len(place) else []
    return []


def _set(place: Any, key: str | int, override: Override) -> None:  # noqa: ANN401 - a mapping or a list
    if (factor := _FACTOR.fullmatch(override.value)) is not None:
        place[key] = _times(place[key], float(factor[1]), override)
    else:
        place[key], _, _ = read_yaml(override.value, f"--set {override}")


def _times(stated: object, factor: float, override: Override) -> object:
    """A quantity or range of the file, multiplied."""
    if isinstance(stated, int | float):
        return stated * factor
    found = _SPAN.fullmatch(str(stated))
    if found is None:
        raise InputError(f"--set {override}: {stated} is no quantity to multiply", hint="state the value itself")
    low, high, unit = found.groups()
    ends = [f"{float(end) * factor!r}" for end in (low, high) if end is not None]
    return f"{'..'.join(ends)}{unit}"
