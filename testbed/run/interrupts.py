"""Ctrl-C: the first one requests a clean end, the second one ends the process at once."""

import os
import signal
from types import FrameType, TracebackType
from typing import Self


class Interrupts:
    """Inside this context, SIGINT, SIGTERM and SIGHUP set `wanted`; unless `deferred`, they raise KeyboardInterrupt.

    Signals that were ignored stay ignored (nohup). A second signal ends the process at once, with exit code 130;
    `dtoee-testbed clean` removes its remains. When nested, the inner handler passes `wanted` to the outer one on exit.
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
            # Not over sys.stderr: a live view may have replaced it, or this signal may have interrupted a write to it.
            os.write(2, b"\nleft at once; `dtoee-testbed clean` removes what remains\n")
            os._exit(130)
        self.wanted = True
        if not self.deferred:
            raise KeyboardInterrupt
