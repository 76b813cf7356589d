"""The values of topology.yaml: readers, error messages and JSON Schemas of names, quantities, instants and paths."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from node_agent.errors import InputError
from testbed import units
from testbed.trace.link_reading import whole_step_s
from testbed.units import Dimension, QuantityError, Span

MAX_COUNT = 5000
MAX_NAME_CHARACTERS = 32
MAX_POLICY_CHARACTERS = 512
MAX_PATH_CHARACTERS = 512
NAME_PATTERN = rf"^[a-z][a-z0-9-]{{0,{MAX_NAME_CHARACTERS - 1}}}$"


def complaint(message: str, hint: str = "") -> PydanticCustomError:
    """Return a validation error that carries its hint; braces in both texts are kept as they are."""
    return PydanticCustomError("topology", "{message}", {"message": message, "hint": hint})


@dataclass(frozen=True, slots=True)
class Instant:
    """A point in time: seconds since the run's start, or (`relative`) a share (0..1) of its duration."""

    value: float
    relative: bool

    def seconds(self, duration_s: float) -> float:
        """Return the instant in seconds since the run's start."""
        return self.value * duration_s if self.relative else self.value


@dataclass(frozen=True, slots=True)
class Change:
    """The new value of a quantity: absolute (base unit), or (`relative`) a factor on the topology's value."""

    value: float
    relative: bool

    def applied_to(self, base: float) -> float:
        """Return the new value, given the value `base` that the topology states."""
        return self.value * base if self.relative else self.value


def _read_span(dimension: Dimension) -> PlainValidator:
    def read(value: object) -> Span:
        try:
            return units.parse_span(value, dimension)
        except QuantityError as error:
            raise complaint(str(error), error.hint) from None

    return PlainValidator(read)


def _read_quantity(dimension: Dimension) -> PlainValidator:
    def read(value: object) -> float:
        try:
            return units.parse_quantity(value, dimension)
        except QuantityError as error:
            raise complaint(str(error), error.hint) from None

    return PlainValidator(read)


def _read_change(dimension: Dimension) -> PlainValidator:
    def read(value: object) -> Change:
        try:
            if units.is_factor(value):
                return Change(units.parse_factor(str(value)), relative=True)
            return Change(units.parse_quantity(value, dimension), relative=False)
        except QuantityError as error:
            raise complaint(str(error), error.hint) from None

    return PlainValidator(read)


def _read_instant(value: object) -> Instant:
    try:
        if isinstance(value, str) and value.strip().endswith("%"):
            return Instant(units.parse_quantity(value, units.SHARE), relative=True)
        return Instant(units.parse_quantity(value, units.TIME), relative=False)
    except QuantityError as error:
        raise complaint(str(error), error.hint) from None


def _read_parameter(value: object) -> float | int | bool | str:
    try:
        return units.parse_parameter(value)
    except QuantityError as error:
        raise complaint(str(error), error.hint) from None


def _read_step(value: object) -> float:
    try:
        return whole_step_s(units.parse_quantity(value, units.PERIOD))
    except InputError as error:
        raise complaint(str(error), error.hint) from None


def _check_name(value: object) -> str:
    if isinstance(value, str) and 0 < len(value) <= MAX_NAME_CHARACTERS:
        rest = value.replace("-", "0")
        if rest.isascii() and rest.isalnum() and rest == rest.lower() and rest[0].isalpha():
            return value
    raise complaint(
        f"{str(value)[:40]!r} is not a name",
        f"begin with a-z, go on with a-z, 0-9 or -, and use at most {MAX_NAME_CHARACTERS} characters",
    )


def _check_stage(value: object) -> object:
    if value != 1 or isinstance(value, bool):
        raise complaint(f"a device can run stage 1 only, not {str(value)[:40]!r}", "write runs: 1")
    return value


def _check_path(value: str) -> str:
    # A null byte ends a path for the kernel; other control characters would garble the terminal that shows an error.
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise complaint("control characters are not allowed", "write plain text, without escapes")
    return value


def _span_schema(dimension: Dimension) -> dict[str, object]:
    return {
        "type": "string",
        "pattern": units.quantity_pattern(dimension),
        "examples": [dimension.example],
    }


def _quantity_schema(dimension: Dimension) -> dict[str, object]:
    return {
        "type": "string",
        "pattern": units.quantity_pattern(dimension, spans=False),
        "examples": [dimension.example],
    }


