"""Checks of a topology's model: where it comes from, its exits, its costs, and the memory that it needs."""

import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from node_agent.errors import InputError
from node_agent.exit_criteria import criterion_called
from testbed.scenario import CostChoice, ModelChoice
from testbed.topology.form.entries import TopologyDocument
from testbed.topology.form.model_entries import ModelEntry
from testbed.topology.form.yaml_places import Path


def anchored_model(place: str, folder: str) -> str:
    """Return the name of a shipped model unchanged; make the path of any other model absolute from `folder`."""
    from node_agent.models import available_models  # noqa: PLC0415 - loads numpy

    if place in available_models():
        return place
    path, mark, name = place.partition(".py:")
    return f"{os.path.abspath(os.path.join(folder, path))}{mark}{name}"


def model_choice(model: ModelEntry, folder: str) -> ModelChoice:
    """Return the model that an entry states, whose paths are relative to `folder`; a table's cut is all its exits.

    Raises:
        InputError: there is no such table, or it cannot be read.
    """
    place, stated = anchored_model(model.place, folder), model.cost
    cost = None
    if stated is not None:
        cost = CostChoice(stated.name, None if stated.cut is None else tuple(stated.cut), stated.tokens)
    choice = ModelChoice(place, tuple(model.cut or ()), model.activation, cost, model.criterion)
    return choice if choice.cut else replace(choice, cut=choice.open().exits)


def with_other_model(
    stated: ModelEntry, folder: str, model: str | None = None, cut: Sequence[int] | None = None,
    criterion: str | None = None,
) -> ModelEntry:  # fmt: skip
    """Return a topology's model with another one in its place, with another cut or another exit criterion.

    Args:
        stated: the topology's own model, whose paths are relative to `folder`.
        folder: the topology's folder.
        model: a shipped name, or the path of a bundle, of FILE.py:CLASS or of a table, from the working directory.
        cut: the last block of each sub-model; None keeps the topology's. If the other model has no such blocks, but as
            many exits as the topology has stages, all its exits make the cut.
        criterion: name of an exit criterion; None keeps the topology's.

    Raises:
        InputError: there is no such model or criterion, or the model cannot be cut so.
    """
    from node_agent.models.lookup import kind_of  # noqa: PLC0415 - loads numpy

    place = anchored_model(stated.place, folder) if model is None else anchored_model(model, os.getcwd())
    key = kind_of(place)
    chosen_criterion = stated.criterion if criterion is None else criterion_called(criterion).name
    fields: dict[str, object] = {key: place, "activation": stated.activation, "criterion": chosen_criterion}
    if key != "table" and stated.cost is not None:
        fields["cost"] = stated.cost
    if model is not None and _is_unknown(key, place):
        _, message, hint = _unknown_model(model)
        raise InputError(message, hint=hint.replace("this topology's folder", "the working directory"))
    chosen = stated.cut if cut is None else list(cut)
    if cut is None and model is not None:
        exits = ModelChoice(place, ()).open().exits
        stages = len(model_choice(stated, folder).cut) if stated.cut is None else len(stated.cut)
        fits = chosen is not None and set(chosen) <= set(exits) and chosen[-1] == exits[-1]
        if not fits and len(exits) != stages:
            raise InputError(
                f"model {model} has exits after blocks {', '.join(map(str, exits))}: which {stages} of them?",
                hint="state the last block of each stage with --cut",
            )
        chosen = chosen if fits else list(exits)
    entry = ModelEntry(**fields, cut=chosen)  # type: ignore[arg-type]
    for _, message, hint in model_problems(entry, folder):
        raise InputError(message, hint=hint)
    return entry


