"""A policy of the user's own, from a Python file; its class is held against the contract when it is loaded."""

import functools
import importlib.util
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from node_agent.errors import InputError
from node_agent.policies.base import Policy, ProportionalPolicy
from node_agent.policies.checked import place_of

MEMBERS = tuple(name for name in (*Policy.__annotations__, *vars(Policy)) if not name.startswith("_"))
CENTRAL_MEMBERS = ("plan", "planning_s")
# What nodes hand to each method, as its contract names it.
ARGUMENTS = {
    "start_slot": (),
    "update_row": ("row", "prospect"),
    "gap": ("row", "prospect"),
    "stop_gap": (),
    "settled": ("gaps",),
    "executed": ("row",),
    "move_threshold": ("view",),
    "pick": ("candidates", "random"),
    "weights": ("prospect",),
    "planning_s": ("problem",),
    "plan": ("problem", "table"),
}
_HINT = "derive it from a class of node_agent.policies.base, for example PlainPolicy"


def is_file(name: str) -> bool:
    """Whether a policy's name says file.py:Class, or would if the class were not missing."""
    return ".py:" in name or name.endswith(".py")


def load_policy(name: str) -> type[Any]:
    """The class that `path/to/file.py:Class` names; every call in one process gives the same.

    Raises:
        InputError: the name has no class, the file cannot be read or fails, has no such class, or it is no policy.
    """
    path, class_name = split_name(name)
    module = _module(path)
    if not class_name:
        raise InputError(f"policy {path} names no class: state it as file.py:Class", hint=_listing(module))
    found: Any = getattr(module, class_name, None)
    if not isinstance(found, type):
        raise InputError(f"{path} has no class {class_name!r}", hint=_listing(module) or "state file.py:Class")
    if missing := _missing(found):
        raise InputError(f"{name} is no policy: it lacks {', '.join(missing)}", hint=_HINT)
    parameters = getattr(found, "parameters_type", None)
    if not (isinstance(parameters, type) and issubclass(parameters, msgspec.Struct)):
        raise InputError(f"{name}: parameters_type is no msgspec.Struct", hint=_HINT)
    for method, arguments in ARGUMENTS.items():
        if hasattr(found, method):
            _check_method(name, found, method, arguments)
    return found


def _check_method(name: str, found: type[Any], method: str, arguments: tuple[str, ...]) -> None:
    """Raise InputError unless a class's method can be called as nodes do."""
    member = inspect.getattr_static(found, method)
    wanted = f"{method}({', '.join(('self', *arguments))})"
    function = getattr(found, method)
    where = _defined_at(function)
    if not callable(function):
        raise InputError(f"{name}: {method} is no method", hint=f"it must be {wanted}")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # not written in Python: the call itself will tell
        return
    bound = isinstance(member, staticmethod | classmethod)
    try:
        signature.bind(*(() if bound else (None,)), *arguments)
    except TypeError as error:
        raise InputError(f"{name}: {method}{signature}{where} cannot be called: {error}", hint=f"it must be {wanted}") \
            from None  # fmt: skip
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise InputError(f"{name}: {method}{where} gives no answer at once", hint="write neither async nor yield in it")


def _defined_at(function: object) -> str:
    code = getattr(inspect.unwrap(function) if callable(function) else function, "__code__", None)
    return f" (line {code.co_firstlineno} of {code.co_filename})" if code is not None else ""


def split_name(name: str) -> tuple[str, str]:
    """The path and the class of `path/to/file.py:Class`; the class is empty where it is missing."""
    path, colon, class_name = name.rpartition(":")
    return (path, class_name) if colon else (name, "")


def _missing(found: type[Any]) -> list[str]:
    """What a class lacks to be a policy."""
    # `first_threshold` may be set when an instance is made.
    needed = [member for member in MEMBERS if member != "first_threshold"]
    needed += CENTRAL_MEMBERS if getattr(found, "central", False) else []
    missing = [member for member in needed if not hasattr(found, member)]
    base = ProportionalPolicy
    if (getattr(found, "weights", None), getattr(found, "update_row", None)) == (base.weights, base.update_row):
        missing.append("weights")
    return missing


def _listing(module: ModuleType) -> str:
    """The policies that a file holds, in words; those that it imports left out."""
    own = [each for each in vars(module).values() if isinstance(each, type) and each.__module__ == module.__name__]
    names = [each.__name__ for each in own if not _missing(each)]
    return f"it holds {', '.join(names)}" if names else ""


@functools.cache
def _module(path: str) -> ModuleType:
    file = Path(path)
    if not file.is_file():
        raise InputError(f"there is no policy file {path}", hint="state file.py:Class, with the path of the file")
    spec = importlib.util.spec_from_file_location(f"dtoee_user_policy_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} cannot be loaded as Python", hint="a policy file ends with .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever the user's own code raises
        raise InputError(f"{path} fails: {type(error).__name__}: {error}", hint=place_of(path, error)) from error
    return module
