"""The place of a model, as topologies and commands name it, and the way to open it."""

from functools import lru_cache

from msgspec import Struct

from node_agent.exit_criteria import CONFIDENCE
from node_agent.models.interface import Model
from node_agent.models.lookup import files_of, load_model


class CostSource(Struct, frozen=True):
    """A published architecture whose costs a model has."""

    name: str  # of the architecture
    cut: tuple[int, ...] | None = None  # its last block in each stage; None: stages of about equal work
    tokens: int | None = None  # length of a text; None: the architecture's own


class ModelSource(Struct, frozen=True):
    """The place of a model: a shipped name, the folder of a bundle, FILE.py:CLASS, or the file of a table.

    `criterion` makes the scores that servers compare with their thresholds.
    """

    place: str
    cost: CostSource | None = None
    criterion: str = CONFIDENCE.name

    def open(self) -> Model:
        """Open the model. Only what says what it is has been read then.

        Raises:
            InputError: there is no such model or criterion, or it cannot be read.
        """
        model = _opened(self.place, _state(self.place), self.criterion)
        if self.cost is None:
            return model

        from node_agent.models.published import published  # noqa: PLC0415
        from node_agent.models.published.costed import CostedModel  # noqa: PLC0415 - few runs need it

        return CostedModel(model, published(self.cost.name), self.cost.cut, self.cost.tokens)


@lru_cache(maxsize=4)
def _opened(place: str, state: tuple[object, ...], criterion: str) -> Model:  # noqa: ARG001 - part of the key
    return load_model(place).judged_by(criterion)


def _state(place: str) -> tuple[object, ...]:
    """Return number, size [bytes] and time of change of each file of a model, which are then read only once."""
    found = [(path, path.stat()) for path in files_of(place) if path.exists()]
    return tuple((path, stat.st_ino, stat.st_size, stat.st_mtime_ns) for path, stat in found)
