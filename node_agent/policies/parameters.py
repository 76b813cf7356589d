"""The parameters of a policy: from a topology's values to the policy's own struct, with errors in plain words."""

import math
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, inspect

from node_agent.dtoee.thresholds import NEVER
from node_agent.errors import InputError
from node_agent.suggest import closest
from node_agent.wire import MOST_THRESHOLD

NEVER_WORD = "never"
_CONFIDENCE = {"confidence": True}
# The least confidence with which a task exits, from 0 to 1, or `never`. Numbers up to 2 also mean `never`, because
# recorded runs hold them; a topology or a command may not state them (`threshold_fault`).
Threshold = Annotated[float, Meta(ge=0, le=MOST_THRESHOLD, extra=_CONFIDENCE)]


def read_parameters(policy: str, given: Mapping[str, object], kind: type[msgspec.Struct]) -> msgspec.Struct:
    """The parameters `given` for `policy` as a struct of type `kind`, with defaults for the others.

    Raises:
        InputError: a parameter is unknown, or a value is out of range or of the wrong type.
    """
    known = {field.name: field.type for field in _fields(kind)}
    for key in given:
        if key not in known:
            guess = closest(key, known)
            has = f"it has {', '.join(known)}" if known else "it has none"
            hint = f"did you mean {guess}? ({has})" if guess is not None else has
            raise InputError(f"policy {policy} has no parameter {key!r}", hint=hint)
    stated = {key: _number_of(value, known[key]) for key, value in given.items()}
    try:
        # Not strict: a whole number is accepted for a float.
        return msgspec.convert(stated, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _refusal(policy, stated, kind, known, error) from error


def defaults_in_words(kind: type[msgspec.Struct]) -> dict[str, str]:
    """The default of each parameter as a user would write it; empty for a parameter without default."""

    def words(field: inspect.Field) -> str:
        if field.default is msgspec.NODEFAULT:
            return ""
        return NEVER_WORD if _is_confidence(field.type) and field.default == NEVER else _in_words(field.default)

    return {field.name: words(field) for field in _fields(kind)}


def threshold_fault(given: Mapping[str, object], kind: type[msgspec.Struct]) -> str | None:
    """The fault of a threshold outside 0..1, in words; None if there is none. `read_parameters` accepts up to 2."""
    for field in _fields(kind):
        value = given.get(field.name)
        if _is_confidence(field.type) and isinstance(value, int | float) and not 0 <= value <= 1:
            return f"the {field.name} {value:g} lies outside 0..1"
    return None


def _fields(kind: type[msgspec.Struct]) -> tuple[inspect.Field, ...]:
    found = inspect.type_info(kind)
    assert isinstance(found, inspect.StructType)
    return found.fields


def _is_confidence(kind: inspect.Type) -> bool:
    return isinstance(kind, inspect.Metadata) and kind.extra == _CONFIDENCE


def _number_of(value: object, kind: inspect.Type) -> object:
    return NEVER if _is_confidence(kind) and value == NEVER_WORD else value


def _refusal(
    policy: str,
    stated: Mapping[str, object],
    kind: type[msgspec.Struct],
    known: Mapping[str, inspect.Type],
    error: msgspec.ValidationError,
) -> InputError:
    """The error for the first invalid value, in plain words."""
    for key, value in stated.items():
        try:
            msgspec.convert({key: value}, kind, strict=False)
        except msgspec.ValidationError as fault:
            if f"`$.{key}`" in str(fault):  # not the fault of another parameter, which is missing in this conversion
                wanted = expectation(known[key])
                said = f"must be {wanted}" if wanted else f"cannot be used ({fault})"
                return InputError(f"policy {policy}: {key} {said}, not {_shown(value)}", hint=_hint(known[key]))
    return InputError(f"policy {policy}: {error}", hint=f"its parameters: {', '.join(known)}")


def _hint(kind: inspect.Type) -> str:
    return "a number from 0 to 1, or never" if _is_confidence(kind) else ""


def expectation(kind: inspect.Type) -> str:
    """The values that a type accepts, in words; empty for a type without words."""
    if isinstance(kind, inspect.Metadata):
        return "a confidence from 0 to 1, or never" if _is_confidence(kind) else expectation(kind.type)
    if isinstance(kind, inspect.BoolType):
        return "true or false"
    if isinstance(kind, inspect.LiteralType):
        return " or ".join(map(str, kind.values))
    if isinstance(kind, inspect.IntType | inspect.FloatType):
        what = "a whole number" if isinstance(kind, inspect.IntType) else "a number"
        return " ".join([what, *_bounds(kind)])
    return "text" if isinstance(kind, inspect.StrType) else ""


def _bounds(kind: inspect.IntType | inspect.FloatType) -> list[str]:
    low = f"from {kind.ge:g}" if kind.ge is not None else f"above {kind.gt:g}" if kind.gt is not None else ""
    open_ended = f"below {kind.lt:g}" if kind.lt is not None else ""
    high = f"{'up ' if low.startswith('above') else ''}to {kind.le:g}" if kind.le is not None else open_ended
    both = " and " if low.startswith("above") or high.startswith("below") else " "
    return [bound for bound in (both.join(filter(None, (low, high))),) if bound]


def _shown(value: Any) -> str:  # noqa: ANN401 - any value that was stated
    plain = isinstance(value, bool) or (isinstance(value, float) and math.isfinite(value))
    return _in_words(value) if plain else repr(value)[:60]


def _in_words(value: Any) -> str:  # noqa: ANN401 - a parameter's value
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)
