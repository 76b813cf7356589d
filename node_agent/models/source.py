"""The place of a model, as topologies and commands name it, and the way to open it."""

from msgspec import Struct

from node_agent.models.bundle import load_bundle
from node_agent.models.model import Model


class ModelSource(Struct, frozen=True):
    """The place of a model: a shipped name, the folder of a bundle, FILE.py:CLASS, or the file of a table."""

    place: str

    def open(self) -> Model:
        """Open the model. Only what says what it is has been read then.

        Raises:
            InputError: there is no such model, or it cannot be read.
        """
        return load_bundle(self.place)
