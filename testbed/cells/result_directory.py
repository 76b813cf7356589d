"""The directory of a comparison: its name, the file that identifies it, and the lock that keeps other commands out."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from node_agent.errors import InputError
from testbed.record.claim import claim_directory
from testbed.record.run_directory import TOPOLOGY, replace_file, write_json
from testbed.run.plan import Plan, new_run_id


@dataclass(frozen=True, slots=True)
class Marker:
    """The file that identifies a directory as one of its kind; `what` names the kind in messages."""

    file: str
    kind: str
    schema: int
    what: str

    @property
    def fields(self) -> dict[str, object]:
        """The fields of the file that identify it."""
        return {"schema": self.schema, "kind": self.kind}

    def write(self, directory: Path) -> None:
        """Write a first version of the file, by which a later command recognises the directory."""
        write_json(directory / self.file, {**self.fields, "complete": False})

    def is_in(self, directory: Path) -> bool:
        """True if the directory is one of this kind.

        Raises:
            InputError: it is, but of another schema.
        """
        try:
            content = json.loads((directory / self.file).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        if not isinstance(content, dict) or content.get("kind") != self.kind:
            return False
        if content.get("schema") != self.schema:
            raise InputError(f"{directory / self.file}: not of schema {self.schema}", hint="choose another with --out")
        return True


def new_directory(plan: Plan, verb: str) -> Path:
    """The path of a new directory in runs/, named by time, topology and `verb`."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return Path("runs") / f"{stamp}-{plan.scenario.name}-{verb}-{new_run_id()[-4:]}"


@contextmanager
def own(directory: Path, topology_text: str, marker: Marker) -> Iterator[None]:
    """Make the directory, or continue one of the same kind and topology; lock it during the `with` block.

    Raises:
        InputError: it cannot be made, holds something else, or another command uses it right now.
    """
    claim = claim_directory(directory)
    try:
        _take_up(directory, topology_text, marker)
        yield
    finally:
        claim.release()


def _take_up(directory: Path, topology_text: str, marker: Marker) -> None:
    copy = directory / TOPOLOGY
    if not any(directory.iterdir()):
        marker.write(directory)  # before anything else: all later files in the directory are then ours
    elif not marker.is_in(directory):
        raise InputError(
            f"{directory} is not empty and holds no {marker.what} ({marker.file})",
            hint="choose another with --out, or remove it",
        )
    elif copy.exists() and copy.read_text(encoding="utf-8") != topology_text:
        raise InputError(
            f"{directory} holds a{'n' * (marker.what[0] in 'aeiou')} {marker.what} on another topology.yaml",
            hint="choose another with --out",
        )
    if not copy.exists():
        replace_file(copy, topology_text.encode())
