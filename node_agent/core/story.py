"""The story of a node: its last events and effects, rendered only when something goes wrong.

The idea is from dask.distributed's worker state machine, whose errors carry the story of their task.

Decision 002: a story keeps messages as they are, and only the form of tensors
(docs/decisions/002-a-story-keeps-messages-not-tensors.md).
Decision 003: an agent always keeps its story, a simulation only with `--debug`
(docs/decisions/003-simulations-keep-stories-with-debug-only.md).
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from msgspec import Struct
from msgspec.structs import replace

from node_agent.core.events import ComputeFinished, Effect, Event, Received, Send, StartCompute, TaskArrived
from node_agent.wire import Tensor, TensorForm

LENGTH = 200  # events that are kept, and lines that are shown
MOST_ITEMS = 6  # items shown of a sequence or a mapping
MOST_CHARACTERS = 300  # characters shown of an event or effect


class Story:
    """A ring of the last events of a node, each with its time and its effects."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._turns: deque[tuple[float, Event, Sequence[Effect]]] = deque(maxlen=LENGTH)

    def add(self, now_s: float, event: Event, effects: Iterable[Effect]) -> None:
        """Keep an event that was handled at `now_s` [s], with its effects."""
        self._turns.append((now_s, _bare_event(event), [_bare_effect(effect) for effect in effects]))

    def lines(self) -> list[str]:
        """Return a line for each of the last events (<) and effects (>), with its time [s]; the newest is last."""
        return [
            f"{now_s:14.6f} {way} {in_one_line(what)}"
            for now_s, event, effects in self._turns
            for way, what in (("<", event), *((">", effect) for effect in effects))
        ][-LENGTH:]

    def attach(self, error: BaseException) -> None:
        """Add the story to the notes of an error, unless it is there; a traceback shows the notes."""
        title = f"The story of {self._node}, emulated seconds, < events and > effects, newest last:"
        if not any(note.startswith(title) for note in getattr(error, "__notes__", ())):
            error.add_note("\n".join([title, *self.lines()]))


def in_one_line(what: Event | Effect) -> str:
    """Return an event or effect as one short line, with tensors as form and size."""
    text = " ".join(_shown(what).split())
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}..."


def _shown(value: object) -> str:
    match value:
        case Tensor(form) | (TensorForm() as form):
            return f"{form.dtype} {'x'.join(map(str, form.shape))} ({form.byte_count} B)"
        case Struct():
            fields = (f"{name}={_shown(getattr(value, name))}" for name in value.__struct_fields__)
            return f"{type(value).__name__}({', '.join(fields)})"
        case Mapping():
            return f"{{{_first(f'{key}: {_shown(item)}' for key, item in value.items())}}}"
        case tuple() | list():
            return f"({_first(map(_shown, value))})"
        case float():
            return f"{value:.9g}"
    return repr(value)


def _first(items: Iterable[str]) -> str:
    """Return the first items of a collection, and `...` if there are more."""
    shown = list(islice(items, MOST_ITEMS + 1))
    return ", ".join([*shown[:MOST_ITEMS], "..."] if len(shown) > MOST_ITEMS else shown)


def _bare(tensor: Tensor) -> Tensor:
    """Return a tensor without its bytes."""
    return Tensor(tensor.form, b"")


def _bare_event(event: Event) -> Event:
    match event:
        case Received():
            return event if event.tensor is None else replace(event, tensor=_bare(event.tensor))
        case TaskArrived():
            return replace(event, tensor=_bare(event.tensor))
        case ComputeFinished():
            return event if event.activation is None else replace(event, activation=_bare(event.activation))
    return event


def _bare_effect(effect: Effect) -> Effect:
    match effect:
        case Send():
            return effect if effect.tensor is None else replace(effect, tensor=_bare(effect.tensor))
        case StartCompute():
            return StartCompute(_bare(effect.tensor))
    return effect
