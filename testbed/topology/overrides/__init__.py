"""Overrides: values that replace those of a topology file."""

from testbed.topology.overrides.override import (
    Override,
    load_overrides,
    overridden,
    parse_override,
    stated_overrides,
)

__all__ = ["Override", "load_overrides", "overridden", "parse_override", "stated_overrides"]
