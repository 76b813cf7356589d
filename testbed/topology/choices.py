"""Checks of a topology against the policies that the node software offers."""

import os

from node_agent.errors import InputError
from testbed.scenario import PolicyChoice
from testbed.topology.form.yaml_places import Path
from testbed.units import parse_parameter


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
