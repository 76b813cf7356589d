"""Bundles by their names: those that come with the package, and those in folders."""

from node_agent.errors import InputError
from node_agent.models.bundles.bundle import Bundle
from node_agent.models.bundles.shipped import folder_of, hint_of_models


def load_bundle(name_or_path: str) -> Bundle:
    """A shipped model by name, or the bundle in a folder that `model train` wrote.

    Only the card is read; the other files are checked when they are first used.

    Args:
        name_or_path: one of `available_models()`, or the path of a folder.

    Raises:
        InputError: there is no such model or folder, or its card cannot be read.
    """
    folder = folder_of(name_or_path)
    if not folder.is_dir():
        raise InputError(f"unknown model {name_or_path!r}", hint=hint_of_models(name_or_path))
    bundle = Bundle(folder.resolve().name, folder)
    bundle.card  # noqa: B018 - reading it is the check
    return bundle
