"""The files that travel: inputs of cells to the workers, run directories back.

Inputs keep their absolute paths, below a folder of the worker, the *root*. So paths that are relative to the topology
or to the working directory of the command hold there, too. An absolute path inside a topology stays as it is: the
worker needs an equal file at the same place.
"""

import gzip
import io
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from node_agent.errors import InputError, TestbedError
from node_agent.models.lookup import files_of
from node_agent.policies import parse_policy
from node_agent.policies.loading import is_file
from testbed.cells.cell import Cell, RunSettings
from testbed.record.run_directory import MANIFEST
from testbed.topology import load_topology
from testbed.topology.model_choice import anchored_model

MAX_INPUT_BYTES = 256 * 2**20
MAX_RUN_BYTES = 4 * 2**30  # of a run directory, unpacked
_FILE_KEYS = ("model", "policy", "links")  # of topologies, below which files are named
_LEVEL = 1  # of compression: lines of JSON shrink to a sixth, and hardly more at higher levels


def input_files(cells: Sequence[Cell]) -> tuple[Path, ...]:
    """The absolute paths of all files that the cells read: topologies, network traces, models and policies.

    Shipped models and policies are not among them, nor files that a topology names by absolute paths.

    Raises:
        InputError: a topology or a file that it names cannot be read.
    """
    found = {_absolute(cell.settings.topology) for cell in cells}
    policies = {cell.spec.text for cell in cells}
    for text in policies - {""}:
        name, parameters = parse_policy(text)
        found |= {_absolute(file) for file in _policy_files(name, parameters.values(), Path())}
    for settings in _distinct([cell.settings for cell in cells]):
        folder = _absolute(settings.topology).parent
        found |= {_absolute(folder / stated) for stated in settings.link_traces_sha256 if not os.path.isabs(stated)}
        found |= {_absolute(file) for file in _model_files(settings, folder)}
        if "" in policies:
            found |= {_absolute(file) for file in _policy_of_topology(settings)}
    return tuple(sorted(found))


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))


def _distinct(settings: Iterable[RunSettings]) -> list[RunSettings]:
    """Keep one for each set of files that settings name: most overrides change numbers only."""
    found: dict[object, RunSettings] = {}
    for one in settings:
        naming = tuple(each for each in one.overrides if each.key.split(".")[0] in _FILE_KEYS)
        key = one.topology, one.model, naming, tuple(one.link_traces_sha256)
        found.setdefault(key, replace(one, overrides=naming))
    return list(found.values())


def _model_files(settings: RunSettings, folder: Path) -> list[Path]:
    if settings.model is not None:
        return _own_files(anchored_model(settings.model, os.getcwd()))
    document = load_topology(settings.topology, policy="uniform", overrides=settings.overrides).document
    stated = document.model.place
    return [] if os.path.isabs(stated) else _own_files(anchored_model(stated, str(folder)))


def _own_files(model: str) -> list[Path]:
    """The files of a model that is not shipped."""
    return [file for file in files_of(model) if file.is_file()] if os.path.isabs(model) else []


def _policy_of_topology(settings: RunSettings) -> list[Path]:
    stated = load_topology(settings.topology, model=settings.model, cut=settings.cut, overrides=settings.overrides)
    policy = stated.document.policy
    return [
        file
        for file in _policy_files(policy.name, policy.parameters.values(), Path(stated.folder))
        if not os.path.isabs(policy.name)
    ]


def _policy_files(name: str, parameters: Iterable[object], folder: Path) -> Iterator[Path]:
    """The file of a user's policy, seen from `folder`, and parameters that are files, seen from here."""
    if is_file(name):
        yield folder / name.rpartition(":")[0]
    for value in parameters:
        if isinstance(value, str) and os.path.isfile(value):
            yield Path(value)


