"""Checks of a topology against what the node software offers: models with their exits, and policies."""

from node_agent.errors import InputError
from testbed.scenario import PolicyChoice
from testbed.topology.document import ModelEntry
from testbed.topology.places import Path


def cut_problems(model: ModelEntry) -> list[tuple[Path, str, str]]:
    """What is wrong with the model's name and cut: path, message and hint of each problem."""
    problems: list[tuple[Path, str, str]] = []
    for index, (before, after) in enumerate(zip(model.cut, model.cut[1:], strict=False)):
        if after <= before:
            problems.append(
                (
                    ("model", "cut", index + 1),
                    f"the cut must rise: {after} stands after {before}",
                    "list the last block of each sub-model, as in cut: [2, 3, 5]",
                )
            )
    # Reading a bundle's card loads numpy, which checking a form alone does not need.
    from node_agent.models.bundle import load_bundle  # noqa: PLC0415

    try:
        exits = load_bundle(model.name).exits
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


def policy_problem(policy: PolicyChoice) -> tuple[Path, str, str] | None:
    """What is wrong with a policy's name or parameters: path, message and hint; None if nothing is."""
    from node_agent.policies import make_policy, policy_names  # noqa: PLC0415 - loads numpy

    try:
        make_policy(policy.name, policy.parameters)
    except InputError as error:
        known = policy.name in policy_names()
        hint = error.hint
        if known and "theta" in policy.parameters:
            hint = "theta belongs to the objective and not to a policy: state it at the top, theta: 2 s"
        return ("policy", "parameters" if known else "name"), str(error), hint
    return None
