"""Turn YAML data into a `TopologyDocument`; report every error with its place, a message for people and a hint.

An entry with an error is replaced or dropped. The other entries can then be checked against each other, so that one
pass reports all errors.
"""

import copy
import re
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from node_agent.suggest import closest
from testbed.topology.event_kinds.registry import kind_of
from testbed.topology.event_kinds.server_capacity import ServerEvent
from testbed.topology.form import entries as form
from testbed.topology.form.link_entries import TracedLinkEntry, TraceEntry, TracePair
from testbed.topology.form.model_entries import MODEL_EXAMPLE, CostEntry, ModelEntry
from testbed.topology.form.power_entries import LinkEnergyEntry, PowerEntry
from testbed.topology.form.values import MAX_COUNT
from testbed.topology.form.yaml_places import Path, TopologyProblem, YamlPlace

_WORDING = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "string_too_long": "is too long",
    "list_type": "must be a list",
    "dict_type": "must be a mapping (key: value)",
    "model_type": "must be a mapping (key: value)",
    "model_attributes_type": "must be a mapping (key: value)",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be {ge} or more",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be {le} or less",
    "too_short": "must have {min_length} or more entries",
    "too_long": "must have {max_length} entries or fewer",
}
# Words that other YAML readers take for booleans. Here they are text, since a node may be named `on`.
_BOOLEAN_WORDS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
_COMMON_MISTAKES = {"bandwidth": "rate", "bw": "rate", "latency": "delay", "cpu": "capacity", "warmup": "warm_up"}
_STAND_INS: dict[str, Any] = {
    "name": "unnamed",
    "model": {"name": "unknown", "cut": [1]},
    "policy": "unknown",
    "devices": {"stand-in-device": {"rate": "1 /s"}},
    "servers": {"stand-in-server": {"stage": 1, "capacity": "1 FLOP/s"}},
    "links": [{"from": "stand-in-device", "to": "stand-in-server", "rate": "1 Mbit/s", "delay": "0 s"}],
}
_OF_THE_NETWORK = {"devices", "servers", "links"}  # sections whose entries name nodes
_STAND_IN_ENTRY: dict[str, Any] = {
    "devices": {"rate": "1 /s"},
    "servers": {"stage": 1, "capacity": "1 FLOP/s"},
}
_ENTRY_FORMS: dict[str, type[BaseModel]] = {
    "model": ModelEntry,
    "policy": form.PolicyEntry,
    "devices": form.DeviceEntry,
    "servers": form.ServerEntry,
    "links": TracedLinkEntry,
}


@dataclass(slots=True)
class Draft:
    """A document as far as it could be read, with the problems of the rest.

    Attributes:
        document: None if even the mended data is no topology.
        place: the places of all values.
        problems: all faults of the form.
        damaged: top-level sections in which something is missing.
        stood_in: sections of nodes or links that are not the file's own.
        doubtful: node groups whose members are unknown.
        names_lost: True if nodes of other names may be missing.
    """

    document: form.TopologyDocument | None
    place: YamlPlace
    problems: list[TopologyProblem]
    damaged: set[str] = field(default_factory=set)
    stood_in: set[str] = field(default_factory=set)
    doubtful: set[str] = field(default_factory=set)
    names_lost: bool = False


def read_form(data: object, place: YamlPlace, source: str) -> Draft:
    """Check the form of every entry. `place` is renumbered where entries of a list are dropped."""
    draft = Draft(None, place, [])
    if not isinstance(data, dict):
        draft.problems.append(
            TopologyProblem(
                source, place.line, place.column, "a topology must be a mapping", "start with: name: my-topology"
            )
        )
        return draft
    data = copy.deepcopy(data)
    # Mending can uncover errors that the first ones hid (a stand-in for a missing section against a wrong key), so
    # try a few times. Only the errors of the first round are the user's.
    for attempt in range(4):
        try:
            draft.document = _without_stand_ins(form.TopologyDocument.model_validate(data), draft.stood_in)
            return draft
        except ValidationError as invalid:
            errors = invalid.errors(include_url=False)
        paths = [_path_of(error, data) for error in errors]
        for error, path in zip(errors, paths, strict=True):
            if attempt == 0:
                draft.problems.append(_problem(error, path, data, place, source))
            if path:
                draft.damaged.add(str(path[0]))
        _mend(data, place, list(zip(errors, paths, strict=True)), draft)
    return draft


