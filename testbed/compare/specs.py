"""The policies of a comparison as people write them, and the folders that their runs lie in."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from node_agent.errors import InputError
from node_agent.policies import parse_policy
from node_agent.policies.loading import is_file
from testbed.recorder import file_sha256

MAX_FOLDER_CHARACTERS = 80
_PARAMETER = re.compile(r"\s*[A-Za-z_][\w-]*\s*=")  # no policy's name holds "=": such an item belongs to the one before
_UNSAFE = re.compile(r"[^A-Za-z0-9._=-]+")


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """A policy of a comparison: as written, its folder's name, and the hash of its file where it is the user's own."""

    text: str
    folder: str
    file_sha256: str | None


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

    Raises:
        InputError: none at all, an empty one, one that stands there twice, or a file that cannot be read.
    """
    if not texts:
        raise InputError("there is no policy to compare", hint="for example --policies dto-ee,computing-first")
    specs: list[PolicySpec] = []
    folders: set[str] = set()
    meanings: dict[tuple[object, ...], str] = {}  # and the text that has it
    for text in map(str.strip, texts):
        if not text:
            raise InputError("the list of policies has an empty place", hint="as in --policies dto-ee,computing-first")
        said = _meaning(text)
        if said in meanings:
            again = f" (as {meanings[said]})" if meanings[said] != text else ""
            raise InputError(f"policy {text} is listed twice{again}", hint="state each policy once")
        meanings[said] = text
        folder = _folder(text)
        if folder in folders:
            folder = f"{folder}-{_mark(text)}"
        folders.add(folder)
        specs.append(PolicySpec(text, folder, _file_hash(text)))
    return tuple(specs)


def _meaning(text: str) -> tuple[object, ...]:
    """The policy and its parameters, however they are written."""
    name, parameters = parse_policy(text)
    if is_file(name):
        path, _, class_name = name.rpartition(":")
        name = f"{Path(path).resolve()}:{class_name}"
    return name, frozenset(parameters.items())


def _folder(text: str) -> str:
    name, _, rest = text.partition(".py:")
    short = f"{Path(name).name}-{rest}" if rest else text  # of a file's path its last part
    safe = _UNSAFE.sub("-", short).strip(".-")
    if safe and len(safe) <= MAX_FOLDER_CHARACTERS:
        return safe
    return f"{safe[: MAX_FOLDER_CHARACTERS - 7]}-{_mark(text)}".lstrip("-")


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
