"""The models that come with the package: their names and their folders."""

from pathlib import Path

from node_agent.models.bundles.card import CARD
from node_agent.suggest import closest

SHIPPED = Path(__file__).parents[1]  # holds a folder for each


def available_models() -> tuple[str, ...]:
    """Names of the models that come with the package. Raises nothing."""
    return tuple(sorted(card.parent.name for card in SHIPPED.glob(f"*/{CARD}")))


def hint_of_models(unknown: str, where: str = "") -> str:
    """The hint for an unknown model's name; `where` is appended and says where folders of bundles are searched."""
    shipped = f"shipped models: {', '.join(available_models()) or 'none'}"
    known = f"{shipped}; or give the folder of a bundle, or FILE.py:CLASS{where}"
    guess = closest(unknown, available_models())
    return known if guess is None else f"did you mean {guess}? ({known})"


def folder_of(name_or_path: str) -> Path:
    """Return the folder of a shipped model, or the path itself for any other bundle."""
    return SHIPPED / name_or_path if name_or_path in available_models() else Path(name_or_path)


def is_shipped(folder: Path) -> bool:
    """Return True if a folder is one of those that come with the package."""
    return folder.parent == SHIPPED
