"""Overrides: values that replace those of a topology file."""

from testbed.topology.overrides.override import (
    Override,
    Replaced,
    as_overrides,
    load_overrides,
    overridden,
    parse_override,
    placed,
    replaced,
    stated_overrides,
)
from testbed.topology.overrides.places import LOAD

__all__ = [
    "LOAD",
    "Override",
    "Replaced",
    "as_overrides",
    "load_overrides",
    "overridden",
    "parse_override",
    "placed",
    "replaced",
    "stated_overrides",
]
