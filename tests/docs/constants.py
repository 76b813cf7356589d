"""Numbers with units as pages state them, and the constants of the code."""

import ast
import importlib
import re
from pathlib import Path, PurePosixPath
from typing import Any

FACTORS = {"": 1.0, "s": 1.0, "ms": 1e-3, "%": 1e-2, "KiB": 1024.0, "MiB": 1024.0**2}
_NUMBER = re.compile(r"(-?[\d.]+)\s?(s|ms|%|KiB|MiB|)$")
_NAMED = re.compile(r"`([\w.]+)` \(`([\w/]+\.py)`\)")


def number(text: str, *, name: str = "") -> float:
    """A number with its unit, in SI units; in milliseconds for a constant whose name ends in _MS."""
    found = _NUMBER.match(text.strip())
    assert found is not None, f"{text!r} is no number with a unit"
    return float(found[1]) * FACTORS[found[2]] * (1e3 if name.endswith("_MS") else 1.0)


def module(path: str) -> Any:
    """The module at a path of the repository."""
    return importlib.import_module(".".join(PurePosixPath(path).with_suffix("").parts))


def names_in(path: Path) -> set[str]:
    """The functions, classes and constants that a module defines."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found


def constant(name: str, path: str) -> Any:
    """A constant of a module, or the default of a field of one of its classes (`Class.field`)."""
    found = getattr(module(path), name.partition(".")[0])
    if "." in name:
        field = name.partition(".")[2]
        defaults = dict(zip(found.__struct_fields__[-len(found.__struct_defaults__):], found.__struct_defaults__,
                            strict=True))  # fmt: skip
        return defaults[field]
    return found


def named(cell: str) -> tuple[str, str] | None:
    """Name and file of a constant in a cell such as "`NAME` (`path/to/file.py`)"; None in any other cell."""
    found = _NAMED.fullmatch(cell)
    return None if found is None else (found[1], found[2])
