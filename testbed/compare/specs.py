"""The policies of a comparison as people write them, and the folders that their runs lie in."""

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
_PARAMETER = re.compile(r"\s*[A-Za-z_][\w-]*\s*=")  # no policy's name holds "=": such an item belongs to the one before


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """A policy of a comparison: as written, its folder's name, and the hash of its file where it is the user's own.

    `text` is empty where it is the topology's own policy that is asked for.
    `label` is how tables and pictures call it. `early_folder` is the name that its folder had before there were labels.
    """

    text: str
    folder: str
    file_sha256: str | None
    label: str
    early_folder: str


def split_policies(text: str) -> list[str]:
    """Take a list of policies apart at its commas; `key=value` after a comma is a parameter of the policy before.

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
    """The policies that `texts` state, in order.

    A policy is called by its label, if it states one, else by its text, one from a file by its class and parameters.
    Those of one such name are numbered.

    Raises:
        InputError: none at all, an empty one, one that stands there twice, a label of two policies, or a file that
            cannot be read.
    """
    if not texts:
        raise InputError("there is no policy to compare", hint="for example --policies dto-ee,computing-first")
    meanings: dict[tuple[object, ...], str] = {}  # and the text that has it
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
    """Add a policy's meaning to those before. Raises InputError if it is there, or the text is empty."""
    if not text:
        raise InputError("the list of policies has an empty place", hint="as in --policies dto-ee,computing-first")
    said = _meaning(text)
    if said in meanings:
        again = f" (as {meanings[said]})" if meanings[said] != text else ""
        raise InputError(f"policy {text} is listed twice{again}", hint="state each policy once")
    meanings[said] = text


def _meaning(text: str) -> tuple[object, ...]:
    """The policy and its parameters, however they are written and called."""
    name, parameters = parse_policy(text)
    _, parameters = take_label(name, parameters)
    if is_file(name):
        path, _, class_name = name.rpartition(":")
        name = f"{Path(path).resolve()}:{class_name}"
    return name, frozenset(parameters.items())


def _labels(texts: Sequence[str]) -> list[str]:
    """How each policy is called. Raises InputError if two are to be called the same."""
    stated = [take_label(*parse_policy(text))[0] for text in texts]
    taken: dict[str, str] = {}  # and the text that states it
    for text, label in zip(texts, stated, strict=True):
        if label is not None and taken.setdefault(label, text) != text:
            hint = "give one of them another label="
            raise InputError(f"policies {taken[label]} and {text} have one label", hint=hint)
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
    """The text, of a file's path only the last part."""
    name, _, rest = text.partition(".py:")
    return f"{Path(name).name}-{rest}" if rest else text


def _folder(text: str) -> str:
    safe = folder_name(text)
    if safe and len(safe) <= MAX_FOLDER_CHARACTERS:
        return safe
    return f"{safe[: MAX_FOLDER_CHARACTERS - 7]}-{_mark(text)}".lstrip("-")


def _distinct(folder: str, text: str, taken: set[str]) -> str:
    """The folder's name, or another one if it is taken, which is then taken, too."""
    if folder in taken:
        folder = f"{folder}-{_mark(text)}"
    taken.add(folder)
    return folder


def _mark(text: str) -> str:
    """A few characters that tell two texts apart, whatever they hold."""
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
