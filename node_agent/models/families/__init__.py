"""Families of models, by name: a module or package of this room that holds a class derived from `EarlyExitModel`.

The room is searched, nothing is registered. Listing the names imports no family, and so no torch.
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING

from node_agent.errors import InputError
from node_agent.suggest import closest

if TYPE_CHECKING:
    from node_agent.models.networks.early_exit import EarlyExitModel, Variant

DEFAULT_FAMILY = "glyphs"  # of cards that name none


def family_names() -> tuple[str, ...]:
    """Return the names of all families: those of their files, with hyphens. Raises nothing."""
    return tuple(sorted(file.name.replace("_", "-") for file in pkgutil.iter_modules(__path__)))


def family_class(name: str) -> "type[EarlyExitModel]":
    """Return the class of a family; loads torch.

    Raises:
        InputError: there is no such family.
    """
    if name not in family_names():
        known = ", ".join(family_names())
        guess = closest(name, family_names())
        hint = f"families: {known}" if guess is None else f"did you mean {guess}? (families: {known})"
        raise InputError(f"there is no family of models {name!r}", hint=hint)
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")

    from node_agent.models.networks.early_exit import EarlyExitModel  # noqa: PLC0415 - loads torch

    own = [
        found
        for found in vars(module).values()
        if isinstance(found, type)
        and issubclass(found, EarlyExitModel)
        and found.__module__.startswith(module.__name__)
    ]
    if len(own) != 1:
        raise TypeError(f"{module.__name__} holds {len(own)} classes derived from EarlyExitModel, not one")
    return own[0]


def variants() -> "dict[str, tuple[str, Variant]]":
    """Return the family and the recipe of each model that the project can train, by the model's name; loads torch."""
    from node_agent.models.networks.early_exit import Variant  # noqa: PLC0415 - as above

    found = {}
    for family in family_names():
        kind = family_class(family)
        for name, variant in (kind.variants() or {family: Variant({}, kind.recipe)}).items():
            found[name] = (family, variant)
    return found
