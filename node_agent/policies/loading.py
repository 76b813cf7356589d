"""A policy of the user's own, from a Python file."""

import functools
import importlib.util
from pathlib import Path
from typing import Any

import msgspec

from node_agent.errors import InputError
from node_agent.policies.base import Policy

MEMBERS = tuple(name for name in (*Policy.__annotations__, *vars(Policy)) if not name.startswith("_"))
_HINT = "derive it from a class of node_agent.policies.base, for example PlainPolicy"


def is_file(name: str) -> bool:
    """Whether a policy's name says file.py:Class."""
    return ".py:" in name


def load_policy(name: str) -> type[Any]:
    """The class that `path/to/file.py:Class` names; every call in one process gives the same.

    Raises:
        InputError: the file cannot be read or fails, has no such class, or the class is no policy.
    """
    path, _, class_name = name.rpartition(":")
    found: Any = getattr(_module(path), class_name, None)
    if not isinstance(found, type):
        raise InputError(f"{path} has no class {class_name!r}", hint="state file.py:Class")
    # `first_threshold` may be set when an instance is made.
    missing = [member for member in MEMBERS if member != "first_threshold" and not hasattr(found, member)]
    if missing:
        raise InputError(f"{name} is no policy: it lacks {', '.join(missing)}", hint=_HINT)
    parameters = getattr(found, "parameters_type", None)
    if not (isinstance(parameters, type) and issubclass(parameters, msgspec.Struct)):
        raise InputError(f"{name}: parameters_type is no msgspec.Struct", hint=_HINT)
    return found


@functools.cache
def _module(path: str) -> object:
    file = Path(path)
    if not file.is_file():
        raise InputError(f"there is no policy file {path}", hint="state file.py:Class, with the path of the file")
    spec = importlib.util.spec_from_file_location(f"dtoee_user_policy_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} cannot be loaded as Python", hint="a policy file ends with .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's own code raises
        raise InputError(f"{path} fails: {type(error).__name__}: {error}") from error
    return module