def pack_inputs(files: Sequence[Path], working_directory: Path) -> bytes:
    """Pack files with their absolute paths, and an empty folder in place of the working directory.

    Raises:
        InputError: a file cannot be read, or all together are too large.
    """
    stream = io.BytesIO()
    total_bytes = 0
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=_LEVEL) as archive:
        folder = tarfile.TarInfo(_below_root(working_directory))
        folder.type, folder.mode = tarfile.DIRTYPE, 0o700
        archive.addfile(folder)
        for path in files:
            entry = tarfile.TarInfo(_below_root(path))
            try:
                with path.open("rb") as file:
                    entry.size = os.fstat(file.fileno()).st_size
                    total_bytes += entry.size
                    if total_bytes > MAX_INPUT_BYTES:
                        raise InputError(
                            f"{path}: models and traces of more than {MAX_INPUT_BYTES >> 20} MiB do not travel",
                            hint="copy it to the same path on every worker, and state it by this absolute path",
                        )
                    archive.addfile(entry, file)
            except OSError as error:
                raise InputError(f"{path}: cannot be read: {error.strerror}", hint="see the path") from error
    return stream.getvalue()


def _below_root(path: Path) -> str:
    return str(path).lstrip("/") or "."


def unpack_inputs(packed: bytes, root: Path) -> None:
    """Unpack inputs below the folder `root`, which must not exist. It appears when it is complete."""
    unfinished = root.with_name(f"{root.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        for entry in archive:
            parts = PurePosixPath(entry.name).parts
            if entry.name.startswith("/") or ".." in parts:
                raise TestbedError(f"an input has the path {entry.name}, which leads elsewhere")
            target = unfinished.joinpath(*parts)
            if entry.isdir():
                target.mkdir(parents=True, exist_ok=True)
            elif (content := archive.extractfile(entry)) is not None:
                target.parent.mkdir(parents=True, exist_ok=True)
                with content, target.open("wb") as file:
                    shutil.copyfileobj(content, file)
    unfinished.rename(root)


def below(cell: Cell, root: Path, path: Path) -> Cell:
    """Return the cell as a worker carries it out: inputs below `root`, and its run directory at `path`."""
    settings, spec = cell.settings, cell.spec
    topology = Path(_moved(str(settings.topology), root))
    model = settings.model if settings.model is None else _moved(settings.model, root)
    return replace(
        cell,
        path=path,
        settings=replace(settings, topology=topology, model=model),
        spec=replace(spec, text=_policy_moved(spec.text, root)),
    )


def _policy_moved(text: str, root: Path) -> str:
    """A policy as text, with absolute paths of files below `root`."""
    if not text:
        return text
    for value in parse_policy(text)[1].values():
        if isinstance(value, str) and os.path.isabs(value) and os.path.isfile(f"{root}{value}"):
            text = text.replace(f"={value}", f"={root}{value}")
    return _moved(text, root)


def _moved(place: str, root: Path) -> str:
    """An absolute path below `root`; any other text as it is, as the working directory is below `root`, too."""
    return f"{root}{place}" if os.path.isabs(place) else place


def pack_run(run: Path, root: Path) -> bytes:
    """Pack the files of a run directory; in its manifest, the paths of the client replace those below `root`.

    Memory holds the compressed files only. The result is empty if there is no directory.
    """
    if not run.is_dir():
        return b""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=_LEVEL) as archive:
        for path in sorted(run.iterdir()):
            entry = tarfile.TarInfo(path.name)
            entry.mtime = int(path.stat().st_mtime)
            if path.name == MANIFEST:
                content = path.read_bytes().replace(str(root).encode(), b"")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
            elif path.is_file():
                entry.size = path.stat().st_size
                with path.open("rb") as file:
                    archive.addfile(entry, file)
    return stream.getvalue()


def unpack_run(packed: bytes, path: Path) -> None:
    """Unpack a run directory at `path`, which must not exist. It appears when it is complete.

    Raises:
        TestbedError: it is damaged, too large, or holds something else than files; or it cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir(parents=True)
        total_bytes = 0
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
            for entry in archive:
                total_bytes += entry.size
                plain = entry.isfile() and PurePosixPath(entry.name).name == entry.name
                if not plain or total_bytes > MAX_RUN_BYTES:
                    raise TestbedError(f"{path}: the worker sent something else than a run directory")
                content = archive.extractfile(entry)
                assert content is not None
                with content, (unfinished / entry.name).open("wb") as file:
                    shutil.copyfileobj(content, file)
        unfinished.rename(path)
    except (OSError, EOFError, tarfile.TarError, gzip.BadGzipFile) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise TestbedError(f"{path}: the run directory cannot be gathered: {reason}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
