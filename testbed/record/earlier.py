"""Runs that an earlier version recorded: their policies by their present names.

Until version 0.2 tasks followed rows by random draws, and `dto-ee` was the policy that is now called `dto-ee-static`;
three policies were its variants. Version 0.2 gave these names to a new algorithm.
"""

from collections.abc import Mapping
from typing import Any

from testbed.record.versions import PROJECT

Parameters = Mapping[str, bool | int | float | str]

NEW_NAMES_SINCE = (0, 2)
_STATIC = "dto-ee-static"
# Policies whose name has a new meaning: the parameters with which dto-ee-static is the old one.
_FORMER: Mapping[str, Parameters] = {
    "dto-ee": {},
    "fixed-threshold": {"adapt_thresholds": False},
    "first-exit": {"adapt_thresholds": False, "threshold": 0},
    "no-early-exit": {"adapt_thresholds": False, "threshold": "never"},
}


def recorded_by(manifest: Mapping[str, Any]) -> str:
    """The version of this project that recorded a run, as its manifest states it; empty if it states none."""
    stated = manifest.get("versions")
    return str(stated.get(PROJECT, "")) if isinstance(stated, dict) else ""


def is_before_new_names(manifest: Mapping[str, Any]) -> bool:
    """True if a version before 0.2 recorded the run, or an unknown one.

    >>> [is_before_new_names({"versions": {PROJECT: text}}) for text in ("0.1.0", "0.2.0", "0.10.1", "1.0", "?")]
    [True, False, False, False, True]
    """
    numbers = [int(part) for part in recorded_by(manifest).split(".")[:2] if part.isdecimal()]
    return tuple(numbers) < NEW_NAMES_SINCE


def present_policy(name: str, parameters: Parameters, label: str | None) -> str | None:
    """The present text of a policy that a version before 0.2 recorded; None if its name has kept its meaning.

    >>> present_policy("fixed-threshold", {"threshold": 0.7}, None)
    'dto-ee-static:label=fixed-threshold of 0.1,threshold=0.7,adapt_thresholds=false'
    """
    if name not in _FORMER:
        return None
    former = _FORMER[name]
    return policy_text(_STATIC, {**parameters, **former}, label or (f"{name} of 0.1" if former else None))


def policy_text(name: str, parameters: Parameters, label: str | None) -> str:
    """A policy as people write it: `name` or `name:label=...,key=value`."""
    values = [] if label is None else [f"label={label}"]
    values += [f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in parameters.items()]
    return f"{name}:{','.join(values)}" if values else name
