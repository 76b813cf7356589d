"""Keeping idle processors awake, so that what waits for a moment is on time.

A processor with nothing to do goes to sleep, and a virtual one gives itself back to its host; until it runs again, a
timer that is due or a frame that has come waits. Through the kernel's power management (PM QoS, `/dev/cpu_dma_latency`)
a program may ask that waking up takes no time: idle processors then poll. It costs electricity, and no CPU time that
others could use: polling ends the moment there is work.

Decision: asked for while a network runs. On two virtual processors 99 % of round trips over idle links were then off
by 0.1 ms at most instead of 0.3 ms, or of 3 ms in bad minutes of the host (`tests.bench.fidelity.links` prints both).
Rejected: busy loops at the lowest priority, which do the same but look like load in every figure.
"""

import contextlib
from pathlib import Path
from typing import BinaryIO

LATENCY_FILE = Path("/dev/cpu_dma_latency")
_NONE = bytes(4)  # microseconds that waking up may take, as the kernel reads them: a 32-bit number


class AwakeCpus:
    """The wish for processors that are awake, from `begin` to `end`; the kernel drops it when this process ends."""

    def __init__(self) -> None:
        self._file: BinaryIO | None = None

    def begin(self) -> bool:
        """Ask for it; False, and all stays as it is, where this process may not or the kernel cannot."""
        if self._file is None:
            with contextlib.suppress(OSError):
                file = LATENCY_FILE.open("wb", buffering=0)
                file.write(_NONE)
                self._file = file
        return self._file is not None

    def end(self) -> None:
        """Let processors sleep again; may be called twice."""
        if self._file is not None:
            self._file.close()
            self._file = None
