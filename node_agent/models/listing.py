"""The models that can be listed: shipped ones, those of named places, and published costs, as plain figures."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from node_agent.errors import InputError
from node_agent.models.bundles.bundle import Bundle
from node_agent.models.bundles.card import CARD, class_count, outside_of, printable
from node_agent.models.bundles.shipped import available_models
from node_agent.models.interface import Model
from node_agent.models.lookup import load_model
from node_agent.models.packages import LANGUAGE_HINT, WORDNET_NOUNS, WORDNET_PACKAGE, install_command, installed_version
from node_agent.models.published import available_costs, published

_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}==[A-Za-z0-9.]{1,30}")


def places(named: tuple[str, ...]) -> Iterator[str]:
    """Yield the shipped models, and those that `named` places hold: a model, or a folder with bundles in it.

    Raises:
        InputError: a folder holds no bundle.
    """
    yield from available_models()
    for text in named:
        folder = Path(text)
        if not folder.is_dir() or (folder / CARD).exists():
            yield text
            continue
        inside = sorted(str(card.parent) for card in folder.glob(f"*/{CARD}"))
        if not inside:
            raise InputError(f"{text}: no bundle in it", hint="name a bundle, a folder of bundles, or FILE.py:CLASS")
        yield from inside


def describe(text: str) -> dict[str, Any]:
    """Return the figures of a model.

    `accuracy` is 0..1 by exit, on the exit table; `samples` the number that devices offer; `flop` the work of a task
    through all stages. `missing` is the command that installs the samples for training, or None. `labels` says
    in words whose answers count as right, if labels are not known; `borrows` names the package that holds weights.

    Returns:
        The figures by name.

    Raises:
        InputError: the model cannot be read.
    """
    model = load_model(text)
    profiles = model.profiles(model.exits, "float32")
    accuracy = model.exit_table(model.exits).correct.mean(axis=0)
    figures: dict[str, Any] = {
        "name": model.name,
        "real": "network" if model.answers is None else "table",
        "family": None,
        "classes": [],
        "class_count": None,
        "exits": list(model.exits),
        "blocks": model.exits[-1],
        "accuracy": {str(block): float(share) for block, share in zip(model.exits, accuracy, strict=True)},
        "samples": model.sample_count,
        "flop": sum(cost.flop for cost in profiles),
        "input_bytes": profiles[0].input_bytes,
        "parameters_bytes": sum(cost.parameters_bytes for cost in profiles),
        "parameters": None,
        "disk_bytes": _size(Path(text)),
        "licence": "",
        "labels": model.labels_are,
        "outside": None,
        "borrows": None,
        "missing": None,
    }
    return {**figures, **(_of_bundle(model) if isinstance(model, Bundle) else _of_table(model))}


def _of_table(model: Model) -> dict[str, Any]:
    """The figures that a table states of itself."""
    from node_agent.models.answer_table import TableModel  # noqa: PLC0415 - only where it is needed

    if not isinstance(model, TableModel):
        return {}
    licence = model.table.card.get("licence")
    classes = list(model.table.classes)
    return {
        "classes": classes,
        "class_count": len(classes) or None,
        "licence": printable(licence) if isinstance(licence, str) else "",
    }


def _of_bundle(model: Bundle) -> dict[str, Any]:
    stated = {name: model.card.get(name) for name in ("classes", "parameters", "licence")}
    return {
        "family": model.family,
        "classes": stated["classes"] if isinstance(stated["classes"], list) else [],
        "class_count": class_count(model.card) if stated["classes"] else None,
        "parameters": stated["parameters"] if isinstance(stated["parameters"], int) else None,
        "licence": printable(stated["licence"] if isinstance(stated["licence"], str) else _source_licences(model)),
        "disk_bytes": _size(model.folder),
        "outside": outside_of(model.card),
        "borrows": None if model.lender is None else f"{model.lender.package} {model.lender.version}",
        "missing": missing_sources(model.card.get("sources")),
    }


def _source_licences(model: Bundle) -> str:
    """The licences of the samples, of a card that states no licence of its own."""
    sources = model.card.get("sources")
    if not isinstance(sources, dict):
        return ""
    stated = [(name, entry.get("licence")) for name, entry in sources.items() if isinstance(entry, dict)]
    return ", ".join(f"{name}: {licence}" for name, licence in stated if isinstance(licence, str))


def missing_sources(sources: object) -> str | None:
    """Return the command that installs the packages of samples that a card names and this machine lacks; else None."""
    if not isinstance(sources, dict):
        return None
    wanted = {
        name: entry["version"]
        for name, entry in sources.items()
        if isinstance(entry, dict) and _PACKAGE.fullmatch(f"{name}=={entry.get('version')}")
    }
    nouns = wanted.pop(WORDNET_PACKAGE, None) is None or WORDNET_NOUNS.exists()  # no package of Python
    if nouns and all(installed_version(name) == version for name, version in wanted.items()):
        return None
    return install_command(wanted) if nouns else LANGUAGE_HINT


def _size(path: Path) -> int:
    """The bytes of a file, or of the files in a folder; 0 if there is none."""
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def describe_costs(name: str) -> dict[str, Any]:
    """Return the figures of a published architecture: name, title, blocks, flop, input_bytes, parameters_bytes."""
    costs = published(name)
    (whole,) = costs.stages((costs.blocks,))
    return {
        "name": name,
        "title": costs.title,
        "blocks": costs.blocks,
        "tokens": costs.tokens,
        "flop": whole.flop,
        "input_bytes": whole.input_bytes,
        "parameters_bytes": whole.parameters_bytes,
        "source": costs.source,
    }


def all_costs() -> list[dict[str, Any]]:
    """Return the figures of every published architecture."""
    return [describe_costs(name) for name in available_costs()]
