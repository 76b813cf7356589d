"""Offloading policies by name; each has its own file and its own parameters."""

import re
from collections.abc import Mapping
from typing import Any

from node_agent.errors import InputError
from node_agent.policies.bandwidth_first import BandwidthFirst
from node_agent.policies.base import Policy
from node_agent.policies.computing_first import ComputingFirst
from node_agent.policies.dto_ee import DtoEe
from node_agent.policies.dto_ee_2c import DtoEe2c
from node_agent.policies.first_exit import FirstExit
from node_agent.policies.fixed_threshold import FixedThresholdDtoEe
from node_agent.policies.ga import Ga
from node_agent.policies.join_shortest_queue import JoinShortestQueue
from node_agent.policies.loading import is_file, load_policy
from node_agent.policies.ngto import Ngto
from node_agent.policies.no_early_exit import NoEarlyExit
from node_agent.policies.parameters import read_parameters, threshold_fault
from node_agent.policies.shortest_expected_delay import ShortestExpectedDelay
from node_agent.policies.two_choices import TwoChoices
from node_agent.policies.uniform import Uniform
from node_agent.suggest import closest

# Python's own int() and float() would take 1_0 for ten, and digits of other scripts.
_WHOLE = re.compile(r"[+-]?[0-9]{1,300}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NOT_FINITE = ("nan", "inf", "infinity")

_POLICIES: dict[str, type[Any]] = {
    "dto-ee": DtoEe,
    "dto-ee-2c": DtoEe2c,
    "computing-first": ComputingFirst,
    "bandwidth-first": BandwidthFirst,
    "uniform": Uniform,
    "ngto": Ngto,
    "ga": Ga,
    "shortest-expected-delay": ShortestExpectedDelay,
    "join-shortest-queue": JoinShortestQueue,
    "two-choices": TwoChoices,
    "fixed-threshold": FixedThresholdDtoEe,
    "no-early-exit": NoEarlyExit,
    "first-exit": FirstExit,
}


def policy_names() -> tuple[str, ...]:
    """Names that `make_policy` knows, besides files."""
    return tuple(_POLICIES)


def make_policy(name: str, parameters: Mapping[str, object] | None = None, *, theta_s: float = 2.0) -> Policy:
    """A new instance of a policy, for one node.

    Args:
        name: one of `policy_names`, or `path/to/file.py:Class`.
        parameters: as the policy's `parameters_type` names them.
        theta_s: exchange rate of the objective: seconds of mean delay that one unit of accuracy is worth.

    Raises:
        InputError: unknown policy, unknown parameter or a value out of range.
    """
    name = name.removesuffix(":")  # an empty list of parameters
    build = _class_of(name)
    converted = read_parameters(name, parameters or {}, build.parameters_type)
    try:
        policy: Policy = build(converted, theta_s)
    except InputError:
        raise  # it says more than we could
    except Exception as error:  # whatever a user's own class raises
        message = f"policy {name} cannot be made: {type(error).__name__}: {error}"
        raise InputError(message, hint="its class is called with its parameters and theta_s") from error
    return policy


def policy_fault(name: str, parameters: Mapping[str, object]) -> str | None:
    """What is wrong with parameters that `make_policy` takes, and that nobody may state any more; None if nothing is.

    Raises:
        InputError: there is no such policy.
    """
    return threshold_fault(parameters, _class_of(name.removesuffix(":")).parameters_type)


def _class_of(name: str) -> type[Any]:
    if is_file(name):
        return load_policy(name)
    if name in _POLICIES:
        return _POLICIES[name]
    listing = f"choose one of {', '.join(_POLICIES)}, or state file.py:Class"
    guess = closest(name, _POLICIES)
    hint = listing if guess is None else f"did you mean {guess}? (or {listing})"
    raise InputError(f"there is no policy {name!r}", hint=hint)


def parse_policy(text: str) -> tuple[str, dict[str, float | int | bool | str]]:
    """Name and parameters of a policy as people write it: `name`, `name:key=value,key=value` or `file.py:Class:...`.

    >>> parse_policy("fixed-threshold:threshold=0.7")
    ('fixed-threshold', {'threshold': 0.7})

    Raises:
        InputError: a parameter is not of the form key=value.
    """
    name, _, rest = text.strip().partition(":")
    if name.endswith(".py"):
        policy_class, _, rest = rest.partition(":")
        name = f"{name}:{policy_class}"
    parameters: dict[str, float | int | bool | str] = {}
    for item in filter(None, rest.split(",")):
        key, equals, value = item.partition("=")
        if not (key.strip() and equals and value.strip()):
            hint = "as in dto-ee:threshold=0.7"
            raise InputError(f"policy {text!r}: {item!r} is not of the form key=value", hint=hint)
        parameters[key.strip()] = _value(value.strip())
    return name, parameters


def _value(text: str) -> float | int | bool | str:
    if text in {"true", "false"}:
        return text == "true"
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) or text.lower().lstrip("+-") in _NOT_FINITE else text
