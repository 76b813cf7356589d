"""The place of a model, as topologies and commands name it, and the way to open it."""

from functools import lru_cache
from pathlib import Path

from msgspec import Struct

from node_agent.models.finding import TABLE_ENDS, load_model
from node_agent.models.interface import Model


class CostSource(Struct, frozen=True):
    """A published architecture whose costs a model has."""

    name: str  # of the architecture
    cut: tuple[int, ...] | None = None  # its last block in each stage; None: stages of about equal work
    tokens: int | None = None  # length of a text; None: the architecture's own


class ModelSource(Struct, frozen=True):
    """The place of a model: a shipped name, the folder of a bundle, FILE.py:CLASS, or the file of a table."""

    place: str
    cost: CostSource | None = None

    def open(self) -> Model:
        """Open the model. Only what says what it is has been read then.

        Raises:
            InputError: there is no such model, or it cannot be read.
        """
        state = _state(self.place)
        model = load_model(self.place) if state is None else _opened(self.place, state)
        if self.cost is None:
            return model

        from node_agent.models.published import published  # noqa: PLC0415
        from node_agent.models.published.costed import CostedModel  # noqa: PLC0415 - few runs need it

        return CostedModel(model, published(self.cost.name), self.cost.cut, self.cost.tokens)


@lru_cache(maxsize=4)
def _opened(place: str, state: tuple[int, int]) -> Model:  # noqa: ARG001 - part of the key
    return load_model(place)


def _state(place: str) -> tuple[int, int] | None:
    """Return size [bytes] and time of change of a table's file, which is then read only once; None for others."""
    if not place.endswith(TABLE_ENDS):
        return None
    try:
        found = Path(place).stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
