"""Cells on the workers of a Dask cluster.

Dask schedules, watches and transfers. A cell whose worker is lost is carried out by another one; Dask gives up on a
cell after some lost workers (`distributed.scheduler.allowed-failures`).
"""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack, suppress
from hashlib import sha256
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from node_agent.errors import EnvironmentLacking, InputError, TestbedError
from testbed.cells.cell import Cell
from testbed.cells.cluster.choice import ClusterChoice
from testbed.cells.cluster.errands import Errand, Parcel, as_is, compare_worker, run_errand
from testbed.cells.cluster.keys import INSTALL_HINT, key_files
from testbed.cells.cluster.likeness import check_alike, identity
from testbed.cells.cluster.luggage import input_files, pack_inputs, unpack_run
from testbed.cells.execution import CellEnd, clear_unfinished
from testbed.run.plan import new_run_id

if TYPE_CHECKING:
    import distributed

ROOM = 10_000  # cells that the scheduler holds at a time
CONNECT_TIMEOUT_S = 10.0
WORKER_TIMEOUT_S = 30.0  # until the first worker has connected
RETRIES = 2  # of a cell whose own process is killed, on a worker that lives on
LIVE = "live"  # the resource of workers that carry out live runs, one at a time


class DaskExecutor:
    """A `CellExecutor`: the workers of a scheduler, or workers that this machine starts for the time of the command."""

    def __init__(self, choice: ClusterChoice, *, live: bool) -> None:
        """Connect on entering the context.

        Args:
            choice: the cluster.
            live: True for live runs, each of which needs a machine for itself.

        Raises:
            EnvironmentLacking: the extra `cluster` is not installed.
        """
        try:
            import distributed  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise EnvironmentLacking("a cluster needs the package distributed", hint=INSTALL_HINT) from error
        self._distributed = distributed
        self._choice = choice
        self._live = live
        self.room = ROOM
        self._id = new_run_id()
        self._numbers = count()
        self._reports: dict[int, Callable[[float], None]] = {}  # by the number of the errand
        self._tasks: dict[int, distributed.Future[Parcel]] = {}
        self._compared: set[tuple[str, str, str | None]] = set()  # worker, topology, model
        self._inputs: distributed.Future[bytes] | None = None
        self._packed = b""
        self._stack = ExitStack()

    @property
    def _topic(self) -> str:
        return f"dtoee-testbed-{self._id}"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            _silence_dask()
            security = self._security()
            address = self._choice.scheduler or self._start_workers(stack, security)
            try:
                self._client: distributed.Client = stack.enter_context(
                    self._distributed.Client(
                        address, security=security, timeout=CONNECT_TIMEOUT_S, set_as_default=False,
                        name="dtoee-testbed",
                    )
                )  # fmt: skip
            except (OSError, ValueError) as error:
                reason = " ".join(str(error.__cause__ or error).split())
                raise EnvironmentLacking(
                    f"cannot connect to the scheduler {address}: {reason}",
                    hint="is it running there, with keys of the same `dtoee-testbed cluster keys`? see docs/cluster.md",
                ) from error
            self._client.subscribe_topic(self._topic, self._heard)
            self._stack = stack.pop_all()
        return self

    def _start_workers(self, stack: ExitStack, security: "distributed.Security | None") -> str:
        """Start a scheduler and workers on this machine until `stack` ends; return the scheduler's address."""
        folder = stack.enter_context(TemporaryDirectory(prefix="dtoee-cluster-", ignore_cleanup_errors=True))
        cluster = stack.enter_context(
            self._distributed.LocalCluster(
                n_workers=self._choice.workers, threads_per_worker=1, host="127.0.0.1", protocol="tls://",
                security=security, dashboard_address=None, silence_logs=logging.CRITICAL, local_directory=folder,
            )
        )  # fmt: skip
        return str(cluster.scheduler_address)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(Exception):  # the scheduler may be gone
            self._client.cancel([*self._tasks.values()], force=True)
        self._tasks.clear()
        self._stack.close()

    def _security(self) -> "distributed.Security | None":
        if self._choice.workers is not None:
            security: distributed.Security = self._distributed.Security.temporary()
            return security
        if self._choice.keys is None:
            return None
        files = key_files(self._choice.keys, "client")
        return self._distributed.Security(
            tls_ca_file=str(files.authority), tls_client_cert=str(files.certificate), tls_client_key=str(files.key),
            require_encryption=True,
        )  # fmt: skip

    def prepare(self, cells: Sequence[Cell]) -> None:
        """Send the input files, wait for a worker, and compare all workers with this machine.

        Raises:
            InputError: an input cannot be read here or there, or differs there.
            EnvironmentLacking: there is no worker for these cells, or one of them has other versions.
        """
        packed = pack_inputs(input_files(cells), Path.cwd())
        if packed != self._packed:
            self._packed = packed
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of large graphs
                key = f"{self._topic}-inputs-{sha256(packed).hexdigest()}"
                self._inputs = self._client.submit(as_is, packed, key=key)
            self._compared.clear()
        workers = self._workers()
        if self._live:
            self.room = len(workers)
        kinds = {(cell.settings.topology_sha256, cell.settings.model_sha256): cell for cell in reversed(cells)}
        for kind, cell in kinds.items():
            strange = [worker for worker in workers if (worker, *kind) not in self._compared]
            if not strange:
                continue
            found = self._client.run(compare_worker, self._errand(cell), packed, workers=strange, on_error="return")
            for worker, facts in found.items():
                if isinstance(facts, BaseException):
                    raise EnvironmentLacking(
                        f"worker {worker} cannot be compared with this machine: {type(facts).__name__}: {facts}",
                        hint="is dtoee-testbed installed there, in the same version?",
                    )
                check_alike(worker, facts, cell)
                self._compared.add((worker, *kind))
        # Else the scheduler would give all cells to the worker that has the inputs, as long as they are few.
        self._client.replicate([self._inputs], workers=workers)

    def _workers(self) -> list[str]:
        """The addresses of the workers that may carry out these cells.

        Raises:
            EnvironmentLacking: there is none.
            InputError: for live runs, a machine would carry out two at a time.
        """
        try:
            self._client.wait_for_workers(1, timeout=WORKER_TIMEOUT_S)
        except TimeoutError:
            hint = "start one on each machine, see docs/cluster.md"
            raise EnvironmentLacking("no worker has connected to the scheduler", hint=hint) from None
        workers: dict[str, dict[str, Any]] = self._client.scheduler_info(n_workers=-1)["workers"]
        if not self._live:
            return sorted(workers)
        fit = {address: facts for address, facts in workers.items() if facts["resources"].get(LIVE)}
        if not fit:
            hint = "start one on each machine as root: dask worker ... --nworkers 1 --resources live=1"
            raise EnvironmentLacking("no worker offers to carry out live runs", hint=hint)
        hosts = [facts["host"] for facts in fit.values()]
        crowded = [
            facts["host"] for facts in fit.values() if facts["resources"][LIVE] != 1 or hosts.count(facts["host"]) > 1
        ]
        if crowded:
            raise InputError(
                f"machine {crowded[0]} would carry out several live runs at a time",
                hint="start one worker on each machine, with --nworkers 1 --resources live=1",
            )
        return sorted(fit)

    def _errand(self, cell: Cell, number: int = -1) -> Errand:
        return Errand(cell, number, self._topic, tuple(sys.argv), Path(os.getcwd()), identity())

    def submit(self, cell: Cell, report: Callable[[float], None]) -> Future[CellEnd]:
        """Send a cell to the scheduler; see `CellExecutor`."""
        number = next(self._numbers)
        self._reports[number] = report
        clear_unfinished(cell)
        task = self._client.submit(
            run_errand, self._errand(cell, number), self._inputs, key=f"{self._topic}-{number}", retries=RETRIES,
            resources={LIVE: 1} if self._live else None,
        )  # fmt: skip
        self._tasks[number] = task
        found: Future[CellEnd] = Future()
        task.add_done_callback(lambda task: self._gathered(task, cell, number, found))
        return found

    def _gathered(self, task: "distributed.Future[Parcel]", cell: Cell, number: int, found: Future[CellEnd]) -> None:
        """Take the run directory of a cell that has ended. Dask calls this in a thread, for one cell at a time."""
        if self._tasks.pop(number, None) is None:  # the executor is closed
            found.set_result(CellEnd("interrupted"))
            return
        del self._reports[number]
        try:
            parcel = task.result()
            if parcel.run:
                unpack_run(parcel.run, cell.path)
            found.set_result(parcel.end)
        except BaseException as error:
            self._note_failure(error, found)
        finally:
            task.release()

    def _note_failure(self, error: BaseException, found: Future[CellEnd]) -> None:
        """Pass an error on: as the failure of a cell, or as an exception where the cluster itself has failed."""
        again = "the same command with --out goes on, as complete runs stay"
        if isinstance(error, self._distributed.KilledWorker):
            hint = f"do they have enough memory? {again}"
            found.set_result(CellEnd("failed", "several workers that had it were lost", hint, 1))
        elif isinstance(error, TestbedError):
            found.set_exception(error)
        elif isinstance(error, CancelledError | OSError):
            found.set_exception(TestbedError("the connection to the scheduler is lost", hint=again))
        else:
            found.set_result(CellEnd("failed", f"{type(error).__name__}: {error}", "", 1))

    def _heard(self, event: tuple[float, tuple[int, float]]) -> None:
        """Pass a report on; Dask calls this in its own thread."""
        _, (number, share) = event
        if (report := self._reports.get(number)) is not None:
            report(share)


def _silence_dask() -> None:
    """Turn off Dask's log of lost connections: here each is mended, or ends in an error of ours."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
