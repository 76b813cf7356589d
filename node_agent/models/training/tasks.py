"""Models to train, by name: the class, the settings, the folder, and the stored weights that are measured again."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from node_agent.errors import InputError
from node_agent.models.bundles.bundle import WEIGHTS
from node_agent.models.bundles.card import CARD, own_code_of, printable, read_card
from node_agent.models.bundles.weights import load_weights
from node_agent.models.bundles.writing import BundleContent
from node_agent.models.families import family_class, variants
from node_agent.models.lookup import parse_own
from node_agent.models.networks.early_exit import EarlyExitModel, Progress, Recipe
from node_agent.models.networks.made import make_network
from node_agent.models.networks.user_code import is_model_file
from node_agent.models.training.train import Training, train_model
from node_agent.suggest import closest

_KEPT = ("seed", "held_out", "evaluation")  # settings of the split, which stay with the weights


@dataclass(frozen=True, slots=True)
class Job:
    """A training run that is decided, but not begun."""

    task: Training
    folder: Path | None  # into which the bundle goes by default; None: there is no default

    def replaceable(self, folder: Path) -> bool:
        """Return True if a folder holds a bundle of this user's class, which a new one may replace."""
        own = None
        try:
            own = own_code_of(read_card(folder / CARD))
        except (OSError, ValueError):
            return False
        return self.task.code is not None and own is not None and own.name == self.task.code.name

    def continues(self, folder: Path) -> bool:
        """Return True if training or measuring begins with the weights that a folder holds."""
        recipe = self.task.recipe
        return (not recipe.epochs or recipe.backbone == "frozen") and (folder / CARD).exists()

    def begins_untrained(self, folder: Path) -> bool:
        """Return True if the blocks stay as the class makes them: neither trained now nor stored."""
        recipe = self.task.recipe
        untrained = not recipe.epochs or recipe.backbone == "frozen"
        return untrained and not self.task.kind.borrowed and not self.continues(folder)

    def run(self, folder: Path, progress: Progress | None = None) -> BundleContent:
        """Train; with 0 epochs measure the weights that `folder` holds, or else those of a new network.

        If only heads are trained, the blocks are those that `folder` holds, if it holds any.

        Raises:
            EnvironmentLacking: a source of samples is missing.
            InputError: the class, its samples or its stored weights cannot be used.
        """
        if not self.continues(folder):
            return train_model(self.task, progress)
        network, history = self._stored(folder)
        stated = history["training"]
        kept = {name: stated[name] for name in _KEPT if isinstance(stated.get(name), int)}
        task = replace(self.task, recipe=replace(self.task.recipe, **kept))
        return train_model(task, progress, stored=network, history=history)

    def _stored(self, folder: Path) -> tuple[EarlyExitModel, Mapping[str, Any]]:
        try:
            card = read_card(folder / CARD)
            network = make_network(self.task.kind, card, self.task.code).fold()
            load_weights(network, folder / WEIGHTS)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{folder}: {printable(str(error))}", hint=f"train anew: model train {self.task.code}"
            ) from error
        stated = card.get("training")
        return network, {"training": stated if isinstance(stated, dict) else {}, "epochs_run": card.get("epochs_run")}


def job_for(text: str, **changes: Any) -> Job:  # noqa: ANN401 - fields of a recipe
    """Return the job that trains a model.

    Args:
        text: a model that comes with the project, or FILE.py:CLASS; the file runs.
        changes: fields of its `Recipe`, which replace those of the class.

    Raises:
        InputError: there is no such model, or the file fails.
    """
    if is_model_file(text):
        code, folder = parse_own(text)
        kind = code.load()
        return Job(Training(kind, _changed(kind.recipe, changes), {}, code=code), folder)
    known = variants()
    if text not in known:
        names = ", ".join(known)
        guess = closest(text, known)
        hint = f"models: {names}; or FILE.py:CLASS"
        raise InputError(f"no recipe for a model {text!r}", hint=hint if guess is None else f"did you mean {guess}?")
    family, variant = known[text]
    if changes.get("epochs") == 0:
        raise InputError(f"{text}: 0 epochs train nothing", hint="0 measures a model of your own again, FILE.py:CLASS")
    recipe = _changed(variant.recipe, changes)
    return Job(Training(family_class(family), recipe, variant.card, family=family), None)


def _changed(recipe: object, changes: Mapping[str, Any]) -> Recipe:
    if not isinstance(recipe, Recipe):
        raise InputError(f"recipe is {recipe!r}", hint="it must be a Recipe, as in recipe = Recipe(epochs=5)")
    return replace(recipe, **changes)
