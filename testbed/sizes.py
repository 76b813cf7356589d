"""Sizes of frames, segments and messages on links, in bytes."""

from collections.abc import Sequence

from node_agent.wire import ExitAnswer, Hop, InputForm, Message, Result, Task, TensorForm, encode, message_bytes

ETHERNET_BYTES = 14
PACKET_BYTES, SEGMENT_BYTES = 1500, 1448  # a full IP packet, and its payload under TCP with time stamps
FRAME_BYTES = PACKET_BYTES + ETHERNET_BYTES
SMALLEST_FRAME_BYTES = 60

A_NUMBER, A_TIME_S = 1000, 0.1  # values of typical encoded length
FRAMING_BYTES = 20  # ZeroMQ's lengths and flags of a message with a tensor frame


def task_bytes(stage: int, tensor_bytes: int) -> int:
    """Return the bytes of a task that is sent to a server of `stage`: tensor (`tensor_bytes`), header and framing."""
    form = TensorForm("uint8", (tensor_bytes,))
    return tensor_bytes + _message_bytes(Task(10_000, "device-1", 1, 10_000, 100.1, _hops(stage - 1), form))


def largest_task_bytes(forms: Sequence[InputForm]) -> int:
    """Return the bytes of the largest task between nodes; `forms` are the inputs of the sub-models, by stage."""
    return max(task_bytes(stage, form.largest.byte_count) for stage, form in enumerate(forms, start=1))


def result_bytes(stage: int) -> int:
    """Return the bytes of the result that a server of `stage` sends to the device."""
    return _message_bytes(Result(10_000, 1, 3, 0.9, stage, False, _hops(stage)))


def _hops(count: int) -> tuple[Hop, ...]:
    return (Hop("server-1", 100.1, 100.2, 100.3, 100.4, 0.0),) * count


def _message_bytes(message: Message) -> int:
    """Return the size of a message with FRAMING_BYTES for ZeroMQ's framing, 2 to 18 bytes above `wire.message_bytes`.

    Decision 060: timeouts and bounds use this size, simulated connections and expected delays the exact one
    (docs/decisions/060-two-sizes-of-a-message.md).
    """
    return sum(len(frame) for frame in encode(message)) + FRAMING_BYTES


def passed_task_bytes(way: Sequence[str], form: TensorForm, *, carries_answers: bool) -> int:
    """Return the bytes of a task that the last node of `way` sends on, but for the lengths of its numbers.

    Args:
        way: the device, then the servers that have served the task.
        form: its tensor.
        carries_answers: the task carries the answers of the exits that it has passed.
    """
    answers = (ExitAnswer(1, 0.5),) * (len(way) - 1) if carries_answers else ()
    task = Task(A_NUMBER, way[0], 1, A_NUMBER, A_TIME_S, _hops_of(way[1:]), form, answers)
    return message_bytes(task, form.byte_count)


def passed_result_bytes(way: Sequence[str]) -> int:
    """Return the bytes of a result that the last node of `way` sends to the device, its first node."""
    hops = _hops_of(way[1:])
    return message_bytes(Result(A_NUMBER, 1, 1, 0.5, len(hops), forced=False, hops=hops), None)


def _hops_of(nodes: Sequence[str]) -> tuple[Hop, ...]:
    return tuple(Hop(node, A_TIME_S, A_TIME_S, A_TIME_S, A_TIME_S, A_TIME_S) for node in nodes)
