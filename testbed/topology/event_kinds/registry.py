"""The registry of timed events: finds all kinds in this package, and the kind of each entry of topology.yaml."""

import pkgutil
from collections.abc import Iterator
from functools import reduce
from importlib import import_module
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Discriminator, Tag

from testbed.topology import event_kinds
from testbed.topology.event_kinds.kind import SUBJECTS, TimedEntry


def _found() -> Iterator[type[TimedEntry]]:
    for module in pkgutil.iter_modules(event_kinds.__path__, f"{event_kinds.__name__}."):
        for value in vars(import_module(module.name)).values():
            if isinstance(value, type) and issubclass(value, TimedEntry) and value.__module__ == module.name:
                yield value


def _place(kind: type[TimedEntry]) -> tuple[int, str, int, str]:
    """Sort key: kinds by subject, and within a subject the plain kind first."""
    place = SUBJECTS.index(kind.subject) if kind.subject in SUBJECTS else len(SUBJECTS)
    return place, kind.subject, len(kind.marks), kind.__name__


KINDS: tuple[type[TimedEntry], ...] = tuple(sorted((kind for kind in _found() if kind is not TimedEntry), key=_place))


def kind_of(entry: object) -> type[TimedEntry] | None:
    """Return the kind of a raw entry: of its subject, the kind of which the entry states the most marks.

    None unless the entry names exactly one subject.
    """
    if not isinstance(entry, dict):
        return None
    about = [kind for kind in KINDS if kind.subject in entry]
    if len({kind.subject for kind in about}) != 1:
        return None
    stated = (kind for kind in about if kind.marks <= entry.keys())
    return max(stated, key=lambda kind: len(kind.marks), default=about[0])


def _tag(kind: type[BaseModel]) -> str:
    """Return the kind's tag: in parentheses, so that it cannot be mistaken for a key in an error's location."""
    return f"({kind.__name__})"


def _tag_of(entry: Any) -> str | None:  # noqa: ANN401 - pydantic hands in the raw value
    kind = type(entry) if isinstance(entry, BaseModel) else kind_of(entry)
    return None if kind is None else _tag(kind)


if TYPE_CHECKING:
    AnyTimedEntry = TimedEntry
else:
    *_others, _last = dict.fromkeys(kind.subject for kind in KINDS)
    AnyTimedEntry = Annotated[
        reduce(or_, (Annotated[kind, Tag(_tag(kind))] for kind in KINDS)),
        Discriminator(
            _tag_of,
            custom_error_type="topology",
            custom_error_message=f"an event is about exactly one of {', '.join(_others)} and {_last}",
            custom_error_context={"hint": "for example {at: 50 %, server: near-1, capacity: x0.5}"},
        ),
    ]
