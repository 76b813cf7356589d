"""What a policy's class must look like; it is held against this when it is loaded, before any of its code is called.

As pluggy does with plug-ins: the names of its members, and the parameters of its methods, against the base class. What
a policy may answer stands in `answers`.

Decision: nodes call methods by position, so a parameter may have any name of the user's own; one that has the name of
another argument (`executed(self, prospect)`) is refused, because it would get something else. Rejected: pluggy's rule,
the same names, which would refuse policies that work.
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
    """The public methods of a base class, and what nodes hand to each."""
    found = {name: member for name, member in vars(base).items() if inspect.isfunction(member) and name[0] != "_"}
    return {name: tuple(inspect.signature(member).parameters)[1:] for name, member in found.items()}


ATTRIBUTES: Final = tuple(Policy.__annotations__)
METHODS: Final = _methods(Policy)
CENTRAL_METHODS: Final = _methods(CentralPolicy)
# What nodes hand to each method, the constructor among them.
ARGUMENTS: Final = {
    **METHODS,
    **CENTRAL_METHODS,
    "weights": _methods(ProportionalPolicy)["weights"],
    "__init__": tuple(inspect.signature(PlainPolicy.__init__).parameters)[1:],
}
_ALL_ARGUMENTS: Final = {argument for arguments in ARGUMENTS.values() for argument in arguments}
_HINT = "derive it from a class of node_agent.policies.base, for example PlainPolicy"
_ALIKE = 0.85  # similarity from 0 to 1 (difflib) from which a name is taken for a member's, misspelt


def check_class(name: str, found: type[Any]) -> None:
    """Raise InputError unless a class is a policy's.

    Args:
        name: as `make_policy` takes it: with the file, where it is a user's.
        found: the class.
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
    """What a class lacks to be a policy."""
    # `first_threshold` may be set when an instance is made.
    needed = [member for member in (*ATTRIBUTES, *METHODS) if member != "first_threshold"]
    needed += CENTRAL_METHODS if getattr(found, "central", False) else []
    lacking = [member for member in needed if not hasattr(found, member)]
    base = ProportionalPolicy
    if (getattr(found, "weights", None), getattr(found, "update_row", None)) == (base.weights, base.update_row):
        lacking.append("weights")
    return lacking


def line_of(file: Path | None, found: type[Any], member: str) -> int | None:
    """Where a class, or one of the same `file` from which it derives, defines a member; None if it does not."""
    for body in _bodies(file, found):
        for statement in body.body:
            targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            if member in (*names, getattr(statement, "name", None)):
                return statement.lineno
    return None


def _misspelt(found: type[Any]) -> Iterator[tuple[str, str]]:
    """Public members that are none of a policy's, but nearly have the name of one that its file does not define."""
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
    """Raise InputError unless a class's method can be called as nodes do."""
    if (fault := _fault(found, method, arguments)) is not None:
        said, hint = fault
        where = _where(user_file(name), found, method) or _defined_at(getattr(found, method))
        raise InputError(f"{name}: {said.format(where=where)}", hint=hint)


def _fault(found: type[Any], method: str, arguments: tuple[str, ...]) -> tuple[str, str] | None:
    """What is wrong with a method, with {where} for its place, and a hint; None if nothing is."""
    member, function = inspect.getattr_static(found, method), getattr(found, method)
    wanted = f"it must be {method}({', '.join(('self', *arguments))})"
    if not callable(function):
        return f"{method}{{where}} is no method", wanted
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # not written in Python: the call itself will tell
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
    """Where methods read a name of an earlier version from what they are given: method, line, old name, new one.

    A helper that gets it from a method is not looked at: there, the name itself raises AttributeError with the new one.
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
    """The file of a user's policy, of which `name` is that which `make_policy` takes; None for one of ours."""
    path = name.rpartition(":")[0] or name
    return Path(path).resolve() if path.endswith(".py") else None


def _bodies(file: Path | None, found: type[Any]) -> list[ast.ClassDef]:
    """The source of a user's class, and of those in the same file from which it derives, the class itself first."""
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
