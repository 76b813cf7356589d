"""The messages between nodes: their types, their encoding, and the checks that reject foreign bytes.

A message is one header frame (magic, version, MessagePack). A `Task` or a `Probe` has a second frame: the raw bytes of
a tensor, whose type and shape are in the header. Nothing is ever unpickled.

Times are emulated seconds since the start of the run. All processes of one machine share CLOCK_MONOTONIC, so one-way
times between nodes are exact.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import replace

from node_agent.errors import TestbedError

MAGIC = b"DTOE"
VERSION = 7
PREFIX = MAGIC + bytes([VERSION])
MAX_HEADER_BYTES = 64 * 1024
MAX_TENSOR_BYTES = 64 * 1024 * 1024

Name = Annotated[str, Meta(min_length=1, max_length=64)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
# Bounds that every honest figure keeps. They exclude NaN and infinity, which would spread from node to node.
Finite = Annotated[float, Meta(ge=-1e300, le=1e300)]
Seconds = Finite
Attempt = Annotated[int, Meta(ge=1, le=1000)]
Probability = Annotated[float, Meta(ge=0.0, le=1.0)]
Rate = Annotated[float, Meta(ge=0.0, le=1e12)]
# Bounds for the figures that nodes compute with: beyond any honest figure, yet no sum or product of them overflows.
Cost = Annotated[float, Meta(ge=0.0, le=1e12)]
LinkTime = Annotated[float, Meta(ge=-1e9, le=1e9)]
ServiceRate = Annotated[float, Meta(ge=1e-9, le=1e12)]
MOST_THRESHOLD = 2.0
# A threshold above 1 means "never exit here".
Threshold = Annotated[float, Meta(ge=0.0, le=MOST_THRESHOLD)]
# A flow, or a share of one, with the thresholds of the stages that it has passed or will pass, the lowest stage first.
FlowPath = tuple[Rate, Annotated[tuple[Threshold, ...], Meta(max_length=16)]]
FlowPaths = Annotated[tuple[FlowPath, ...], Meta(max_length=512)]

# ZeroMQ's prefix of short frames, and of longer ones [B]
SHORT_FRAME_BYTES, SHORT_PREFIX_BYTES, LONG_PREFIX_BYTES = 255, 2, 9

_ITEM_BYTES = {"uint8": 1, "int8": 1, "uint16": 2, "float16": 2, "float32": 4}


class WireError(TestbedError):
    """Raised for bytes that are not a message of this protocol and version."""


class Affine(Struct, frozen=True, array_like=True):
    """The numbers that whole numbers q stand for: scale (q - zero_point)."""

    scale: Annotated[float, Meta(ge=1e-60, le=1e38)]  # distance of two neighbouring numbers
    zero_point: Annotated[int, Meta(ge=-128, le=127)]  # the whole number that stands for 0


class TensorForm(Struct, frozen=True, array_like=True):
    """Type and shape of the raw tensor frame that follows a header."""

    dtype: Literal["uint8", "int8", "uint16", "float16", "float32"]  # type of an element
    shape: Annotated[tuple[Annotated[int, Meta(ge=1, le=2**26)], ...], Meta(max_length=8)]  # elements per axis
    affine: Affine | None = None  # the numbers that int8 stands for; None: whole numbers as they are

    @property
    def byte_count(self) -> int:
        """Length of the tensor frame [B]."""
        return _ITEM_BYTES[self.dtype] * math.prod(self.shape)


class InputForm(Struct, frozen=True, array_like=True):
    """The tensors that a sub-model takes. The first dimension may vary, for example with the length of a text."""

    usual: TensorForm  # a task of typical size; probes and warm-ups have this form
    most: Annotated[int, Meta(ge=1, le=2**26)] | None = None  # largest first dimension; None: it does not vary

    def fits(self, form: TensorForm) -> bool:
        """True if the sub-model takes tensors of this type and shape."""
        if form.dtype != self.usual.dtype:
            return False
        if self.most is None or form.shape == self.usual.shape:
            return form.shape == self.usual.shape
        return (len(form.shape), form.shape[1:]) == (len(self.usual.shape), self.usual.shape[1:]) and (
            form.shape[0] <= self.most
        )

    def sized(self, first: int) -> TensorForm:
        """Return the form of a tensor whose first dimension is `first`."""
        return replace(self.usual, shape=(first, *self.usual.shape[1:]))

    @property
    def largest(self) -> TensorForm:
        """Form of the largest tensor that it takes."""
        return self.usual if self.most is None else self.sized(self.most)


class Tensor(Struct, frozen=True):
    """A tensor in transit: its form and its bytes, which the transport does not interpret."""

    form: TensorForm  # type and shape
    data: bytes | bytearray | memoryview  # the elements, in row-major order


class Handover(Struct, frozen=True, array_like=True):
    """An attempt to hand a task to a receiver."""

    receiver: Name  # the server that the task was sent to
    sent_s: Seconds  # when it was sent [s]
    taken: bool = False  # the receiver has acknowledged the task


class Hop(Struct, frozen=True, array_like=True):
    """A server's handling of a task.

    A service is late if the machine that runs the server is slow: the real work took longer than the paced time, or a
    timer fired late. `late_s` is 0 under quota and in simulation.
    """

    node: Name  # the server
    received_s: Seconds  # when the task arrived [s]
    started_s: Seconds  # when its service began [s]
    finished_s: Seconds  # when its service ended [s]
    sent_s: Seconds  # when the task, or its result, was sent on [s]
    late_s: Annotated[float, Meta(ge=0.0, le=1e300)]  # how much longer service took than the stated capacity says [s]
    failed: Annotated[tuple[Handover, ...], Meta(max_length=64)] = ()  # earlier handovers that no receiver answered


class ExitAnswer(Struct, frozen=True, array_like=True):
    """The answer of an exit that a task has passed."""

    prediction: Count  # class that the exit predicts
    confidence: Probability  # number that the exit criterion makes of the exit's probabilities, 0 to 1


ExitAnswers = Annotated[tuple[ExitAnswer, ...], Meta(max_length=16)]


class Task(Struct, frozen=True, tag="task", omit_defaults=True):
    """An inference task on its way to a receiver; a tensor frame follows.

    A sender may send one task twice. `sequence` differs then, so that an acknowledgement belongs to one message.
    """

    task_id: Count  # number of the task
    device: Name  # the device that owns it
    attempt: Attempt  # 1 for the first offer; devices and servers count on when they offer the task again
    sequence: Count  # number of this message among the tasks that its sender has sent
    sent_s: Seconds  # when this message was sent [s]
    hops: Annotated[tuple[Hop, ...], Meta(max_length=16)]  # the servers that have served it, in order
    tensor: TensorForm  # form of the sample or activation in the tensor frame
    answers: ExitAnswers = ()  # of the exits that it has passed; left out if the exit criterion needs the last only


class Ack(Struct, frozen=True, tag="ack"):
    """A receiver acknowledges a `Task`: it has taken the task over."""

    task_id: Count  # of the message that it answers
    sequence: Count  # of the message that it answers
    received_s: Seconds  # when that message arrived [s]
    backlog: Count  # tasks waiting or in service at the receiver, this one included
    work_s: Cost | None = None  # unfinished work of these tasks [s]; None from a receiver that does not state it


class Result(Struct, frozen=True, tag="result"):
    """The outcome of a task, sent by the server at which it exits to the device that owns it; not acknowledged."""

    task_id: Count  # number of the task
    attempt: Attempt  # the attempt that the server answered
    prediction: Count  # class that the exit predicts
    confidence: Probability  # score of the answer by the exit criterion, 0 to 1
    exit_stage: Annotated[int, Meta(ge=1, le=64)]  # stage at which the task left, from 1
    forced: bool  # it left because no receiver was reachable, not because the exit was confident
    hops: Annotated[tuple[Hop, ...], Meta(max_length=16)]  # the servers that have served it, in order


class Probe(Struct, frozen=True, tag="probe"):
    """A probe that measures a link; a tensor frame of the size to be measured follows."""

    sequence: Count  # number of the probe among those of its sender
    tensor: TensorForm  # form of the tensor frame


class ProbeAck(Struct, frozen=True, tag="probe-ack"):
    """The answer to a `Probe`; it has no tensor frame."""

    sequence: Count  # of the probe that it answers
    received_s: Seconds  # when that probe arrived [s]


class Offer(Struct, frozen=True, tag="offer"):
    """Forward sweep of a round: the flow that an offloader plans to send to this receiver.

    `paths` splits the flow by the thresholds that it has passed: they determine how hard its remaining tasks are.
    """

    slot: Count  # the slot, from 0
    round: Count  # the round within the slot, from 0
    flow_per_s: Rate  # planned flow to this receiver [task/s]
    paths: FlowPaths  # that flow by path: rate [task/s], thresholds passed (stage 1 first; none from a device)
    sent_s: Seconds  # when the offer was sent [s]
    done: bool  # no device upstream needs a further round
    last: bool  # no further offer comes in this slot
    return_s: Cost | None = None  # time of a result from this receiver [s]; None from servers, or if not measured yet
    byte_per_s: Rate | None = None  # rate of the link as the offloader measures it [B/s]; None: not needed


class Report(Struct, frozen=True, tag="report"):
    """Backward sweep of a round: what one more task per second at this receiver would cost (DTO-R), and its state.

    Costs are seconds of total delay per task; `node_agent/dtoee/receiver.py` has the formulas for the symbols below.
    All costs and delays include `return_s` for the tasks that exit at this receiver.

    In the messages three figures travel under other names, those in `field(name=...)`.
    """

    slot: Count  # the slot of the offers that it answers
    round: Count  # the round of the offers that it answers
    marginal_s: Cost  # Omega: marginal cost of one more task [s]
    best_s: Cost  # m: the same if all rows downstream were ideal [s]
    local_s: Cost  # D' and the overload penalty: the receiver's own share of Omega [s]
    onward_s: Cost  # B: marginal cost of a task that continues [s]
    onward_delay_s: Cost  # mean, not marginal: time that a task, or its result, still needs after this server [s]
    curvature_s2: Cost  # R: bound on the second derivative [s^2/task]
    offloaders: Count  # how many offloaders have announced a flow; all of them may move at once
    arrival_per_s: Rate = msgspec.field(name="arrival_rate_per_s")  # arrival rate that they have announced [task/s]
    service_per_s: ServiceRate = msgspec.field(name="service_rate_per_s")  # measured service rate [task/s]
    variability: Cost  # squared coefficient of variation of the service time
    threshold: Threshold  # confidence from which tasks exit here; above 1 at the last stage, which has none
    remaining_ratio: Probability  # I: share of its tasks that continue, 0 at the last stage
    backlog: Count  # tasks waiting or in service
    onward_paths: FlowPaths  # from here on: probability of a path, and its thresholds (this server's first)
    offer_s: LinkTime = msgspec.field(name="link_s")  # one-way time of the offer that it answers, a small message [s]
    done: bool  # no device upstream needs a further round, and no threshold from here on has moved lately
    return_s: Cost = 0.0  # mean time of a result from this receiver to its device [s]
    sent_s: Seconds = 0.0  # when the report was sent [s]
    arrival_variability: Cost = 1.0  # a, variance of the number of arrivals in a window over its mean; Poisson: 1
    work_s: Cost | None = None  # unfinished work of the tasks waiting or in service [s]
    # Mean priced energy that a task still causes after this server [s]; left out if energy has no price.
    onward_energy_s: Cost | UnsetType = UNSET

    @property
    def beyond_energy_s(self) -> float:
        """`onward_energy_s`, or 0 if it is left out [s]."""
        return 0.0 if self.onward_energy_s is UNSET else self.onward_energy_s


class Status(Struct, frozen=True, tag="status", omit_defaults=True):
    """A receiver's queue, sent between rounds under policies that choose by queues, and where devices have a bound.

    The fields with defaults are sent only if a device with a delay bound stands upstream, or the policy uses fresh
    queues.
    """

    backlog: Count  # tasks waiting or in service
    service_per_s: ServiceRate | None = None  # measured service rate [task/s]
    onward_delay_s: Cost | None = None  # as in `Report`, but by the queues that the receiver knows now [s]
    work_s: Cost | None = None  # unfinished work of these tasks [s]
    sent_s: Seconds | None = None  # when the status was made [s]; None: when it arrived


class State(Struct, frozen=True, tag="state"):
    """A node's measurements, sent to the coordinator of a central policy once a slot."""

    slot: Count  # the slot that begins
    rate_per_s: Rate  # a device's arrival rate, or a server's service rate [task/s]
    variability: Cost  # squared coefficient of variation of the service time; 0 for a device
    link_s: Annotated[dict[Name, Cost], Meta(max_length=4096)]  # receiver -> transfer time of a task [s]
    # A device's: receiver -> time of a result from there [s]; receivers not measured yet are missing.
    back_s: Annotated[dict[Name, Cost], Meta(max_length=4096)] = msgspec.field(default_factory=dict)
    return_s: Cost = 0.0  # a server's: mean time of a result to its device [s]


