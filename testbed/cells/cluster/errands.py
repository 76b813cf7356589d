"""The functions that Dask runs on its workers. They import no more of this project than they need."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from node_agent.errors import EnvironmentLacking
from testbed.cells.cell import Cell
from testbed.cells.cluster.helper import Helper, HelperLost, Order
from testbed.cells.cluster.likeness import VERSION_HINT, Likeness
from testbed.cells.cluster.luggage import below, pack_run, unpack_inputs
from testbed.cells.execution import CellEnd

if TYPE_CHECKING:
    from distributed import Worker

_lock = threading.Lock()  # around the two below, and around folders of inputs
_idle: list[Helper] = []  # the helpers of this worker that wait for an order


@dataclass(frozen=True, slots=True)
class Errand:
    """A cell on its way to a worker.

    Attributes:
        cell: the cell, with the client's paths.
        number: identifies it in reports.
        topic: where reports are sent, see `distributed.Worker.log_event`.
        argv: the command line of the client.
        folder: the working directory of the client.
        identity: of the client's code and libraries.
    """

    cell: Cell
    number: int
    topic: str
    argv: tuple[str, ...]
    folder: Path
    identity: str


@dataclass(frozen=True, slots=True)
class Parcel:
    """The end of a cell, and its run directory as `luggage.pack_run` packs it."""

    end: CellEnd
    run: bytes
    worker: str


def as_is(packed: bytes) -> bytes:
    """Return the inputs: as a task of their own, they travel to each worker once, and survive the loss of workers."""
    return packed


def run_errand(errand: Errand, inputs: bytes) -> Parcel:
    """Carry out a cell in a temporary directory of this worker.

    Raises:
        HelperLost: its process was killed; Dask tries again.
        EnvironmentLacking: this worker has another version than the client.
        Unwanted: the client is gone.
    """
    from distributed import get_worker  # noqa: PLC0415 - an extra

    worker = get_worker()
    key = worker.get_current_task()

    def report(share: float) -> None:
        worker.log_event(errand.topic, [errand.number, share])

    def wanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is not None and task.state in {"executing", "long-running"}

    root = _unpacked(inputs, Path(worker.local_directory))
    with TemporaryDirectory(prefix="cell-", dir=worker.local_directory, ignore_cleanup_errors=True) as folder:
        run = Path(folder) / errand.cell.path.name
        order = _order(errand, root, run)
        helper = _helper(errand.identity)
        if helper is None:
            message = f"worker {worker.address} has another version of dtoee-testbed or its libraries"
            raise EnvironmentLacking(message, hint=VERSION_HINT)
        end = _carried_out(helper, order, report, wanted)
        assert isinstance(end, CellEnd)
        if end.reason == "interrupted":  # not by the client: it sends no signals
            raise HelperLost("a signal ended the process of the cell")
        there = {str(run): str(errand.cell.path), str(root): ""}
        end = replace(end, message=_renamed(end.message, there), hint=_renamed(end.hint, there))
        return Parcel(end, pack_run(run, root), worker.address)


def _carried_out(
    helper: Helper, order: Order, report: Callable[[float], None], wanted: Callable[[], bool]
) -> CellEnd | Likeness:
    """Carry out an order; the helper then waits for the next one, or is closed after an error."""
    try:
        found = helper.carry_out(order, report, wanted)
    except BaseException:
        helper.close()
        raise
    with _lock:
        _idle.append(helper)
    return found


async def compare_worker(errand: Errand, inputs: bytes, dask_worker: "Worker") -> Likeness:
    """Return the facts of this worker, for `Client.run`, which passes the worker."""
    import asyncio  # noqa: PLC0415 - of the worker

    return await asyncio.to_thread(_compare, errand, inputs, Path(dask_worker.local_directory))


def _compare(errand: Errand, inputs: bytes, folder: Path) -> Likeness:
    root = _unpacked(inputs, folder)
    helper = Helper()
    order = replace(_order(errand, root, folder / "none"), compare_only=True)
    found = _carried_out(helper, order, lambda _: None, lambda: True)
    assert isinstance(found, Likeness)
    there = {str(root): ""}
    return replace(found, message=_renamed(found.message, there), hint=_renamed(found.hint, there))


def _order(errand: Errand, root: Path, run: Path) -> Order:
    cell = below(errand.cell, root, run)
    return Order(cell, errand.cell.facts, errand.argv, root / str(errand.folder).lstrip("/"))


def _unpacked(inputs: bytes, folder: Path) -> Path:
    """The folder with these inputs; they are unpacked once on each worker."""
    root = folder / f"inputs-{sha256(inputs).hexdigest()[:16]}"
    with _lock:
        if not root.is_dir():
            unpack_inputs(inputs, root)
    return root


def _helper(identity: str) -> Helper | None:
    """A helper with this code and these libraries; None if the worker has others."""
    while True:
        with _lock:
            helper = _idle.pop() if _idle else None
        fresh = helper is None
        helper = helper or Helper()
        if helper.identity == identity:
            return helper
        helper.close()
        if fresh:
            return None


def _renamed(text: str, there: dict[str, str]) -> str:
    for theirs, ours in there.items():
        text = text.replace(theirs, ours)
    return text