def model_problems(model: ModelEntry, folder: str) -> list[tuple[Path, str, str]]:
    """Check the model, whose paths are relative to `folder`, its cut and its costs.

    Returns path, message and hint of each problem.
    """
    cut = model.cut or ()
    problems: list[tuple[Path, str, str]] = [
        (
            ("model", "cut", index + 1),
            f"the cut must rise: {after} stands after {before}",
            "list the last block of each sub-model, first stage first, as in cut: [2, 3, 5]",
        )
        for index, (before, after) in enumerate(pairwise(cut))
        if after <= before
    ]
    place = anchored_model(model.place, folder)
    if _is_unknown(model.key, place):
        return [*problems, _unknown_model(model.place)]
    try:
        opened = ModelChoice(place, ()).open()
        exits = opened.exits
        opened.check()
    except InputError as error:
        return [*problems, (("model", model.key), str(error), error.hint)]
    shown = ", ".join(map(str, exits))
    for index, block in enumerate(cut):
        if block not in exits:
            message = f"block {block} of model {model.place!r} has no exit"
            problems.append((("model", "cut", index), message, f"it has exits after blocks {shown}"))
    if cut and cut[-1] in exits[:-1] and not problems:
        problems.append(
            (
                ("model", "cut", len(cut) - 1),
                f"the last sub-model ends at block {cut[-1]}, but model {model.place!r} ends at {exits[-1]}",
                f"end the cut with {exits[-1]}",
            )
        )
    if not problems:
        problems += _criterion_problems(model, folder)
    if not problems and model.cost is not None:
        problems += _cost_problems(model, folder)
    return problems


def _is_unknown(key: str, place: str) -> bool:
    """True if the place of a model, stated by `key`, is neither a shipped name nor a folder."""
    return key == "name" and os.path.isabs(place) and not os.path.isdir(place)


def _unknown_model(name: str) -> tuple[Path, str, str]:
    """Return the problem of a name that is neither a shipped model nor a folder; say what would work."""
    from node_agent.models.bundles.shipped import hint_of_models  # noqa: PLC0415 - as above
    from node_agent.models.lookup import kind_of  # noqa: PLC0415

    key = kind_of(name)
    if key != "name":
        return ("model", "name"), f"{name!r} is no name of a model", f"state it as {key}: {name}"
    elsewhere = f"; {name} in the current directory is another path" if os.path.isdir(name) else ""
    return (
        ("model", "name"),
        f"unknown model {name!r}",
        hint_of_models(name, f", from this topology's folder{elsewhere}"),
    )


def quota_problem(choice: ModelChoice) -> tuple[str, str] | None:
    """Return message and hint if a limit on CPU time cannot give this model its speed; else None."""
    model = choice.open()
    if model.answers is None and model.costs is None:
        return None
    reason = "has the costs of another architecture" if model.costs else "computes nothing"
    return f"quota limits the CPU time of real work, but the model {reason}", "use compute: paced"


def _criterion_problems(model: ModelEntry, folder: str) -> list[tuple[Path, str, str]]:
    """Check that the model has the scores of its exit criterion, and that its activations can have their format."""
    choice = replace(model_choice(model, folder), cost=None)
    key = "criterion"
    try:
        opened = choice.open()
        opened.exit_table(choice.cut)
        if opened.other_criterion is not None:  # else the scores may be slow: old bundles compute confidences
            opened.scores(choice.cut)
        key = "activation"
        opened.check_format(choice.activation)
        opened.input_forms(choice.cut, choice.activation)
    except InputError as error:
        return [(("model", key), str(error), error.hint)]
    return []


def _cost_problems(model: ModelEntry, folder: str) -> list[tuple[Path, str, str]]:
    """Check the architecture whose costs the model has."""
    choice = model_choice(model, folder)
    try:
        opened = choice.open()
        opened.profiles(choice.cut, choice.activation)
    except InputError as error:
        return [(("model", "cost"), str(error), error.hint)]
    return []


def memory_problems(document: TopologyDocument, folder: str) -> list[tuple[Path, str, str]]:
    """Find servers and devices with less memory than their sub-model needs; return path, message and hint of each.

    A model's path is relative to `folder`. The cut and the servers' stages must have passed their checks.
    """
    stated = [("servers", group, server.stage, server.memory) for group, server in document.servers.items()]
    stated += [("devices", group, 1, device.memory) for group, device in document.devices.items()]
    if all(memory is None for *_, memory in stated):
        return []
    try:
        choice = model_choice(document.model, folder)
        profiles = choice.open().profiles(choice.cut, choice.activation)
    except InputError as error:
        return [(("model", document.model.key), str(error), error.hint)]
    needed_bytes = {
        stage: profile.parameters_bytes + profile.input_bytes + profile.output_bytes
        for stage, profile in enumerate(profiles, start=1)
    }
    return [
        (
            (section, group, "memory"),
            f"{section[:-1]} {group}: its sub-model needs {needed_bytes[stage]} bytes of memory, and the topology "
            f"gives it {round(memory)}",
            "give it more memory, or cut the model at other blocks",
        )
        for section, group, stage, memory in stated
        if memory is not None and round(memory) < needed_bytes[stage]
    ]
