"""The form of a topology's model: where it comes from, its cut, and the architecture whose costs it has."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from node_agent.exit_criteria import CONFIDENCE, CRITERIA
from testbed.topology.form.values import MAX_PATH_CHARACTERS, STATED, Entry, SafeText, complaint

Place = Annotated[str, STATED, Field(min_length=1, max_length=MAX_PATH_CHARACTERS), SafeText]
Block = Annotated[int, Field(ge=1)]
if TYPE_CHECKING:
    CriterionName = str
else:
    CriterionName = Literal[tuple(CRITERIA)]
PLACES = ("name", "file", "table")
MODEL_EXAMPLE = "for example model: {name: glyphs, cut: [2, 3, 5]}"


def _as_cost(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


class CostEntry(Entry):
    """A published architecture whose work and sizes the sub-models have, instead of their own."""

    name: Annotated[str, Field(min_length=1, max_length=64, description="name of the architecture")]
    cut: Annotated[
        list[Block] | None,
        STATED,
        Field(
            min_length=1,
            max_length=64,
            description="last block of the architecture in each stage, rising (default: stages of about equal work)",
        ),
    ] = None
    tokens: Annotated[
        int | None, STATED, Field(ge=1, description="length of a text in tokens (default: the architecture's own)")
    ] = None


class ModelEntry(Entry):
    """The early-exit model, and the blocks after which it is cut into sub-models."""

    name: Annotated[
        Place | None,
        Field(
            description="a name that `dtoee-testbed model list` shows, or the folder of a bundle, relative to this "
            "topology's folder"
        ),
    ] = None
    file: Annotated[
        Place | None,
        Field(
            description="a model of your own, FILE.py:CLASS with a path relative to this topology's folder; train it "
            "first with `dtoee-testbed model train FILE.py:CLASS`"
        ),
    ] = None
    table: Annotated[
        Place | None,
        Field(
            description="a table of answers that were recorded elsewhere: the path of an .npz, .csv or .parquet file, "
            "relative to this topology's folder"
        ),
    ] = None
    cut: Annotated[
        list[Block] | None,
        STATED,
        Field(
            min_length=1,
            max_length=64,
            description="last block of each sub-model, one per stage, rising; each block must have an exit (only for a "
            "table a default: all its exits)",
        ),
    ] = None
    activation: Annotated[
        Literal["float32", "float16", "int8"],
        Field(
            description="number format of activations on the links (default float32; float16 halves the bytes, int8 "
            "quarters them)"
        ),
    ] = "float32"
    criterion: Annotated[
        CriterionName,
        Field(description="exit criterion: makes the score that servers compare with their confidence thresholds"),
    ] = CONFIDENCE.name
    cost: Annotated[
        Annotated[CostEntry, BeforeValidator(_as_cost)] | None,
        STATED,
        Field(
            description="a published architecture whose work and sizes count, while this model decides the exits: its "
            "name, or a mapping (default: the model's own)"
        ),
    ] = None

    @model_validator(mode="after")
    def _check_places(self) -> Self:
        stated = [key for key in PLACES if getattr(self, key) is not None]
        if not stated:
            raise complaint("`name` is missing", f"{MODEL_EXAMPLE}; or state a file or a table")
        if len(stated) > 1:
            raise complaint(f"states {' and '.join(stated)}, but one model runs", "keep one of them")
        if self.table is None and self.cut is None:
            raise complaint("`cut` is missing", "for example cut: [2, 3, 5]")
        if self.table is not None and self.cost is not None:
            raise complaint("`cost` does not apply to a table, which states its own costs", "remove the key")
        return self

    @property
    def place(self) -> str:
        """The place that the topology states for the model."""
        return self.name or self.file or self.table or ""

    @property
    def key(self) -> str:
        """The key that states the place."""
        return next(key for key in PLACES if getattr(self, key) is not None)
