"""What nodes say to each other: message types, their encoding, and the checks that foreign bytes fail.

A message is one header frame (magic, version, MessagePack) and, for a task, one raw tensor frame whose type and
shape stand in the header. Nothing is ever unpickled. Times are emulated seconds since the start of the run; every
process on one machine shares CLOCK_MONOTONIC, so one-way times between nodes are exact.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from node_agent.errors import TestbedError

MAGIC = b"DTOE"
VERSION = 4
PREFIX = MAGIC + bytes([VERSION])
MAX_HEADER_BYTES = 64 * 1024
MAX_TENSOR_BYTES = 64 * 1024 * 1024

Name = Annotated[str, Meta(min_length=1, max_length=64)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
# Bounds that every honest figure keeps, and that NaN and infinity, which would spread from node to node, do not.
Finite = Annotated[float, Meta(ge=-1e300, le=1e300)]
Seconds = Finite
Attempt = Annotated[int, Meta(ge=1, le=1000)]
Probability = Annotated[float, Meta(ge=0.0, le=1.0)]
Rate = Annotated[float, Meta(ge=0.0, le=1e12)]
# What nodes compute with: far beyond anything honest, and near enough that no sum or product of them overflows.
Cost = Annotated[float, Meta(ge=0.0, le=1e12)]
LinkTime = Annotated[float, Meta(ge=-1e9, le=1e9)]
ServiceRate = Annotated[float, Meta(ge=1e-9, le=1e12)]
MOST_THRESHOLD = 2.0
# A threshold above 1 means "never exit here".
Threshold = Annotated[float, Meta(ge=0.0, le=MOST_THRESHOLD)]
# Thresholds of the stages a flow has passed (or will pass), nearest to the devices first, with the flow's share.
FlowPath = tuple[Rate, Annotated[tuple[Threshold, ...], Meta(max_length=16)]]
FlowPaths = Annotated[tuple[FlowPath, ...], Meta(max_length=512)]

_ITEM_BYTES = {"uint8": 1, "float16": 2, "float32": 4}


class WireError(TestbedError):
    """Bytes that are not a message of this protocol and version."""


class TensorForm(Struct, frozen=True, array_like=True):
    """Type and shape of the raw tensor frame that follows a header."""

    dtype: Literal["uint8", "float16", "float32"]
    shape: Annotated[tuple[Annotated[int, Meta(ge=1, le=2**26)], ...], Meta(max_length=8)]

    @property
    def byte_count(self) -> int:
        """Bytes of the tensor frame."""
        return _ITEM_BYTES[self.dtype] * math.prod(self.shape)


class Tensor(Struct, frozen=True):
    """A tensor in transit: its form and its bytes, which nobody on the way interprets."""

    form: TensorForm
    data: bytes | bytearray | memoryview


class Handover(Struct, frozen=True, array_like=True):
    """A task handed to a receiver, at `sent_s`; whether it is known to have `taken` it over."""

    receiver: Name
    sent_s: Seconds
    taken: bool = False


class Hop(Struct, frozen=True, array_like=True):
    """One server's handling of a task.

    `late_s` is by how much the service took longer than the stated capacity says because the machine that stands for
    the server was slow: real work that took longer, or a late timer. It is 0 under quota and in simulation.
    `failed`: the receivers to whom the server handed the task before, and who did not answer.
    """

    node: Name
    received_s: Seconds
    started_s: Seconds
    finished_s: Seconds
    sent_s: Seconds
    late_s: Annotated[float, Meta(ge=0.0, le=1e300)]
    failed: Annotated[tuple[Handover, ...], Meta(max_length=64)] = ()


class Task(Struct, frozen=True, tag="task"):
    """An inference task on its way to a receiver; a tensor frame follows.

    `sequence` numbers what its sender sends: of two messages about one task, an acknowledgement means one.
    """

    task_id: Count
    device: Name
    attempt: Attempt
    sequence: Count
    sent_s: Seconds
    hops: Annotated[tuple[Hop, ...], Meta(max_length=16)]
    tensor: TensorForm


class Ack(Struct, frozen=True, tag="ack"):
    """A receiver has taken a task over; `backlog` tasks, this one included, are now before or in service.

    Task and sequence are those of the message that it answers.
    """

    task_id: Count
    sequence: Count
    received_s: Seconds
    backlog: Count


class Result(Struct, frozen=True, tag="result"):
    """The outcome of a task, sent by the server where it left to the device that owns it."""

    task_id: Count
    attempt: Attempt
    prediction: Count
    confidence: Probability
    exit_stage: Annotated[int, Meta(ge=1, le=64)]
    forced: bool  # left here because no receiver was reachable, not because it was confident
    hops: Annotated[tuple[Hop, ...], Meta(max_length=16)]


class Probe(Struct, frozen=True, tag="probe"):
    """A measurement of a link: a tensor frame of the size to be measured follows."""

    sequence: Count
    tensor: TensorForm


class ProbeAck(Struct, frozen=True, tag="probe-ack"):
    """The answer to a probe: when it arrived, and (no tensor needed) how long the way back takes."""

    sequence: Count
    received_s: Seconds


class Offer(Struct, frozen=True, tag="offer"):
    """Forward sweep of a round: the flow an offloader plans to send to this receiver.

    `paths` splits the flow [task/s] by the thresholds it has survived, which fixes how hard the surviving tasks are.
    `done`: every device upstream needs no further round. `last`: no further offer comes in this slot. `return_s`: a
    device's: how long a result from this receiver takes to it; None where that has not been measured.
    """

    slot: Count
    round: Count
    flow_per_s: Rate
    paths: FlowPaths
    sent_s: Seconds
    done: bool
    last: bool
    return_s: Cost | None = None


class Report(Struct, frozen=True, tag="report"):
    """Backward sweep of a round: what one more task per second at this receiver would cost (DTO-R), and its state.

    Costs are seconds of total delay per task: `marginal_s` of taking a task on (Omega), `best_s` the same if all
    downstream rows were ideal (m), `local_s` the server's own share (D' and penalty), `onward_s` that of a task which
    continues (B), `curvature_s2` a bound on the second derivative (R, s^2/task). `onward_delay_s` is no marginal but
    the mean time that a task, or the result of one that exits here, still needs after this server. `onward_paths`
    gives the thresholds that a task finds from here on, this server's own first, with their probabilities.
    `offloaders` is how many announced a flow in this round: all of them may move at once. `return_s` is the mean time
    of a result from here to its device; all costs and delays above count it for the tasks that exit here.

    Three figures travel under other names, which version 4 of the protocol has: `field(name=...)`.
    """

    slot: Count
    round: Count
    marginal_s: Cost
    best_s: Cost
    local_s: Cost
    onward_s: Cost
    onward_delay_s: Cost
    curvature_s2: Cost
    offloaders: Count
    arrival_per_s: Rate = msgspec.field(name="arrival_rate_per_s")
    service_per_s: ServiceRate = msgspec.field(name="service_rate_per_s")
    variability: Cost  # squared coefficient of variation of the service time
    threshold: Threshold
    remaining_ratio: Probability
    backlog: Count
    onward_paths: FlowPaths
    offer_s: LinkTime = msgspec.field(name="link_s")  # one-way time of the offer this answers: a small message's
    done: bool
    return_s: Cost = 0.0
    sent_s: Seconds = 0.0


class Status(Struct, frozen=True, tag="status"):
    """Between rounds, for policies that choose by the state of queues: tasks before or in service at a receiver."""

    backlog: Count


class State(Struct, frozen=True, tag="state"):
    """What a node tells the coordinator of a central policy once a slot: its own rate, and its links as measured.

    `rate_per_s` is a device's arrival rate or a server's service rate; `link_s` the transfer time by receiver; `back_s`
    a device's: the time of a result by receiver; `return_s` a server's: the mean time of a result to its device.
    """

    slot: Count
    rate_per_s: Rate
    variability: Cost
    link_s: Annotated[dict[Name, Cost], Meta(max_length=4096)]
    back_s: Annotated[dict[Name, Cost], Meta(max_length=4096)] = msgspec.field(default_factory=dict)
    return_s: Cost = 0.0


class Assignment(Struct, frozen=True, tag="assignment"):
    """What the coordinator tells a node to do from now on."""

    slot: Count
    shares: Annotated[dict[Name, Probability], Meta(max_length=4096)]
    threshold: Threshold | None


Message = Task | Ack | Result | Probe | ProbeAck | Offer | Report | Status | State | Assignment

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def as_sent(message: Message, now_s: float) -> Message:
    """The message with the time at which it goes, where it tells one; its sender handled it as of a moment ago.

    Whoever sends a task or a result on has added the last of its hops.
    """
    match message:
        case Offer() | Report() | Task(hops=()):
            return replace(message, sent_s=now_s)
        case Task(hops=(*before, last)):
            return replace(message, sent_s=now_s, hops=(*before, replace(last, sent_s=now_s)))
        case Result(hops=(*before, last)):
            return replace(message, hops=(*before, replace(last, sent_s=now_s)))
        case _:
            return message


def encode(message: Message, tensor: Tensor | None = None) -> list[bytes | bytearray | memoryview]:
    """Frames of a message, the tensor's bytes uncopied.

    The encoding of a `Task` or `Probe` names its tensor's form already, so the two must agree.
    """
    header = PREFIX + _encoder.encode(message)
    return [header] if tensor is None else [header, tensor.data]


def decode(frames: Sequence[bytes | bytearray | memoryview]) -> tuple[Message, Tensor | None]:
    """The message in `frames`, and its tensor if it has one.

    Raises:
        WireError: not this protocol, another version, malformed, out of bounds, or tensor bytes that do not fit.
    """
    if not frames or len(frames) > 2:
        raise WireError(f"{len(frames)} frames where a message has one or two")
    header = bytes(frames[0])
    if len(header) > MAX_HEADER_BYTES:
        raise WireError(f"a header of {len(header)} bytes, above the limit of {MAX_HEADER_BYTES}")
    if header[: len(MAGIC)] != MAGIC:
        raise WireError("bytes of another protocol")
    if header[: len(PREFIX)] != PREFIX:
        raise WireError(f"protocol version {header[len(MAGIC):len(PREFIX)].hex() or 'missing'}, not {VERSION}")
    try:
        message = _decoder.decode(memoryview(header)[len(PREFIX) :])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"malformed message: {error}") from error
    if isinstance(message, (Task, Probe)):
        return message, _tensor(message.tensor, frames)
    if len(frames) != 1:
        raise WireError("a tensor frame behind a message that has none")
    return message, None


def _tensor(form: TensorForm, frames: Sequence[bytes | bytearray | memoryview]) -> Tensor:
    if len(frames) != 2:
        raise WireError("a task without its tensor frame")
    if form.byte_count > MAX_TENSOR_BYTES:
        raise WireError(f"a tensor of {form.byte_count} bytes, above the limit of {MAX_TENSOR_BYTES}")
    found = memoryview(frames[1]).nbytes
    if found != form.byte_count:
        raise WireError(f"{found} tensor bytes where {form.dtype}{list(form.shape)} has {form.byte_count}")
    return Tensor(form, frames[1])
