"""The form of topology.yaml: one pydantic model per entry; what an entry refers to is checked in `compiler`.

Unknown keys are errors everywhere, and nothing is coerced: `count: "6"` is refused.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from node_agent.errors import InputError
from testbed import units
from testbed.scenario import ArrivalProcess, ComputeMode
from testbed.units import Dimension, QuantityError, Span

MAX_COUNT = 5000
MAX_NAME_CHARACTERS = 32
MAX_POLICY_CHARACTERS = 512
NAME_PATTERN = rf"^[a-z][a-z0-9-]{{0,{MAX_NAME_CHARACTERS - 1}}}$"


def complaint(message: str, hint: str = "") -> PydanticCustomError:
    """A validation error that carries its hint; braces in the texts are kept as they are."""
    return PydanticCustomError("topology", "{message}", {"message": message, "hint": hint})


@dataclass(frozen=True, slots=True)
class Instant:
    """A point in time: seconds, or (`relative`) a share of the run's duration."""

    value: float
    relative: bool

    def seconds(self, duration_s: float) -> float:
        """The instant in seconds since the run's start."""
        return self.value * duration_s if self.relative else self.value


@dataclass(frozen=True, slots=True)
class Change:
    """The new value of a quantity: absolute (base unit), or (`relative`) a factor on the topology's value."""

    value: float
    relative: bool

    def applied_to(self, base: float) -> float:
        """The new value, given the value that the topology states."""
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


def _check_name(value: object) -> str:
    if isinstance(value, str) and 0 < len(value) <= MAX_NAME_CHARACTERS:
        rest = value.replace("-", "0")
        if rest.isascii() and rest.isalnum() and rest == rest.lower() and rest[0].isalpha():
            return value
    raise complaint(
        f"{str(value)[:40]!r} is not a name",
        f"a name begins with a-z, goes on with a-z, 0-9 and -, and has at most {MAX_NAME_CHARACTERS} characters",
    )


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

Name = Annotated[str, PlainValidator(_check_name), WithJsonSchema(_NAME_SCHEMA)]
TimeSpan = Annotated[Span, _read_span(units.TIME), WithJsonSchema(_span_schema(units.TIME))]
BitRateSpan = Annotated[Span, _read_span(units.BIT_RATE), WithJsonSchema(_span_schema(units.BIT_RATE))]
ShareSpan = Annotated[Span, _read_span(units.SHARE), WithJsonSchema(_span_schema(units.SHARE))]
TaskRateSpan = Annotated[Span, _read_span(units.TASK_RATE), WithJsonSchema(_span_schema(units.TASK_RATE))]
ComputeSpan = Annotated[Span, _read_span(units.COMPUTE_RATE), WithJsonSchema(_span_schema(units.COMPUTE_RATE))]
Memory = Annotated[float, _read_quantity(units.MEMORY), WithJsonSchema(_quantity_schema(units.MEMORY))]
Period = Annotated[float, _read_quantity(units.PERIOD), WithJsonSchema(_quantity_schema(units.PERIOD))]
Worth = Annotated[float, _read_quantity(units.TIME), WithJsonSchema(_quantity_schema(units.TIME))]
At = Annotated[Instant, PlainValidator(_read_instant), WithJsonSchema(_INSTANT_SCHEMA)]
Parameter = Annotated[float | int | bool | str, PlainValidator(_read_parameter), WithJsonSchema(_PARAMETER_SCHEMA)]
TimeChange = Annotated[Change, _read_change(units.TIME), WithJsonSchema(_change_schema(units.TIME))]
BitRateChange = Annotated[Change, _read_change(units.BIT_RATE), WithJsonSchema(_change_schema(units.BIT_RATE))]
ShareChange = Annotated[Change, _read_change(units.SHARE), WithJsonSchema(_change_schema(units.SHARE))]
TaskRateChange = Annotated[Change, _read_change(units.TASK_RATE), WithJsonSchema(_change_schema(units.TASK_RATE))]
ComputeChange = Annotated[Change, _read_change(units.COMPUTE_RATE), WithJsonSchema(_change_schema(units.COMPUTE_RATE))]


