"""The cluster that carries out cells: where its scheduler is, and if it may be used."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from node_agent.errors import InputError

MAX_WORKERS = 1024


@dataclass(frozen=True, slots=True)
class ClusterChoice:
    """The cluster of a command: that of a scheduler, or workers that this machine starts for the command alone.

    Decision 104: plain TCP is refused beyond this machine, as a scheduler runs what it is sent
    (docs/decisions/104-cells-on-many-machines.md).

    Attributes:
        scheduler: tls://HOST:PORT or tcp://HOST:PORT.
        workers: number of workers on this machine, instead of a scheduler.
        keys: the folder with the keys for tls://, made by `make_keys`.
        insecure: True allows tcp:// to other machines, without any check of who asks.

    Raises:
        InputError: the address is malformed, or it may not be used so.
    """

    scheduler: str | None = None
    workers: int | None = None
    keys: Path | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        if (self.scheduler is None) == (self.workers is None):
            raise InputError(
                "a cluster is a scheduler or a number of workers, and not both", hint="--scheduler URL, or --workers N"
            )
        if self.workers is not None:
            _check_workers(self.workers)
        if self.scheduler is None:
            if self.keys is not None or self.insecure:
                raise InputError("--keys and --insecure are for --scheduler", hint="--workers makes keys of its own")
            return
        _check_address(self.scheduler, self.keys, insecure=self.insecure)


def _check_workers(workers: int) -> None:
    if not 1 <= workers <= MAX_WORKERS:
        raise InputError(f"{workers} workers cannot be started", hint=f"1 to {MAX_WORKERS}")


def _check_address(scheduler: str, keys: Path | None, *, insecure: bool) -> None:
    scheme, host = _parts(scheduler)
    if scheme == "tls":
        if keys is None:
            raise InputError(f"{scheduler} needs keys", hint="--keys DIR; `dtoee-testbed cluster keys DIR` makes them")
        if insecure:
            raise InputError(f"--insecure is for tcp://, and not for {scheduler}", hint="leave it out")
        return
    if keys is not None:
        raise InputError(f"keys are for tls://, and not for {scheduler}", hint="state tls://, or leave out --keys")
    if not insecure and not _is_loopback(host):
        raise InputError(
            f"{scheduler}: whoever reaches a scheduler over plain TCP can run any code on its workers",
            hint="use tls:// with --keys, or add --insecure in a network where you trust everyone",
        )


def _parts(scheduler: str) -> tuple[str, str]:
    """The scheme and the host of an address. Raises InputError if it is malformed."""
    try:
        parts = urlsplit(scheduler)
        port = parts.port
    except ValueError:
        port, parts = None, urlsplit("")
    extra = parts.path or parts.query or parts.fragment or parts.username
    if parts.scheme not in {"tls", "tcp"} or not parts.hostname or not port or extra:
        raise InputError(
            f"{scheduler!r} is no address of a scheduler",
            hint="for example tls://192.0.2.1:8786 or tcp://localhost:8786",
        )
    return parts.scheme, parts.hostname


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
