"""Write the topology of a candidate: the stated one with another cut, other stages, and what follows from them.

Comments are lost; keys, names and ranges stay. A group whose servers host different stages becomes single servers with
the names that its members had. So every value that is drawn for them stays as it is.

Decision 114: lists of receivers are rewritten, or dropped where none of their servers hosts the next stage
(docs/decisions/114-placements-are-ranked-by-a-model-of-their-own.md).
"""

import os
import tempfile
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from node_agent.errors import InputError
from testbed.placement.candidates import Candidate
from testbed.placement.stated_site import StatedSite
from testbed.topology import load_topology_text

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The text of a candidate's topology, and what changed, in words."""

    text: str
    changes: tuple[str, ...]
    overrides: tuple[str, ...]  # KEY=VALUE for --set, which make the same of the stated topology; empty if none do


def rewritten(
    stated: StatedSite, candidate: Candidate, *, seed: int | None = None, duration_s: float | None = None,
    folder: str | None = None, note: str = "",
) -> Rewritten:  # fmt: skip
    """Write a candidate as a topology.

    Args:
        stated: the topology of which it is a candidate.
        candidate: the cut and the stages.
        seed: stated in the text, if the topology was read with another seed.
        duration_s: the same for the duration [s].
        folder: the folder of the new file, from which its paths start; None means that of the stated file.
        note: a comment for the first lines.

    Raises:
        TopologyError: the text is no valid topology; for example, slots are too short for more stages.
    """
    writer = _Writer(stated, candidate)
    data = writer.data(seed, duration_s)
    home = stated.topology.folder
    if folder is not None and os.path.abspath(folder) != home:
        _move_paths(data, home, os.path.abspath(folder))
    comment = "".join(f"# {line}\n" for line in note.splitlines())
    text = comment + yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
    load_topology_text(text, "the new topology", folder=home if folder is None else folder)
    return Rewritten(text, tuple(writer.changes), tuple(writer.overrides))


def check_new(path: Path) -> None:
    """Check before a long search that `write_new` can write. Raises InputError if the file exists, or none can be."""
    if os.path.lexists(path):
        raise _exists(path)
    try:
        with tempfile.TemporaryFile(dir=path.absolute().parent):
            pass
    except OSError as error:
        raise _unwritable(path, error) from None


