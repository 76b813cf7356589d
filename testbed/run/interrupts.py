"""Ctrl-C: the first one asks for a clean end, the second leaves at once."""

import os
import signal
from types import FrameType, TracebackType
from typing import Self


class Interrupts:
    """While in force, SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt, or set `wanted` where `deferred` is set.

    One that is ignored stays so (nohup). A second signal ends the process with 130 at once; `clean` removes what it
    leaves. When nested, the inner handler passes `wanted` to the outer one on exit.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.wanted = False
        self.deferred = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in self.SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._met)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # it came from signal.signal
            outer = getattr(handler, "__self__", None)
            if self.wanted and isinstance(outer, Interrupts):
                outer.wanted = True

    def _met(self, _number: int, _frame: FrameType | None) -> None:
        if self.wanted:
            # Past sys.stderr, which a live view may have taken over, and which this signal may have interrupted.
            os.write(2, b"\nleft at once; `dtoee-testbed clean` removes what remains\n")
            os._exit(130)
        self.wanted = True
        if not self.deferred:
            raise KeyboardInterrupt