def _change_schema(dimension: Dimension) -> dict[str, object]:
    factor = {"type": "string", "pattern": r"^\s*[x×]\s*[0-9.]+([eE][+-]?[0-9]+)?\s*$", "examples": ["x0.5"]}
    return {"anyOf": [_quantity_schema(dimension), factor]}


_NAME_SCHEMA = {"type": "string", "pattern": NAME_PATTERN}
_INSTANT_SCHEMA = {
    "type": "string",
    "pattern": f"{units.quantity_pattern(units.TIME, spans=False)}|{units.quantity_pattern(units.SHARE, spans=False)}",
    "examples": ["30 s", "50 %"],
}
_PARAMETER_SCHEMA = {"type": ["number", "boolean", "string"]}

# The dimension stands among the notes of a quantity, for those that read a default back into text (`overrides`).
Name = Annotated[str, PlainValidator(_check_name), WithJsonSchema(_NAME_SCHEMA)]
TimeSpan = Annotated[Span, _read_span(units.TIME), WithJsonSchema(_span_schema(units.TIME)), units.TIME]
BitRateSpan = Annotated[Span, _read_span(units.BIT_RATE), WithJsonSchema(_span_schema(units.BIT_RATE)), units.BIT_RATE]
ShareSpan = Annotated[Span, _read_span(units.SHARE), WithJsonSchema(_span_schema(units.SHARE)), units.SHARE]
TaskRateSpan = Annotated[
    Span, _read_span(units.TASK_RATE), WithJsonSchema(_span_schema(units.TASK_RATE)), units.TASK_RATE
]
ComputeSpan = Annotated[
    Span, _read_span(units.COMPUTE_RATE), WithJsonSchema(_span_schema(units.COMPUTE_RATE)), units.COMPUTE_RATE
]
Memory = Annotated[float, _read_quantity(units.MEMORY), WithJsonSchema(_quantity_schema(units.MEMORY)), units.MEMORY]
Period = Annotated[float, _read_quantity(units.PERIOD), WithJsonSchema(_quantity_schema(units.PERIOD)), units.PERIOD]
Step = Annotated[float, PlainValidator(_read_step), WithJsonSchema(_quantity_schema(units.PERIOD)), units.PERIOD]
Battery = Annotated[Span, _read_span(units.ENERGY), WithJsonSchema(_span_schema(units.ENERGY)), units.ENERGY]
EnergyPrice = Annotated[
    float, _read_quantity(units.ENERGY_PRICE), WithJsonSchema(_quantity_schema(units.ENERGY_PRICE)), units.ENERGY_PRICE
]
Worth = Annotated[float, _read_quantity(units.TIME), WithJsonSchema(_quantity_schema(units.TIME)), units.TIME]
At = Annotated[Instant, PlainValidator(_read_instant), WithJsonSchema(_INSTANT_SCHEMA)]
Parameter = Annotated[float | int | bool | str, PlainValidator(_read_parameter), WithJsonSchema(_PARAMETER_SCHEMA)]
TimeChange = Annotated[Change, _read_change(units.TIME), WithJsonSchema(_change_schema(units.TIME))]
BitRateChange = Annotated[Change, _read_change(units.BIT_RATE), WithJsonSchema(_change_schema(units.BIT_RATE))]
ShareChange = Annotated[Change, _read_change(units.SHARE), WithJsonSchema(_change_schema(units.SHARE))]
TaskRateChange = Annotated[Change, _read_change(units.TASK_RATE), WithJsonSchema(_change_schema(units.TASK_RATE))]
ComputeChange = Annotated[Change, _read_change(units.COMPUTE_RATE), WithJsonSchema(_change_schema(units.COMPUTE_RATE))]


def _stated(value: object) -> object:
    """Refuse a key without a value: an optional key is left out, not left empty."""
    if value is None:
        raise complaint("the value is missing", "state a value, or remove the key")
    return value


STATED = BeforeValidator(_stated)


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


NameList = Annotated[list[Name], Field(min_length=1)]
Ends = Annotated[
    NameList,
    BeforeValidator(_as_list),
    WithJsonSchema({"anyOf": [_NAME_SCHEMA, {"type": "array", "items": _NAME_SCHEMA, "minItems": 1}]}),
]
Count = Annotated[
    int,
    Field(
        ge=1,
        le=MAX_COUNT,
        description="size of the group NAME-1 to NAME-count (default: one node named NAME, no group)",
    ),
]
FirstStage = Annotated[int, BeforeValidator(_check_stage), WithJsonSchema({"enum": [1]})]
SafeText = AfterValidator(_check_path)


class Entry(BaseModel):
    """The base of every topology entry: no unknown keys, no coercion, no change after reading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
