"""A model by its name: shipped, a bundle's folder, a class in a user's file, or a table of recorded answers."""

from pathlib import Path
from typing import Literal

from node_agent.models.bundles.bundle import Bundle
from node_agent.models.bundles.loading import load_bundle
from node_agent.models.bundles.shipped import folder_of
from node_agent.models.interface import Model
from node_agent.models.networks.user_code import UserClass, is_model_file, untrained

TABLE_ENDS = (".npz", ".csv", ".parquet")  # of files with recorded answers
Kind = Literal["name", "file", "table"]


def kind_of(text: str) -> Kind:
    """Return the kind of a model's name: of a shipped model or a bundle's folder, of FILE.py:CLASS, or of a table."""
    if is_model_file(text):
        return "file"
    return "table" if text.endswith(TABLE_ENDS) and not Path(text).is_dir() else "name"


def files_of(text: str) -> list[Path]:
    """Return the files that make the model of this name, as far as they are there.

    Raises:
        InputError: FILE.py:CLASS names no class, or the file is missing.
    """
    match kind_of(text):
        case "file":
            code, folder = parse_own(text)
            return [code.file, *_inside(folder)]
        case "table":
            return [Path(text)]
        case "name":
            return _inside(folder_of(text))


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def load_model(text: str) -> Model:
    """A model by its name.

    Of a bundle only the card is read; the other files are checked when they are first used. No code of a user's file
    runs before `sub_models`.

    Args:
        text: one of `available_models()`; the folder of a bundle; FILE.py:CLASS, whose bundle `model train` wrote into
            the folder FILE-CLASS beside the file; FILE.py:CLASS:FOLDER for a bundle elsewhere, seen from the file; or
            a file of recorded answers (.npz, .csv or .parquet).

    Returns:
        The model.

    Raises:
        InputError: there is no such model, it is not trained yet, or its file has changed since.
    """
    kind = kind_of(text)
    if kind == "file":
        bundle = own_bundle(text)
        bundle.check_code()
        return bundle
    if kind == "table":
        from node_agent.models.answer_table import TableModel  # noqa: PLC0415 - only where it is needed

        return TableModel(Path(text))
    return load_bundle(text)


def own_bundle(text: str) -> Bundle:
    """The bundle of a class in a user's file; the file may have changed since it was written.

    Args:
        text: FILE.py:CLASS or FILE.py:CLASS:FOLDER.

    Raises:
        InputError: the text names no class, the file is missing, or the model is not trained yet.
    """
    code, folder = parse_own(text)
    if not (folder / "card.json").is_file():
        raise untrained(code, folder)
    bundle = Bundle(str(code), folder, code)
    bundle.card  # noqa: B018 - reading it is the check
    return bundle


def parse_own(text: str) -> tuple[UserClass, Path]:
    """The class and the folder of its bundle that FILE.py:CLASS or FILE.py:CLASS:FOLDER names.

    Raises:
        InputError: the text names no class, or the file is missing.
    """
    path, mark, rest = text.partition(".py:")
    name, _, elsewhere = rest.partition(":")
    code = UserClass.parse(f"{path}{mark}{name}" if mark else text)
    return code, code.file.parent / elsewhere if elsewhere else code.folder
