"""The public docstrings: each says what its name takes and gives, with units or shapes, and functions what they raise.

The form is loose. A field or argument is explained by a line `name: ...`, by a paragraph with `name` in backquotes, by
a comment at its definition, or by a unit at the end of its name. A number (float or array) also needs a unit: at the
end of its name, in brackets, as a shape in parentheses, as a range, or as the word share, number, factor or the like. A
function names its result in the first line or under "Returns:", and its exceptions after "Raises" ("Raises nothing").
"""

import builtins
import dataclasses
import inspect
import re
import sys
import types
from collections.abc import Iterator

import msgspec
import pytest

import dtoee_testbed
from tests.docs.field_docs import own_field_comments

UNIT_SUFFIX = re.compile(r"(_s|_s2|_per_s|_bytes|_byte|_flop|_mib|_gib|_percent|_sha256)$")
UNIT = re.compile(
    r"\[[^\]]+\]|\([A-Za-z_][\w \-]*,[\w ,\-]*\)|\d\.\.\w|\d to \d|\b(shares?|number|tasks|factor|times|seconds?)\b"
)
NUMERIC = re.compile(r"\b(float|Array|NDArray|Floats|complex)\b")
RETURNS = re.compile(r"\A(Return|The |A |An |All |Names |True )|\A.*\b[Rr]eturn|\bReturns:\s+\S")
RAISES = re.compile(r"\bRaises:?\s+(nothing\b|.*)", re.DOTALL)
SECTION = re.compile(r"^\s*(Args|Attributes|Returns|Raises|Yields):", re.MULTILINE)


def own_docstring(found: object) -> str:
    """The docstring written for a function or class; empty if it has none, or one that `dataclass` made."""
    text = vars(found).get("__doc__") if isinstance(found, type) else found.__doc__
    made = isinstance(found, type) and text is not None and text.startswith(f"{found.__name__}(")
    return "" if text is None or made else inspect.cleandoc(text)


def explanation(name: str, docstring: str) -> str:
    """The parts of a docstring that explain a field or argument, joined; empty if there is none."""
    found = re.findall(rf"^(\s*){name}: (.*(?:\n\1 +\S.*)*)", docstring, re.MULTILINE)
    parts = [text for _, text in found]
    prose = SECTION.split(docstring)[0]
    quoted = re.compile(rf"`[\w.]*\b{name}\b[^`]*`")
    parts += [part for part in [*re.split(r"\n\s*\n", prose), *docstring.splitlines()] if quoted.search(part)]
    return "\n".join(parts)


def parameters(function: types.FunctionType) -> dict[str, str]:
    """The annotation of each argument of a function, as text."""
    return {
        name: str(argument.annotation)
        for name, argument in inspect.signature(function).parameters.items()
        if name not in ("self", "cls")
    }


def parts_of(found: type) -> dict[str, str]:
    """The annotation of each public part that a class takes or holds, as text."""
    if dataclasses.is_dataclass(found):
        fields = {field.name: str(field.type) for field in dataclasses.fields(found)}
    elif issubclass(found, msgspec.Struct):
        fields = {field.name: str(field.type) for field in msgspec.structs.fields(found)}
    elif getattr(found, "_is_protocol", False):
        fields = {name: str(kind) for name, kind in vars(found).get("__annotations__", {}).items()}
    elif "__init__" in vars(found):
        fields = parameters(found.__init__)
    else:
        fields = {}
    plain = {"message"} if issubclass(found, BaseException) else set()  # every exception takes one
    return {name: kind for name, kind in fields.items() if not name.startswith("_") and name not in plain}


def faults_of_parts(parts: dict[str, str], text: str, noted: dict[str, str]) -> Iterator[str]:
    """Complaints about parts that nothing explains, and about numbers without a unit or shape."""
    for name, kind in parts.items():
        said = "\n".join(filter(None, (explanation(name, text), noted.get(name, ""))))
        unit = UNIT_SUFFIX.search(name) is not None
        if not said and not unit:
            yield f"{name} is not explained"
        elif NUMERIC.search(kind) and not unit and not UNIT.search(said):
            yield f"{name} is a number without unit or shape"