class Assignment(Struct, frozen=True, tag="assignment"):
    """The coordinator's plan for one node, which follows it at once."""

    slot: Count  # the slot whose states it is planned from
    shares: Annotated[dict[Name, Probability], Meta(max_length=4096)]  # receiver -> probability; empty: the row stays
    threshold: Threshold | None  # confidence from which tasks exit; None: it stays


Message = Task | Ack | Result | Probe | ProbeAck | Offer | Report | Status | State | Assignment

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def as_sent(message: Message, now_s: float) -> Message:
    """Return the message with the time of sending set to `now_s` [s], if it carries one.

    The state machine handled its event a moment earlier and used that time. The last hop of a task or a result belongs
    to the sender, so its `sent_s` is set, too.
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
    """Return the frames of a message: its header and, with a tensor, the tensor's bytes (not copied).

    The header of a `Task` or `Probe` contains the form of the tensor, so `tensor` must have that form.
    """
    header = PREFIX + _encoder.encode(message)
    return [header] if tensor is None else [header, tensor.data]


def message_bytes(message: Message, tensor_bytes: int | None) -> int:
    """Return the exact bytes of a message on a connection, with its tensor of `tensor_bytes`; None means no tensor."""
    header_bytes = len(PREFIX) + len(_encoder.encode(message))
    size_bytes = header_bytes + (SHORT_PREFIX_BYTES if header_bytes <= SHORT_FRAME_BYTES else LONG_PREFIX_BYTES)
    return size_bytes if tensor_bytes is None else size_bytes + tensor_bytes + LONG_PREFIX_BYTES


def decode(frames: Sequence[bytes | bytearray | memoryview]) -> tuple[Message, Tensor | None]:
    """Return the message in `frames`, and its tensor if it has one.

    Raises:
        WireError: the bytes are of another protocol or version, malformed or out of bounds, or the tensor frame does
            not have the length that the header states.
    """
    if not frames or len(frames) > 2:
        raise WireError(f"{len(frames)} frames where a message has one or two")
    header = bytes(frames[0])
    if len(header) > MAX_HEADER_BYTES:
        raise WireError(f"a header of {len(header)} bytes, above the limit of {MAX_HEADER_BYTES}")
    if header[: len(MAGIC)] != MAGIC:
        raise WireError("bytes of another protocol")
    if header[: len(PREFIX)] != PREFIX:
        raise WireError(f"protocol version {header[len(MAGIC) : len(PREFIX)].hex() or 'missing'}, not {VERSION}")
    try:
        message = _decoder.decode(memoryview(header)[len(PREFIX) :])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"malformed message: {error}") from error
    if isinstance(message, (Task, Probe)):
        return message, _tensor(message.tensor, frames)
    if len(frames) != 1:
        raise WireError("a tensor frame after a message that has none")
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
