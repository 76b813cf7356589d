"""The fields of a class as a reference page lists them: name, type, unit and meaning, all from the class itself.

The meaning of a field stands in the `Attributes:` of its class's docstring, or in the comment behind it or right above.
"""

import ast
import dataclasses
import inspect
import io
import re
import textwrap
import tokenize
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UnsetType

UNITS = {"_flop_per_s": "FLOP/s", "_mbit_per_s": "Mbit/s", "_per_s": "task/s", "_s2": "s^2", "_s": "s", "_bytes": "B"}
"""The unit of a field by the end of its name, the longest end first."""
_UNIT = re.compile(r"\s*\[((?:emulated |real )?[^\]\s]+)\]")
_ITEM = re.compile(r"^(?P<indent> *)(?P<names>[\w-]+): (?P<text>.*)$")


@dataclass(frozen=True, slots=True)
class FieldDoc:
    """A field. `type` is the JSON type in words, `unit` is empty for plain numbers, texts and lists."""

    name: str
    type: str
    unit: str
    meaning: str


def field_docs(cls: type[Any], *, bounds: bool = False) -> list[FieldDoc]:
    """The fields of a msgspec struct or a dataclass, by the names that they have in a file or on the wire.

    With `bounds`, types say which numbers and lengths are valid.
    """
    found = {**field_comments(cls), **sections(cls.__doc__ or "").get("Attributes", {})}
    docs = []
    for name, written, kind in _fields(cls):
        text = type_text(kind, bounds=bounds)
        meaning, unit = found.get(name, ""), ""
        if not text.startswith("list"):  # the elements of a list may have several units
            meaning, unit = _unit_of(meaning, written)
        docs.append(FieldDoc(written, text, unit, re.sub(r"\bNone\b", "null", meaning)))
    return docs


def sections(docstring: str) -> dict[str, dict[str, str]]:
    """The items of each section of a docstring: {"Attributes": {"id": "the task's number", ...}, ...}."""
    found: dict[str, dict[str, str]] = {}
    items: dict[str, str] | None = None
    name = ""
    for line in inspect.cleandoc(docstring).splitlines():
        if line.endswith(":") and not line.startswith(" "):
            items = found.setdefault(line.removesuffix(":"), {})
        elif line and not line.startswith(" "):
            items = None
        elif items is not None and (match := _ITEM.match(line)) and len(match["indent"]) == 4:
            name = match["names"]
            items[name] = match["text"]
        elif items is not None and line.strip() and name:
            items[name] += f" {line.strip()}"
    return found


def field_comments(cls: type[Any]) -> dict[str, str]:
    """The comments behind, or right above, the fields of a class and of its bases."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        if not base.__module__.startswith("msgspec"):
            found |= own_field_comments(base)
    return found


def own_field_comments(cls: type[Any]) -> dict[str, str]:
    """The comments behind, or right above, the fields in the body of a class."""
    found: dict[str, str] = {}
    source = textwrap.dedent(inspect.getsource(cls))
    comments = _comments(source)
    (body,) = ast.parse(source).body
    assert isinstance(body, ast.ClassDef)
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            texts = _above(comments, node.lineno)
            if (behind := comments.get(node.end_lineno or node.lineno)) is not None:
                texts.append(behind[1])
            if texts:
                found[node.target.id] = " ".join(texts)
    return found


def _comments(source: str) -> dict[int, tuple[bool, str]]:
    """By line: whether the comment has the line for itself, and its text."""
    lines = source.splitlines()
    return {
        token.start[0]: (not lines[token.start[0] - 1][: token.start[1]].strip(), token.string.lstrip("# "))
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and "fmt:" not in token.string
    }


def _above(comments: dict[int, tuple[bool, str]], line: int) -> list[str]:
    texts: list[str] = []
    while (above := comments.get(line - 1)) is not None and above[0]:
        texts.insert(0, above[1])
        line -= 1
    return texts


def _fields(cls: type[Any]) -> list[tuple[str, str, Any]]:
    """Name, name in the file and annotation of each field."""
    if issubclass(cls, msgspec.Struct):
        hints = get_type_hints(cls, include_extras=True)
        return [(one.name, one.encode_name, hints[one.name]) for one in msgspec.structs.fields(cls)]
    hints = get_type_hints(cls, include_extras=True)
    return [(one.name, one.name, hints[one.name]) for one in dataclasses.fields(cls)]


def _unit_of(meaning: str, name: str) -> tuple[str, str]:
    """The meaning without its first `[unit]`, and the unit; by the field's name where no unit is stated."""
    stated = _UNIT.search(meaning)
    if stated is not None:
        return meaning[: stated.start()] + meaning[stated.end() :], stated[1].removeprefix("emulated ")
    return meaning, next((unit for end, unit in UNITS.items() if name.endswith(end)), "")


def type_text(kind: Any, *, bounds: bool = True) -> str:
    """An annotation as a JSON type in words, with the bounds of numbers and lengths that are not inside others."""
    if get_origin(kind) is Annotated:
        inner, *metas = get_args(kind)
        text = type_text(inner)
        return _bounded(text, metas) if bounds else text
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        texts = [type_text(one) for one in arguments if one not in (NoneType, UnsetType)]
        return " or ".join([*dict.fromkeys(texts), *(["null"] if NoneType in arguments else [])])
    if origin is Literal:
        return "text" if len(arguments) > 6 else " or ".join(f'"{one}"' for one in arguments)
    if kind.__class__.__name__ == "TypeAliasType":
        return type_text(kind.__value__)
    return _plain(kind) if origin is None else _composed(origin, arguments)


def _plain(kind: Any) -> str:
    plain = {bool: "true or false", int: "int", float: "number", str: "text"}
    if kind in plain:
        return plain[kind]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__struct_config__.array_like:
        return f"list [{', '.join(kind.__struct_encode_fields__)}]"
    return f"object `{kind.__name__}`" if isinstance(kind, type) else str(kind)


def _composed(origin: Any, arguments: tuple[Any, ...]) -> str:
    if origin is tuple and arguments[-1:] != (Ellipsis,):
        return f"list [{', '.join(map(_part, arguments))}]"
    if origin in (tuple, list) or arguments[-1:] == (Ellipsis,):
        return f"list of {_part(arguments[0])}"
    if len(arguments) == 2:
        return f"object, {_part(arguments[0])} to {_part(arguments[1])}"
    return f"list of {_part(arguments[0])}"


def _part(kind: Any) -> str:
    return type_text(kind, bounds=False)


def _bounded(text: str, metas: list[Any]) -> str:
    for meta in metas:
        low, high = getattr(meta, "ge", None), getattr(meta, "le", None)
        if high is not None and high >= 1e300:
            text = f"{text}, finite" + (f", from {low:g}" if low is not None and low > -1e300 else "")
        elif low is not None or high is not None:
            text = f"{text}, {_number(low)} to {_number(high)}"
        if (most := getattr(meta, "max_length", None)) is not None:
            text = f"{text}, at most {most}" + (" characters" if text == "text" else "")
    return text


def _number(bound: float | None) -> str:
    if isinstance(bound, int) and bound > 10_000:
        return f"2^{bound.bit_length() - 1}"
    return f"{bound:g}"
