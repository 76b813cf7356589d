"""Is a worker like this machine? Its code, libraries, model and topology must be equal, or its figures may differ."""

import os
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

import node_agent
import testbed
from node_agent.errors import EnvironmentLacking, InputError, TestbedError
from testbed.cells.cell import Cell
from testbed.host.rootless import has_rights
from testbed.record.versions import versions
from testbed.run.planning import plan_run

_PACKAGES = (node_agent, testbed)
VERSION_HINT = "install the same version on every machine: same commit, same requirements.lock"

_TRAVEL = "a file at an absolute path must be equal on every machine; state it relative to the topology, and it travels"


@dataclass(frozen=True, slots=True)
class Likeness:
    """Facts of a machine that must agree before it carries out a cell.

    Attributes:
        code_sha256: of all files of the packages that carry out a run.
        versions: of Python and the libraries, by name.
        topology_sha256: of the topology and its network traces; empty if they cannot be read.
        model_sha256: of everything in the model that affects a run; empty if it cannot be read.
        rights: True if it may make networks, for live runs.
        message: why topology or model cannot be read there.
        hint: how to mend that.
    """

    code_sha256: str
    versions: tuple[tuple[str, str], ...]
    topology_sha256: str | None
    model_sha256: str | None
    rights: bool
    message: str = ""
    hint: str = ""


@cache
def code_sha256() -> str:
    """A hash of all files of the packages that carry out a run, shipped models included (SHA-256 in hex)."""
    digest = sha256()
    for package in _PACKAGES:
        folder = Path(package.__path__[0])
        for file in sorted(folder.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{package.__name__}/{file.relative_to(folder).as_posix()}".encode() + b"\0")
                digest.update(sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def identity() -> str:
    """A hash of the code and the versions of the libraries (SHA-256 in hex): equal where runs are equal."""
    return sha256(f"{code_sha256()} {sorted(library_versions().items())}".encode()).hexdigest()


def likeness(cell: Cell) -> Likeness:
    """Return the facts of this machine, for a cell with its paths here."""
    ask, message, hint = cell.settings, "", ""
    topology_hash = model_hash = None
    try:
        plan = plan_run(
            ask.topology, duration_s=ask.duration_s, seed=cell.seed, policy=cell.spec.text or None, model=ask.model,
            cut=ask.cut, criterion=ask.criterion, overrides=ask.overrides, make_directory=False,
        )  # fmt: skip
        topology_hash, model_hash = plan.topology_sha256, plan.facts["model_sha256"]
    except TestbedError as error:
        message, hint = str(error), error.hint
    rights = os.geteuid() == 0 and has_rights()
    return Likeness(code_sha256(), tuple(library_versions().items()), topology_hash, model_hash, rights, message, hint)


def library_versions() -> dict[str, str]:
    """The versions of Python and the libraries, without what differs between builds of one version."""
    found = {name: version.partition("+")[0] for name, version in versions().items()}
    found["python"] = ".".join(found["python"].split(".")[:2])
    return found


def check_alike(worker: str, found: Likeness, cell: Cell) -> None:
    """Check a worker against this machine and a cell as this machine planned it.

    Raises:
        EnvironmentLacking: the worker has other versions, or lacks the rights for a live run.
        InputError: it cannot read the inputs, or they differ there.
    """
    ours = library_versions()
    for name, version in found.versions:
        if ours.get(name) != version:
            raise EnvironmentLacking(
                f"worker {worker} has {name} {version}, and this machine {ours.get(name)}", hint=VERSION_HINT
            )
    if found.code_sha256 != code_sha256():
        raise EnvironmentLacking(
            f"worker {worker} has other code of dtoee-testbed than this machine", hint=VERSION_HINT
        )
    if found.message:
        raise InputError(f"worker {worker} cannot use the inputs: {' '.join(found.message.split())}", hint=_TRAVEL)
    ask = cell.settings
    for what, theirs, wanted in (
        ("topology", found.topology_sha256, ask.topology_sha256), ("model", found.model_sha256, ask.model_sha256),
    ):  # fmt: skip
        if theirs != wanted:
            raise InputError(f"worker {worker}: its {what} differs from that of this machine", hint=_TRAVEL)
    if not ask.simulate and not found.rights:
        raise EnvironmentLacking(
            f"worker {worker} may not make networks, which live runs need", hint="start it as root on its machine"
        )
