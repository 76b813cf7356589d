"""The policies of a comparison as users write them, and the folders of their runs."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from node_agent.errors import InputError
from node_agent.policies import parse_policy, take_label
from node_agent.policies.loading import is_file
from testbed.record.run_directory import file_sha256, folder_name

MAX_FOLDER_CHARACTERS = 80
_PARAMETER = re.compile(r"\s*[A-Za-z_][\w-]*\s*=")  # no policy's name has a "=": this is a parameter of the one before


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """A policy of a comparison.

    `text` is what the user wrote, empty for the topology's own policy. `label` names it in tables and pictures.
    `file_sha256` is the hash of the file of a user's own policy. `early_folder` is the name of the folder in
    comparisons that began before policies had labels.
    """

    text: str
    folder: str
    file_sha256: str | None
    label: str
    early_folder: str


def split_policies(text: str) -> list[str]:
    """Split a list of policies at its commas; `key=value` after a comma is a parameter of the policy before it.

    >>> split_policies("dto-ee,fixed-threshold:threshold=0.7,slot=2,ngto")
    ['dto-ee', 'fixed-threshold:threshold=0.7,slot=2', 'ngto']
    """
    found: list[str] = []
    for item in text.split(","):
        if found and ":" in found[-1] and _PARAMETER.match(item):
            found[-1] += f",{item.strip()}"
        else:
            found.append(item.strip())
    return found


def read_specs(texts: Sequence[str]) -> tuple[PolicySpec, ...]:
    """The policies of the list `texts`, in order.

    The label of a policy is the one that it states, else its text; for a policy from a file, its class and parameters.
    Equal default labels are numbered.

    Raises:
        InputError: an empty list or entry, a policy or label that occurs twice, or a file that cannot be read.
    """
    if not texts:
        raise InputError("there is no policy to compare", hint="for example --policies dto-ee,computing-first")
    meanings: dict[tuple[object, ...], str] = {}  # meaning -> text
    for text in texts:
        _check_listed(text.strip(), meanings)
    specs: list[PolicySpec] = []
    folders: set[str] = set()
    early_folders: set[str] = set()
    for text, label in zip(meanings.values(), _labels(list(meanings.values())), strict=True):
        folder = _distinct(_folder(label), text, folders)
        early_folder = _distinct(_folder(_short(text)), text, early_folders)
        specs.append(PolicySpec(text, folder, _file_hash(text), label, early_folder))
    return tuple(specs)


def _check_listed(text: str, meanings: dict[tuple[object, ...], str]) -> None:
    """Add a policy's meaning to `meanings`. Raises InputError if it is there already, or the text is empty."""
    if not text:
        raise InputError("the list of policies has an empty entry", hint="as in --policies dto-ee,computing-first")
    said = _meaning(text)
    if said in meanings:
        again = f" (as {meanings[said]})" if meanings[said] != text else ""
        raise InputError(f"policy {text} is listed twice{again}", hint="state each policy once")
    meanings[said] = text


def _meaning(text: str) -> tuple[object, ...]:
    """The policy and its parameters, independent of spelling and label."""
    name, parameters = parse_policy(text)
    _, parameters = take_label(name, parameters)
    if is_file(name):
        path, _, class_name = name.rpartition(":")
        name = f"{Path(path).resolve()}:{class_name}"
    return name, frozenset(parameters.items())


def _labels(texts: Sequence[str]) -> list[str]:
    """The label of each policy. Raises InputError if two state the same label."""
    stated = [take_label(*parse_policy(text))[0] for text in texts]
    taken: dict[str, str] = {}  # label -> text
    for text, label in zip(texts, stated, strict=True):
        if label is not None and taken.setdefault(label, text) != text:
            hint = "give one of them another label="
            raise InputError(f"policies {taken[label]} and {text} have the same label", hint=hint)
    labels: list[str] = []
    for text, label in zip(texts, stated, strict=True):
        own, number = label or _default_label(text), 1
        found = own
        while label is None and (found in labels or found in taken):
            number += 1
            found = f"{own} ({number})"
        labels.append(found)
    return labels


def _default_label(text: str) -> str:
    """The text, without the path of a policy file."""
    _, in_file, rest = text.partition(".py:")
    return rest.removesuffix(":") if in_file and rest else text


def _short(text: str) -> str:
    """The text, with only the last part of a file's path."""
    name, _, rest = text.partition(".py:")
    return f"{Path(name).name}-{rest}" if rest else text


def _folder(text: str) -> str:
    safe = folder_name(text)
    if safe and len(safe) <= MAX_FOLDER_CHARACTERS:
        return safe
    return f"{safe[: MAX_FOLDER_CHARACTERS - 7]}-{_mark(text)}".lstrip("-")


def _distinct(folder: str, text: str, taken: set[str]) -> str:
    """The name of the folder, with a mark if it is taken already; adds it to `taken`."""
    if folder in taken:
        folder = f"{folder}-{_mark(text)}"
    taken.add(folder)
    return folder


def _mark(text: str) -> str:
    """A few characters of a hash, which differ for different texts."""
    return sha256(text.encode(errors="surrogatepass")).hexdigest()[:6]


def _file_hash(text: str) -> str | None:
    name, _ = parse_policy(text)
    if not is_file(name):
        return None
    path = name.rpartition(":")[0]
    try:
        return file_sha256(Path(path))
    except OSError as error:
        raise InputError(f"policy file {path}: cannot be read: {error.strerror}", hint="state file.py:Class") from error
