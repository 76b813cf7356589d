"""Offloading policies by name; each has its own file and its own parameters.

A file of this room that holds a class derived from `PlainPolicy` is a policy: the file's name is the policy's, with
hyphens, and the first paragraph of the class's docstring is what docs/policies.md, `--help` and the JSON Schema say of
it.
"""

import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from node_agent.errors import InputError
from node_agent.policies.answers import is_finite, shown
from node_agent.policies.base import PlainPolicy, Policy
from node_agent.policies.checked import CheckedPolicy, place_of
from node_agent.policies.loading import is_file, load_policy
from node_agent.policies.parameters import defaults_in_words, read_parameters, threshold_fault
from node_agent.suggest import closest

# Python's int() and float() would also accept 1_0, and digits of other scripts.
_WHOLE = re.compile(r"[+-]?[0-9]{1,300}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NOT_FINITE = ("nan", "inf", "infinity")


def _policies() -> Iterator[tuple[str, type[Any]]]:
    """Name and class of each policy in this package; a class whose name begins with an underscore is no policy."""
    for file in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{file.name}")
        for found in vars(module).values():
            own = isinstance(found, type) and found.__module__ == module.__name__ != PlainPolicy.__module__
            if own and issubclass(found, PlainPolicy) and found.__name__[0] != "_":
                yield file.name.replace("_", "-"), found


_POLICIES: dict[str, type[Any]] = dict(_policies())
LABEL, MAX_LABEL_CHARACTERS = "label", 64  # a policy's name in results
P = TypeVar("P")


def policy_names() -> tuple[str, ...]:
    """Names of the policies in this package; `make_policy` also takes files."""
    return tuple(_POLICIES)


def policy_lines() -> dict[str, str]:
    """A line about each policy, by name: the first paragraph of its class's docstring."""
    return {name: " ".join((each.__doc__ or "").split("\n\n")[0].split()) for name, each in _POLICIES.items()}


def policy_defaults() -> dict[str, dict[str, str]]:
    """The parameters of each policy with their defaults in words, by the policy's name; {} for one without any."""
    return {name: defaults_in_words(each.parameters_type) for name, each in _POLICIES.items()}


def parameter_names(name: str) -> tuple[str, ...]:
    """Names of a policy's parameters. Raises InputError if there is no such policy."""
    return tuple(_class_of(name.removesuffix(":")).parameters_type.__struct_fields__)


def make_policy(name: str, parameters: Mapping[str, object] | None = None, *, theta_s: float = 2.0) -> Policy:
    """A new instance of a policy, for one node.

    Args:
        name: one of `policy_names`, or `path/to/file.py:Class`.
        parameters: values by name, for the fields of the policy's `parameters_type`; defaults fill in the others.
        theta_s: seconds of mean delay that one unit (100 points) of accuracy is worth.

    Raises:
        InputError: an unknown policy or parameter, a value out of range, or a class that breaks the contract.
    """
    name = name.removesuffix(":")  # an empty list of parameters
    build = _class_of(name)
    for key, value in (parameters or {}).items():
        if not is_finite(value):
            raise InputError(f"policy {name}: {key} is {shown(value)}", hint="a parameter must be a finite number")
    converted = read_parameters(name, parameters or {}, build.parameters_type)
    try:
        policy: Policy = build(converted, theta_s)
    except InputError as error:  # its own message says more
        message = str(error)
        raise InputError(
            message if message.startswith("policy ") else f"policy {name}: {message}", hint=error.hint
        ) from error
    except (Exception, SystemExit) as error:  # a user's class may raise anything
        message = f"policy {name} cannot be made: {type(error).__name__}: {error}"
        called = "its class is called with its parameters and theta_s"
        raise InputError(message, hint=place_of(name, error) or called) from error
    CheckedPolicy(policy, name).verify()
    return policy


def policy_fault(name: str, parameters: Mapping[str, object]) -> str | None:
    """The fault of parameters that `make_policy` still accepts, but a topology or command may not state; None if none.

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
    """Name and parameters of a policy from its text: `name`, `name:key=value,key=value` or `file.py:Class:...`.

    The value of `label` stays text: see `take_label`. Others become numbers or booleans where they look like them.

    >>> parse_policy("fixed-threshold:threshold=0.7")
    ('fixed-threshold', {'threshold': 0.7})

    Raises:
        InputError: a parameter is not of the form key=value, or is stated twice.
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
        if key.strip() in parameters:
            raise InputError(f"policy {text!r} states {key.strip()} twice", hint="state each parameter once")
        parameters[key.strip()] = value.strip() if key.strip() == LABEL else _value(value.strip())
    return name, parameters


def take_label(name: str, parameters: Mapping[str, P]) -> tuple[str | None, dict[str, P]]:
    """The label among the parameters (None if there is none), and the other parameters.

    If the policy has a parameter `label` of its own, it is no label but stays a parameter.
    """
    others = {key: value for key, value in parameters.items() if key != LABEL}
    if len(others) == len(parameters) or _has_label(name):
        return None, dict(parameters)
    return str(parameters[LABEL]), others


def check_label(name: str, parameters: Mapping[str, object], label: str | None) -> None:
    """Raise InputError if a label cannot be shown, is another policy's name, or the policy has a parameter `label`."""
    if label is None:
        return
    if LABEL not in parameters and _has_label(name):
        hint = "state it in the topology, as policy: {name: ..., parameters: {label: ...}}"
        raise InputError(f"policy {name} has a parameter `label` of its own, which stays unset", hint=hint)
    if not label.strip() or len(label) > MAX_LABEL_CHARACTERS or not label.isprintable() or "," in label:
        hint = f"1 to {MAX_LABEL_CHARACTERS} characters and no comma, as in {name}:label=Mine"
        raise InputError(f"policy {name}: {shown(label)} is no label", hint=hint)
    if label in _POLICIES and label != name:
        raise InputError(f"policy {name}: {label} is the name of another policy", hint="choose another label")


def _has_label(name: str) -> bool:
    """True if a policy has a parameter `label`; False if it cannot be loaded, which other code reports."""
    try:
        return LABEL in _class_of(name).parameters_type.__struct_fields__
    except InputError:
        return False


def _value(text: str) -> float | int | bool | str:
    if text in {"true", "false"}:
        return text == "true"
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) or text.lower().lstrip("+-") in _NOT_FINITE else text