def faults_of_function(function: types.FunctionType) -> Iterator[str]:
    """Complaints about the docstring of an exported function."""
    text = own_docstring(function)
    if not text:
        yield "no docstring"
        return
    yield from faults_of_parts(parameters(function), text, {})
    made = re.escape(str(inspect.signature(function).return_annotation).rpartition(".")[2].rstrip("'>"))
    if not RETURNS.search(text) and not re.match(rf"{made}\b", text):  # "Plan a run ..." gives a Plan
        yield "does not say what it returns"
    raises = RAISES.search(text)
    if raises is None:
        yield "does not say what it raises"
    elif raises[1] != "nothing" and not list(exceptions_in(raises[1], sys.modules[function.__module__])):
        yield "names no exception class after Raises"


def exceptions_in(text: str, module: types.ModuleType) -> Iterator[type[BaseException]]:
    """The exception classes that a text names: built-in ones, public ones, and those of a module."""
    for word in re.findall(r"\b[A-Z]\w+", text):
        public = getattr(dtoee_testbed, word) if word in dtoee_testbed.__all__ else None  # loaded when first used
        for kind in (vars(module).get(word), public, getattr(builtins, word, None)):
            if isinstance(kind, type) and issubclass(kind, BaseException):
                yield kind


def faults_of_class(found: type) -> Iterator[str]:
    """Complaints about the docstrings of an exported class: its own, and those of its public members."""
    text = own_docstring(found)
    if not text:
        yield "no docstring"
        return
    for base in found.__mro__[:-1]:
        start = vars(base).get("__init__")
        if isinstance(start, types.FunctionType) and start.__doc__ and not dataclasses.is_dataclass(base):
            text += "\n\n" + inspect.cleandoc(start.__doc__)
        text += "\n\n" + own_docstring(base) if base is not found and base.__module__ == found.__module__ else ""
    yield from faults_of_parts(parts_of(found), text, own_field_comments(found))
    documented_elsewhere = {*vars(dtoee_testbed.RunObserver), *vars(dtoee_testbed.Policy)}
    for name, member in vars(found).items():
        code = getattr(member, "fget", None) or getattr(member, "func", None) or getattr(member, "__func__", member)
        if name.startswith("_") or not isinstance(code, types.FunctionType):
            continue
        if not code.__doc__ and name not in documented_elsewhere:
            yield f"{name} has no docstring"


def faults_of(found: object) -> list[str]:
    """All complaints about the docstring of a public name."""
    return list(faults_of_class(found) if isinstance(found, type) else faults_of_function(found))


@pytest.mark.parametrize("name", dtoee_testbed.__all__)
def test_a_public_docstring_says_what_its_name_takes_gives_and_raises(name):
    assert faults_of(getattr(dtoee_testbed, name)) == []


def undocumented(speed: float) -> float:
    return speed


def half_documented(speed: float, until: str) -> str:
    """Drive with `speed`, with `until` as the end."""
    return f"{speed} {until}"


def documented(speed: float, delay_s: float, until: str) -> str:
    """The length of a drive, in words.

    Args:
        speed: of the car [m/s].
        until: the end of the drive.

    Raises:
        ValueError: there is no such end.
    """
    return f"{speed * delay_s} {until}"


@dataclasses.dataclass
class Bare:
    speed: float


@dataclasses.dataclass
class Half:
    """A car; `weight` is that of its load."""

    speed: float
    weight: float
    length: float  # [m]

    def drive(self) -> None: ...


def test_a_docstring_that_lacks_something_would_be_noticed():
    assert faults_of(undocumented) == ["no docstring"]
    assert faults_of(half_documented) == [
        "speed is a number without unit or shape", "does not say what it returns", "does not say what it raises",
    ]  # fmt: skip
    assert faults_of(documented) == []
    assert faults_of(Bare) == ["no docstring"]
    assert faults_of(Half) == [
        "speed is not explained", "weight is a number without unit or shape", "drive has no docstring",
    ]  # fmt: skip
