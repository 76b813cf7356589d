"""Offloading policies by name; each has its own file and its own parameters."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from node_agent.errors import InputError
from node_agent.policies import bandwidth_first, computing_first, dto_ee
from node_agent.policies.base import FixedThreshold, Policy

_POLICIES: dict[str, tuple[Callable[[Any, float], Policy], type[msgspec.Struct]]] = {
    "dto-ee": (dto_ee.DtoEe, dto_ee.Parameters),
    "computing-first": (computing_first.ComputingFirst, FixedThreshold),
    "bandwidth-first": (bandwidth_first.BandwidthFirst, FixedThreshold),
}


def policy_names() -> tuple[str, ...]:
    """Names that `make_policy` knows."""
    return tuple(_POLICIES)


def make_policy(name: str, parameters: Mapping[str, object] | None = None, *, theta_s: float = 2.0) -> Policy:
    """A new instance of the policy `name`, for one node.

    `theta_s` is the exchange rate of the objective: seconds of mean delay that one unit of accuracy is worth.

    Raises:
        InputError: unknown policy, unknown parameter or a value out of range.
    """
    if name not in _POLICIES:
        raise InputError(f"there is no policy {name!r}", hint=f"choose one of {', '.join(_POLICIES)}")
    build, parameter_type = _POLICIES[name]
    known = parameter_type.__struct_fields__
    for key in parameters or {}:
        if key not in known:
            raise InputError(f"policy {name} has no parameter {key!r}", hint=f"it has {', '.join(known)}")
    try:
        # Not strict: a whole number is welcome where seconds are wanted.
        converted = msgspec.convert(dict(parameters or {}), parameter_type, strict=False)
    except msgspec.ValidationError as error:
        raise InputError(f"policy {name}: {error}") from error
    return build(converted, theta_s)