def _stated(value: object) -> object:
    """Refuse a key without a value: leaving it out is the one way to say nothing."""
    if value is None:
        raise complaint("it is empty", "state a value, or remove the key")
    return value


STATED = BeforeValidator(_stated)


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _as_policy(value: object) -> object:
    if not isinstance(value, str):
        return value
    from node_agent.policies import parse_policy  # noqa: PLC0415 - loads numpy

    try:
        name, parameters = parse_policy(value)
    except InputError as error:
        raise complaint(str(error), error.hint) from None
    return {"name": name, "parameters": parameters}


NameList = Annotated[list[Name], Field(min_length=1)]
Ends = Annotated[
    NameList,
    BeforeValidator(_as_list),
    WithJsonSchema({"anyOf": [_NAME_SCHEMA, {"type": "array", "items": _NAME_SCHEMA, "minItems": 1}]}),
]
Count = Annotated[int, Field(ge=1, le=MAX_COUNT, description="makes NAME-1 .. NAME-count instead of NAME")]

QueueLength = Annotated[int, Field(ge=1, le=1_000_000, description="frames that may wait for transmission")]


class Entry(BaseModel):
    """What every entry of a topology shares: no unknown keys, no coercion, no change after reading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ModelEntry(Entry):
    """Which early-exit model runs, and after which of its blocks it is cut into sub-models."""

    name: Annotated[str, Field(min_length=1, max_length=64, description="as `model list` shows it")]
    cut: Annotated[
        list[Annotated[int, Field(ge=1)]],
        Field(min_length=1, max_length=64, description="last block of each sub-model, rising; one per stage"),
    ]
    activation: Annotated[Literal["float32", "float16"], Field(description="how activations travel between stages")] = (
        "float32"
    )


class PolicyEntry(Entry):
    """Which offloading policy decides, with its parameters."""

    name: Annotated[
        str,
        Field(min_length=1, max_length=MAX_POLICY_CHARACTERS, description="a name, or file.py:Class from this folder"),
    ]
    parameters: Annotated[
        dict[str, Parameter], Field(description="numbers, true or false, words, or quantities such as 2 s")
    ] = Field(default_factory=dict)


class DeviceEntry(Entry):
    """End devices: each offers tasks at its own mean rate."""

    count: Annotated[Count | None, STATED] = None
    rate: Annotated[TaskRateSpan, Field(description="mean task rate of one device; a range is drawn per device")]


class ServerEntry(Entry):
    """Edge servers that host the sub-model of their stage; stage 1 is nearest to the devices."""

    count: Annotated[Count | None, STATED] = None
    stage: Annotated[int, Field(ge=1, le=64, description="which sub-model it hosts, from 1")]
    capacity: Annotated[ComputeSpan, Field(description="compute capacity of one server; a range is drawn per server")]
    memory: Annotated[Memory | None, STATED, Field(description="memory limit of one server")] = None


class LinkEntry(Entry):
    """Links between every pair of the two ends, the same in both directions; ranges are drawn per link."""

    from_: Annotated[Ends, Field(alias="from", description="a node, a switch, a group, or a list of them")]
    to: Annotated[Ends, Field(description="a node, a switch, a group, or a list of them")]
    rate: Annotated[BitRateSpan, Field(description="what it carries each way")]
    delay: Annotated[TimeSpan, Field(description="one way, without queueing and transmission")]
    jitter: Annotated[TimeSpan, Field(description="standard deviation of the delay")] = Span(0.0, 0.0)
    loss: Annotated[ShareSpan, Field(description="share of frames dropped, below 100 %")] = Span(0.0, 0.0)
    queue: QueueLength = 1000


class ServerEvent(Entry):
    """At `at` the capacity of a server (or of every server of a group) changes."""

    at: Annotated[At, Field(description="time since the start, or % of the duration")]
    server: Name
    capacity: Annotated[ComputeChange, Field(description="absolute, or x0.33 of what the topology states")]


class DeviceEvent(Entry):
    """From `at` on, a device (or every device of a group) offers tasks at another mean rate.

    The generated workload follows it; a trace that is given stays as it is.
    """

    at: Annotated[At, Field(description="time since the start, or % of the duration")]
    device: Name
    rate: Annotated[TaskRateChange, Field(description="absolute, or x2 of what the topology states")]


class LinkEvent(Entry):
    """At `at` a link changes; what is not stated stays as it was just before."""

    at: Annotated[At, Field(description="time since the start, or % of the duration")]
    link: Annotated[list[Name], Field(min_length=2, max_length=2, description="its two ends, nodes or groups")]
    rate: Annotated[BitRateChange | None, STATED] = None
    delay: Annotated[TimeChange | None, STATED] = None
    jitter: Annotated[TimeChange | None, STATED] = None
    loss: Annotated[ShareChange | None, STATED] = None
    queue: Annotated[QueueLength | None, STATED] = None

    @model_validator(mode="after")
    def _changes_something(self) -> "LinkEvent":
        if self.model_fields_set <= {"at", "link"}:
            raise complaint("a link event states nothing that changes", "add rate, delay, jitter, loss or queue")
        return self


class NodeEvent(Entry):
    """At `at` a node's agent is killed (`down`) or started anew (`up`)."""

    at: Annotated[At, Field(description="time since the start, or % of the duration")]
    node: Name
    state: Literal["up", "down"]