def write_new(path: Path, text: str) -> None:
    """Write a new file. Raises InputError if it exists, or cannot be written."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        raise _unwritable(path, error) from None


def _exists(path: Path) -> InputError:
    return InputError(f"{path} exists", hint="remove it, or name another file with --out")


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path} cannot be written: {error.strerror}", hint="name another file with --out")


class _Writer:
    """Rewrites one topology."""

    def __init__(self, stated: StatedSite, candidate: Candidate) -> None:
        self._stated, self._candidate = stated, candidate
        self._site = stated.site
        self._stage_of = self._site.stage_of(candidate)
        self._groups = {name: self._members(name) for name, entry in stated.document.servers.items() if entry.count}
        self._split = {
            name: members
            for name, members in self._groups.items()
            if len({self._stage_of[member] for member in members}) > 1
        }
        self.changes: list[str] = []
        self.overrides: list[str] = []

    def data(self, seed: int | None, duration_s: float | None) -> dict[str, Any]:
        """The topology's data with all changes."""
        data = deepcopy(self._stated.data)
        data["model"] = self._model(data["model"])
        data["servers"] = self._servers(data["servers"])
        if self._split:
            data["links"] = self._links(data["links"])
            if "events" in data:
                data["events"] = [event for entry in data["events"] for event in self._events(entry)]
            self.overrides.clear()
        if "offload" in data:
            self._offload(data)
        if seed is not None:
            data["seed"] = seed
        if duration_s is not None:
            data["duration"] = f"{duration_s!r} s"
        return data

    def _members(self, name: str) -> tuple[str, ...]:
        return self._stated.members.get(name, (name,))

    def _model(self, stated: dict[str, Any]) -> dict[str, Any]:
        entry, cut = self._stated.topology.document.model, list(self._candidate.cut)
        before = self._site.scenario.model.cut
        if tuple(cut) != before:
            self.changes.append(f"cut {list(before)} -> {cut}")
            self.overrides.append(f"model.cut={cut}")
        if (stated.get(entry.key), stated.get("criterion", "confidence")) == (entry.place, entry.criterion):
            return {**stated, "cut": cut}
        other = {entry.key: entry.place, "cut": cut, "activation": entry.activation, "criterion": entry.criterion}
        return {**other, "cost": stated["cost"]} if "cost" in stated and entry.cost is not None else other

    def _servers(self, stated: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, entry in stated.items():
            members = self._members(name)
            stages = [self._stage_of[member] for member in members]
            if name not in self._split:
                found[name] = {**entry, "stage": stages[0]}
                if stages[0] != entry["stage"]:
                    self.changes.append(f"{name}: stage {entry['stage']} -> {stages[0]}")
                    self.overrides.append(f"servers.{name}.stage={stages[0]}")
                continue
            alone = {key: value for key, value in entry.items() if key != "count"}
            for member, stage in zip(members, stages, strict=True):
                found[member] = {**alone, "stage": stage}
                if stage != entry["stage"]:
                    self.changes.append(f"{member}: stage {entry['stage']} -> {stage}")
        return found

    def _expanded(self, names: str | Sequence[str]) -> list[str]:
        """The names with groups that are split replaced by their members."""
        listed = [names] if isinstance(names, str) else names
        return [member for name in listed for member in self._split.get(name, (name,))]

    def _links(self, stated: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The links with single names in place of groups that are split; a pair stays with the entry that stated it."""
        owner = self._owners(stated)
        found = []
        for number, entry in enumerate(stated):
            if not any(name in self._split for key in ("from", "to") for name in _listed(entry[key])):
                found.append(entry)
                continue
            pairs = self._pairs(entry)
            if all(owner[_sorted(pair)] == number for pair in pairs):
                found.append({**entry, "from": self._expanded(entry["from"]), "to": self._expanded(entry["to"])})
                continue
            left = [pair for pair in pairs if owner[_sorted(pair)] == number]
            firsts: dict[tuple[str, ...], list[str]] = {}  # the ends of type `from`, by the ends to which each leads
            for first in dict.fromkeys(pair[0] for pair in left):
                firsts.setdefault(tuple(pair[1] for pair in left if pair[0] == first), []).append(first)
            found += [{**entry, "from": first, "to": list(ends)} for ends, first in firsts.items()]
        return found

    def _pairs(self, entry: dict[str, Any]) -> list[Pair]:
        """The pairs of nodes or switches that an entry links."""
        ends = [[member for name in _listed(entry[key]) for member in self._members(name)] for key in ("from", "to")]
        return [(first, second) for first in ends[0] for second in ends[1] if first != second]

    def _owners(self, stated: list[dict[str, Any]]) -> dict[Pair, int]:
        """The number of the entry that describes each pair: the last one, since a later one must be more specific."""
        return {_sorted(pair): number for number, entry in enumerate(stated) for pair in self._pairs(entry)}

    def _events(self, entry: dict[str, Any]) -> list[dict[str, Any]]:
        """One event for each member of a group that is split."""
        for key in ("server", "node"):
            if entry.get(key) in self._split:
                return [{**entry, key: member} for member in self._split[entry[key]]]
        if "link" not in entry or not any(name in self._split for name in entry["link"]):
            return [entry]
        linked = {_sorted(link.ends) for link in self._site.scenario.links}
        first, second = (self._split.get(name, (name,)) for name in entry["link"])
        return [
            {**entry, "link": [one, other]}
            for one in first
            for other in second
            if any(_sorted((a, b)) in linked for a in self._members(one) for b in self._members(other))
        ]

    def _offload(self, data: dict[str, Any]) -> None:
        """The lists that still hold, for single offloaders if any list changes."""
        kept = self._site.kept_lists(self._stage_of)
        lists = {name: tuple(listed) for name, listed in self._site.lists.items()}
        for name, before in lists.items():
            if name not in kept:
                self.changes.append(f"offload: the list of {name} is dropped, its receivers follow the links")
            elif set(kept[name]) != set(before):
                self.changes.append(f"offload: {name} to {', '.join(kept[name])}")
        if kept == lists and not self._split:
            return
        data["offload"] = {name: list(listed) for name, listed in kept.items()}
        if not kept:
            del data["offload"]
        self.overrides.clear()


def _listed(names: str | Sequence[str]) -> Sequence[str]:
    return [names] if isinstance(names, str) else names


def _sorted(pair: Pair) -> Pair:
    return min(pair), max(pair)


def _move_paths(data: dict[str, Any], home: str, folder: str) -> None:
    """Let the paths in a topology lead from another folder to the same files."""

    def moved(path: str) -> str:
        return path if os.path.isabs(path) else os.path.relpath(os.path.join(home, path), folder)

    model = data["model"]
    for key in ("file", "table"):
        if key in model:
            path, mark, name = model[key].partition(".py:")
            model[key] = f"{moved(path + mark[:3])}{mark[3:]}{name}" if mark else moved(path)
    if "name" in model and os.path.isdir(os.path.join(home, model["name"])) and not _is_shipped(model["name"]):
        model["name"] = moved(model["name"])
    policy = data["policy"]
    if isinstance(policy, dict):
        policy["name"] = _moved_policy(policy["name"], moved)
    else:
        data["policy"] = _moved_policy(policy, moved)
    for entry in data["links"]:
        if "trace" in entry:
            entry["trace"] = _moved_trace(entry["trace"], moved)


def _is_shipped(name: str) -> bool:
    from node_agent.models import available_models  # noqa: PLC0415 - loads numpy

    return name in available_models()


def _moved_policy(text: str, moved: Any) -> str:  # noqa: ANN401 - a function of paths
    path, colon, rest = text.partition(":")
    return f"{moved(path)}{colon}{rest}" if path.endswith(".py") else text


def _moved_trace(entry: Any, moved: Any) -> Any:  # noqa: ANN401 - as YAML has it
    if isinstance(entry, str):
        return moved(entry)
    return {
        key: moved(value) if key == "file" else _moved_trace(value, moved) if key in ("up", "down") else value
        for key, value in entry.items()
    }
