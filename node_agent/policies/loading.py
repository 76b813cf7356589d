"""A user's policy from a Python file; its class is checked against the contract when it is loaded."""

import functools
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from node_agent.errors import InputError
from node_agent.policies.checked import place_of
from node_agent.policies.contract import check_class, complete, missing

# Names of earlier versions that a policy file may import, and the present place of each.
_MOVED = {
    ("node_agent.dtoee.offloader", "RowState"): "node_agent.dtoee.offloader.Momentum, and the row an argument",
    ("node_agent.dtoee.one_row", "RowState"): "node_agent.dtoee.offloader.Momentum, and the row an argument",
    ("node_agent.dtoee.queueing", "link_price_s"): "node_agent.dtoee.queueing.measured_link_marginal_s",
    ("node_agent.core.planning.central", "CentralPolicy"): "node_agent.policies.base.CentralPolicy",
}
_ROOMS = ("core", "process")  # packages of node_agent; their modules once stood in node_agent itself


def is_file(name: str) -> bool:
    """True if a policy's name has the form file.py:Class, or file.py without a class."""
    return ".py:" in name or name.endswith(".py")


def load_policy(name: str) -> type[Any]:
    """The class that `path/to/file.py:Class` names; every call in one process returns the same class.

    Raises:
        InputError: the name has no class, the file cannot be read, its code raises, it has no such class, or the class
            breaks the contract of a policy.
    """
    path, class_name = split_name(name)
    module = _module(path)
    if not class_name:
        raise InputError(f"policy {path} names no class: state it as file.py:Class", hint=_listing(module))
    found: Any = getattr(module, class_name, None)
    if not isinstance(found, type):
        raise InputError(f"{path} has no class {class_name!r}", hint=_listing(module) or "state file.py:Class")
    check_class(name, found)
    complete(found)
    return found


def split_name(name: str) -> tuple[str, str]:
    """The path and the class of `path/to/file.py:Class`; the class is empty if the name has none."""
    path, colon, class_name = name.rpartition(":")
    return (path, class_name) if colon else (name, "")


def _listing(module: ModuleType) -> str:
    """The policies that a file defines, in words; those that it imports do not count."""
    own = [each for each in vars(module).values() if isinstance(each, type) and each.__module__ == module.__name__]
    names = [each.__name__ for each in own if not missing(each)]
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
    except (Exception, SystemExit) as error:  # a user's code may raise anything
        hint = "; ".join(filter(None, (_moved(error), place_of(path, error))))
        raise InputError(f"{path} fails: {type(error).__name__}: {error}", hint=hint) from error
    return module


def _moved(error: BaseException) -> str:
    """The present place of a name that a failing import asks for, in words; empty if it has not moved."""
    if not isinstance(error, ImportError) or error.name is None:
        return ""
    for (module, name), new in _MOVED.items():
        if module == error.name and f"import name {name!r}" in str(error):
            return f"{module}.{name} is now {new}"
    package, _, name = error.name.rpartition(".")
    rooms = [room for room in _ROOMS if importlib.util.find_spec(f"node_agent.{room}.{name}")]
    return f"{error.name} is now node_agent.{rooms[0]}.{name}" if package == "node_agent" and rooms else ""
