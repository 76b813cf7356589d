"""Checks of a topology against the models (with their exits) and the policies that the node software offers."""

import os

from node_agent.errors import InputError
from testbed.scenario import PolicyChoice
from testbed.topology.form.entries import ModelEntry, TopologyDocument
from testbed.topology.form.yaml_places import Path
from testbed.units import parse_parameter


def anchored_model(name: str, folder: str) -> str:
    """Return the name of a shipped model unchanged; make any other bundle's path absolute from `folder`."""
    from node_agent.models.bundle import available_models  # noqa: PLC0415 - loads numpy

    return name if name in available_models() else os.path.abspath(os.path.join(folder, name))


def cut_problems(model: ModelEntry, folder: str) -> list[tuple[Path, str, str]]:
    """Check the model, whose path is relative to `folder`, and its cut.

    Returns path, message and hint of each problem.
    """
    problems: list[tuple[Path, str, str]] = []
    for index, (before, after) in enumerate(zip(model.cut, model.cut[1:], strict=False)):
        if after <= before:
            problems.append(
                (
                    ("model", "cut", index + 1),
                    f"the cut must rise: {after} stands after {before}",
                    "list the last block of each sub-model, first stage first, as in cut: [2, 3, 5]",
                )
            )
    # Reading a bundle's card loads numpy, which checking a form alone does not need.
    from node_agent.models.bundle import hint_of_models, load_bundle  # noqa: PLC0415

    place = anchored_model(model.name, folder)
    if os.path.isabs(place) and not os.path.isdir(place):
        elsewhere = f"; {model.name} in the current directory is another path" if os.path.isdir(model.name) else ""
        hint = hint_of_models(model.name, f", from this topology's folder{elsewhere}")
        return [*problems, (("model", "name"), f"unknown model {model.name!r}", hint)]
    try:
        bundle = load_bundle(place)
        exits = bundle.exits
        bundle.check_weights()
    except InputError as error:
        return [*problems, (("model", "name"), str(error), error.hint)]
    shown = ", ".join(map(str, exits))
    for index, block in enumerate(model.cut):
        if block not in exits:
            message = f"block {block} of model {model.name!r} carries no exit"
            problems.append((("model", "cut", index), message, f"its exits stand after blocks {shown}"))
    if model.cut[-1] in exits[:-1] and not problems:
        problems.append(
            (
                ("model", "cut", len(model.cut) - 1),
                f"the last sub-model ends at block {model.cut[-1]}, but model {model.name!r} ends at {exits[-1]}",
                f"end the cut with {exits[-1]}",
            )
        )
    return problems


def memory_problems(document: TopologyDocument, folder: str) -> list[tuple[Path, str, str]]:
    """Find servers with less memory than their sub-model needs; return path, message and hint of each.

    A model's path is relative to `folder`. The cut and the servers' stages must have passed their checks.
    """
    if all(server.memory is None for server in document.servers.values()):
        return []
    from node_agent.models.bundle import load_bundle  # noqa: PLC0415 - as above

    model = document.model
    try:
        profiles = load_bundle(anchored_model(model.name, folder)).profiles(model.cut, model.activation)
    except InputError as error:
        return [(("model", "name"), str(error), error.hint)]
    needed_bytes = {
        stage: profile.parameters_bytes + profile.input_bytes + profile.output_bytes
        for stage, profile in enumerate(profiles, start=1)
    }
    return [
        (
            ("servers", group, "memory"),
            f"server {group}: its sub-model needs {needed_bytes[server.stage]} bytes of memory, and the topology "
            f"gives it {round(server.memory)}",
            "give it more memory, or cut the model at other blocks",
        )
        for group, server in document.servers.items()
        if server.memory is not None and round(server.memory) < needed_bytes[server.stage]
    ]


def read_policy(text: str, folder: str) -> PolicyChoice:
    """Parse a policy as people write it: name, name:key=value,key=value or file.py:Class:key=value.

    A file's path is relative to `folder`. Parameters may be quantities with a unit, which are converted to base units;
    `label=` names the policy in results. `policy_problem` checks that the policy exists.

    Raises:
        InputError: the text does not have this form.
    """
    from node_agent.policies import parse_policy, take_label  # noqa: PLC0415 - loads numpy

    name, stated = parse_policy(text)
    name = anchored(name, folder)
    label, parameters = take_label(name, stated)
    return PolicyChoice(name, {key: parse_parameter(value) for key, value in parameters.items()}, label)


def anchored(text: str, folder: str) -> str:
    """Return a policy's name or text with the path of a policy file made absolute from `folder`."""
    text = text.strip().removesuffix(":")  # an empty list of parameters
    path, colon, rest = text.partition(":")
    return f"{os.path.abspath(os.path.join(folder, path))}{colon}{rest}" if path.endswith(".py") else text


def policy_problem(policy: PolicyChoice, *, recorded: bool = False) -> tuple[Path, str, str] | None:
    """Check a policy's name, parameters and label; return path, message and hint of the first fault, or None.

    A `recorded` run may have thresholds above 1, which earlier versions took for `never`.
    """
    from node_agent.policies import check_label, make_policy, policy_fault  # noqa: PLC0415 - loads numpy

    try:
        make_policy(policy.name, policy.parameters)
        if not recorded and (fault := policy_fault(policy.name, policy.parameters)) is not None:
            hint = "state a confidence from 0 to 1, or threshold: never to forbid early exits"
            return ("policy", "parameters"), f"policy {policy.name}: {fault}", hint
        check_label(policy.name, policy.parameters, policy.stated_label)
    except InputError as error:
        known = _is_policy(policy.name)
        hint = error.hint
        if known and "theta" in policy.parameters:
            hint = "theta belongs to the objective, not to the policy: state it at the top level, theta: 2 s"
        return ("policy", "parameters" if known else "name"), str(error), hint
    return None


def check_policy(text: str) -> None:
    """Check a policy text from a command line, where a file's path is relative to the working directory.

    Raises:
        InputError: there is no such policy, or it does not take these parameters or values.
    """
    if (found := policy_problem(read_policy(text, os.getcwd()))) is not None:
        raise InputError(found[1], hint=found[2])


def _is_policy(name: str) -> bool:
    from node_agent.policies import policy_names  # noqa: PLC0415
    from node_agent.policies.loading import is_file, load_policy  # noqa: PLC0415

    if not is_file(name):
        return name in policy_names()
    try:
        load_policy(name)
    except InputError:
        return False
    return True
