"""What frames, segments and messages take on links, in bytes."""

from collections.abc import Sequence

import msgspec

from node_agent.models.tables import SubModelProfile
from node_agent.wire import PREFIX, Hop, Message, Result, Task, TensorForm, encode

ETHERNET_BYTES = 14
PACKET_BYTES, SEGMENT_BYTES = 1500, 1448  # a full IP packet, and what TCP with time stamps carries in it
FRAME_BYTES = PACKET_BYTES + ETHERNET_BYTES
SMALLEST_FRAME_BYTES = 60

SHORT_FRAME_BYTES, SHORT_PREFIX_BYTES, LONG_PREFIX_BYTES = 255, 2, 9  # ZeroMQ's own, before every frame
FRAMING_BYTES = 20  # ZeroMQ's lengths and flags of a message with a tensor frame

_encode = msgspec.msgpack.Encoder().encode


def task_bytes(stage: int, tensor_bytes: int) -> int:
    """Bytes of a task that is sent to a server of `stage`: its tensor, and header and framing as nodes send them."""
    form = TensorForm("uint8", (tensor_bytes,))
    return tensor_bytes + _message_bytes(Task(10_000, "device-1", 1, 10_000, 100.1, _hops(stage - 1), form))


def largest_task_bytes(profiles: Sequence[SubModelProfile]) -> int:
    """Bytes of the largest task that travels between the nodes of a cut with these costs."""
    return max(task_bytes(stage, profile.input_bytes) for stage, profile in enumerate(profiles, start=1))


def result_bytes(stage: int) -> int:
    """Bytes of the result that a server of `stage` sends to the device."""
    return _message_bytes(Result(10_000, 1, 3, 0.9, stage, False, _hops(stage)))


def _hops(count: int) -> tuple[Hop, ...]:
    return (Hop("server-1", 100.1, 100.2, 100.3, 100.4, 0.0),) * count


def _message_bytes(message: Message) -> int:
    """As timeouts and bounds count it: framing as FRAMING_BYTES, 2 to 18 bytes more than `message_bytes` does.

    Both stay: recorded bounds rest on this one; simulated connections and expected delays need the exact one.
    """
    return sum(len(frame) for frame in encode(message)) + FRAMING_BYTES


def message_bytes(message: Message, tensor_bytes: int | None) -> int:
    """What a message and its tensor, if it has one, take on a connection."""
    header_bytes = len(PREFIX) + len(_encode(message))
    size_bytes = header_bytes + (SHORT_PREFIX_BYTES if header_bytes <= SHORT_FRAME_BYTES else LONG_PREFIX_BYTES)
    return size_bytes if tensor_bytes is None else size_bytes + tensor_bytes + LONG_PREFIX_BYTES
