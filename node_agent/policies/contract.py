"""The check of a policy's class when it is loaded, before any of its code is called.

The names of its members and the parameters of its methods are compared with the base class `Policy`, as pluggy does
with plug-ins. `answers` checks the values that its methods return.

Nodes call methods by position, with these arguments (`base.Policy` has their shapes and units):

    start_slot(), update_row(row, prospect), react(row, prospect), gap(row, prospect), stop_gap(), settled(gaps),
    executed(row), move_threshold(view), task_threshold(view, candidate), pick(candidates, random); a central policy
    also has planning_s(problem), plan(problem, table)

Decision 019: parameters of a user's methods may have any names of their own
(docs/decisions/019-parameter-names.md).
"""

import ast
import inspect
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, Final

import msgspec

from node_agent.errors import InputError
from node_agent.policies.base import CentralPolicy, PlainPolicy, Policy, ProportionalPolicy
from node_agent.policies.prospect import RENAMED


def _methods(base: type) -> dict[str, tuple[str, ...]]:
    """The public methods of a base class, and the arguments that nodes hand to each, without self."""
    found = {name: member for name, member in vars(base).items() if inspect.isfunction(member) and name[0] != "_"}
    return {name: tuple(inspect.signature(member).parameters)[1:] for name, member in found.items()}


ATTRIBUTES: Final = tuple(Policy.__annotations__)
METHODS: Final = _methods(Policy)
CENTRAL_METHODS: Final = _methods(CentralPolicy)
# The arguments that nodes hand to each method, the constructor included.
ARGUMENTS: Final = {
    **METHODS,
    **CENTRAL_METHODS,
    "weights": _methods(ProportionalPolicy)["weights"],
    "__init__": tuple(inspect.signature(PlainPolicy.__init__).parameters)[1:],
}
# Members that a policy for version 0.1 cannot state. A class that lacks them gets those of `PlainPolicy`.
LATER: Final = ("fresh", "choices", "continuous", "prices_exits", "message_share", "react", "task_threshold")
_ALL_ARGUMENTS: Final = {argument for arguments in ARGUMENTS.values() for argument in arguments}
_HINT = "derive it from a class of node_agent.policies.base, for example PlainPolicy"
_ALIKE = 0.85  # similarity, 0..1 (difflib), from which a name counts as a misspelt member


def check_class(name: str, found: type[Any]) -> None:
    """Raise InputError unless a class keeps the contract of `Policy`.

    Args:
        name: the policy's name as `make_policy` takes it: file.py:Class for a user's class.
        found: the class.

    Raises:
        InputError: a member is missing or misspelt, `parameters_type` is no msgspec.Struct, a method cannot be called
            with its arguments, or a method reads a name of an earlier version. The error names file and line.
    """
    file = user_file(name)
    for member, guess in _misspelt(found):
        hint = f"did you mean {guess}? (the name of a helper of your own begins with an underscore)"
        raise InputError(f"{name}: a policy has no {member}{_where(file, found, member)}", hint=hint)
    if lacking := missing(found):
        raise InputError(f"{name} is no policy: it lacks {', '.join(lacking)}", hint=_HINT)
    parameters = getattr(found, "parameters_type", None)
    if not (isinstance(parameters, type) and issubclass(parameters, msgspec.Struct)):
        at = _where(file, found, "parameters_type")
        raise InputError(f"{name}: parameters_type{at} is no msgspec.Struct", hint=_HINT)
    for method, arguments in ARGUMENTS.items():
        if hasattr(found, method):
            _check_method(name, found, method, arguments)
    for method, line, old, new in _old_names(file, found):
        owner = "Candidate" if old in RENAMED["Candidate"] else "Prospect"
        raise InputError(f"{name}: {method} (line {line}) reads {owner}.{old}, which is now {new}")


def missing(found: type[Any]) -> list[str]:
    """Names of the members that a class lacks to be a policy; empty if it lacks none."""
    # The constructor may set `first_threshold`.
    needed = [member for member in (*ATTRIBUTES, *METHODS) if member not in ("first_threshold", *LATER)]
    needed += CENTRAL_METHODS if getattr(found, "central", False) else []
    lacking = [member for member in needed if not hasattr(found, member)]
    base = ProportionalPolicy
    if (getattr(found, "weights", None), getattr(found, "update_row", None)) == (base.weights, base.update_row):
        lacking.append("weights")
    return lacking


def complete(found: type[Any]) -> None:
    """Add the members of `LATER` that a class lacks, as `PlainPolicy` has them: an earlier version had none of them."""
    for member in LATER:
        if not hasattr(found, member):
            setattr(found, member, inspect.getattr_static(PlainPolicy, member))


