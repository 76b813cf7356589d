"""The contract of importers: what a format has to state, and the batches of requests that it yields.

Times on the axis of a source are whole microseconds: since 1970 (UTC) if the source states dates, otherwise since its
own beginning.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from testbed.trace.peeked import PeekedFile

TICKS_PER_S = 1_000_000
Integers = npt.NDArray[np.int64]
Axis = Literal["dates", "seconds"]  # since 1970, or since the beginning of the source
TimeUnit = Literal["auto", "iso", "s", "ms", "us", "ns"]

BATCH_ROWS = 8192


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests in the order of the file. n rows; fields that the source does not state are None.

    Attributes:
        axis: the origin of the times.
        ticks: times on that axis [us], (n,).
        lines: the line of each row, for messages, (n,).
        keys: the user, function or device of each, (n,).
        tokens: the length of each input [tokens], (n,).
        samples: the sample of each, (n,).
        failed: which requests failed at the source, (n,).
        counts: number of requests that each row stands for, (n,); None: one each.
        span_ticks: with `counts`, the requests of a row come from its tick until this time later.
    """

    axis: Axis
    ticks: Integers
    lines: Sequence[int]
    keys: Sequence[str] | None = None
    tokens: Integers | None = None
    samples: Integers | None = None
    failed: npt.NDArray[np.bool_] | None = None
    counts: Integers | None = None
    span_ticks: int = 0


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns that a user names; None takes the format's own."""

    time: str | None = None
    unit: TimeUnit = "auto"
    device: str | None = None
    sample: str | None = None


class Importer(ABC):
    """A format of workload traces.

    Attributes:
        name: as commands state it.
        about: its columns, in a line.
        key: the column by which requests are grouped on devices unless the user names another; None: none.
        states_device: the key is the name of a device.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    key: ClassVar[str | None] = None
    states_device: ClassVar[bool] = False

    @abstractmethod
    def recognises(self, first: bytes) -> bool:
        """True if the first non-empty line of a file is one of this format."""

    @abstractmethod
    def batches(self, file: PeekedFile, columns: Columns, part: int) -> Iterator[Batch]:
        """Yield the requests of a file.

        Args:
            file: the open file.
            columns: the columns that the user names.
            part: number of the file among those given, from 0; tables without dates follow one another.

        Raises:
            TraceError: the file is not of this format, or a row is wrong.
            InputError: the format has no columns to be named.
        """