def _without_stand_ins(document: form.TopologyDocument, sections: set[str]) -> form.TopologyDocument:
    """Return the document with these sections empty: messages must not name nodes that the file does not state."""
    empty: dict[str, Any] = {section: [] if section == "links" else {} for section in sections}
    return document.model_copy(update=empty)


def _path_of(error: ErrorDetails, data: object) -> Path:
    """Return the error's location without pydantic's own marks: only keys and indices; the last may be absent."""
    path: list[str | int] = []
    here: object = data
    for step in error["loc"]:
        if isinstance(step, str) and (step == "[key]" or step.startswith("(")):
            continue
        if isinstance(here, dict):
            path.append(step)
            here = here.get(step)
        elif isinstance(here, list) and isinstance(step, int):
            path.append(step)
            here = here[step] if step < len(here) else None
    return tuple(path)


def _problem(error: ErrorDetails, path: Path, data: object, place: YamlPlace, source: str) -> TopologyProblem:
    kind = error["type"]
    subject = f"`{path[-1]}`" if path and isinstance(path[-1], str) else "this entry"
    context = error.get("ctx", {})
    hint = str(context.get("hint", ""))
    of_key = kind == "extra_forbidden" or error["loc"][-1:] == ("[key]",)
    if kind == "extra_forbidden":
        message, hint = _unknown_key(path, data)
    elif kind == "missing":
        message, hint = f"{subject} is missing", _example(path) or _event_example(path, data)
    elif kind == "topology":
        message = error["msg"]
        if path and isinstance(path[-1], str) and not of_key and _is_leaf(error, path, data):
            message = f"{subject}: {message}"
    else:
        message = f"{subject} {_wanted(error)}, not {_shown(error['input'])}"
        hint = hint or _nearest_word(error)
    line, column = place.find(path, of_key=of_key)
    return TopologyProblem(source, line, column, message, hint)


def _wanted(error: ErrorDetails) -> str:
    """Say in the project's words what a value must be; pydantic's messages speak of inputs and items."""
    context = error.get("ctx", {})
    if error["type"] == "literal_error":
        return f"must be {context['expected']}"
    if error["type"] in _WORDING:
        bounds = {key: f"{value:g}" if isinstance(value, float) else value for key, value in context.items()}
        return _WORDING[error["type"]].format(**bounds)
    return "cannot have this value"


def _nearest_word(error: ErrorDetails) -> str:
    """Return the hint for a value that is close to an allowed one, or an empty text."""
    stated = str(error["input"])
    if error["type"] in {"bool_type", "bool_parsing"}:
        word = _BOOLEAN_WORDS.get(stated.lower())
        return "" if word is None else f"write {word}"
    if error["type"] == "literal_error":
        guess = closest(stated, re.findall(r"'([^']*)'", error["ctx"]["expected"]))
        return "" if guess is None else f"did you mean {guess}?"
    return ""


def _is_leaf(error: ErrorDetails, path: Path, data: object) -> bool:
    return error["loc"][-1] == path[-1] and not isinstance(_value_at(data, path), dict)


def _unknown_key(path: Path, data: object) -> tuple[str, str]:
    key = str(path[-1])
    known = _known_keys(path[:-1], data)
    guess = _COMMON_MISTAKES.get(key)
    close = guess if guess in known else closest(key, known)
    if key == "<<":
        return "merge keys (<<) are not supported", "state the values here, or use a group"
    if close is not None:
        return f"unknown key `{key}`", f"did you mean `{close}`?"
    return f"unknown key `{key}`", "known keys here: " + ", ".join(known)


def _known_keys(path: Path, data: object) -> list[str]:
    cls: type[BaseModel] = form.TopologyDocument
    if path and path[0] == "events":
        cls = kind_of(_value_at(data, path)) or ServerEvent
    elif path[:1] == ("links",) and "trace" in path:
        stated = _value_at(data, path)
        pair = path[-1] == "trace" and isinstance(stated, dict) and not {"up", "down"}.isdisjoint(stated)
        cls = TracePair if pair else TraceEntry
    elif path[-1:] in (("power",), ("energy",)):
        cls = PowerEntry if path[-1] == "power" else LinkEnergyEntry
    elif path == ("model", "cost"):
        cls = CostEntry
    elif path:
        cls = _ENTRY_FORMS.get(str(path[0]), form.TopologyDocument)
    return [info.alias or name for name, info in cls.model_fields.items()]