def line_of(file: Path | None, found: type[Any], member: str) -> int | None:
    """Line where a class, or a base class in the same `file`, defines a member; None if neither does."""
    for body in _bodies(file, found):
        for statement in body.body:
            targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            if member in (*names, getattr(statement, "name", None)):
                return statement.lineno
    return None


def _misspelt(found: type[Any]) -> Iterator[tuple[str, str]]:
    """Pairs (misspelt name, likely member): public members whose name is nearly that of a member not defined there."""
    own = {member for each in found.__mro__ if each.__module__ == found.__module__ for member in vars(each)}
    members = {*ATTRIBUTES, *ARGUMENTS}
    for member in sorted(own - members - set(dir(object))):
        close = [(SequenceMatcher(None, _plain(member), _plain(each)).ratio(), each) for each in sorted(members - own)]
        likeness, guess = max(close, default=(0.0, ""))
        if member[0] != "_" and likeness >= _ALIKE:
            yield member, guess


def _plain(name: str) -> str:
    return name.lower().replace("_", "")


def _check_method(name: str, found: type[Any], method: str, arguments: tuple[str, ...]) -> None:
    """Raise InputError unless nodes can call a class's method with `arguments`."""
    if (fault := _fault(found, method, arguments)) is not None:
        said, hint = fault
        where = _where(user_file(name), found, method) or _defined_at(getattr(found, method))
        raise InputError(f"{name}: {said.format(where=where)}", hint=hint)


def _fault(found: type[Any], method: str, arguments: tuple[str, ...]) -> tuple[str, str] | None:
    """The fault of a method, with {where} for its place, and a hint; None if there is no fault."""
    member, function = inspect.getattr_static(found, method), getattr(found, method)
    wanted = f"it must be {method}({', '.join(('self', *arguments))})"
    if not callable(function):
        return f"{method}{{where}} is no method", wanted
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # not written in Python: a wrong signature shows at the call
        return None
    given = arguments if isinstance(member, staticmethod | classmethod) else ("self", *arguments)
    shown = f"{method}{signature}".replace("{", "{{").replace("}", "}}")
    try:
        signature.bind(*given)
    except TypeError as error:
        return f"{shown}{{where}} cannot be called: {error}", wanted
    for stated, argument in zip(signature.parameters, given, strict=False):
        if stated != argument and stated in _ALL_ARGUMENTS:
            return f"{shown}{{where}} would get {argument} as {stated}", wanted
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        return f"{method}{{where}} gives no answer at once", "write neither async nor yield in it"
    return None


def _old_names(file: Path | None, found: type[Any]) -> Iterator[tuple[str, int, str, str]]:
    """Reads of a renamed attribute in methods: method, line, old name, new name.

    Helpers that get the object from a method are not searched: there, the old name raises AttributeError with the new.
    """
    for body in _bodies(file, found):
        for method in body.body:
            if not isinstance(method, ast.FunctionDef) or method.name not in ARGUMENTS:
                continue
            given = dict(zip(ARGUMENTS[method.name], [each.arg for each in method.args.args[1:]], strict=False))
            for read in ast.walk(method):
                if not isinstance(read, ast.Attribute):
                    continue
                owner = read.value.id if isinstance(read.value, ast.Name) else None
                if read.attr in RENAMED["Prospect"] and owner == given.get("prospect", ""):
                    yield method.name, read.lineno, read.attr, RENAMED["Prospect"][read.attr]
                if read.attr in RENAMED["Candidate"] and method.name == "pick" and owner != "self":
                    yield method.name, read.lineno, read.attr, RENAMED["Candidate"][read.attr]


def user_file(name: str) -> Path | None:
    """The file of a user's policy, given its name as `make_policy` takes it; None for a policy of this package."""
    path = name.rpartition(":")[0] or name
    return Path(path).resolve() if path.endswith(".py") else None


def _bodies(file: Path | None, found: type[Any]) -> list[ast.ClassDef]:
    """The source of a user's class and of its base classes in the same file, the class itself first."""
    if file is None:
        return []
    classes = {each.name: each for each in ast.parse(file.read_bytes()).body if isinstance(each, ast.ClassDef)}
    own = [each.__name__ for each in found.__mro__ if each.__module__ == found.__module__]
    return [classes[name] for name in own if name in classes]


def _where(file: Path | None, found: type[Any], member: str) -> str:
    line = line_of(file, found, member)
    return f" (line {line} of {file})" if line is not None else ""


def _defined_at(function: object) -> str:
    code = getattr(inspect.unwrap(function) if callable(function) else function, "__code__", None)
    return f" (line {code.co_firstlineno} of {code.co_filename})" if code is not None else ""
