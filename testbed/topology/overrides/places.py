"""The places in a topology that the key of an override names.

A key follows the file, with dots: `servers.near-1.capacity`, `events.0.at`. In a word, `*` and `?` stand for other
characters. A link has its two ends for a word, `links.west:near-1.rate`; an entry of several links is taken apart, so
that only those that the key names change.
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from node_agent.errors import InputError
from node_agent.suggest import advice, closest
from testbed.topology.form.entries import PolicyEntry
from testbed.topology.form.yaml_places import Path, YamlPlace
from testbed.topology.overrides.form_walk import Form, whole_form

LOAD = "load"
"""The key that is none of the file: a factor on the tasks that all devices offer."""


class NoSuchKey(InputError):
    """A key that leads nowhere. The message follows the name of the file; the hint names a similar key."""


@dataclass(frozen=True, slots=True)
class Found:
    """A place of a topology's data.

    Attributes:
        holder: the mapping or list that holds the value.
        step: the key or number of the value in `holder`.
        path: the way to the value, from the top.
        form: of the value.
        chosen: True if the key names the place by `*` or `?`.
    """

    holder: Any
    step: Any
    path: Path
    form: Form
    chosen: bool

    @property
    def stated(self) -> bool:
        """True if the data have a value here."""
        return isinstance(self.holder, list) or self.step in self.holder


def find_places(data: object, place: YamlPlace, key: str) -> list[Found]:
    """Return the places that `key` names; entries of links in `data` and `place` may be taken apart for it.

    Neither `data` nor `place` may share parts, as after aliases.

    Raises:
        NoSuchKey: the key leads nowhere.
    """
    words = tuple(key.split("."))
    found = list(_walk(data, place, whole_form(), words, (), chosen=False, before=""))
    if not found:
        raise NoSuchKey(f"has nothing that matches {key}", hint="keys follow the file, with dots: devices.*.rate")
    return found


def _walk(
    data: Any,  # noqa: ANN401 - what YAML may hold
    place: YamlPlace, form: Form, words: tuple[str, ...], path: Path, *, chosen: bool, before: str,
) -> Iterator[Found]:  # fmt: skip
    """Follow `words` from `data`; `before` is the key that led there, with a dot behind it."""
    word, rest = words[0], words[1:]
    if form.entry is PolicyEntry and word not in form.fields() and not _is_pattern(word):
        word, rest = "parameters", words  # policy.threshold is short for policy.parameters.threshold
    for step, inner in _steps(data, place, form, word, rest, before):
        here = chosen or _is_pattern(word)
        if not rest:
            yield Found(data, step, (*path, step), inner, here)
            continue
        if inner.single:
            raise _no_parts(f"{before}{word}", rest)
        value = _value_in(data, step, inner)
        if value is None:
            if not here:
                raise NoSuchKey(f"has no {before}{word}", hint=f"state all of it: {before}{word}={{...}}")
            continue
        spot = place.inner.get(step) or YamlPlace(place.line, place.column, place.line, place.column)
        kind = inner.chosen_for(value)
        data[step] = value = kind.opened(value)
        yield from _walk(value, spot, kind, rest, (*path, step), chosen=here, before=f"{before}{word}.")


def _steps(
    data: object, place: YamlPlace, form: Form, word: str, rest: Sequence[str], before: str
) -> list[tuple[str | int, Form]]:
    """The keys or numbers in `data` that a word names, with the forms of their values."""
    if form.entry is not None and isinstance(data, dict):
        fields = form.fields()
        if _is_pattern(word):
            return [(name, each) for name, each in fields.items() if name in data and fnmatchcase(name, word)]
        if word not in fields:
            raise _unknown(word, rest, before, data, fields)
        return [(word, fields[word])]
    if (inner := form.of_mapping) is not None and isinstance(data, dict):
        if _is_pattern(word):
            return [(name, inner) for name in data if fnmatchcase(name, word)]
        if word not in data and inner.entry is not None:
            raise _unknown(word, rest, before, data, data)
        return [(word, inner)]
    if (inner := form.of_list) is not None and isinstance(data, list):
        return [(number, inner) for number in _numbers(data, place, word, before)]
    raise _no_parts(before.removesuffix("."), (word, *rest))


def _value_in(data: Any, step: str | int, form: Form) -> object:  # noqa: ANN401 - what YAML may hold
    """The value to walk into; a new mapping of names if there is none yet; None if the file has no such entry."""
    if isinstance(data, list) or data.get(step) is not None:
        return data[step]
    if form.of_mapping is not None and form.of_mapping.entry is None:
        return {}
    return None


def _no_parts(key: str, rest: Sequence[str]) -> NoSuchKey:
    hint = f"replace it as a whole: {key}=..."
    return NoSuchKey(f"has no {key}.{'.'.join(rest)}: {key} has no parts", hint=hint)


def _unknown(word: str, rest: Sequence[str], before: str, data: dict[str, Any], known: Iterable[str]) -> NoSuchKey:
    behind = "".join(f".{each}" for each in rest)
    names = list(known) if before else [*known, LOAD]
    message = f"has no {before}{word}"
    if (guess := closest(word, names)) is not None:
        return NoSuchKey(message, hint=f"did you mean {before}{guess}{behind}?")
    for name, value in data.items():
        if not before and isinstance(value, dict) and word in value:
            return NoSuchKey(message, hint=f"did you mean {name}.{word}{behind}?")
        if before and isinstance(value, dict) and "count" in value and word.startswith(f"{name}-"):
            return NoSuchKey(message, hint=f"it belongs to a group, which has one value: {before}{name}{behind}")
    return NoSuchKey(message, hint=advice(f"{before}{word}", [f"{before}{name}" for name in names]))


def _numbers(entries: list[Any], place: YamlPlace, word: str, before: str) -> list[int]:
    if word.isdecimal() and int(word) < len(entries):
        return [int(word)]
    if before == "links." and ":" in word:
        return _links_between(entries, place, word)
    if _is_pattern(word):
        return [number for number in range(len(entries)) if fnmatchcase(str(number), word)]
    many = f"{before}0 to {before}{len(entries) - 1}" if entries else "it has none"
    or_ends = ", or links.A:B by their ends" if before == "links." else ""
    raise NoSuchKey(f"has no {before}{word}", hint=f"entries have numbers: {many}{or_ends}")


def _links_between(entries: list[Any], place: YamlPlace, word: str) -> list[int]:
    """The numbers of the entries of the links between two ends. Entries that also state others are taken apart."""
    first, _, second = word.partition(":")
    found: list[int] = []
    number = 0
    while number < len(entries):
        parts = _taken_apart(entries[number], first, second)
        if parts:
            entries[number : number + 1] = parts
            _multiply_place(place, number, len(parts))
            found.append(number)
        number += max(1, len(parts))
    if not found:
        stated = [f"{a}:{b}" for entry in entries for a in _ends(entry, "from") for b in _ends(entry, "to")]
        message = f"has no entry for links.{word}"
        guess = closest(word, [*stated, *(":".join(reversed(each.split(":"))) for each in stated)])
        raise NoSuchKey(message, hint=advice(word, stated) if guess is None else f"did you mean links.{guess}?")
    return found


def _taken_apart(entry: Any, first: str, second: str) -> list[Any]:  # noqa: ANN401 - what YAML may hold
    """The entry as several: that of the named links, then those of its others; empty if it has none of them."""
    for one, other in ((first, second), (second, first)):
        froms, tos = _ends(entry, "from"), _ends(entry, "to")
        a, b = ([name for name in names if fnmatchcase(name, word)] for names, word in ((froms, one), (tos, other)))
        if a and b:
            rest_a, rest_b = [name for name in froms if name not in a], [name for name in tos if name not in b]
            pieces = [(a, b), *([(a, rest_b)] if rest_b else []), *([(rest_a, tos)] if rest_a else [])]
            if len(pieces) == 1:
                return [entry]
            return [{**copy.deepcopy(entry), "from": starts, "to": ends} for starts, ends in pieces]
    return []


def _ends(entry: object, key: str) -> list[str]:
    value = entry.get(key) if isinstance(entry, dict) else None
    names = value if isinstance(value, list) else [value]
    return [name for name in names if isinstance(name, str)]


def _multiply_place(place: YamlPlace, number: int, count: int) -> None:
    """Let the places of a list follow an entry that became `count` entries."""
    inner = {
        (step + count - 1 if isinstance(step, int) and step > number else step): spot
        for step, spot in place.inner.items()
    }
    if number in inner:
        for further in range(1, count):
            inner[number + further] = copy.deepcopy(inner[number])
    place.inner = inner


def _is_pattern(word: str) -> bool:
    return "*" in word or "?" in word


def unshared(value: Any) -> Any:  # noqa: ANN401 - what YAML may hold
    """Return a copy in which no two places share a part, as aliases do."""
    if isinstance(value, dict):
        return {key: unshared(one) for key, one in value.items()}
    return [unshared(one) for one in value] if isinstance(value, list) else value


def unshared_place(place: YamlPlace) -> YamlPlace:
    """Return a copy of places in which no two share a part."""
    return replace(place, inner={step: unshared_place(inner) for step, inner in place.inner.items()})


def moved(place: YamlPlace, line: int) -> YamlPlace:
    """Return places that all have this line."""
    inner = {step: moved(each, line) for step, each in place.inner.items()}
    return YamlPlace(line, 1, line, 1, inner)
