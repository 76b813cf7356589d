"""Overrides: values that replace those of a topology file, as `--set KEY=VALUE` states them.

KEY is the way to a value, with dots: `theta`, `servers.near-1.capacity`, `links.west:near-1.rate`; see `places`. VALUE
is YAML. `x1.5` multiplies what the file states there, or the default; in an event, whose values may be factors in the
file, too, it is the value. The key `load` multiplies what all devices offer.

The result is the text of another topology, which a run records as what it ran. Replaced values have lines below zero,
so that a problem with one names its override, and no line that the user has never seen.

Decision 105: keys are those of the form (docs/decisions/105-overrides-by-the-form-of-the-file.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import yaml

from node_agent.errors import InputError
from testbed.topology.form.values import Change
from testbed.topology.form.yaml_places import TopologyProblem, YamlError, YamlPlace, plain_value, read_yaml
from testbed.topology.overrides.factors import read_factor, times
from testbed.topology.overrides.form_walk import Form
from testbed.topology.overrides.places import (
    LOAD,
    Found,
    NoSuchKey,
    find_places,
    moved,
    unshared,
    unshared_place,
)
from testbed.units import QuantityError, is_factor

_EXAMPLES = "for example --set theta=3s or --set 'devices.*.rate=x1.2'"


@dataclass(frozen=True, slots=True)
class Override:
    """A value that replaces those at `key`; `value` is the text of YAML, or a factor such as x1.5."""

    key: str
    value: str

    def __str__(self) -> str:
        return f"{self.key}={self.value}"


@dataclass(frozen=True, slots=True)
class Replaced:
    """A topology whose values are replaced.

    Attributes:
        text: as YAML.
        data: the same as data.
        place: the places of all values; a replaced value of override number n (from 1) has line -n.
        problems: of the original text: keys that it states twice.
    """

    text: str
    data: object
    place: YamlPlace
    problems: list[TopologyProblem]


def parse_override(text: str) -> Override:
    """Read KEY=VALUE. Raises InputError if it is none."""
    key, mark, value = text.partition("=")
    if not mark or not key.strip() or not value.strip():
        raise InputError(f"{text!r} is no KEY=VALUE", hint=_EXAMPLES)
    return Override(key.strip(), value.strip())


def as_overrides(stated: Sequence[Override | str]) -> tuple[Override, ...]:
    """Return overrides, of which some may be texts KEY=VALUE. Raises InputError if a text is none."""
    return tuple(parse_override(one) if isinstance(one, str) else one for one in stated)


def load_overrides(factor: float) -> tuple[Override, ...]:
    """Return what multiplies the tasks that all devices offer by `factor`."""
    return (Override(LOAD, f"x{factor!r}".removesuffix(".0")),)


def stated_overrides(overrides: Sequence[Override]) -> list[str]:
    """The overrides as a manifest states them, KEY=VALUE each."""
    return [str(each) for each in overrides]


def overridden(text: str, source: str, overrides: Sequence[Override]) -> str:
    """Return the text of a topology whose values are replaced, in order.

    Raises:
        InputError: the text is no YAML, a key leads nowhere, or a value cannot be read.
    """
    return replaced(text, source, overrides).text


def replaced(text: str, source: str, overrides: Sequence[Override]) -> Replaced:
    """Return a topology whose values are replaced, in order.

    Raises:
        InputError: the text is no YAML, a key leads nowhere, or a value cannot be read.
    """
    data, place, duplicates = read_yaml(text, source)
    if not overrides:
        return Replaced(text, data, place, duplicates)
    data, place = unshared(data), unshared_place(place)
    for number, override in enumerate(overrides, start=1):
        try:
            _replace(data, place, override, -number)
        except NoSuchKey as error:
            raise InputError(f"{_named(override)}: {source} {error}", hint=error.hint) from None
    words = " ".join(_named(each) for each in overrides)
    head = f"# Another topology, in which values were replaced: {words!r}\n"
    return Replaced(head + _dumped(data), data, place, duplicates)


def placed(problem: TopologyProblem, overrides: Sequence[Override]) -> TopologyProblem:
    """Return a problem that names its override as its place, if it is one of a replaced value."""
    if problem.line >= 0:
        return problem
    return replace(problem, source=_named(overrides[-problem.line - 1]), line=0, column=0)


def _named(override: Override) -> str:
    return f"--set {override}"


def _replace(data: object, place: YamlPlace, override: Override, line: int) -> None:
    """Replace what an override names, and let the places of the new values have this line."""
    factor = _factor(override)
    if override.key == LOAD:
        if factor is None:
            hint = "state a factor: load=x1.2"
            raise InputError(f"{_named(override)}: {override.value!r} is no factor on the load", hint=hint)
        _multiply_load(data, place, factor, override, line)
        return
    found = find_places(data, place, override.key)
    value, spot = _read(override)
    done = False
    for each in found:
        if factor is None or each.form.type is Change:  # a change may itself be a factor: x0.5 is its value
            each.holder[each.step] = unshared(value)
            _mark(place, each, moved(spot, line))
        elif _multiply(each, factor, override):
            _mark(place, each, YamlPlace(line, 1, line, 1))
        else:
            continue
        done = True
    if not done:
        raise NoSuchKey(f"has no value at {override.key} to multiply", hint="state the value itself")


def _factor(override: Override) -> Decimal | None:
    if not is_factor(override.value) or override.value.lstrip("x× ")[:1] not in set("0123456789."):
        return None  # words may begin with x, too
    try:
        return read_factor(override.value)
    except QuantityError as error:
        raise InputError(f"{_named(override)}: {error}", hint=error.hint) from None


def _read(override: Override) -> tuple[object, YamlPlace]:
    try:
        value, place, duplicates = read_yaml(override.value, _named(override))
    except YamlError as error:
        problem = error.problem
        raise InputError(f"{_named(override)}: {problem.message}", hint="quote the value if it is text") from None
    if duplicates:
        raise InputError(f"{_named(override)}: {duplicates[0].message}", hint="state each key once")
    return value, place


def _multiply(found: Found, factor: Decimal, override: Override) -> bool:
    """Multiply a value; False for a place without one that `*` named along with others."""
    value = found.holder[found.step] if found.stated else found.form.default_value()
    if value is None and found.chosen:
        return False
    where = ".".join(map(str, found.path))
    try:
        found.holder[found.step] = times(value, factor)
    except ValueError:
        says = "states no value" if value is None else f"{value} is no quantity"
        raise InputError(
            f"{_named(override)}: {where}: {says} to multiply", hint=f"state the value itself: {where}=..."
        ) from None
    return True


def _multiply_load(data: object, place: YamlPlace, factor: Decimal, override: Override, line: int) -> None:
    """Multiply the rates of all devices; of their events only absolute rates, since others are factors on these."""
    found = find_places(data, place, "devices.*.rate")
    if isinstance(data, dict) and isinstance(events := data.get("events"), list):
        for number, event in enumerate(events):
            if isinstance(event, dict) and "device" in event and not is_factor(event.get("rate", "x1")):
                found.append(Found(event, "rate", ("events", number, "rate"), Form(str), chosen=False))
    for each in found:
        if _multiply(each, factor, override):
            _mark(place, each, YamlPlace(line, 1, line, 1))


def _mark(place: YamlPlace, found: Found, spot: YamlPlace) -> None:
    """Put the places of a replaced value where it stands now."""
    for step in found.path[:-1]:
        place = place.inner.setdefault(step, YamlPlace(spot.line, 1, spot.line, 1))
    place.inner[found.path[-1]] = spot


class _Dumper(yaml.SafeDumper):
    """Writes text in quotes wherever `plain_value` would read something else."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    plain = plain_value(text) == text and isinstance(plain_value(text), str)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _text)


def _dumped(data: object) -> str:
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