def event_kind(value: Any) -> str | None:  # noqa: ANN401 - pydantic hands in the raw value
    """Tag of the event form that a raw entry means, told by its subject; None if it has none or several.

    The tags are in parentheses so that they cannot be mistaken for keys in an error's location.
    """
    if isinstance(value, BaseModel):
        return f"({type(value).__name__})"
    kinds = {"device": "(DeviceEvent)", "server": "(ServerEvent)", "link": "(LinkEvent)", "node": "(NodeEvent)"}
    stated = [kind for key, kind in kinds.items() if isinstance(value, dict) and key in value]
    return stated[0] if len(stated) == 1 else None


EventEntry = Annotated[
    Annotated[DeviceEvent, Tag("(DeviceEvent)")]
    | Annotated[ServerEvent, Tag("(ServerEvent)")]
    | Annotated[LinkEvent, Tag("(LinkEvent)")]
    | Annotated[NodeEvent, Tag("(NodeEvent)")],
    Discriminator(
        event_kind,
        custom_error_type="topology",
        custom_error_message="an event is about exactly one of device, server, link and node",
        custom_error_context={"hint": "for example {at: 50 %, server: near-1, capacity: x0.5}"},
    ),
]


class TopologyDocument(Entry):
    """An experiment: model, policy, nodes, the network between them, and what happens to it."""

    name: Annotated[Name, Field(description="names the run directory")]
    model: ModelEntry
    policy: Annotated[PolicyEntry, BeforeValidator(_as_policy)]
    theta: Annotated[Worth, Field(description="mean delay that 100 points of accuracy are worth (default 2 s)")] = 2.0
    slot: Annotated[Period, Field(description="time between two decisions of the policy (default 5 s)")] = 5.0
    duration: Annotated[Period, Field(description="how long tasks arrive (default 60 s)")] = 60.0
    warm_up: Annotated[At, Field(description="tasks made before this count in no figure (default 10 %)")] = Instant(
        0.1, relative=True
    )
    seed: Annotated[int, Field(ge=0, le=2**63 - 1, description="draws every range and the workload")] = 1
    time_scale: Annotated[
        float, Field(ge=0.01, le=1000, description="2 runs everything at half speed; results keep emulated time")
    ] = 1.0
    compute: Annotated[ComputeMode, Field(description="paced: timed by work / capacity; quota: cgroup limit")] = "paced"
    arrivals: Annotated[ArrivalProcess, Field(description="process of the generated workload")] = "poisson"
    devices: Annotated[dict[Name, DeviceEntry], Field(min_length=1)]
    servers: Annotated[dict[Name, ServerEntry], Field(min_length=1)]
    switches: list[Name] = Field(default_factory=list)
    links: Annotated[list[LinkEntry], Field(min_length=1)]
    offload: Annotated[
        dict[Name, NameList],
        Field(description="who may offload to whom; by default every server of the next stage that is joined"),
    ] = Field(default_factory=dict)
    events: list[EventEntry] = Field(default_factory=list)
