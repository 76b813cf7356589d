"""The way of a key through the form of a topology: fields of entries, names of a mapping, entries of a list.

Types and defaults come from the form's own classes, so that a key of the form is a key of overrides.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, Discriminator, Tag
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from testbed.topology.form.entries import TopologyDocument
from testbed.topology.form.values import Instant
from testbed.units import Dimension, Span


@dataclass(frozen=True, slots=True)
class Form:
    """The form of a value: its type, and what the annotations around the type say."""

    type: Any  # a class, or a union of classes
    notes: tuple[object, ...] = ()
    default: object = None  # in base units, None without one

    @property
    def entry(self) -> type[BaseModel] | None:
        """The class if the value is an entry, a mapping with known keys."""
        return self.type if isinstance(self.type, type) and issubclass(self.type, BaseModel) else None

    @property
    def of_mapping(self) -> "Form | None":
        """The form of the values if the value is a mapping with names as keys."""
        return form_of(get_args(self.type)[1]) if get_origin(self.type) is dict else None

    @property
    def of_list(self) -> "Form | None":
        """The form of the entries if the value is a list."""
        return form_of(get_args(self.type)[0]) if get_origin(self.type) is list else None

    @property
    def single(self) -> bool:
        """True if the value has no parts that a key could name."""
        several = any(isinstance(note, Discriminator) for note in self.notes)
        return not several and self.entry is None and self.of_mapping is None and self.of_list is None

    def fields(self) -> dict[str, "Form"]:
        """The forms of an entry's fields, by the key that a file states."""
        assert self.entry is not None
        return {info.alias or name: _of_field(info) for name, info in self.entry.model_fields.items()}

    def chosen_for(self, value: object) -> "Form":
        """The form that this value means, if there are several (links, events, traces); else this form."""
        kinds = [note for note in self.notes if isinstance(note, Discriminator)]
        if not kinds:
            return self
        read = kinds[0].discriminator
        tag = read(value) if callable(read) else None
        for option in map(form_of, get_args(self.type)):
            if any(isinstance(note, Tag) and note.tag == tag for note in option.notes):
                return option.chosen_for(value)
        return self

    def opened(self, value: object) -> object:
        """Return the mapping for which a text stands, such as `policy: ngto`; any other value as it is."""
        if not isinstance(value, str) or self.entry is None:
            return value
        for note in self.notes:
            if isinstance(note, BeforeValidator):
                read: Callable[[object], object] = note.func  # type: ignore[assignment]  # ours take the value alone
                try:
                    opened = read(value)
                except PydanticCustomError:  # the form reports it
                    continue
                if isinstance(opened, Mapping):
                    return dict(opened)
        return value

    def default_value(self) -> object:
        """Return the default as a file would state it, `2.0 s`; None if there is none, or it is no quantity."""
        value = self.default
        if isinstance(value, Instant):
            return f"{value.value * 100:g} %" if value.relative else f"{value.value!r} s"
        if isinstance(value, Span):
            value = value.low if value.low == value.high else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        dimension = next((note for note in self.notes if isinstance(note, Dimension)), None)
        if dimension is None:
            return value
        unit, size = next(((unit, size) for unit, size in dimension.units.items() if size == 1.0), ("%", 0.01))
        return f"{value / size!r} {unit}"


def form_of(annotation: Any, notes: tuple[object, ...] = (), default: object = None) -> Form:  # noqa: ANN401 - a type
    """Return the form that an annotation describes; an optional one is that of its value."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation, *more = get_args(annotation)
            notes = (*notes, *more)
        elif origin in (Union, UnionType) and type(None) in get_args(annotation):
            rest = [each for each in get_args(annotation) if each is not type(None)]
            annotation = rest[0] if len(rest) == 1 else Union[tuple(rest)]  # noqa: UP007 - made while running
        else:
            return Form(annotation, notes, default)


def whole_form() -> Form:
    """The form of a whole topology."""
    return Form(TopologyDocument)


def _of_field(info: FieldInfo) -> Form:
    default = None if info.is_required() else info.get_default(call_default_factory=True)
    return form_of(info.annotation, tuple(info.metadata), default)
