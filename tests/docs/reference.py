"""The blocks of fields in the pages under docs/, rendered from the classes that hold the fields."""

from collections.abc import Callable

REFERENCE: dict[str, tuple[str, Callable[[], list[str]]]] = {}
"""For each block: what it is rendered from, and the function that returns its lines."""