def _example(path: Path) -> str:
    examples = {
        "name": "for example name: my-topology",
        "model": MODEL_EXAMPLE,
        "policy": "for example policy: dto-ee",
        "devices": "for example devices: {cam: {count: 6, rate: 3 /s}}",
        "servers": "for example servers: {near: {stage: 1, capacity: 0.4 GFLOP/s}}",
        "links": "for example links: [{from: cam, to: near, rate: 20 Mbit/s, delay: 5 ms}]",
        "capacity": "for example capacity: 0.4 GFLOP/s",
        "stage": "for example stage: 1",
        "delay": "for example delay: 5 ms",
        "cut": "for example cut: [2, 3, 5]",
        "at": "for example at: 50 %",
        "idle": "for example power: {idle: 2.7 W, busy: 6.4 W}",
        "state": "state: down or state: up",
        "file": "for example file: drive.csv",
        "up": "state both: trace: {up: drive.up, down: drive.down}; `up` is for frames that the `from` end sends",
        "down": "state both: trace: {up: drive.up, down: drive.down}; `up` is for frames that the `from` end sends",
    }
    if path[-2:-1] == ("energy",):
        return "for example energy: {up: 3 uJ/byte, down: 400 nJ/byte}"
    if path[-1] == "rate":
        return "for example rate: 20 Mbit/s" if path[0] == "links" else "for example rate: 3 /s"
    return examples.get(str(path[-1]), "") if len(path) == 1 or path[-1] != "name" else "add name: …"


def _event_example(path: Path, data: object) -> str:
    """Return the hint for an event that lacks a key which no other entry has."""
    kind = kind_of(_value_at(data, path[:-1])) if path[0] == "events" else None
    return "" if kind is None else f"for example {kind.example}"


def _value_at(data: object, path: Path) -> object:
    for step in path:
        if isinstance(data, dict):
            data = data.get(step)
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            data = data[step]
        else:
            return None
    return data


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= 40 else text[:39] + "…"


def _mend(data: dict[str, Any], place: YamlPlace, errors: list[tuple[ErrorDetails, Path]], draft: Draft) -> None:
    """Make `data` valid enough for the next try: drop or replace the entries with errors."""
    dropped: dict[str, set[int]] = {}
    for error, path in errors:
        if not path:
            continue
        section = str(path[0])
        entries = data.get(section)
        if section in ("devices", "servers", "switches"):
            draft.names_lost |= len(path) == 1 or section == "switches" or error["loc"][-1] == "[key]"
        if len(path) == 1:
            _replace_section(data, section, error, draft)
        elif section in _STAND_IN_ENTRY and isinstance(entries, dict):
            name = str(path[1])
            draft.doubtful.add(name)
            was = entries.pop(name, None)
            if error["loc"][-1] != "[key]":
                entries[name] = {**_STAND_IN_ENTRY[section], **_count_of(was)}
        elif isinstance(entries, list) and isinstance(path[1], int):
            dropped.setdefault(section, set()).add(path[1])
        elif section == "offload" and isinstance(entries, dict):
            entries.pop(path[1], None)
        else:
            _replace_section(data, section, error, draft)
    for section, indices in dropped.items():
        _drop(data, place, section, indices, draft)


def _count_of(entry: object) -> dict[str, int]:
    """Return a faulty group's `count` if it is valid, so that its members' names stay known."""
    count = entry.get("count") if isinstance(entry, dict) else None
    return {"count": count} if type(count) is int and 1 <= count <= MAX_COUNT else {}


def _replace_section(data: dict[str, Any], section: str, error: ErrorDetails, draft: Draft) -> None:
    data.pop(section, None)
    if section in _STAND_INS and error["type"] != "extra_forbidden":
        data[section] = copy.deepcopy(_STAND_INS[section])
        draft.stood_in |= {section} & _OF_THE_NETWORK


def _drop(data: dict[str, Any], place: YamlPlace, section: str, indices: set[int], draft: Draft) -> None:
    entries = data.get(section)
    if not isinstance(entries, list):
        return
    kept = [index for index in range(len(entries)) if index not in indices]
    data[section] = [entries[index] for index in kept]
    if not kept and section in _STAND_INS:
        data[section] = copy.deepcopy(_STAND_INS[section])
        draft.stood_in |= {section} & _OF_THE_NETWORK
    section_place = place.inner.get(section)
    if section_place is not None:
        # A new mapping: an alias of this list shares the old one.
        inner = section_place.inner
        section_place.inner = {new: inner[old] for new, old in enumerate(kept) if old in inner}
