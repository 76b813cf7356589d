"""The place of a model, as topologies and commands name it, and the way to open it."""

from msgspec import Struct

from node_agent.models.bundle import load_bundle
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
        model = load_bundle(self.place)
        if self.cost is None:
            return model

        from node_agent.models.costed import CostedModel  # noqa: PLC0415 - few runs need it
        from node_agent.models.published import published  # noqa: PLC0415

        return CostedModel(model, published(self.cost.name), self.cost.cut, self.cost.tokens)
